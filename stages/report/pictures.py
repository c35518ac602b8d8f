"""Pictures of the pages about attributes: chosen, decoded once for all pages, heat maps over them.

Each page defines its pictures once, as SVG images, and draws them wherever they stand; a heat map
is a tiny transparent PNG that the browser stretches smoothly over the part of the picture that the
network saw.
"""

import base64
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.tables import SALIENCY, SALIENCY_SCHEMA, read_table
from stages.report.answers import Answers
from stages.report.thumbnails import read_pictures

#: What a gallery shows, by the kinds of saliency.parquet.
KINDS = ("false_positive", "false_negative", "random")
#: Pictures of a kind and attribute: so many, fewer where there are many attributes (all pages
#: together), and as many as there are heat maps up to a limit (a page stays below 3 MB).
N_PICTURES, N_ALL, N_LEAST, N_MOST = 12, 2400, 4, 24
SEED = 7
HEIGHT_PX, QUALITY = 150, 80
BATCH = 256


@dataclass(frozen=True)
class Small:
    """A picture made small: JPEG data URI, its size, and the size it was made from in pixels."""

    uri: str
    width_px: int
    height_px: int
    from_width_px: int
    from_height_px: int


@dataclass(frozen=True)
class Heat:
    """A heat map (n_rows, n_columns) as a PNG data URI with a rim; '' where all of it is 0."""

    uri: str
    n_rows: int
    n_columns: int


def read_saliency(evaluate: Path) -> dict[str, pd.DataFrame]:
    """Rows of saliency.parquet by attribute, in the order of kind and rank.

    Raises:
        FacetError: the file is missing or has other columns.
    """
    table = read_table(evaluate / SALIENCY, SALIENCY_SCHEMA)
    return {str(name): rows for name, rows in table.groupby("attribute", sort=False)}


def encode_heats(rows: pd.DataFrame | None) -> dict[str, Heat]:
    """Heat maps of one attribute by image_id."""
    found: dict[str, Heat] = {}
    if rows is None:
        return found
    columns = (rows[name].tolist() for name in ("image_id", "heat", "height", "width"))
    for image_id, heat, height, width in zip(*columns, strict=True):
        if isinstance(heat, bytes) and image_id not in found:
            values = np.frombuffer(heat, np.uint8).reshape(int(height), int(width))
            found[image_id] = Heat(encode_heat(values) if values.any() else "", *values.shape)
    return found


def encode_heat(values: NDArray[np.uint8]) -> str:
    """(h, w) uint8 as a PNG of one colour whose opacity is the value; a margin keeps the edges.

    Browsers blend neighbours when they stretch a picture and fade at its rim: the rim is repeated
    once around, and the page cuts it off.
    """
    rim = np.pad(values, 1, mode="edge").astype(np.float64) / 255
    color = np.empty((*rim.shape, 4), np.uint8)
    # From yellow, where little speaks for it, to red.
    color[..., 0], color[..., 2] = 255, 30
    color[..., 1] = np.rint(225 - 190 * rim)
    color[..., 3] = np.rint(205 * rim**0.8)
    buffer = io.BytesIO()
    Image.fromarray(color).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def choose_rows(
    answers: Answers, column: int, threshold: float, saliency: pd.DataFrame | None, n: int
) -> dict[str, list[int]]:
    """Rows of the pictures shown of one attribute by kind, those with a heat map first.

    The hardest mistakes are those of which the model was surest; the sample is drawn from all
    known labels, right and wrong, with a fixed seed.
    """
    known, truth = answers.known[:, column], answers.labels[:, column]
    probs = answers.probs[:, column]
    said = probs > threshold
    wrong_yes, wrong_no = (
        np.flatnonzero(known & (said == s) & (truth != s)) for s in (True, False)
    )
    rng = np.random.default_rng([SEED, column])
    chosen = {
        "false_positive": wrong_yes[np.argsort(-probs[wrong_yes], kind="stable")],
        "false_negative": wrong_no[np.argsort(probs[wrong_no], kind="stable")],
        "random": rng.permutation(np.flatnonzero(known)),
    }
    row_of = {image_id: row for row, image_id in enumerate(answers.image_ids)} if (
        saliency is not None
    ) else {}  # fmt: skip
    rows: dict[str, list[int]] = {}
    for kind, order in chosen.items():
        first = []
        if saliency is not None:
            ids = saliency.loc[saliency["kind"] == kind, "image_id"]
            first = [row_of[image_id] for image_id in ids if image_id in row_of]
            if kind != "random":  # of another threshold, if any is no mistake
                first = [row for row in first if said[row] != truth[row]]
        wanted = max(n, min(len(first), N_MOST))
        rows[kind] = list(dict.fromkeys([*first, *order[: wanted + len(first)].tolist()]))[:wanted]
    return rows


def count_shown(n_attributes: int) -> int:
    """Pictures of a kind and attribute."""
    return max(N_LEAST, min(N_PICTURES, N_ALL // (4 * max(n_attributes, 1))))


def encode_small(download: Path, wanted: set[str]) -> dict[str, Small]:
    """Every wanted picture that can be read, decoded once."""
    found: dict[str, Small] = {}
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for entries in _batched(read_pictures(download, wanted)):
            for image_id, small in workers.map(_encode, entries):
                if small is not None:
                    found[image_id] = small
    return found


def _encode(entry: tuple[bytes, str]) -> tuple[str, Small | None]:
    try:
        image = Image.fromarray(decode_rgb(entry[0]))
    except UnreadableImageError:
        return entry[1], None
    height_px = min(HEIGHT_PX, image.height)
    width_px = max(1, min(3 * height_px, round(image.width * height_px / image.height)))
    buffer = io.BytesIO()
    image.resize((width_px, height_px), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=QUALITY
    )
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return entry[1], Small(uri, width_px, height_px, image.width, image.height)


def place_seen(small: Small, crop_px: Sequence[int] | None) -> tuple[float, float, float, float]:
    """Left, top, width and height, in pixels of the small picture, of what the network saw.

    Args:
        small: The picture.
        crop_px: Height and width of the centred crop, None for all of the picture.
    """
    height, width = crop_px or (small.from_height_px, small.from_width_px)
    across, down = small.width_px / small.from_width_px, small.height_px / small.from_height_px
    left, top = (small.width_px - width * across) / 2, (small.height_px - height * down) / 2
    return tuple(round(x, 2) for x in (left, top, width * across, height * down))  # type: ignore[return-value]


def _batched(items: Iterable[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    waiting = iter(items)
    while batch := list(islice(waiting, BATCH)):
        yield batch
