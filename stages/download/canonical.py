"""Write a source as canonical tables: annotations, and the pictures' bytes in shards."""

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.common.errors import FacetError
from stages.common.images import UnreadableImageError, read_size
from stages.common.progress import track
from stages.common.tables import (
    ANNOTATIONS,
    IMAGES_SCHEMA,
    PARTITIONS,
    annotations_schema,
    write_table,
)
from stages.download.source import Images, Labels, Source

log = logging.getLogger(__name__)

#: Images per file and per row group; a row group (about 2 MB of CelebA) is the unit of all readers.
SHARD_IMAGES = 4096
GROUP_IMAGES = 256
GROUP_BYTES = 64 * 2**20

#: More than this share of missing or unreadable images is no accident of a few files.
MAX_BAD_SHARE = 0.10

Row = tuple[str, bytes, str]


@dataclass(frozen=True)
class Counts:
    """What was written."""

    n_images: int
    n_attributes: int
    n_identities: int
    n_by_partition: dict[str, int]
    n_missing: int
    n_unreadable: int
    n_shared_identities: int

    def describe(self) -> str:
        """One sentence."""
        return (
            f"{self.n_images} images ({self.n_missing} missing, {self.n_unreadable} unreadable), "
            f"{self.n_attributes} attributes, {self.n_identities} identities"
        )


def write_canonical(source: Source, labels: Labels, out: Path) -> Counts:
    """Write annotations.parquet and images-*.parquet to the folder `out`.

    Memory is bounded by one row group of pictures, whatever the size of the archive. A source
    without any picture is written as labels alone.

    Args:
        source: Where the pictures are read.
        labels: Its labels, with partitions.
        out: An existing folder.

    Raises:
        FacetError: more than MAX_BAD_SHARE of the pictures are missing or unreadable.
    """
    assert labels.partitions is not None
    n = len(labels.image_ids)
    present = source.images.names()
    has_pictures = any(image_id in present for image_id in labels.image_ids)
    problems = {name: MISSING for name in labels.image_ids if name not in present}
    if has_pictures:
        problems |= write_images(source.images, labels.image_ids, out)
        check_problems(source, problems, n)
    write_annotations(labels, problems, out)
    people: dict[str, set[str]] = {}
    for name, partition in zip(labels.identities, labels.partitions, strict=True):
        if name is not None:
            people.setdefault(name, set()).add(partition)
    n_missing = sum(problem == MISSING for problem in problems.values())
    return Counts(
        n_images=n,
        n_attributes=len(labels.attributes),
        n_identities=len(people),
        n_by_partition={name: labels.partitions.count(name) for name in PARTITIONS},
        n_missing=n_missing,
        n_unreadable=len(problems) - n_missing,
        n_shared_identities=sum(len(partitions) > 1 for partitions in people.values()),
    )


#: The error of an image whose source has no picture of that name.
MISSING = "no such picture in the source"


def write_images(images: Images, image_ids: list[str], out: Path) -> dict[str, str]:
    """Write the readable ones of the pictures that are there, SHARD_IMAGES labels to a file.

    Returns:
        What is wrong with those that cannot be read.
    """
    problems: dict[str, str] = {}
    present = images.names()
    n_shards = math.ceil(len(image_ids) / SHARD_IMAGES)
    progress = track(image_ids, "download", len(image_ids))

    def read_rows(n_labels: int) -> Iterator[Row]:
        for _ in range(n_labels):
            image_id = next(progress)
            if image_id not in present:
                continue
            try:
                data = images.read(image_id)
                read_size(data)
            except UnreadableImageError as error:
                problems[image_id] = str(error)
                continue
            yield image_id, data, hashlib.sha1(data, usedforsecurity=False).hexdigest()

    for shard in range(n_shards):
        n_labels = min(SHARD_IMAGES, len(image_ids) - shard * SHARD_IMAGES)
        path = out / f"images-{shard:05d}-of-{n_shards:05d}.parquet"
        with pq.ParquetWriter(
            path, IMAGES_SCHEMA, compression="none", use_dictionary=False
        ) as writer:
            for rows in group_rows(read_rows(n_labels)):
                columns = [
                    pa.array(column, field.type)
                    for column, field in zip(zip(*rows, strict=True), IMAGES_SCHEMA, strict=True)
                ]
                table = pa.Table.from_arrays(columns, schema=IMAGES_SCHEMA)
                writer.write_table(table, row_group_size=GROUP_IMAGES)
    next(progress, None)  # lets the progress bar close
    return problems


def group_rows(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Up to GROUP_IMAGES rows at a time, fewer where their pictures are large."""
    group: list[Row] = []
    n_bytes = 0
    for row in rows:
        group.append(row)
        n_bytes += len(row[1])
        if len(group) == GROUP_IMAGES or n_bytes > GROUP_BYTES:
            yield group
            group, n_bytes = [], 0
    if group:
        yield group


def check_problems(source: Source, problems: dict[str, str], n: int) -> None:
    """Say what is left out.

    Raises:
        FacetError: too much.
    """
    if not problems:
        return
    first = min(problems)
    example = f"{first}: {problems[first]}"
    if len(problems) > MAX_BAD_SHARE * n:
        raise FacetError(
            f"{source.path}: expected at most {MAX_BAD_SHARE:.0%} of the images missing or "
            f"unreadable; got {len(problems)} of {n} (first: {example}); where only a part of the "
            "pictures is at hand, cut the label file down to it"
        )
    log.warning("download: %d of %d images left out (first: %s)", len(problems), n, example)


def write_annotations(labels: Labels, problems: dict[str, str], out: Path) -> None:
    """Write annotations.parquet; an unknown label is null."""
    errors = [problems.get(image_id) for image_id in labels.image_ids]
    status = [
        "ok" if error is None else "missing" if error == MISSING else "unreadable"
        for error in errors
    ]
    columns = [
        pa.array(labels.image_ids),
        pa.array(labels.partitions),
        pa.array(labels.identities, pa.string()),
    ]
    for index in range(len(labels.attributes)):
        values = np.ascontiguousarray(labels.values[:, index])
        columns.append(pa.array(values == 1, mask=values < 0))
    columns += [pa.array(status), pa.array(errors, pa.string())]
    schema = annotations_schema(labels.attributes)
    write_table(pa.Table.from_arrays(columns, schema=schema), out / ANNOTATIONS, schema)
