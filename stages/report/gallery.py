"""Pairs of pictures side by side, as small JPEG data URIs."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.tables import image_files
from stages.report.inputs import Inputs
from stages.report.words import decimal

#: Pictures are drawn at most this high; with many of them, lower.
HEIGHTS_PX = ((120, 144), (260, 112), (10**9, 80))  # up to so many pictures, so high
QUALITY = 80
#: All data URIs of a page together: pages stay below 3 MB.
BUDGET_CHARS = 2_000_000

KINDS = (
    ("exact_duplicate", "Identical files"),
    ("near_duplicate", "Near-duplicates"),
    ("leak", "Leaks between partitions"),
    ("label_conflict", "Copies with different labels"),
    ("identity_conflict", "Copies under different identities"),
)


@dataclass(frozen=True)
class Picture:
    """One picture of a pair; uri is None where it cannot be shown."""

    image_id: str
    partition: str
    identity: str | None
    uri: str | None


@dataclass(frozen=True)
class Pair:
    """Two pictures that a check holds to be the same; differing: (attribute, first, second)."""

    first: Picture
    second: Picture
    note: str
    differing: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Pairs of one kind, of `n_all` that the audit found."""

    check: str
    heading: str
    pairs: tuple[Pair, ...]
    n_all: int


def build_galleries(inputs: Inputs, n_pairs: int) -> list[Gallery]:
    """Galleries of every kind that has pairs, at most `n_pairs` each, the least certain first."""
    chosen = {check: pick_pairs(inputs.audited.issues, check) for check, _ in KINDS}
    shown = {check: pairs[:n_pairs] for check, pairs in chosen.items()}
    ids = {image for pairs in shown.values() for a, b, *_ in pairs for image in (a, b)}
    uris = encode_thumbnails(inputs.folder, ids)
    people = inputs.annotations.set_index("image_id")
    budget = BUDGET_CHARS
    kept: dict[str, list[Pair]] = {check: [] for check in shown}
    for rank in range(max(map(len, shown.values()), default=0)):
        for check, pairs in shown.items():
            if rank >= len(pairs):
                continue
            a, b, score, detail = pairs[rank]
            cost = sum(len(uris.get(image) or "") for image in (a, b))
            if cost > budget:
                continue
            budget -= cost
            differing: tuple[tuple[str, str, str], ...] = ()
            if check == "label_conflict":
                differing = _differing(inputs.audited.issues, people, a, b)
            first, second = (_describe(image, people, uris) for image in (a, b))
            kept[check].append(Pair(first, second, _note(check, score, detail), differing))
    return [
        Gallery(check, heading, tuple(kept[check]), len(chosen[check]))
        for check, heading in KINDS
        if chosen[check]
    ]


def pick_pairs(issues: pd.DataFrame, check: str) -> list[tuple[str, str, float, str]]:
    """Pairs of a check with score and detail, each once: the least certain first, then by id."""
    rows = issues[(issues["check"] == check) & issues["related_id"].notna()]
    pairs: dict[tuple[str, str], tuple[float, str]] = {}
    columns = (rows[name] for name in ("image_id", "related_id", "score", "detail"))
    for a, b, score, detail in zip(*columns, strict=True):
        found = (float(score), "" if pd.isna(detail) else str(detail))
        pair = (min(a, b), max(a, b))
        pairs[pair] = min(found, pairs.get(pair, found))
    listed = ((a, b, *found) for (a, b), found in pairs.items())
    return sorted(listed, key=lambda pair: (-pair[2], pair[0], pair[1]))


def encode_thumbnails(download: Path, ids: Iterable[str]) -> dict[str, str | None]:
    """Data URI of each picture; None where it is unreadable, no entry where it is not there."""
    wanted = set(ids)
    height_px = next(height for most, height in HEIGHTS_PX if len(wanted) <= most)
    uris: dict[str, str | None] = {}
    for data, image_id in read_pictures(download, wanted):
        try:
            image = Image.fromarray(decode_rgb(data))
        except UnreadableImageError:
            uris[image_id] = None
            continue
        width_px = max(1, min(3 * height_px, round(image.width * height_px / image.height)))
        buffer = io.BytesIO()
        image.resize((width_px, height_px), Image.Resampling.LANCZOS).save(
            buffer, "JPEG", quality=QUALITY, optimize=True
        )
        uris[image_id] = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return uris


def read_pictures(download: Path, wanted: set[str]) -> Iterable[tuple[bytes, str]]:
    """Yield (bytes, image_id) of the wanted pictures; row groups without any are not read."""
    for path in image_files(download):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["image_id"])["image_id"]
                if wanted.isdisjoint(ids.to_pylist()):
                    continue
                table = file.read_row_group(group, columns=["image_id", "bytes"])
                table = table.filter(pc.is_in(ids, value_set=ids.filter(_among(ids, wanted))))
                yield from zip(
                    table["bytes"].to_pylist(), table["image_id"].to_pylist(), strict=True
                )


def _among(ids: Any, wanted: set[str]) -> list[bool]:
    return [image_id in wanted for image_id in ids.to_pylist()]


def _describe(image_id: str, people: pd.DataFrame, uris: dict[str, str | None]) -> Picture:
    if image_id not in people.index:
        return Picture(image_id, "", None, uris.get(image_id))
    row = people.loc[image_id]
    identity = row["identity"]
    return Picture(
        image_id,
        row["partition"],
        None if pd.isna(identity) else str(identity),
        uris.get(image_id),
    )


def _differing(
    issues: pd.DataFrame, people: pd.DataFrame, a: str, b: str
) -> tuple[tuple[str, str, str], ...]:
    """Attributes on which two copies differ, with the label of each, in order of name."""
    rows = issues[(issues["check"] == "label_conflict") & issues["attribute"].notna()]
    ours = rows["image_id"].isin((a, b)) & rows["related_id"].isin((a, b))
    names = sorted(set(rows.loc[ours, "attribute"]))
    said = {True: "yes", False: "no"}

    def label(image: str, name: str) -> str:
        if image not in people.index or name not in people.columns:
            return "n/a"
        return said.get(people.at[image, name], "n/a")

    return tuple((name, label(a, name), label(b, name)) for name in names)


def _note(check: str, score: float, detail: str) -> str:
    """How the audit knows that the two are copies, or how sure it is."""
    if check in ("exact_duplicate", "label_conflict"):
        return ""
    return detail.rpartition(": ")[2] or f"score {decimal(score)}"
