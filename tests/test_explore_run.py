import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from audit_fabric import (
    ATTRIBUTES,
    Row,
    draw_picture,
    draw_rows,
    encode,
    read_bytes,
    write_download,
)
from PIL import Image

from stages.common.errors import FacetError
from stages.common.params import ExploreParams
from stages.explore.pixels import STATISTICS, measure_picture
from stages.explore.run import run

PARAMS = ExploreParams(n_images=6, seed=3)


def make_rows() -> list[Row]:
    rows = draw_rows(12)
    for k, row in enumerate(rows):
        row.identity = str(k // 3)
        row.partition = ("train", "train", "valid", "test")[k // 3]
        row.labels = {"Male": k < 6, "Goatee": k == 8, "Smiling": None if k == 0 else k % 2 == 0}
    return rows


def explore(folder: Path, rows: list[Row], params: ExploreParams = PARAMS) -> dict:
    write_download(folder / "download", rows)
    run(params, folder / "download", folder / "out")
    return json.loads((folder / "out" / "summary.json").read_text())


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_have_the_agreed_columns_and_numbers(tmp_path: Path) -> None:
    summary = explore(tmp_path, make_rows())
    out = tmp_path / "out"
    assert summary["n_by_partition"] == {"train": 6, "valid": 3, "test": 3}
    assert (summary["n_images"], summary["n_identities"]) == (12, 4)
    assert (summary["n_missing_labels"], summary["images_sampled"]) == (1, 6)
    assert summary["label_cardinality"] == pytest.approx((6 + 1 + 5 + 12) / 12)
    male = {row["attribute"]: row for row in read_csv(out / "prevalence.csv")}["Male"]
    assert (male["n_known_train"], male["prevalence_train"], male["prevalence_test"]) == (
        "6", "1.0", "0.0",
    )  # fmt: skip
    assert len(read_csv(out / "cooccurrence.csv")) == 21
    assert read_csv(out / "identities.csv") == [{"n_images": "3", "n_identities": "4"}]
    assert {row["attribute"]: row["agreement"] for row in read_csv(out / "consistency.csv")}[
        "Male"
    ] == "1.0"
    assert [row["statistic"] for row in read_csv(out / "images.csv")] == list(STATISTICS)
    assert "1 of 1 images with Goatee are labelled not Male." in summary["findings"]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    explore(tmp_path / "a", make_rows())
    explore(tmp_path / "b", make_rows())
    assert read_bytes(tmp_path / "a" / "out") == read_bytes(tmp_path / "b" / "out")


def test_another_seed_draws_another_sample(tmp_path: Path) -> None:
    explore(tmp_path / "a", make_rows())
    explore(tmp_path / "b", make_rows(), ExploreParams(n_images=6, seed=4))
    one, other = (pd.read_csv(tmp_path / name / "out" / "images.csv") for name in "ab")
    assert not one.equals(other)


def test_statistics_are_those_of_the_readable_images(tmp_path: Path) -> None:
    sizes = ((30, 40), (60, 80))
    rows = [Row(f"{w}.png", encode(draw_picture(w, h, w), kind="PNG")) for w, h in sizes]
    rows += [Row("x.jpg", b"no picture"), Row("y.jpg", None, status="missing", error="gone")]
    summary = explore(tmp_path, rows, ExploreParams(n_images=50, seed=0))
    table = pd.read_csv(tmp_path / "out" / "images.csv", index_col=0)
    assert summary["images_sampled"] == 2
    assert table.loc["height_px", ["n", "mean", "min", "max"]].tolist() == [2, 60, 40, 80]
    assert table.loc["width_px", "p50"] == 45
    gray = [np.asarray(draw_picture(w, h, w).convert("L"), float) for w, h in sizes]
    expected = np.mean([picture.mean() for picture in gray])
    assert table.loc["brightness", "mean"] == pytest.approx(expected, abs=0.5)
    assert "30 to 60 x 40 to 80 pixels" in summary["findings"][-1]


def test_measures_of_simple_pictures() -> None:
    gray = np.full((20, 20, 3), 90, np.uint8)
    assert measure_picture(gray) == [90, 0, 0, 0]
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4)))[..., None] * [255, 0, 0]
    brightness, contrast, sharpness, colour = measure_picture(checks.astype(np.uint8))
    assert (brightness, contrast) == (pytest.approx(38), pytest.approx(38))
    blurred = cv2.GaussianBlur(checks.astype(np.uint8), (7, 7), 2)
    assert sharpness > 4 * measure_picture(blurred)[2] > 0
    # Hasler and Suesstrunk: rg in {0, 255}, yb in {0, 127.5}, each half of the picture
    expected = np.hypot(127.5, 63.75) + 0.3 * np.hypot(127.5, 63.75)
    assert colour == pytest.approx(expected)


def test_labels_without_images_are_enough(tmp_path: Path) -> None:
    rows = make_rows()
    for row in rows:
        row.data = None
    summary = explore(tmp_path, rows)
    assert summary["images_sampled"] == 0
    assert "No images to measure: statistics of pixels were skipped." in summary["findings"]
    assert read_csv(tmp_path / "out" / "images.csv") == []


def test_neither_identities_nor_labels_known(tmp_path: Path) -> None:
    image = encode(Image.new("RGB", (30, 30)))
    rows = [
        Row(f"{k}.jpg", image, identity=None, labels=dict.fromkeys(ATTRIBUTES)) for k in range(3)
    ]
    summary = explore(tmp_path, rows)
    assert (summary["n_identities"], summary["label_cardinality"]) == (0, None)
    assert "No identities are known: tables about identities are empty." in summary["findings"]
    prevalence = read_csv(tmp_path / "out" / "prevalence.csv")
    assert {row["prevalence_train"] for row in prevalence} == {""}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("manifest.json", "manifest.json: expected this file", id="no manifest"),
        pytest.param("annotations.parquet", "annotations.parquet: expected", id="no annotations"),
    ],
)
def test_incomplete_input_is_refused_and_leaves_nothing(
    name: str, expected: str, tmp_path: Path
) -> None:
    download = write_download(tmp_path / "download", draw_rows(1))
    (download / name).unlink()
    with pytest.raises(FacetError, match=expected):
        run(PARAMS, download, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download"]
