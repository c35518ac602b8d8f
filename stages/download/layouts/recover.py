"""Give the rows of Hugging Face's copy their official file names back, where that can be done."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.download.celeba import CONTENT, N_IMAGES, digest_column, digest_labels
from stages.download.layouts.collection import Archive, Collection
from stages.download.layouts.official import IMAGES
from stages.download.layouts.parquet import Rows, iter_pictures
from stages.download.source import Labels

#: Identity, partition and labels of an image.
Key = tuple[str | None, str | None, bytes]


@dataclass(frozen=True)
class Names:
    """One image_id per row, how many of them are official names, and where those come from."""

    image_ids: list[str]
    n_official: int
    explanation: str


def recover_names(rows: Rows, collection: Collection, labels: Labels | None) -> Names:
    """Find the file name of every row: in the rows, by their order, by bytes, or by labels.

    Args:
        rows: All rows in their order.
        collection: All files of the source; CelebA's zip among them gives names by bytes.
        labels: CelebA's label files where they lie beside the shards, which give names by labels.
    """
    n = len(rows.values)
    if rows.names is not None:
        return Names(rows.names, n, "their file names stand in the shards")
    if n == N_IMAGES and _is_official_order(rows):
        names = [f"{number:06d}.jpg" for number in range(1, n + 1)]
        return Names(names, n, "their order and labels are CelebA's own")
    found: list[str | None] = [None] * n
    archives = [c for c in collection.containers if isinstance(c, Archive)]
    checksums: dict[str, tuple[int, int]] = {}
    for archive in archives:
        if archive.path.stem == IMAGES:
            checksums = archive.checksums()
    explanation = ""
    if checksums:
        found = match_bytes(iter_pictures(rows.files, rows.columns.image), checksums)
        explanation = f"their bytes are those of {IMAGES}.zip"
    if labels is not None and None in found:
        by_labels = match_labels(rows, labels)
        taken = {name for name in found if name is not None}
        found = [
            name or (other if other not in taken else None)
            for name, other in zip(found, by_labels, strict=True)
        ]
        explanation = " or ".join(filter(None, (explanation, "their labels and order tell them")))
    n_official = n - found.count(None)
    image_ids = [name or made for name, made in zip(found, make_names(rows), strict=True)]
    if n_official == 0:
        explanation = (
            "the shards hold no file names, and neither their number nor their labels are those "
            "of the complete CelebA"
        )
    return Names(image_ids, n_official, explanation)


def make_names(rows: Rows) -> list[str]:
    """Names by partition and position: train-000000, train-000001, ..."""
    counts: Counter[str] = Counter()
    names = []
    for partition in rows.partitions or ["image"] * len(rows.values):
        names.append(f"{partition}-{counts[partition]:06d}")
        counts[partition] += 1
    return names


def match_bytes(
    pictures: Iterator[bytes | None], checksums: dict[str, tuple[int, int]]
) -> list[str | None]:
    """Names of the archive's entries with the size and CRC-32 of each picture.

    CelebA has byte-identical pictures: where several entries fit, they are given out in order.
    """
    entries: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in sorted(checksums, reverse=True):
        entries[checksums[name]].append(name.rpartition("/")[2])
    found: list[str | None] = []
    for data in pictures:
        fitting = entries.get((len(data), zlib.crc32(data))) if data else None
        found.append(fitting.pop() if fitting else None)
    return found


def match_labels(rows: Rows, labels: Labels) -> list[str | None]:
    """Names by identity, partition and all labels.

    Where several images share all of these, a row is told from its neighbours: the shards keep
    CelebA's order, so its number lies between theirs. What stays open is None.
    """
    columns = rows.columns.attributes
    if sorted(columns) != sorted(labels.attributes):
        return [None] * len(rows.values)
    order = [labels.attributes.index(name) for name in columns]
    candidates: dict[Key, list[int]] = defaultdict(list)
    has_identity = any(rows.identities) and any(labels.identities)
    has_partition = rows.partitions is not None and labels.partitions is not None
    table = labels.values[:, order]
    for index in range(len(labels.image_ids)):
        key = (
            labels.identities[index] if has_identity else None,
            labels.partitions[index] if has_partition and labels.partitions else None,
            table[index].tobytes(),
        )
        candidates[key].append(index)
    keys: list[Key] = [
        (
            rows.identities[row] if has_identity else None,
            rows.partitions[row] if has_partition and rows.partitions else None,
            rows.values[row].tobytes(),
        )
        for row in range(len(rows.values))
    ]
    found = np.full(len(keys), -1)
    for row, key in enumerate(keys):
        fitting = candidates.get(key, ())
        if len(fitting) == 1:
            found[row] = fitting[0]
    known = found[found >= 0]
    if len(set(known.tolist())) < len(known):  # one image twice: labels do not tell here
        return [None] * len(keys)
    if (np.diff(known) > 0).all():
        fill_gaps(found, keys, candidates)
    return [labels.image_ids[k] if k >= 0 else None for k in found]


def fill_gaps(found: NDArray[np.int64], keys: list[Key], candidates: dict[Key, list[int]]) -> None:
    """Number the rows that are still open (-1), in place.

    Rows of one key between two numbered rows get the candidates between those numbers, in order,
    where there are as many of these as of those.
    """
    above = np.where(found >= 0, found, np.iinfo(np.int64).max)
    after = np.minimum.accumulate(above[::-1])[::-1]
    before = np.maximum.accumulate(found)
    gaps: dict[tuple[int, int, Key], list[int]] = defaultdict(list)
    for row in np.flatnonzero(found < 0).tolist():
        gaps[int(before[row]), int(after[row]), keys[row]].append(row)
    for (low, high, key), rows in gaps.items():
        fitting = [k for k in candidates.get(key, ()) if low < k < high]
        if len(fitting) == len(rows):
            found[rows] = fitting


def _is_official_order(rows: Rows) -> bool:
    """True where the rows hold CelebA's labels (and identities, if any) in CelebA's order."""
    n = len(rows.values)
    labels = Labels(
        [f"{number:06d}.jpg" for number in range(1, n + 1)],
        rows.columns.attributes,
        rows.values,
        rows.partitions,
        rows.identities,
    )
    if digest_labels(labels) != CONTENT["labels"]:
        return False
    return not any(rows.identities) or (
        digest_column(labels, rows.identities) == CONTENT["identities"]
    )
