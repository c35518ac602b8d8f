"""Decode every picture once; keep only what the checks compare."""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from stages.audit.frames import cut_frame, find_framed
from stages.audit.hashes import hash_pictures
from stages.audit.resize import shrink_each
from stages.common.errors import FacetError
from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.progress import track
from stages.common.tables import image_files, iter_images

HASH_SIDE_PX = 32  # imagehash.phash: hash_size 8 times highfreq_factor 4
THUMB_SIDE_PX = 64  # enough to tell two portraits apart; 4 KB per picture in memory

FILES_PER_TASK = 32
BUFFER_BYTES = 1 << 20  # decoded pixels of all but large pictures
MIN_MARGIN = 4.0  # one gray level at one of 32 x 32 places moves a coefficient by 4 at most
MAX_WAITING = 1 << 22  # pixels decoded but not yet shrunk

Bytes = NDArray[np.uint8]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reduced:
    """What is left of one picture (see Pictures)."""

    digest: bytes
    hash: np.uint64
    mirrored: np.uint64
    thumb: Bytes


@dataclass(frozen=True)
class Pictures:
    """What is left of the P readable pictures of N images, in order of image_id.

    row: (P,) int64, row in annotations. sha1, pixels: (P,) digests of file and of pixels.
    hashes, mirrored: (P,) uint64, perceptual hashes of the pictures and of their mirror images.
    thumbs: (P, 64, 64) uint8 gray, box filter, without a plain frame.
    unreadable: row in annotations to the reason, every image that is not among the P.
    """

    row: NDArray[np.int64]
    sha1: NDArray[np.object_]
    pixels: NDArray[np.object_]
    hashes: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]
    thumbs: Bytes
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
    hashes, mirrored = np.zeros(n_rows, np.uint64), np.zeros(n_rows, np.uint64)
    thumbs = np.zeros((n_rows, THUMB_SIDE_PX, THUMB_SIDE_PX), np.uint8)
    sha1, pixels = np.full(n_rows, None, object), np.full(n_rows, None, object)
    seen: set[int] = set()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = iter_images(download, ("image_id", "bytes", "sha1"))
        for batch in track(batches, "decode", total=-(-n_rows // 256)):
            here = _find_rows(batch["image_id"].to_pylist(), row_of, seen, download)
            wanted = [k for k, row in enumerate(here) if row not in unreadable]
            blobs = [batch["bytes"][k].as_py() for k in wanted]
            parts = [blobs[k : k + FILES_PER_TASK] for k in range(0, len(blobs), FILES_PER_TASK)]
            results = chain.from_iterable(pool.map(reduce_files, parts))
            for k, result in zip(wanted, results, strict=True):
                row = here[k]
                if isinstance(result, str):
                    unreadable[row] = result
                else:
                    pixels[row], hashes[row] = result.digest, result.hash
                    mirrored[row], thumbs[row] = result.mirrored, result.thumb
                    sha1[row] = batch["sha1"][k].as_py()
    if not image_files(download):
        log.warning("%s holds no images: only labels are checked", download)
    else:
        absent = sorted(set(range(n_rows)) - seen - set(unreadable))
        unreadable |= dict.fromkeys(absent, "status is ok, but images-*.parquet lack it")
    kept = np.array([digest is not None for digest in pixels], bool)
    if not kept.all():
        hashes, mirrored, thumbs = hashes[kept], mirrored[kept], thumbs[kept]
    return Pictures(
        np.flatnonzero(kept), sha1[kept], pixels[kept], hashes, mirrored, thumbs, unreadable
    )


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


def reduce_files(blobs: Sequence[bytes]) -> list[Reduced | str]:
    """Decode files, each to a `Reduced`, or to the reason why it cannot be read."""
    results: list[Reduced | str] = []
    waiting: list[tuple[bytes, bytes, Bytes]] = []

    def flush() -> None:
        if waiting:
            files, digests, grays = zip(*waiting, strict=True)
            hashes, mirrored = hash_grays(files, grays), hash_grays(files, grays, mirrored=True)
            thumbs = shrink_contents(grays)
            results.extend(map(Reduced, digests, hashes, mirrored, thumbs))
            waiting.clear()

    for blob, (digest, gray) in zip(blobs, decode_grays(blobs, with_digest=True), strict=True):
        if isinstance(gray, str):
            flush()
            results.append(gray)
            continue
        waiting.append((blob, digest, gray))
        if sum(gray.size for _, _, gray in waiting) > MAX_WAITING:
            flush()
    flush()
    return results


def decode_grays(blobs: Iterable[bytes], with_digest: bool) -> Iterator[tuple[bytes, Bytes | str]]:
    """Digest of the pixels and the picture in gray (H, W) uint8, or why it cannot be read.

    Gray is OpenCV's: one pixel in 80,000 differs by a level from Pillow's.
    """
    buffer = np.empty(BUFFER_BYTES, np.uint8)
    for blob in blobs:
        try:
            rgb = np.ascontiguousarray(decode_rgb(blob, buffer))
        except UnreadableImageError as error:
            yield b"", str(error)
            continue
        digest = hashlib.sha256(str(rgb.shape).encode())
        if with_digest:
            digest.update(rgb.data)
        gray: Bytes = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        yield digest.digest()[:16], gray


def hash_grays(
    blobs: Sequence[bytes], grays: Sequence[Bytes], mirrored: bool = False
) -> NDArray[np.uint64]:
    """Hashes of pictures in gray; those that rounding might change are made by Pillow, (N,).

    Args:
        blobs: Files of the pictures.
        grays: (H, W) uint8 each.
        mirrored: Hash the mirrored pictures.
    """
    small = shrink_each(grays, HASH_SIDE_PX, "lanczos")
    turn = -1 if mirrored else 1
    hashes, margins = hash_pictures(small[:, :, ::turn])
    doubtful = np.flatnonzero(margins < MIN_MARGIN).tolist()
    if doubtful:
        for k in doubtful:
            gray = Image.fromarray(decode_rgb(blobs[k])).convert("L")
            gray = gray.resize((HASH_SIDE_PX, HASH_SIDE_PX), Image.Resampling.LANCZOS)
            small[k] = np.asarray(gray)
        hashes[doubtful] = hash_pictures(small[doubtful, :, ::turn]).hashes
    return hashes


def shrink_contents(grays: Sequence[Bytes]) -> Bytes:
    """Thumbs (N, 64, 64) uint8 of what lies within the frames of pictures (H, W) uint8."""
    thumbs = shrink_each(grays, THUMB_SIDE_PX, "box")
    for k in find_framed(thumbs):
        content = cut_frame(grays[k])
        if content.shape != grays[k].shape:
            thumbs[k] = shrink_each([content], THUMB_SIDE_PX, "box")[0]
    return thumbs


def _say(status: str, error: str | None) -> str:
    return f"{status}: {error}" if error else str(status)
