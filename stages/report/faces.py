"""Mean faces and sample faces with and without each attribute, drawn from training images."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.images import UnreadableImageError, crop_resize, decode_rgb
from stages.common.tables import label_arrays
from stages.report.thumbnails import read_pictures

Item = TypeVar("Item")

SEED = 7
#: Images of the means: so many that a mean no longer changes to the eye, fewer where they are
#: large (pixels of all together), so that decoding takes seconds whatever the data.
N_MEAN, MEAN_PIXELS = 4000, 400_000_000
#: Sample faces with, and as many without, each attribute; spares replace what is unreadable.
N_SAMPLES, N_SPARE = 6, 3
#: Pictures are worked on at this height, or their own where that is less.
WORK_HEIGHT_PX = 128
BATCH = 128


@dataclass(frozen=True)
class FaceSample:
    """What was drawn; keys are (index of the attribute, value of its label).

    means: (H, W, 3) uint8 and the count of its images; no key where there are none.
    chosen: ids of at most N_SAMPLES readable images, which `pictures` holds.
    pictures: image_id -> (H, W, 3) uint8.
    """

    n_images: int
    means: dict[tuple[int, bool], tuple[NDArray[np.uint8], int]]
    chosen: dict[tuple[int, bool], list[str]]
    pictures: dict[str, NDArray[np.uint8]]


def draw_faces(
    download: Path, annotations: pd.DataFrame, attributes: Sequence[str], size: tuple[int, int]
) -> FaceSample:
    """Draw training images, decode them and add them up.

    Labels that are unknown and images that cannot be read take no part. Where train has no
    image, all partitions are drawn from.

    Args:
        download: The folder data/download.
        annotations: Its table.
        attributes: Names.
        size: Usual height and width of a picture in pixels; others are cropped to this aspect.
    """
    pool = annotations[annotations["status"] == "ok"]
    if (pool["partition"] == "train").any():
        pool = pool[pool["partition"] == "train"]
    pool = pool.sort_values("image_id", ignore_index=True)
    ids, identity = (pool[name].to_numpy(object) for name in ("image_id", "identity"))
    labels, known = label_arrays(pool, attributes)
    rng = np.random.default_rng(SEED)
    n_mean = int(np.clip(MEAN_PIXELS // (size[0] * size[1]), 200, N_MEAN))
    rows = {ids[row]: row for row in rng.permutation(len(pool))[:n_mean]}
    candidates = {}
    for column in range(len(attributes)):
        for has in (True, False):
            mine = np.flatnonzero(known[:, column] & (labels[:, column] == has))
            drawn = pick_varied(mine, identity, N_SAMPLES + N_SPARE, rng)
            candidates[column, has] = ids[drawn].tolist()
    wanted = {image for images in candidates.values() for image in images}

    work = choose_work_size(size)
    sums = np.zeros((2, len(attributes), 3 * work[0] * work[1]))
    counts = np.zeros((2, len(attributes)), np.int64)
    pictures: dict[str, NDArray[np.uint8]] = {}
    n_images = 0
    for batch in _batched(_decode(download, wanted | rows.keys(), work)):
        pictures |= {image: pixels for image, pixels in batch if image in wanted}
        taken = [rows[image] for image, _ in batch if image in rows]
        if not taken:
            continue
        # Sums of integers below 2**24 are exact in float32, in whatever order they are added.
        flat = np.stack([pixels.ravel() for image, pixels in batch if image in rows])
        for value in (0, 1):
            mask = known[taken] & (labels[taken] == value)
            sums[value] += mask.T.astype(np.float32) @ flat.astype(np.float32)
            counts[value] += mask.sum(0)
        n_images += len(taken)
    means = {
        (column, bool(value)): (
            np.rint(sums[value, column] / n).astype(np.uint8).reshape(*work, 3),
            int(n),
        )
        for (value, column), n in np.ndenumerate(counts)
        if n
    }
    chosen = {
        key: [image for image in images if image in pictures][:N_SAMPLES]
        for key, images in candidates.items()
    }
    return FaceSample(n_images, means, chosen, pictures)


def pick_varied(
    rows: NDArray[np.intp], identity: NDArray[np.object_], n: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """At most n of the rows in random order: one of each identity before a second of any."""
    drawn = rng.permutation(rows)
    names = pd.Series(identity[drawn], dtype=object)
    again = (names.notna() & names.duplicated()).to_numpy()
    return np.concatenate([drawn[~again], drawn[again]])[:n]


def choose_work_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the pictures on the page; the aspect stays within 1:2 and 2:1."""
    height = min(WORK_HEIGHT_PX, size[0])
    return height, max(1, round(height * min(2.0, max(0.5, size[1] / size[0]))))


def fit(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Centred crop of an (H, W, 3) uint8 picture to the aspect of `size`, resized to `size`."""
    height, width = pixels.shape[:2]
    crop = (
        min(height, max(1, round(width * size[0] / size[1]))),
        min(width, max(1, round(height * size[1] / size[0]))),
    )
    return crop_resize(pixels, crop, size)


def _decode(
    download: Path, wanted: set[str], work: tuple[int, int]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield image_id and pixels, (H, W, 3) uint8 of size `work`, of what can be read."""

    def decode(entry: tuple[bytes, str]) -> tuple[str, NDArray[np.uint8]] | None:
        try:
            return entry[1], fit(decode_rgb(entry[0]), work)
        except UnreadableImageError:
            return None

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for entries in _batched(read_pictures(download, wanted)):
            yield from filter(None, workers.map(decode, entries))


def _batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    waiting = iter(items)
    while batch := list(islice(waiting, BATCH)):
        yield batch
