"""Write a source as canonical tables: annotations, images in shards, manifest last."""

import hashlib
import logging
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.common.errors import FacetError
from stages.common.files import write_manifest
from stages.common.images import UnreadableImageError, read_size
from stages.common.progress import track
from stages.common.tables import (
    ANNOTATIONS,
    IMAGES_SCHEMA,
    PARTITIONS,
    annotations_schema,
    write_table,
)
from stages.download.official import Source

log = logging.getLogger(__name__)

#: Images per file and per row group; a row group (about 2 MB of CelebA) is the unit of all readers.
SHARD_IMAGES = 4096
GROUP_IMAGES = 256
GROUP_BYTES = 64 * 2**20

#: More than this share of missing or unreadable images is no accident of a few files.
MAX_BAD_SHARE = 0.10


def write_canonical(source: Source, out: Path, name: str, remove: Path | None = None) -> str:
    """Write annotations.parquet, images-*.parquet and manifest.json to the folder `out`.

    Memory is bounded by one row group of pictures, whatever the size of the archive.

    Args:
        source: Labels and pictures.
        out: An existing folder.
        name: The source's name for the manifest.
        remove: A folder to delete before the manifest lists what `out` holds.

    Returns:
        The counts as a sentence.

    Raises:
        FacetError: more than MAX_BAD_SHARE of the pictures are missing or unreadable.
    """
    labels = source.labels
    n = len(labels.image_ids)
    present = source.images.names()
    status = ["ok"] * n
    errors: list[str | None] = [None] * n
    n_shards = math.ceil(n / SHARD_IMAGES)
    indices = iter(track(range(n), "download", n))
    for shard in range(n_shards):
        path = out / f"images-{shard:05d}-of-{n_shards:05d}.parquet"
        with pq.ParquetWriter(
            path, IMAGES_SCHEMA, compression="none", use_dictionary=False
        ) as writer:
            rows: list[tuple[str, bytes, str]] = []
            n_bytes = 0
            for _ in range(min(SHARD_IMAGES, n - shard * SHARD_IMAGES)):
                index = next(indices)
                image_id = labels.image_ids[index]
                try:
                    if image_id not in present:
                        status[index], errors[index] = "missing", "no such picture in the source"
                        continue
                    data = source.images.read(image_id)
                    read_size(data)
                except UnreadableImageError as error:
                    status[index], errors[index] = "unreadable", str(error)
                    continue
                rows.append((image_id, data, hashlib.sha1(data, usedforsecurity=False).hexdigest()))
                n_bytes += len(data)
                if len(rows) == GROUP_IMAGES or n_bytes > GROUP_BYTES:
                    _write_group(writer, rows)
                    n_bytes = 0
            _write_group(writer, rows)
    next(indices, None)  # lets the progress bar close
    n_missing, n_unreadable = status.count("missing"), status.count("unreadable")
    _check_bad(source, status, errors)
    _write_annotations(source, out, status, errors)
    if remove is not None:
        shutil.rmtree(remove)
    n_identities = len({identity for identity in labels.identities if identity is not None})
    write_manifest(
        out,
        {
            "source": name,
            "layout": source.layout,
            "attributes": labels.attributes,
            "n_images": n,
            "n_identities": n_identities,
            "n_by_partition": {p: labels.partitions.count(p) for p in PARTITIONS},
            "n_missing": n_missing,
            "n_unreadable": n_unreadable,
        },
    )
    return (
        f"{n} images ({n_missing} missing, {n_unreadable} unreadable), "
        f"{len(labels.attributes)} attributes, {n_identities} identities"
    )


def _write_group(writer: pq.ParquetWriter, rows: list[tuple[str, bytes, str]]) -> None:
    if rows:
        columns = [
            pa.array(column, field.type)
            for column, field in zip(zip(*rows, strict=True), IMAGES_SCHEMA, strict=True)
        ]
        writer.write_table(
            pa.Table.from_arrays(columns, schema=IMAGES_SCHEMA), row_group_size=GROUP_IMAGES
        )
        rows.clear()


def _check_bad(source: Source, status: list[str], errors: list[str | None]) -> None:
    bad = [index for index, value in enumerate(status) if value != "ok"]
    if not bad:
        return
    first = bad[0]
    example = f"{source.labels.image_ids[first]}: {errors[first]}"
    if len(bad) > MAX_BAD_SHARE * len(status):
        raise FacetError(
            f"{source.path}: expected at most {MAX_BAD_SHARE:.0%} of the images missing or "
            f"unreadable; got {len(bad)} of {len(status)} (first: {example})"
        )
    log.warning("download: %d of %d images left out (first: %s)", len(bad), len(status), example)


def _write_annotations(
    source: Source, out: Path, status: list[str], errors: list[str | None]
) -> None:
    labels = source.labels
    columns = [
        pa.array(labels.image_ids),
        pa.array(labels.partitions),
        pa.array(labels.identities, pa.string()),
    ]
    columns += [pa.array(labels.values[:, index]) for index in range(len(labels.attributes))]
    columns += [pa.array(status), pa.array(errors, pa.string())]
    schema = annotations_schema(labels.attributes)
    write_table(pa.Table.from_arrays(columns, schema=schema), out / ANNOTATIONS, schema)
