"""Writing shards: row groups, digests."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.common.shards import ShardWriter, count_group, shard_schema

RNG = np.random.default_rng(0)
N, HEIGHT, WIDTH, N_ATTRIBUTES = 40, 6, 5, 3


def make_rows() -> dict[str, Any]:
    return {
        "image_ids": [f"{k:06d}.jpg" for k in range(N)],
        "identities": [None if k % 4 == 0 else str(k) for k in range(N)],
        "pixels": np.arange(N * HEIGHT * WIDTH * 3, dtype=np.uint32)
        .astype(np.uint8)
        .reshape(N, HEIGHT, WIDTH, 3),
        "labels": np.arange(N * N_ATTRIBUTES, dtype=np.uint8).reshape(N, -1) % 2,
        "mask": np.arange(N * N_ATTRIBUTES).reshape(N, -1) % 5 > 0,
    }


def write(folder: Path, rows: dict[str, Any]) -> dict[str, str]:
    folder.mkdir()
    writer = ShardWriter(folder, "train", N, shard_schema(HEIGHT, WIDTH, N_ATTRIBUTES))
    writer.write_group(**rows)
    return writer.close()


def change(rows: dict[str, Any], column: str) -> None:
    """One value of one column."""
    if column == "pixels":
        rows["pixels"][17, 3, 2, 1] += 1
    elif column == "labels":
        rows["labels"][17, 1] ^= 1
    elif column == "mask":
        rows["mask"][17, 1] ^= True
    else:
        rows[column][16] = "None"


@pytest.mark.parametrize("column", ["image_ids", "identities", "pixels", "labels", "mask"])
def test_the_digest_changes_with_every_column(tmp_path: Path, column: str) -> None:
    first = write(tmp_path / "first", make_rows())
    assert list(first) == ["train-00000-of-00001.parquet"]
    assert write(tmp_path / "same", make_rows()) == first
    rows = make_rows()
    change(rows, column)
    assert write(tmp_path / "other", rows) != first


def test_shards_hold_whole_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.common.shards.SHARD_IMAGES", 16)
    rows = make_rows()
    writer = ShardWriter(tmp_path, "train", N, shard_schema(HEIGHT, WIDTH, N_ATTRIBUTES))
    for start in range(0, N, 8):
        writer.write_group(**{key: part[start : start + 8] for key, part in rows.items()})
    digests = writer.close()
    names = [f"train-{k:05d}-of-00003.parquet" for k in range(3)]
    assert sorted(digests) == names
    files = [pq.ParquetFile(tmp_path / name).metadata for name in names]
    assert [(file.num_rows, file.num_row_groups) for file in files] == [(16, 2), (16, 2), (8, 1)]
    column = pq.read_table([tmp_path / name for name in names])["image_id"]
    assert column.to_pylist() == rows["image_ids"]


@pytest.mark.parametrize(
    ("height", "width", "n"),
    [
        pytest.param(1, 1, 512, id="one pixel"),
        pytest.param(128, 128, 512, id="usual"),
        pytest.param(295, 296, 512, id="largest of a full group"),
        pytest.param(296, 296, 256, id="a pixel more"),
        pytest.param(1024, 1024, 32, id="large"),
        pytest.param(6000, 9000, 1, id="larger than a group's bytes"),
    ],
)
def test_large_pictures_make_small_row_groups(height: int, width: int, n: int) -> None:
    assert count_group(height, width) == n
