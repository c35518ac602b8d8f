"""Decode every picture once; keep only what the checks compare."""

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from stages.common.errors import FacetError
from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.progress import track
from stages.common.tables import image_files, iter_images

HASH_SIDE_PX = 32  # imagehash.phash: hash_size 8 times highfreq_factor 4
THUMB_SIDE_PX = 64  # enough to tell two portraits apart; 4 KB per picture in memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """What is left of the P readable pictures of N images, in order of image_id.

    row: (P,) int64, row in annotations. sha1, pixels: (P,) digests of file and of pixels.
    small: (P, 32, 32) uint8 gray, Lanczos. thumbs: (P, 64, 64) uint8 gray, box filter.
    unreadable: row in annotations to the reason, every image that is not among the P.
    """

    row: NDArray[np.int64]
    sha1: NDArray[np.object_]
    pixels: NDArray[np.object_]
    small: NDArray[np.uint8]
    thumbs: NDArray[np.uint8]
    unreadable: dict[int, str]


def read_pictures(download: Path, annotations: pd.DataFrame) -> Pictures:
    """Decode all images with status ok, on all cores (decoders release the interpreter's lock).

    Without any images-*.parquet no picture is checked, and none counts as unreadable for that.

    Raises:
        FacetError: an image stands in no row of annotations, or twice.
    """
    status, error = annotations["status"].to_numpy(), annotations["error"].to_numpy()
    unreadable = {int(k): _say(status[k], error[k]) for k in np.flatnonzero(status != "ok")}
    row_of = {image_id: k for k, image_id in enumerate(annotations["image_id"])}
    n_rows = len(annotations)
    small = np.zeros((n_rows, HASH_SIDE_PX, HASH_SIDE_PX), np.uint8)
    thumbs = np.zeros((n_rows, THUMB_SIDE_PX, THUMB_SIDE_PX), np.uint8)
    sha1, pixels = np.full(n_rows, None, object), np.full(n_rows, None, object)
    seen: set[int] = set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = iter_images(download, ("image_id", "bytes", "sha1"))
        for batch in track(batches, "decode", total=-(-n_rows // 256)):
            here = _find_rows(batch["image_id"].to_pylist(), row_of, seen, download)
            wanted = [k for k, row in enumerate(here) if row not in unreadable]
            results = pool.map(_reduce, [batch["bytes"][k] for k in wanted])
            for k, result in zip(wanted, results, strict=True):
                row = here[k]
                if isinstance(result, str):
                    unreadable[row] = result
                else:
                    pixels[row], small[row], thumbs[row] = result
                    sha1[row] = batch["sha1"][k].as_py()
    if not image_files(download):
        log.warning("%s holds no images: only labels are checked", download)
    else:
        absent = sorted(set(range(n_rows)) - seen - set(unreadable))
        unreadable |= dict.fromkeys(absent, "status is ok, but images-*.parquet lack it")
    kept = np.array([digest is not None for digest in pixels], bool)
    if not kept.all():
        small, thumbs = small[kept], thumbs[kept]
    return Pictures(np.flatnonzero(kept), sha1[kept], pixels[kept], small, thumbs, unreadable)


def _find_rows(ids: list[str], row_of: dict[str, int], seen: set[int], download: Path) -> list[int]:
    """Rows of `ids` in annotations; each may occur once."""
    rows = []
    for image_id in ids:
        row = row_of.get(image_id)
        if row is None or row in seen:
            problem = "a row of annotations.parquet" if row is None else "it once; got it twice"
            raise FacetError(
                f"{download}: image '{image_id}': expected {problem} (run `dvc repro -f download`)"
            )
        seen.add(row)
        rows.append(row)
    return rows


def _reduce(blob: object) -> tuple[bytes, NDArray[np.uint8], NDArray[np.uint8]] | str:
    """Digest of pixels, 32x32 and 64x64 gray of one file's bytes; the reason where unreadable."""
    try:
        rgb = np.ascontiguousarray(decode_rgb(blob.as_py()))  # type: ignore[attr-defined]
    except UnreadableImageError as error:
        return str(error)
    digest = hashlib.blake2b(str(rgb.shape).encode(), digest_size=16)
    digest.update(rgb.data)
    gray = Image.fromarray(rgb).convert("L")
    return digest.digest(), shrink(gray), shrink(gray, THUMB_SIDE_PX, Image.Resampling.BOX)


def shrink(
    gray: Image.Image,
    side: int = HASH_SIDE_PX,
    method: Image.Resampling = Image.Resampling.LANCZOS,
) -> NDArray[np.uint8]:
    """A gray picture as (side, side) uint8, whatever its shape."""
    return np.asarray(gray.resize((side, side), method))


def _say(status: str, error: str | None) -> str:
    return f"{status}: {error}" if error else str(status)
