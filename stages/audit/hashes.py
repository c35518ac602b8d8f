"""Perceptual hashes of 64 bits, bit-equal to imagehash.phash."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

HASH_SIDE = 8
MIDDLE = HASH_SIDE**2 // 2
BLOCK = 4096  # pictures transformed at once: 32 MB


class Hashed(NamedTuple):
    """hashes: (N,) uint64; the bytes are imagehash's bits in its order.

    margins: (N,) float64, distance of the two coefficients between which the median lies. Where
    it is small, other rounding of the picture may swap them, and two bits with them.
    """

    hashes: NDArray[np.uint64]
    margins: NDArray[np.float64]


def hash_pictures(small: NDArray[np.uint8]) -> Hashed:
    """Hash pictures as imagehash.phash does: which low DCT coefficients exceed their median.

    Args:
        small: (N, 32, 32) uint8 gray, resized with Lanczos.
    """
    bits = np.zeros((len(small), HASH_SIDE), np.uint8)
    margins = np.zeros(len(small))
    for start in range(0, len(small), BLOCK):
        block = small[start : start + BLOCK].astype(np.float64)
        low = dct(dct(block, axis=1)[:, :HASH_SIDE], axis=2)[:, :, :HASH_SIDE]
        low = low.reshape(len(block), -1)
        parted = np.partition(low, (MIDDLE - 1, MIDDLE), axis=1)
        below, above = parted[:, MIDDLE - 1], parted[:, MIDDLE]
        median = (below + above) / 2
        bits[start : start + BLOCK] = np.packbits(low > median[:, None], axis=1)
        margins[start : start + BLOCK] = above - below
    return Hashed(bits.view(np.uint64)[:, 0], margins)
