import csv
import json
from itertools import chain
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
from stages.common.tables import image_files
from stages.explore.pixels import STATISTICS, measure_picture
from stages.explore.run import run
from stages.explore.shifts import COLUMNS

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
    assert summary["n_identities_shared"] == 0
    odd = "1 of 1 image with Goatee is labelled not Male (100.0 %)."
    assert odd in summary["findings"]["identities"]
    imbalance = {row["attribute"]: row for row in read_csv(out / "imbalance.csv")}
    assert imbalance["Goatee"] == {
        "attribute": "Goatee",
        "n_known": "12",
        "n_positive": "1",
        "prevalence": "0.083333",
        "majority_share": "0.916667",
        "imbalance_ratio": "11.0",
    }
    cardinality = read_csv(out / "cardinality.csv")
    assert sum(int(row["n_images"]) for row in cardinality) == 12
    assert sum(int(row["n_images"]) * int(row["n_positive"]) for row in cardinality) == 24
    shifts = read_csv(out / "shifts.csv")
    assert list(shifts[0]) == COLUMNS
    assert len(shifts) == 3 * 7
    bald = shifts[7]
    assert (bald["attribute"], bald["second"], bald["difference"]) == ("Bald", "test", "0.0")
    male = shifts[11]
    assert (male["attribute"], male["difference"], male["effect"]) == ("Male", "-1.0", "-3.141593")
    assert float(male["p_value"]) == pytest.approx(1 / 84, rel=1e-5)  # Fisher: 1 of C(9, 3)


def test_findings_are_logged_line_by_line(tmp_path: Path, caplog) -> None:
    with caplog.at_level("INFO", logger="stages.explore"):
        summary = explore(tmp_path, make_rows())
    assert list(summary["findings"]) == ["labels", "partitions", "pairs", "identities", "pictures"]
    assert caplog.messages == list(chain.from_iterable(summary["findings"].values()))
    assert all("\n" not in line for line in caplog.messages)


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
    measured, gone = summary["findings"]["pictures"]
    assert "30 to 60 x 40 to 80 pixels" in measured
    assert gone == "Left out of these, as they cannot be read: 1 missing."


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
        row.data, row.status, row.error = None, "missing", "no such picture in the source"
    write_download(tmp_path / "download", rows)
    assert image_files(tmp_path / "download") == []
    line = run(PARAMS, tmp_path / "download", tmp_path / "out")
    assert line == "explore: 12 images, 7 attributes, 4 identities, 0 images measured"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images_sampled"] == 0
    assert summary["findings"]["pictures"] == [
        "Skipped: sizes, brightness and sharpness, as no picture can be read (12 missing)."
    ]
    assert read_csv(tmp_path / "out" / "images.csv") == []


def test_neither_identities_nor_labels_known(tmp_path: Path) -> None:
    image = encode(Image.new("RGB", (30, 30)))
    rows = [
        Row(f"{k}.jpg", image, identity=None, labels=dict.fromkeys(ATTRIBUTES)) for k in range(3)
    ]
    summary = explore(tmp_path, rows)
    assert (summary["n_identities"], summary["label_cardinality"]) == (0, None)
    assert summary["findings"] == {
        "labels": [
            "3 images (3 train) with 7 attributes; 21 labels are missing (100.0 %).",
            "Skipped: everything about labels, as none is known.",
        ],
        "partitions": ["Skipped: comparing partitions, as there is only one."],
        "pairs": [],
        "identities": ["Skipped: everything about identities, as none is named."],
        "pictures": summary["findings"]["pictures"],
    }
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
