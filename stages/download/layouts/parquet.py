"""Hugging Face's form: Parquet shards whose rows hold a picture's bytes and its labels."""

import bisect
import itertools
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.common.errors import FacetError
from stages.common.images import UnreadableImageError
from stages.common.tables import PARTITIONS
from stages.download.layouts.collection import MAX_IMAGE_BYTES, Collection, Folder, is_safe
from stages.download.layouts.text import NO, WORDS, YES, check_attributes
from stages.download.source import (
    IDENTITY_COLUMNS,
    IMAGE_COLUMNS,
    PARTITION_COLUMNS,
    PARTITION_WORDS,
)

log = logging.getLogger(__name__)

_BATCH = 8  # pictures that are in memory at once; one may have MAX_IMAGE_BYTES
_DIGITS = re.compile(r"([0-9]+)")
UNKNOWN, FALSE = 2, 3  # in the numbers of a shard, before they are labels


@dataclass(frozen=True)
class Shard:
    """One Parquet file; `name` is its path in the collection, which may tell its partition."""

    path: Path
    name: str


@dataclass(frozen=True)
class Columns:
    """Which column of a shard holds what."""

    image: str
    name: str | None
    identity: str | None
    partition: str | None
    attributes: list[str]


@dataclass(frozen=True)
class Rows:
    """All rows of the shards in their order, pictures excepted.

    `values` is (N, A) int8 as in Labels; `names` is None where the rows bear no file names,
    `partitions` where neither a column nor the shards' names tell.
    """

    files: list[Path]
    columns: Columns
    values: np.ndarray
    names: list[str] | None
    partitions: list[str] | None
    identities: list[str | None]


def find_shards(collection: Collection) -> list[Shard]:
    """Parquet files with a column of pictures: train, valid, test, each in order of name."""
    found = []
    for container in collection.containers:
        for name in container.sizes if isinstance(container, Folder) else ():
            path = container.path / name
            if not name.lower().endswith(".parquet") or (
                collection.path.is_file() and path != collection.path
            ):
                continue
            if _find_image(open_shard(path).schema_arrow) is not None:
                partition = find_partition(name)
                order = PARTITIONS.index(partition) if partition else len(PARTITIONS)
                found.append((order, name, path))
    found.sort(key=lambda shard: (shard[0], _natural(shard[1])))
    return [Shard(path, name) for _, name, path in found]


def read_rows(shards: list[Shard]) -> Rows:
    """Read everything but the pictures.

    Raises:
        FacetError: shards of different columns, a column that holds no labels, no rows, or a
            damaged file.
    """
    files = [shard.path for shard in shards]
    schema = open_shard(files[0]).schema_arrow
    columns = _assign_columns(files[0], schema)
    small = [name for name in schema.names if name != columns.image]
    values, names = [], []
    partitions: list[str | None] = []
    identities: list[str | None] = []
    for path, relative in ((shard.path, shard.name) for shard in shards):
        shard = open_shard(path)
        if sorted(shard.schema_arrow.names) != sorted(schema.names):
            raise FacetError(
                f"{path}: expected the columns of {files[0].name}; "
                f"got {', '.join(shard.schema_arrow.names)[:100]}"
            )
        has_path = _has_path(schema.field(columns.image).type)
        wanted = small + ([f"{columns.image}.path"] if has_path else [])
        with explain_damage(path):
            table = shard.read(columns=wanted)
        n = shard.metadata.num_rows
        words = read_class_names(shard.schema_arrow)
        values.append(_read_values(path, table, columns.attributes, n, words))
        if columns.name is not None:
            names += table[columns.name].cast(pa.string()).to_pylist()
        elif has_path:
            names += pa.compute.struct_field(table[columns.image], "path").to_pylist()
        partitions += _read_partitions(path, relative, table, columns.partition, n)
        identities += (
            [None] * n
            if columns.identity is None
            else [text or None for text in table[columns.identity].cast(pa.string()).to_pylist()]
        )
    if not identities:
        raise FacetError(f"{files[0]}: expected at least one row; got none")
    plain = [name.rpartition("/")[2] for name in names if name]
    has_names = len(plain) == len(identities) == len(set(plain)) and all(map(is_safe, plain))
    return Rows(
        files=files,
        columns=columns,
        values=_decode_no(files[0], np.concatenate(values)),
        names=plain if has_names else None,
        partitions=None if None in partitions else [name or "" for name in partitions],
        identities=identities,
    )


def open_shard(path: Path) -> pq.ParquetFile:
    """Open one shard so that reading it keeps memory small.

    Raises:
        FacetError: no Parquet file.
    """
    try:
        return pq.ParquetFile(path.resolve(), buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise FacetError(f"{path}: expected a Parquet file; {text[:200]}") from None


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turn what the library says about a damaged file into one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise FacetError(
            f"{path}: expected an undamaged Parquet file; got: {text[:200]}; fetch it again"
        ) from None


def iter_pictures(files: list[Path], column: str) -> Iterator[bytes | None]:
    """Bytes of every picture in order of the rows, None where there are none."""
    for path in files:
        batches = open_shard(path).iter_batches(_BATCH, columns=[column])
        while True:
            with explain_damage(path):
                batch = next(batches, None)
            if batch is None:
                break
            images = batch.column(0)
            if pa.types.is_struct(images.type):
                images = images.field("bytes")
            for image in images:
                yield image.as_py()


class ShardImages:
    """Pictures of the shards by image_id.

    A shard can only be read from front to back. Where image_ids ascend with the rows of each shard
    that is done as they are asked for; where they do not, the pictures are copied to a temporary
    file first.
    """

    def __init__(self, rows: Rows, image_ids: list[str]) -> None:
        self._files = rows.files
        self._rows = {image_id: row for row, image_id in enumerate(image_ids)}
        n_rows = [open_shard(path).metadata.num_rows for path in rows.files]
        self._starts = [0, *itertools.accumulate(n_rows)]
        self._pictures = [iter_pictures([path], rows.columns.image) for path in rows.files]
        self._next = self._starts[:-1]
        self._spool = None
        if any(
            image_ids[k] > image_ids[k + 1]
            for start, n in zip(self._starts, n_rows, strict=False)
            for k in range(start, start + n - 1)
        ):
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115  (closed in close)
            self._ends = [0]
            for data in itertools.chain(*self._pictures):
                self._spool.write(data or b"")
                self._ends.append(self._spool.tell())

    def names(self) -> dict[str, int]:
        """Every row has a picture."""
        return self._rows

    def read(self, image_id: str) -> bytes:
        """Bytes of one picture; without a spool, of a row behind the last one of its shard.

        Raises:
            UnreadableImageError: a row without bytes, or with too many.
        """
        row = self._rows[image_id]
        if self._spool is not None:
            self._spool.seek(self._ends[row])
            data: bytes | None = self._spool.read(self._ends[row + 1] - self._ends[row])
        else:
            shard = bisect.bisect_right(self._starts, row) - 1
            data = None
            while self._next[shard] <= row:
                data = next(self._pictures[shard])
                self._next[shard] += 1
        if not data:
            raise UnreadableImageError("the shard holds no bytes of it (perhaps paths only)")
        if len(data) > MAX_IMAGE_BYTES:
            raise UnreadableImageError(f"{len(data)} bytes, more than {MAX_IMAGE_BYTES}")
        return data

    def describe_state(self) -> Iterator[str]:
        """Names and sizes of the shards."""
        for path in self._files:
            yield f"{path.name} {path.stat().st_size}"

    def close(self) -> None:
        """Remove the temporary file."""
        if self._spool is not None:
            self._spool.close()


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which train-2 goes before train-10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(name)]


def find_partition(name: str) -> str | None:
    """The partition that a shard's name (train-00000-of-00019.parquet) or folder (train/) tells."""
    *folders, stem = name.lower().removesuffix(".parquet").split("/")
    for word in (stem.replace("_", "-").split("-")[0], *reversed(folders)):
        if word in PARTITION_WORDS and not word.isdecimal():
            return PARTITION_WORDS[word]
    return None


def _find_image(schema: pa.Schema) -> str | None:
    """The column of pictures: a struct with bytes, or binary, best one called image."""
    structs = [
        str(field.name)
        for field in schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    binaries = [
        str(field.name)
        for field in schema
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    ]
    for names in (structs, binaries):
        named = [name for name in names if name.lower() in ("image", "img", "picture", "bytes")]
        if names:
            return (named or names)[0]
    return None


def _assign_columns(path: Path, schema: pa.Schema) -> Columns:
    image = _find_image(schema)
    assert image is not None  # find_shards chose the files by it
    lowered = {
        name.lower(): name
        for name in schema.names
        if name != image and _may_be_names(schema.field(name).type)
    }

    def find(names: tuple[str, ...]) -> str | None:
        return next((lowered[name] for name in names if name in lowered), None)

    name, identity, partition = (
        find(IMAGE_COLUMNS), find(IDENTITY_COLUMNS), find(PARTITION_COLUMNS),
    )  # fmt: skip
    others = [n for n in schema.names if n not in (image, name, identity, partition)]
    no_labels = [n for n in others if not _may_be_labels(schema.field(n).type)]
    if no_labels:
        log.warning("%s: columns that hold no labels are left out: %s", path, ", ".join(no_labels))
        others = [n for n in others if n not in no_labels]
    return Columns(image, name, identity, partition, check_attributes(others, str(path)))


def _may_be_names(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
    )


def _may_be_labels(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_null(kind)
    )


def _has_path(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def read_class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes by column, where the datasets library noted them (ClassLabel)."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
        return {
            name: [str(word) for word in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _read_values(
    path: Path, table: pa.Table, attributes: list[str], n: int, words: dict[str, list[str]]
) -> NDArray[np.int8]:
    """(n, A) int8: the numbers as they stand: 1, 0 or -1, FALSE for false, UNKNOWN for null."""
    values = np.full((n, len(attributes)), UNKNOWN, np.int8)
    for index, name in enumerate(attributes):
        column = table[name].combine_chunks()
        known = ~column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        numbers = column.filter(pa.array(known)).cast(pa.float64(), safe=False).to_numpy()
        if not np.isin(numbers, (-1, 0, 1)).all():
            raise FacetError(
                f"{path}: {name}: expected 0 and 1, or -1 and 1; "
                f"got {np.unique(numbers)[:5].tolist()}"
            )
        is_sure = pa.types.is_boolean(column.type)
        if [WORDS.get(word.lower()) for word in words.get(name, ())] == [YES, NO]:
            numbers, is_sure = 1 - numbers, True  # class 0 is called yes
        values[known, index] = np.where(numbers == 0, FALSE, 1) if is_sure else numbers
    return values


def _decode_no(path: Path, values: NDArray[np.int8]) -> NDArray[np.int8]:
    """-1 or 0, whichever means no in these shards, as 0; unknown as -1.

    Raises:
        FacetError: both occur, of which one may well mean unknown.
    """
    if (values == -1).any() and (values == 0).any():
        raise FacetError(
            f"{path}: expected 0 and 1, or -1 and 1, in all columns; got -1 and 0 (let unknown "
            "labels be null)"
        )
    return np.where(values == UNKNOWN, -1, values == 1).astype(np.int8)


def _read_partitions(
    path: Path, relative: str, table: pa.Table, column: str | None, n: int
) -> list[str | None]:
    """By the column, else by the shard's name in the collection, else unknown."""
    if column is None:
        return [find_partition(relative)] * n
    words = [str(word).strip().lower() for word in table[column].to_pylist()]
    wrong = next((word for word in words if word not in PARTITION_WORDS), None)
    if wrong is not None:
        raise FacetError(f"{path}: {column}: expected train, valid or test; got '{wrong[:40]}'")
    return [PARTITION_WORDS[word] for word in words]
