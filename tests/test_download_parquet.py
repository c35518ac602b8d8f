"""Hugging Face's shards, and the file names that their rows have lost."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common.errors import FacetError
from stages.common.tables import iter_images, read_annotations
from stages.download.layouts.parquet import Shard, find_partition, read_rows
from stages.download.layouts.recover import match_labels
from stages.download.run import run
from stages.download.source import Labels
from tests.official_files import ATTRIBUTES, OfficialFolder, encode_jpeg, folder_bytes
from tests.test_download_layouts import download, params_for


def write_table(folder: Path, name: str, columns: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)
    return folder


def picture(seed: int) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    return {"bytes": encode_jpeg(pixels), "path": None}


def test_rows_without_names_get_made_up_ones_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = OfficialFolder()
    shards = official.write_shards(tmp_path / "in", n_shards=3)
    table, attributes = read_annotations(download(shards, tmp_path / "out"))
    assert attributes == list(ATTRIBUTES)
    names = [
        f"{p}-{k:06d}" for p, n in (("test", 6), ("train", 18), ("valid", 6)) for k in range(n)
    ]
    assert table["image_id"].tolist() == names
    assert table["partition"].tolist() == ["test"] * 6 + ["train"] * 18 + ["valid"] * 6
    by_name = table.set_index("image_id")
    assert by_name.loc["valid-000001", list(ATTRIBUTES)].tolist() == official.values[19].tolist()
    assert by_name.loc["valid-000001", "identity"] == "106"
    stored = {
        name: data
        for batch in iter_images(tmp_path / "out")
        for name, data in zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True)
    }
    assert stored["test-000005"] == official.images["000030.jpg"]
    assert "30 of 30 rows get made-up names" in caplog.text
    assert "cannot be joined" in caplog.text


def test_names_by_the_bytes_of_the_official_zip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = OfficialFolder()
    expected = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    rows = official.shard_rows()
    rows["train"].reverse()  # the order tells nothing then
    shards = official.write_shards(tmp_path / "b", rows=rows)
    (tmp_path / "a" / "img_align_celeba.zip").rename(shards / "img_align_celeba.zip")
    with caplog.at_level(logging.INFO):
        got = folder_bytes(download(shards, tmp_path / "out_b"))
    for name in ("annotations.parquet", "images-00000-of-00001.parquet"):
        assert got[name] == expected[name]
    assert "all 30 rows have their file names: their bytes are" in caplog.text


def test_names_by_the_official_label_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = OfficialFolder(n_images=60)
    expected = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    shards = official.write_shards(tmp_path / "b")
    official.write_texts(shards)
    with caplog.at_level(logging.INFO):
        got = folder_bytes(download(shards, tmp_path / "out_b"))
    assert got["annotations.parquet"] == expected["annotations.parquet"]
    assert "their labels and order tell them" in caplog.text


class FakeRows:
    """What match_labels reads of Rows."""

    def __init__(self, values: list[str], identities: list[str], partitions: list[str]) -> None:
        self.values = np.array([[int(c) for c in text] for text in values], np.int8)
        self.identities, self.partitions = identities, partitions
        self.columns = type("Columns", (), {"attributes": ["a", "b"]})()


LABELS = Labels(
    ["1", "2", "3", "4", "5"],
    ["a", "b"],
    np.array([[0, 0], [0, 1], [0, 1], [1, 1], [0, 1]], np.int8),
    ["train"] * 5,
    ["x", "x", "x", "y", "x"],
)


@pytest.mark.parametrize(
    ("values", "identities", "expected"),
    [
        pytest.param("00 01 01 11 01", "x x x y x", ["1", "2", "3", "4", "5"], id="all"),
        pytest.param("00 11 01", "x y x", ["1", "4", "5"], id="one fits after its neighbour"),
        pytest.param("00 01 11", "x x y", ["1", None, "4"], id="two fit between neighbours"),
        pytest.param("11 00", "y x", ["4", "1"], id="unique ones in another order"),
        pytest.param("11 01", "y q", ["4", None], id="unknown identity"),
        pytest.param("00 00", "x x", [None, None], id="one image twice"),
    ],
)
def test_labels_and_order_tell_names(
    values: str, identities: str, expected: list[str | None]
) -> None:
    rows = FakeRows(values.split(), identities.split(), ["train"] * len(values.split()))
    assert match_labels(rows, LABELS) == expected  # type: ignore[arg-type]


def test_the_complete_celeba_is_told_by_its_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its labels in its order, one small picture for all; identities as in the shards."""
    folder = Path(__file__).parents[2] / "shared" / "celeba-labels"
    if not folder.is_dir():
        pytest.skip("no complete label files in ../shared/celeba-labels")

    def lines(name: str) -> list[str]:
        with zipfile.ZipFile(folder / f"{name}.zip") as archive:
            return archive.read(f"{name}.txt").decode().splitlines()

    attr = lines("list_attr_celeba")
    values = np.array([row.split()[1:] for row in attr[2:]]) == "1"
    identities = np.array([int(line.split()[1]) for line in lines("identity_CelebA")])
    data = encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    bounds = (0, 162_770, 182_637, 202_599)
    for k, split in enumerate(("train", "valid", "test")):
        rows = slice(bounds[k], bounds[k + 1])
        n = bounds[k + 1] - bounds[k]
        columns = {
            "image": pa.StructArray.from_arrays([pa.array([data] * n), pa.nulls(n, pa.string())],
                                                ["bytes", "path"]),
            "celeb_id": identities[rows],
            **{name: values[rows, c] for c, name in enumerate(attr[1].split())},
        }  # fmt: skip
        write_table(tmp_path / "in", f"{split}-00000-of-00001.parquet", columns)
    with caplog.at_level(logging.INFO):
        run(params_for(tmp_path / "in"), tmp_path / "out")
    table, _ = read_annotations(tmp_path / "out")
    assert table["image_id"].iloc[[0, 162_770, -1]].tolist() == [
        "000001.jpg", "162771.jpg", "202599.jpg",
    ]  # fmt: skip
    assert "their order and labels are CelebA's own" in caplog.text
    assert "labels by content, partitions by content, identities by content" in caplog.text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data/train-00000-of-00019.parquet", "train"),
        ("validation-00000-of-00003.parquet", "valid"),
        ("default/valid/0000.parquet", "valid"),
        ("test/0000.parquet", "test"),
        ("test.parquet", "test"),
        ("0000.parquet", None),
        ("0/faces.parquet", None),
    ],
)
def test_partition_of_a_shard(name: str, expected: str | None) -> None:
    assert find_partition(name) == expected


def test_columns_of_other_types(tmp_path: Path) -> None:
    """Binary pictures, names, integers with nulls, partitions in a column."""
    write_table(
        tmp_path / "in",
        "faces.parquet",
        {
            "file_name": ["b.png", "a.png", "c.png"],
            "image": [picture(k)["bytes"] for k in range(3)],
            "split": ["train", "validation", "test"],
            "person": [7, 7, None],
            "Smiling": pa.array([1, -1, None], pa.int8()),
            "caption": ["one", "two", "three"],
            "Male": [False, None, True],
            "Young": [-1.0, float("nan"), 1.0],
        },
    )
    table, attributes = read_annotations(download(tmp_path / "in", tmp_path / "out"))
    assert attributes == ["Smiling", "Male", "Young"]
    assert table["Young"].tolist() == [None, False, True]
    assert table["image_id"].tolist() == ["a.png", "b.png", "c.png"]
    assert table["partition"].tolist() == ["valid", "train", "test"]
    assert table["identity"].fillna("").tolist() == ["7", "7", ""]
    assert table["Smiling"].tolist() == [False, True, None]
    assert table["Male"].tolist() == [None, False, True]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param({"Smiling": [0.5]}, "Smiling: expected 0 and 1, or -1 and 1", id="half"),
        pytest.param({"caption": ["a face"]}, "expected attribute names", id="texts only"),
        pytest.param({"Smiling": [3]}, "Smiling: expected 0 and 1, or -1 and 1", id="value 3"),
        pytest.param({"status": [True]}, "expected distinct names", id="reserved name"),
        pytest.param({"x": [True], "split": ["dev"]}, "expected train, valid", id="partition"),
        pytest.param({}, "expected attribute names", id="no attributes"),
    ],
)
def test_bad_shards_are_refused(columns: dict[str, Any], expected: str, tmp_path: Path) -> None:
    write_table(tmp_path / "in", "train.parquet", {"image": [picture(0)], **columns})
    with pytest.raises(FacetError) as caught:
        download(tmp_path / "in", tmp_path / "out")
    assert expected in str(caught.value)
    assert "train.parquet" in str(caught.value)


def test_shards_of_different_columns_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "in", "train.parquet", {"image": [picture(0)], "a": [True]})
    write_table(tmp_path / "in", "test.parquet", {"image": [picture(1)], "b": [True]})
    with pytest.raises(FacetError, match=r"test\.parquet: expected the columns of train"):
        download(tmp_path / "in", tmp_path / "out")


def test_minus_one_beside_zero_is_refused(tmp_path: Path) -> None:
    """One of them may mean unknown; across shards and columns too."""
    write_table(tmp_path / "in", "train.parquet", {"image": [picture(0)] * 2, "a": [1, 0]})
    write_table(tmp_path / "in", "test.parquet", {"image": [picture(1)] * 2, "a": [1, -1]})
    with pytest.raises(FacetError, match="in all columns; got -1 and 0"):
        download(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("place", ["labels", "pictures", "end"])
def test_a_damaged_shard_is_one_line(place: str, tmp_path: Path) -> None:
    shards = OfficialFolder().write_shards(tmp_path / "in", n_shards=1)
    path = next(shards.rglob("train-*.parquet"))
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0 if place == "pictures" else 4)
    start = chunk.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data[:-20] if place == "end" else data)
    with pytest.raises(FacetError) as caught:
        download(tmp_path / "in", tmp_path / "out")
    assert "Parquet file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folder_of_the_source_tells_no_partition(tmp_path: Path) -> None:
    columns = {"image": [picture(k) for k in range(20)], "a": [True, False] * 10}
    write_table(tmp_path / "test", "faces.parquet", columns)
    table, _ = read_annotations(download(tmp_path / "test", tmp_path / "out"))
    assert set(table["partition"]) == {"train", "valid", "test"}
    write_table(tmp_path / "in" / "train" / "part 0", "x.PARQUET", columns)
    table, _ = read_annotations(download(tmp_path / "in", tmp_path / "out"))
    assert set(table["partition"]) == {"train"}


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"celeb_id": [[1]] * 20}, id="identity is a list"),
        pytest.param({"file_name": [[1]] * 20}, id="name is a list"),
        pytest.param({"celeb_id": [""] * 20}, id="identity is empty"),
        pytest.param({"file_name": ["a/../.."] * 20}, id="name leads out"),
        pytest.param({"huge": pa.array([2**63 + 1] * 20, pa.uint64())}, id="huge numbers"),
    ],
)
def test_odd_columns_end_in_tables_or_in_one_line(columns: dict[str, Any], tmp_path: Path) -> None:
    pictures = [picture(k) for k in range(20)]
    labels = {"image": pictures, "a": [True, False] * 10}
    write_table(tmp_path / "in", "faces.parquet", {**labels, **columns})
    if "huge" in columns:
        with pytest.raises(FacetError, match="huge: expected 0 and 1"):
            download(tmp_path / "in", tmp_path / "out")
    else:
        table, attributes = read_annotations(download(tmp_path / "in", tmp_path / "out"))
        assert attributes == ["a"]
        assert table["identity"].isna().all()
        assert table["image_id"].is_unique


def test_pictures_without_bytes_are_unreadable(tmp_path: Path) -> None:
    pictures = [picture(k) for k in range(20)]
    pictures[7]["bytes"] = None
    write_table(tmp_path / "in", "train.parquet", {"image": pictures, "a": [True] * 20})
    table, _ = read_annotations(download(tmp_path / "in", tmp_path / "out"))
    bad = table[table["status"] != "ok"]
    assert bad["image_id"].tolist() == ["train-000007"]
    assert bad["error"].tolist() == ["the shard holds no bytes of it (perhaps paths only)"]


def test_reading_rows_leaves_the_pictures_alone(tmp_path: Path) -> None:
    """Shards of 11 GB must not be read for their labels: a picture of 200 MB costs nothing."""
    data = bytes(200_000_000)
    write_table(tmp_path, "train.parquet", {"image": [{"bytes": data, "path": "a"}], "x": [True]})
    usual = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counting)
    try:
        rows = read_rows([Shard(tmp_path / "train.parquet", "train.parquet")])
    finally:
        pa.set_memory_pool(usual)
    assert rows.names == ["a"]
    assert 0 < (counting.max_memory() or 0) < 20_000_000
