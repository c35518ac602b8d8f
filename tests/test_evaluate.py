import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from stages.common.errors import FacetError
from stages.common.files import read_json, read_manifest, write_manifest
from stages.common.params import EvaluateParams, load_params
from stages.common.shards import ShardWriter, read_partition, shard_schema
from stages.common.tables import PREDICTIONS, predictions_schema, read_table
from stages.evaluate.predict import load_model
from stages.evaluate.run import run
from stages.evaluate.tables import score_attributes, summarise, trace_curves
from stages.train.run import run as train
from tests.official_files import draw_pixels, folder_bytes
from tests.test_train import make_params as make_train_params

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").evaluate
NAMES = ["quadrant_0", "quadrant_1", "quadrant_2", "never"]


def make_params(**changes: Any) -> EvaluateParams:
    return EvaluateParams.model_validate({**SHIPPED.model_dump(), **changes})


def write_set(
    prepare: Path, rng: np.random.Generator, names: list[str], **n_by_partition: int
) -> Path:
    """Shards with a masked label here and there; the attributes in the order of `names`."""
    prepare.mkdir()
    columns = [NAMES.index(name) for name in names]
    for partition, n_images in n_by_partition.items():
        writer = ShardWriter(prepare, partition, n_images, shard_schema(16, 16, 4))
        for index in range(n_images):
            labels = rng.random(4) < [0.3, 0.6, 0.5, 0.0]
            pixels = draw_pixels(rng, labels.tolist(), 16, 16)
            mask = rng.random(4) < 0.9
            image_id = f"{partition}{index:03d}.jpg"
            writer.add(image_id, None, pixels, labels.astype(np.uint8)[columns], mask[columns])
        writer.close()
    facts = {"attributes": names, "height_px": 16, "width_px": 16, "crop_px": None}
    write_manifest(prepare, {**facts, "n_by_partition": n_by_partition})
    return prepare


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set without test images, and a model trained on it."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(5)
    prepare = write_set(folder / "prepare", rng, NAMES, train=96, valid=40, test=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        train(make_train_params(n_epochs=4), prepare, folder / "train", folder / "rtrain")
    return folder


def evaluate(workspace: Path, out: Path, **changes: Any) -> Path:
    params = make_params(**{"partitions": ["valid"], **changes})
    run(params, workspace / "prepare", workspace / "train", out / "data", out / "reports")
    return out


def test_figures_follow_from_the_predictions(workspace: Path, tmp_path: Path) -> None:
    out = evaluate(workspace, tmp_path)
    predictions = read_table(out / "data" / PREDICTIONS, predictions_schema(NAMES))
    valid = read_partition(workspace / "prepare", "valid")
    learned = read_partition(workspace / "prepare", "train", pixels=False)
    assert predictions["image_id"].tolist() == valid.image_ids
    probs = predictions[NAMES].to_numpy()
    assert ((probs > 0) & (probs < 1)).all()
    table = pd.read_csv(out / "reports" / "per_attribute.csv").set_index("attribute")
    for column, name in enumerate(NAMES):
        known = valid.mask[:, column]
        truth, prob = valid.labels[known, column], probs[known, column]
        assert table.loc[name, "accuracy"] == pytest.approx(
            np.mean((prob > 0.5) == truth), abs=1e-6
        )
        seen = learned.labels[learned.mask[:, column], column]
        majority = int(seen.mean() > 0.5)
        assert table.loc[name, "majority_accuracy"] == pytest.approx(
            np.mean(truth == majority), abs=1e-6
        )
        if name == "never":
            assert np.isnan(table.loc[name, "roc_auc"])
            assert np.isnan(table.loc[name, "recall"])
        else:
            expected = sk.roc_auc_score(truth, prob)
            assert table.loc[name, "roc_auc"] == pytest.approx(expected, abs=1e-5)
    metrics = read_json(out / "reports" / "metrics.json")["valid"]
    assert metrics["accuracy"] == pytest.approx(table["accuracy"].mean(), abs=1e-6)
    assert metrics["gain"] == pytest.approx(table["gain"].mean(), abs=1e-6)
    known = valid.mask.ravel()
    flat = valid.labels.ravel()[known], probs.ravel()[known]
    assert metrics["micro_roc_auc"] == pytest.approx(sk.roc_auc_score(*flat), abs=1e-6)
    assert metrics["micro_f1"] == pytest.approx(sk.f1_score(flat[0], flat[1] > 0.5), abs=1e-6)
    assert metrics["n_images"] == 40


def test_two_runs_give_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    first = folder_bytes(evaluate(workspace, tmp_path / "a"))
    assert folder_bytes(evaluate(workspace, tmp_path / "b")) == first
    assert set(first) == {
        "data/manifest.json",
        "data/predictions.parquet",
        "reports/curves.csv",
        "reports/metrics.json",
        "reports/per_attribute.csv",
    }


def test_batch_size_does_not_change_decisions(workspace: Path, tmp_path: Path) -> None:
    large = pd.read_parquet(evaluate(workspace, tmp_path / "a") / "data" / PREDICTIONS)
    small = pd.read_parquet(
        evaluate(workspace, tmp_path / "b", batch_size=7) / "data" / PREDICTIONS
    )
    assert np.abs(large[NAMES].to_numpy() - small[NAMES].to_numpy()).max() < 1e-5


def test_threshold_is_applied(workspace: Path, tmp_path: Path) -> None:
    high = evaluate(workspace, tmp_path, threshold=0.999)
    table = pd.read_csv(high / "reports" / "per_attribute.csv")
    assert table["recall"].max() < 0.5
    assert table["precision"].isna().any()


def test_a_partition_without_images_is_skipped(
    workspace: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = folder_bytes(evaluate(workspace, tmp_path / "a"))
    assert not caplog.text
    with caplog.at_level(logging.INFO):
        out = evaluate(workspace, tmp_path / "b", partitions=["valid", "test"])
    assert folder_bytes(out) == expected
    assert "holds no images of test, which is skipped" in caplog.text
    with pytest.raises(FacetError, match=r"evaluate\.partitions: .* got test, and .* of train and"):
        evaluate(workspace, tmp_path / "c", partitions=["test"])


def test_a_set_of_test_images_with_a_model_trained_elsewhere(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "stages.evaluate.run.log_evaluation", lambda model, params, *paths: tracked.append(params)
    )
    names = ["never", "quadrant_2", "quadrant_0", "quadrant_1"]  # another order
    rng = np.random.default_rng(6)
    prepare = write_set(tmp_path / "other", rng, names, train=0, valid=0, test=50)
    params = make_params(partitions=["valid", "test"])
    run(params, prepare, workspace / "train", tmp_path / "data", tmp_path / "reports")
    predictions = read_table(tmp_path / "data" / PREDICTIONS, predictions_schema(NAMES))
    test = read_partition(prepare, "test")
    assert predictions["image_id"].tolist() == test.image_ids
    assert predictions["partition"].unique().tolist() == ["test"]
    learned = read_partition(workspace / "prepare", "train", pixels=False)
    table = pd.read_csv(tmp_path / "reports" / "per_attribute.csv").set_index("attribute")
    for column, name in enumerate(names):
        known, index = test.mask[:, column], NAMES.index(name)
        truth = test.labels[known, column]
        right = (predictions.loc[known, name].to_numpy() > 0.5) == truth
        assert table.loc[name, "accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        majority = int(learned.labels[learned.mask[:, index], index].mean() > 0.5)
        assert table.loc[name, "majority_accuracy"] == pytest.approx(
            np.mean(truth == majority), abs=1e-6
        )
    assert read_json(tmp_path / "reports" / "metrics.json").keys() == {"test"}
    evaluate(workspace, tmp_path / "own")
    digest = hashlib.sha256((prepare / "manifest.json").read_bytes()).hexdigest()
    assert [params.get("data_sha256") for params in tracked] == [digest, None]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"attributes": ["quadrant_0", "quadrant_1", "Bald", "never"]},
            r"expected the 4 attributes .* a set without quadrant_2 and with also Bald",
            id="another attribute",
        ),
        pytest.param(
            {"attributes": NAMES[:3]}, "a set without never; set prepare", id="an attribute less"
        ),
        pytest.param(
            {"attributes": [*NAMES, "Bald"]}, "a set with also Bald; set", id="an attribute more"
        ),
        pytest.param({"height_px": 20}, "expected height_px 16.* got 20", id="another height"),
        pytest.param({"width_px": 20}, "expected width_px 16.* got 20", id="another width"),
    ],
)
def test_sets_that_are_not_the_models(
    workspace: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    facts = read_manifest(workspace / "prepare") | changes
    (tmp_path / "prepare").mkdir()
    write_manifest(tmp_path / "prepare", {k: v for k, v in facts.items() if k != "files"})
    out = tmp_path / "data", tmp_path / "reports"
    with pytest.raises(FacetError, match=expected):
        run(make_params(), tmp_path / "prepare", workspace / "train", *out)


def test_weights_that_are_not_the_models(workspace: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(workspace / "train" / "model", tmp_path / "model")
    path = tmp_path / "model" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FacetError, match="expected SHA-256"):
        load_model(tmp_path / "model")


def test_curves_hold_the_confusion_at_every_threshold() -> None:
    probs = np.array([[0.1], [0.4], [0.6], [0.9]], np.float32)
    labels = np.array([[0], [1], [0], [1]], np.uint8)
    curves = trace_curves(probs, labels, np.ones((4, 1), bool), ["a"]).set_index("threshold")
    assert curves.loc[0.0, ["tp", "fp", "fn", "tn"]].tolist() == [2, 2, 0, 0]
    assert curves.loc[0.5, ["tp", "fp", "fn", "tn"]].tolist() == [1, 1, 1, 1]
    assert curves.loc[1.0, ["tp", "fp", "fn", "tn"]].tolist() == [0, 0, 2, 2]


def test_undefined_means_are_null() -> None:
    probs, labels = np.full((3, 1), 0.2), np.zeros((3, 1), np.uint8)
    mask = np.ones((3, 1), bool)
    table = score_attributes(probs, labels, mask, np.zeros(1, np.uint8), ["a"], 0.5)
    summary = summarise(table, probs, labels, mask, 0.5)
    assert summary["roc_auc"] is None
    assert summary["precision"] is None
    assert summary["accuracy"] == 1.0


def test_manifest_names_the_weights(workspace: Path, tmp_path: Path) -> None:
    out = evaluate(workspace, tmp_path)
    model = read_json(workspace / "train" / "model" / "model.json")
    assert read_manifest(out / "data")["weights_sha256"] == model["weights_sha256"]
