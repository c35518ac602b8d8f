"""Candidates that a hash of the whole picture misses: copies that were cropped or partly covered.

Cropping 8 % from a side moves about 15 of the hash's 64 bits, as many as separate two strangers.
Here coarse contents are compared instead: of the whole picture with crops and turns of the other,
and of all but a strip at the top or at the bottom.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from threadpoolctl import threadpool_limits

from stages.audit.nearest import Lists
from stages.audit.search import decode_pairs, encode_pairs

N_FREQUENCIES = 7  # per direction: more see finer details and forgive less misplacement
WHITENING = 0.75  # 0 keeps the contrast that all aligned faces share, 1 overrates rare frequencies
MIN_COSINE = 0.86  # of CelebA faces two in 100,000 are as alike; planted copies reached 0.88
MIN_COSINE_COVERED = 0.93  # the rest of a covered picture lies in place: planted copies reached 1
MAX_NEIGHBOURS = 64  # per picture, so that a data set of look-alikes stays affordable
MIN_PICTURES = 64  # below, mean and spread mean nothing: every pair is a candidate
ROWS = 4096  # pictures that search at once
N_CELLS = 32


class View(NamedTuple):
    """Edges as shares of the sides, of a picture that was turned first."""

    top: float = 0.0
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0
    turn_degrees: float = 0.0


WHOLE = View()
#: The whole, its middle, away from each corner, turned a little either way.
VIEWS = (
    WHOLE,
    View(0.05, 0.95, 0.05, 0.95),
    View(0.10, 0.90, 0.10, 0.90),
    View(bottom=0.94, right=0.94),
    View(bottom=0.94, left=0.06),
    View(top=0.06, right=0.94),
    View(top=0.06, left=0.06),
    View(turn_degrees=4),
    View(turn_degrees=-4),
)
#: What a strip of 16 % at the bottom, or at the top, leaves free.
FREE = (View(bottom=0.84), View(top=0.16))


def find_look_alikes(thumbs: NDArray[np.uint8], mirrored: bool) -> NDArray[np.int64]:
    """Pairs i < j of which one resembles the other or a crop of it, roughly.

    Args:
        thumbs: (N, S, S) uint8 gray.
        mirrored: Compare one picture of each pair mirrored.

    Returns:
        (M, 2) int64, sorted, each pair once.
    """
    return _find_alike(thumbs, WHOLE, VIEWS, MIN_COSINE, mirrored)


def find_covered(thumbs: NDArray[np.uint8], mirrored: bool) -> NDArray[np.int64]:
    """Pairs as `find_look_alikes`, that resemble each other but for the top or the bottom."""
    found = [_find_alike(thumbs, view, (view,), MIN_COSINE_COVERED, mirrored) for view in FREE]
    return np.unique(np.concatenate(found), axis=0)


def _find_alike(
    thumbs: NDArray[np.uint8],
    target: View,
    views: tuple[View, ...],
    min_cosine: float,
    mirrored: bool,
) -> NDArray[np.int64]:
    """Pairs of which one seen in `target` resembles the other in one of `views`."""
    n = len(thumbs)
    if n < MIN_PICTURES:
        return np.stack(np.triu_indices(n, k=1), axis=1).astype(np.int64)
    starts = range(0, n, ROWS)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        targets = np.concatenate(
            [*pool.map(lambda k: _measure(thumbs[k : k + ROWS], target, False), starts)]
        )
        centre, spread = targets.mean(0), targets.std(0) ** WHITENING + 1e-6
        lists = Lists(_standardise(targets, centre, spread))

        def search(start: int) -> NDArray[np.int64]:
            block = thumbs[start : start + ROWS]
            hits = []
            for view in views:
                queries = _standardise(_measure(block, view, mirrored), centre, spread)
                first, second, cosine = lists.search(queries, min_cosine)
                # View by view: a crowd of one picture's copies would fill the memory.
                hits.append(_keep_nearest(first + start, second, cosine, n))
            first, second, cosine = (np.concatenate(part) for part in zip(*hits, strict=True))
            return encode_pairs(*_keep_nearest(first, second, cosine, n)[:2], n)

        return decode_pairs(pool.map(search, starts), n)


def _keep_nearest(
    first: NDArray[np.int64], second: NDArray[np.int64], cosine: NDArray[np.float32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Of each picture's hits the MAX_NEIGHBOURS nearest others, seen in their best view."""
    order = np.lexsort((second, -cosine, first))
    first, second, cosine = first[order], second[order], cosine[order]
    _, kept = np.unique(first * n + second, return_index=True)  # the first is the nearest
    kept = np.sort(kept[first[kept] != second[kept]])
    place = np.arange(len(kept)) - np.searchsorted(first[kept], first[kept])
    kept = kept[place < MAX_NEIGHBOURS]
    return first[kept], second[kept], cosine[kept]


def _measure(thumbs: NDArray[np.uint8], view: View, mirrored: bool) -> NDArray[np.float32]:
    """Low DCT coefficients of a view, (N, K * K - 1); brightness and contrast are taken out."""
    side = thumbs.shape[1]
    if view.turn_degrees:
        thumbs = _turn(thumbs, view.turn_degrees)
    vertical = _waves(side, view.top, view.bottom)
    horizontal = _waves(side, view.left, view.right)
    if mirrored:  # a mirrored cosine changes its sign at odd frequencies
        horizontal = horizontal * np.where(np.arange(N_FREQUENCIES) % 2, -1, 1)[:, None]
    waves = (vertical @ thumbs.astype(np.float32) @ horizontal.T).reshape(len(thumbs), -1)[:, 1:]
    return waves / (np.linalg.norm(waves, axis=1, keepdims=True) + 1e-6)


def _turn(thumbs: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Pictures turned about their centres, their edges repeated."""
    side = thumbs.shape[1]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1.0)
    border = cv2.BORDER_REPLICATE
    return np.stack(
        [cv2.warpAffine(thumb, matrix, (side, side), borderMode=border) for thumb in thumbs]
    )


def _waves(side: int, low: float, high: float) -> NDArray[np.float32]:
    """Low cosines over 32 equal cells of a share of the side, as a (K, side) matrix."""
    edges = np.linspace(low * side, high * side, N_CELLS + 1)
    pixel = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    cells = np.maximum(overlap, 0)
    cells /= cells.sum(1, keepdims=True)
    return (dct(np.eye(N_CELLS), axis=0, norm="ortho")[:N_FREQUENCIES] @ cells).astype(np.float32)


def _standardise(
    waves: NDArray[np.float32], centre: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What sets each picture apart from the average one, as vectors of length 1."""
    apart = (waves - centre) / spread
    return apart / (np.linalg.norm(apart, axis=1, keepdims=True) + 1e-6)
