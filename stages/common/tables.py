"""The tables that cross stages: their schemas stand here, checked on write and on read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.common.errors import FacetError
from stages.common.files import read_manifest

PARTITIONS = ("train", "valid", "test")
ANNOTATIONS = "annotations.parquet"
ISSUES = "issues.parquet"
SCORES = "scores.parquet"
PREDICTIONS = "predictions.parquet"
CALIBRATED = "calibrated.parquet"
EXTRA = "extra.parquet"
SALIENCY = "saliency.parquet"
PREVIEW = "preview.parquet"
TRUTH = "truth.parquet"

#: Columns of annotations.parquet or scores.parquet that are no attributes: no attribute may bear
#: such a name.
FIXED_COLUMNS = ("image_id", "partition", "identity", "face", "status", "error")

#: Every finding of the audit is of one of these kinds.
CHECKS = (
    "exact_duplicate",
    "near_duplicate",
    "label_conflict",
    "leak",
    "label_rule",
    "identity_conflict",
    "identity_outlier",
    "mislabel",
    "faceless",
    "unreadable",
)

IMAGES_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("sha1", pa.string(), nullable=False),
    ]
)

#: score: 1 = fine, 0 = certainly wrong; attribute and related_id are null where not about one.
ISSUES_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("check", pa.string(), nullable=False),
        pa.field("attribute", pa.string()),
        pa.field("related_id", pa.string()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("flagged", pa.bool_(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("attribute", pa.string()),
        pa.field("related_id", pa.string()),
        pa.field("detail", pa.string()),
    ]
)


#: Pictures that the report shows per attribute, why (kind, and rank from 0 within it), and where
#: the network looked: height * width bytes, 255 = most; null where the network gives no such map.
SALIENCY_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("partition", pa.string(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),
        pa.field("label", pa.bool_(), nullable=False),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("heat", pa.binary()),
    ]
)

#: Training pictures as the network saw them. kind: original, augmented, mixup or cutmix. place:
#: which picture of the preview, from 0. number: the epoch of an augmented one, the batch of a mixed
#: one, from 1; 0 of an original. weight: of image_id's picture in a mixed one; partner_id has the
#: rest. note: what was drawn, in words. pixels: height * width * 3 bytes, RGB.
PREVIEW_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("place", pa.int32(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("partner_id", pa.string()),
        pa.field("weight", pa.float32()),
        pa.field("note", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("pixels", pa.binary(), nullable=False),
    ]
)


def annotations_schema(attributes: Sequence[str]) -> pa.Schema:
    """Schema of annotations.parquet: one row per image, one nullable bool per attribute.

    status is ok, missing or unreadable; error says why an image is not ok.
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("partition", pa.string(), nullable=False),
            pa.field("identity", pa.string()),
            *(pa.field(name, pa.bool_()) for name in attributes),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
        ]
    )


def scores_schema(attributes: Sequence[str]) -> pa.Schema:
    """Schema of scores.parquet: one row per image of annotations, by image_id; 1 = fine, 0 = wrong.

    face: shows one. identity: is like the others of its identity. One column per attribute: the
    label's quality. null: not judged (unreadable picture, unknown label, check skipped).
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("face", pa.float32()),
            pa.field("identity", pa.float32()),
            *(pa.field(name, pa.float32()) for name in attributes),
        ]
    )


def predictions_schema(attributes: Sequence[str]) -> pa.Schema:
    """Schema of predictions.parquet: one raw sigmoid in [0, 1] per image and attribute.

    extra.parquet has the same, of the second data set; partition is that set's own.
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("partition", pa.string(), nullable=False),
            *(pa.field(name, pa.float32(), nullable=False) for name in attributes),
        ]
    )


def calibrated_schema(attributes: Sequence[str]) -> pa.Schema:
    """Schema of calibrated.parquet: predictions after temperature scaling.

    null: the attribute has no temperature, for valid lacks a class of it.
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("partition", pa.string(), nullable=False),
            *(pa.field(name, pa.float32()) for name in attributes),
        ]
    )


def write_table(table: pa.Table | pd.DataFrame, path: Path, schema: pa.Schema) -> None:
    """Write a table as Parquet (zstd) under a temporary name, then rename.

    Raises:
        pa.ArrowInvalid, KeyError: the table does not fit the schema (a defect of the caller).
    """
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    table = table.select(schema.names).cast(schema).replace_schema_metadata(None)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    temporary.rename(path)


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read a table of ours; columns of the schema, in its order.

    Raises:
        FacetError: the file is missing, is no Parquet or has another schema.
    """
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise FacetError(f"{path}: expected a Parquet table; {error}") from None
    if not table.schema.equals(schema):
        got = ", ".join(f"{field.name} {field.type}" for field in table.schema)[:200]
        raise FacetError(f"{path}: expected columns {schema.names[:8]}...; got {got}")
    return table.to_pandas()


def read_annotations(download: Path) -> tuple[pd.DataFrame, list[str]]:
    """annotations.parquet of a `data/download` folder, and its attributes in the source's order.

    Attribute columns are object columns of True, False and None.
    """
    attributes: list[str] = read_manifest(download)["attributes"]
    return read_table(download / ANNOTATIONS, annotations_schema(attributes)), attributes


def label_arrays(table: pd.DataFrame, attributes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, A) uint8 in {0, 1} and mask (N, A) bool, False where the label is unknown."""
    known = table[list(attributes)].notna().to_numpy(copy=True)
    labels = table[list(attributes)].eq(True).to_numpy().astype(np.uint8)
    return labels, known


def image_files(download: Path) -> list[Path]:
    """The images-*.parquet files of a `data/download` folder, in order of image_id."""
    return sorted(download.glob("images-*-of-*.parquet"))


def iter_images(
    download: Path, columns: Sequence[str] = ("image_id", "bytes")
) -> Iterator[pa.RecordBatch]:
    """Yield one record batch per row group (at most 256 images), in order of image_id."""
    for path in image_files(download):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=list(columns)).to_batches()
