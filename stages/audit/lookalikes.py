"""Candidates that a hash of the whole picture misses: copies that were cropped.

Cropping 8 % from a side moves about 15 of the hash's 64 bits, as many as separate two strangers.
Here coarse contents are compared instead, of the whole picture with six crops of the other.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from stages.audit.hashes import decode_pairs, encode_pairs

N_FREQUENCIES = 6  # per direction: more see finer details and forgive less misplacement
WHITENING = 0.75  # 0 keeps the contrast that all aligned faces share, 1 overrates rare frequencies
MIN_COSINE = 0.87  # one pair of CelebA faces in 10,000 is as alike; planted copies reached 0.90
MAX_NEIGHBOURS = 64  # per picture, so that a data set of look-alikes stays affordable
MIN_PICTURES = 64  # below, mean and spread mean nothing: every pair is a candidate
ROWS, COLUMNS = 256, 2048  # pictures compared at once: 2 MB, which stays in the cache
N_CELLS = 32

#: Top, bottom, left, right as shares: the whole, its middle, and away from each corner.
VIEWS = (
    (0.00, 1.00, 0.00, 1.00),
    (0.05, 0.95, 0.05, 0.95),
    (0.10, 0.90, 0.10, 0.90),
    (0.00, 0.94, 0.00, 0.94),
    (0.00, 0.94, 0.06, 1.00),
    (0.06, 1.00, 0.00, 0.94),
    (0.06, 1.00, 0.06, 1.00),
)


def find_look_alikes(thumbs: NDArray[np.uint8], mirrored: bool) -> NDArray[np.int64]:
    """Pairs i < j of which one resembles the other or a crop of it, roughly.

    Args:
        thumbs: (N, S, S) uint8 gray.
        mirrored: Compare one picture of each pair mirrored.

    Returns:
        (M, 2) int64, sorted, each pair once.
    """
    n = len(thumbs)
    if n < MIN_PICTURES:
        return np.stack(np.triu_indices(n, k=1), axis=1).astype(np.int64)
    whole = np.concatenate(
        [_measure(thumbs[k : k + 4096], VIEWS[0], False) for k in range(0, n, 4096)]
    )
    centre, spread = whole.mean(0), whole.std(0) ** WHITENING + 1e-6
    whole = _standardise(whole, centre, spread)

    def search(start: int) -> NDArray[np.int64]:
        block = thumbs[start : start + ROWS]
        views = [_standardise(_measure(block, view, mirrored), centre, spread) for view in VIEWS]
        hits = []
        for left in range(0, n, COLUMNS):
            best = views[0] @ whole[left : left + COLUMNS].T
            for view in views[1:]:
                np.maximum(best, view @ whole[left : left + COLUMNS].T, out=best)
            first, second = np.nonzero(best >= MIN_COSINE)
            hits.append((first + start, second + left, best[first, second]))
        first, second, cosine = (np.concatenate(part) for part in zip(*hits, strict=True))
        return encode_pairs(*_keep_nearest(first, second, cosine), n)

    return decode_pairs(map(search, range(0, n, ROWS)), n)


def _keep_nearest(
    first: NDArray[np.int64], second: NDArray[np.int64], cosine: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each picture's hits the MAX_NEIGHBOURS nearest others."""
    other = first != second
    first, second, cosine = first[other], second[other], cosine[other]
    order = np.lexsort((second, -cosine, first))
    first, second = first[order], second[order]
    place = np.arange(len(first)) - np.searchsorted(first, first)
    return first[place < MAX_NEIGHBOURS], second[place < MAX_NEIGHBOURS]


def _measure(
    thumbs: NDArray[np.uint8], view: tuple[float, float, float, float], mirrored: bool
) -> NDArray[np.float32]:
    """Low DCT coefficients of a view, (N, K * K - 1); brightness and contrast are taken out."""
    side = thumbs.shape[1]
    vertical, horizontal = _waves(side, view[0], view[1]), _waves(side, view[2], view[3])
    if mirrored:  # a mirrored cosine changes its sign at odd frequencies
        horizontal = horizontal * np.where(np.arange(N_FREQUENCIES) % 2, -1, 1)[:, None]
    waves = (vertical @ thumbs.astype(np.float32) @ horizontal.T).reshape(len(thumbs), -1)[:, 1:]
    return waves / (np.linalg.norm(waves, axis=1, keepdims=True) + 1e-6)


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
