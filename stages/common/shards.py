"""Shards of pixels: Parquet with fixed-size binary pixels, labels and a label mask."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from stages.common.errors import FacetError
from stages.common.files import read_manifest

SHARD_IMAGES = 8192
GROUP_IMAGES = 512
PAGE_IMAGES = 16  # per step of Parquet's writer; a row group in one page leaves a core's cache
GROUP_BYTES = 1 << 27  # of pixels: row groups of pictures larger than 295x295 hold fewer


@dataclass(frozen=True)
class PixelSet:
    """One partition in memory.

    image_ids and identities have N entries (an identity may be None); pixels is (N, H, W, 3)
    uint8 RGB; labels is (N, A) uint8 in {0, 1}; mask is (N, A) bool, False = label unknown.
    """

    image_ids: list[str]
    identities: list[str | None]
    pixels: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


def shard_schema(height: int, width: int, n_attributes: int) -> pa.Schema:
    """Schema of a shard; mask is 1 where the label is known."""
    per_attribute = pa.list_(pa.field("element", pa.uint8(), nullable=False), n_attributes)
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("identity", pa.string()),
            pa.field("pixels", pa.binary(height * width * 3), nullable=False),
            pa.field("labels", per_attribute, nullable=False),
            pa.field("mask", per_attribute, nullable=False),
        ]
    )


def count_group(height: int, width: int) -> int:
    """Pictures in a full row group: GROUP_IMAGES, or a smaller power of two within GROUP_BYTES."""
    n = GROUP_IMAGES
    while n > 1 and n * height * width * 3 > GROUP_BYTES:
        n //= 2
    return n


class ShardWriter:
    """Writes one partition's pictures in order as <partition>-00000-of-000NN.parquet.

    Uncompressed, without dictionaries and statistics: pixels do not compress, and a plain page
    can be read at the speed of memory.

    A shard's digest is the SHA-256 of, for each row group, the XXH3-128 digest of the pixels,
    labels, mask, and [image_ids, identities] as JSON. SHA-256 of the pixels would take a sixth of
    all of prepare's time.
    """

    def __init__(self, folder: Path, partition: str, n_images: int, schema: pa.Schema) -> None:
        self._folder, self._partition, self._schema = folder, partition, schema
        self._n_shards = math.ceil(n_images / SHARD_IMAGES)
        self._n_written = 0
        self._writer: pq.ParquetWriter | None = None
        self._hashes: dict[str, hashlib._Hash] = {}

    def write_group(
        self,
        image_ids: Sequence[str],
        identities: Sequence[str | None],
        pixels: np.ndarray,
        labels: np.ndarray,
        mask: np.ndarray,
    ) -> None:
        """Append a row group, which must be full unless it is the last one.

        Args:
            image_ids: N of them.
            identities: N of them.
            pixels: (N, H, W, 3) uint8, contiguous; not kept.
            labels: (N, A) uint8.
            mask: (N, A) bool.
        """
        n, n_attributes = labels.shape
        known = mask.astype(np.uint8)
        kind = self._schema.field("pixels").type
        columns = [
            pa.array(image_ids, pa.string()),
            pa.array(identities, pa.string()),
            pa.FixedSizeBinaryArray.from_buffers(kind, n, [None, pa.py_buffer(pixels)]),
            *(
                pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), n_attributes)
                for part in (labels, known)
            ),
        ]
        arrays = [
            column.cast(field.type) for column, field in zip(columns, self._schema, strict=True)
        ]
        if self._n_written % SHARD_IMAGES == 0:
            self._close_shard()
            index = self._n_written // SHARD_IMAGES
            name = f"{self._partition}-{index:05d}-of-{self._n_shards:05d}.parquet"
            self._hashes[name] = self._hash = hashlib.sha256()
            self._writer = pq.ParquetWriter(
                self._folder / name,
                self._schema,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
                write_batch_size=PAGE_IMAGES,
            )
        assert self._writer is not None
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._n_written += n
        self._hash.update(xxhash.xxh3_128_digest(pixels.data))
        self._hash.update(labels.tobytes() + known.tobytes())
        self._hash.update(json.dumps([list(image_ids), list(identities)]).encode())

    def close(self) -> dict[str, str]:
        """Close the last shard; returns the digest of each by name."""
        self._close_shard()
        return {name: digest.hexdigest() for name, digest in self._hashes.items()}

    def _close_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read_partition(prepare: Path, partition: str, pixels: bool = True) -> PixelSet:
    """Read one partition of a `data/prepare` folder into memory.

    Args:
        prepare: The folder.
        partition: train, valid or test. A partition without images gives arrays of length 0.
        pixels: False leaves the pixels out; they are then (N, 0, 0, 3).

    Raises:
        FacetError: the folder is incomplete or a shard has another schema.
    """
    manifest = read_manifest(prepare)
    n_images, n_attributes = manifest["n_by_partition"][partition], len(manifest["attributes"])
    height, width = manifest["height_px"], manifest["width_px"]
    schema = shard_schema(height, width, n_attributes)
    columns = schema.names if pixels else [name for name in schema.names if name != "pixels"]
    image_ids: list[str] = []
    identities: list[str | None] = []
    image = np.empty((n_images, height, width, 3) if pixels else (n_images, 0, 0, 3), np.uint8)
    labels = np.empty((n_images, n_attributes), np.uint8)
    mask = np.empty((n_images, n_attributes), np.uint8)
    row = 0
    for path in sorted(prepare.glob(f"{partition}-*-of-*.parquet")):
        with pq.ParquetFile(path, memory_map=True) as file:
            if not file.schema_arrow.equals(schema):
                raise FacetError(f"{path}: expected {schema.names} of {height}x{width} pixels")
            for batch in file.iter_batches(GROUP_IMAGES, columns=columns):
                rows = slice(row, row + len(batch))
                image_ids += batch.column("image_id").to_pylist()
                identities += batch.column("identity").to_pylist()
                labels[rows] = _fixed_lists(batch.column("labels"), n_attributes)
                mask[rows] = _fixed_lists(batch.column("mask"), n_attributes)
                if pixels:
                    image[rows] = _fixed_bytes(batch.column("pixels")).reshape(-1, height, width, 3)
                row += len(batch)
    if row != n_images:
        raise FacetError(f"{prepare}: expected {n_images} images of {partition}; got {row}")
    return PixelSet(image_ids, identities, image, labels, mask.astype(bool))


class GroupReader:
    """Reads the pixels of one partition row group by row group, in any order.

    Holds no pixels, and no file open: an open one keeps what it read last. `sizes` are the images
    of each row group, in the order of the partition's images; (height, width) is the pictures'
    size in pixels.

    Raises:
        FacetError: the folder is incomplete or a shard has another schema.
    """

    def __init__(self, prepare: Path, partition: str) -> None:
        manifest = read_manifest(prepare)
        self.height, self.width = manifest["height_px"], manifest["width_px"]
        schema = shard_schema(self.height, self.width, len(manifest["attributes"]))
        self.sizes: list[int] = []
        self._places: list[tuple[Path, pq.FileMetaData, int]] = []
        for path in sorted(prepare.glob(f"{partition}-*-of-*.parquet")):
            with pq.ParquetFile(path) as file:
                found, metadata = file.schema_arrow, file.metadata
            if not found.equals(schema):
                raise FacetError(
                    f"{path}: expected {schema.names} of {self.height}x{self.width} pixels"
                )
            for group in range(metadata.num_row_groups):
                self.sizes.append(metadata.row_group(group).num_rows)
                self._places.append((path, metadata, group))
        self.n_images = sum(self.sizes)
        expected = manifest["n_by_partition"][partition]
        if self.n_images != expected:
            raise FacetError(
                f"{prepare}: expected {expected} images of {partition}; got {self.n_images}"
            )

    def read(self, group: int) -> np.ndarray:
        """Pixels (n, H, W, 3) uint8 of one row group, read-only."""
        path, metadata, index = self._places[group]
        with pq.ParquetFile(path, metadata=metadata) as file:
            column = file.read_row_group(index, columns=["pixels"], use_threads=False).column(0)
        parts = [_fixed_bytes(chunk) for chunk in column.chunks]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return pixels.reshape(-1, self.height, self.width, 3)


def _fixed_lists(column: Any, n: int) -> np.ndarray:
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, n)


def _fixed_bytes(column: Any) -> np.ndarray:
    """Bytes of a FixedSizeBinaryArray without a copy; a slice starts at its offset."""
    width = column.type.byte_width
    start = column.offset * width
    return np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * width]
