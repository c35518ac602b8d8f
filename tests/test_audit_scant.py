"""Data from which little can be learned: an audit that says so, and no crash."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from audit_fabric import ATTRIBUTES, AUDIT, Row, draw_picture, encode, write_download
from safetensors.torch import save_file

from stages.audit.consensus import count_people
from stages.audit.copies import Copies
from stages.audit.faceless import find_limit
from stages.audit.folds import make_folds
from stages.audit.run import run
from stages.common.params import load_params
from stages.common.tables import (
    ISSUES_SCHEMA,
    TRUTH,
    TRUTH_SCHEMA,
    read_table,
    scores_schema,
)
from stages.download.run import run as draw_demo

N_IMAGES = 210


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return path


def draw_set(
    identity: Callable[[int], str | None] = lambda k: str(k // 3),
    known: Callable[[int], bool] = lambda k: True,
    picture: Callable[[int], int] = lambda k: k,
) -> list[Row]:
    """Training images with labels by chance; known says whose labels are known."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(N_IMAGES):
        labels = {name: bool(rng.random() < 0.4) if known(k) else None for name in ATTRIBUTES}
        data = encode(draw_picture(picture(k), 32, 26))
        rows.append(Row(f"{k:03d}.jpg", data, identity=identity(k), labels=labels))
    return rows


EVERYTHING = {"mislabel", "faceless", "identity_outlier"}


@pytest.mark.parametrize(
    ("rows", "skipped"),
    [
        pytest.param(draw_set(lambda k: "1"), {"identity_outlier"}, id="one person"),
        pytest.param(draw_set(lambda k: str(k % 3)), {"identity_outlier"}, id="three people"),
        pytest.param(
            draw_set(lambda k: "1" if k < 190 else str(k)), {"identity_outlier"},
            id="one person in most images",
        ),
        pytest.param(draw_set(known=lambda k: k == 7), {"mislabel"}, id="one image with labels"),
        pytest.param(draw_set(picture=lambda k: 0), EVERYTHING, id="one picture"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_skipped(
    rows: list[Row], skipped: set[str], weights: Path, tmp_path: Path
) -> None:
    download = write_download(tmp_path / "download", rows)
    params = AUDIT.model_copy(update={"features": "test_resnet", "weights": str(weights)})
    line = run(params, download, tmp_path / "out", tmp_path / "reports")
    summary = json.loads((tmp_path / "reports" / "summary.json").read_text())
    assert set(summary["skipped"]) == skipped
    assert all(check in line for check in skipped)
    issues = read_table(tmp_path / "out" / "issues.parquet", ISSUES_SCHEMA)
    assert EVERYTHING - set(issues["check"]) == skipped
    scores = read_table(tmp_path / "out" / "scores.parquet", scores_schema(ATTRIBUTES))
    assert scores[ATTRIBUTES].isna().all(axis=None) == ("mislabel" in skipped)


def test_images_of_few_people_count_as_few() -> None:
    assert count_people(np.repeat(np.arange(7), 4)) == pytest.approx(7)
    assert count_people(np.array([0] * 190 + [*range(1, 21)])) < 2


def test_folds_are_numbered_without_gaps() -> None:
    labels, known = np.zeros((90, 1), np.uint8), np.ones((90, 1), bool)
    people = np.array([str(k % 3) for k in range(90)], object)
    folds = make_folds(people, Copies([], [], []), labels, known, np.arange(90), 5, 1)
    assert set(folds) == {0, 1, 2}


def test_few_training_pictures_do_not_make_all_others_faceless(tmp_path: Path) -> None:
    """With as many axes as they fit, 47 of the 50 pictures outside train were flagged."""
    rows = [
        Row(f"{k:03d}.jpg", encode(draw_picture(k, 64, 52)), "train" if k < 200 else "test")
        for k in range(250)
    ]
    params = AUDIT.model_copy(update={"features": "efficientnet_lite0"})
    download = write_download(tmp_path / "download", rows)
    line = run(params, download, tmp_path / "out", tmp_path / "reports")
    issues = read_table(tmp_path / "out" / "issues.parquet", ISSUES_SCHEMA)
    flagged = issues[(issues["check"] == "faceless") & issues["flagged"]]
    assert len(flagged) < 15
    n_suspects = len(issues) - int(issues["flagged"].sum())
    assert f"{int(issues['flagged'].sum())} findings flagged (0 exact_duplicate" in line
    assert f", {len(flagged)} faceless, 0 unreadable) and {n_suspects} suspects" in line


def test_a_fifth_of_the_pictures_without_a_face_is_no_new_normal(tmp_path: Path) -> None:
    params = load_params(Path(__file__).parents[1] / "params.yaml").download
    faults = params.demo.faults.model_copy(update={"faceless": 0.2})
    demo = params.demo.model_copy(update={"n_images": 450, "faults": faults})
    draw_demo(params.model_copy(update={"demo": demo}), tmp_path / "download")
    settings = AUDIT.model_copy(update={"features": "efficientnet_lite0"})
    run(settings, tmp_path / "download", tmp_path / "out", tmp_path / "reports")
    truth = read_table(tmp_path / "download" / TRUTH, TRUTH_SCHEMA)
    planted = set(truth.loc[truth["fault"] == "faceless", "image_id"])
    issues = read_table(tmp_path / "out" / "issues.parquet", ISSUES_SCHEMA)
    flagged = issues.loc[(issues["check"] == "faceless") & issues["flagged"], "image_id"]
    assert len(planted) == 90
    assert len(planted & set(flagged)) > 80
    assert len(set(flagged) - planted) < 10


def test_what_lies_far_from_the_bulk_is_no_example_of_a_face() -> None:
    rng = np.random.default_rng(0)
    faces, others = rng.normal(-3, 0.4, 800), rng.normal(-0.5, 0.6, 200)
    assert -2 < find_limit(np.concatenate([faces, others])) < -0.5
    assert (faces < find_limit(faces)).mean() > 0.99
    assert find_limit(rng.normal(-9, 5, 800)) == 0
