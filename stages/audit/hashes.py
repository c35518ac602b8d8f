"""Perceptual hashes of 64 bits, bit-equal to imagehash.phash, and all pairs within a radius."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

HASH_SIDE = 8
CELLS = 1 << 22  # pairs compared at once: 32 MB of XORs per thread


def hash_pictures(small: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash pictures as imagehash.phash does: which low DCT coefficients exceed their median.

    Args:
        small: (N, 32, 32) uint8 gray, resized with Lanczos.

    Returns:
        (N,) uint64; the bytes are imagehash's bits in its order.
    """
    if not len(small):
        return np.zeros(0, np.uint64)
    bits = []
    for start in range(0, len(small), 4096):
        block = small[start : start + 4096].astype(np.float64)
        low = dct(dct(block, axis=1), axis=2)[:, :HASH_SIDE, :HASH_SIDE].reshape(len(block), -1)
        bits.append(np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1))
    return np.ascontiguousarray(np.concatenate(bits)).view(np.uint64)[:, 0]


def find_pairs(
    queries: NDArray[np.uint64], hashes: NDArray[np.uint64], radius_bits: int
) -> NDArray[np.int64]:
    """Every pair i < j with queries[i] and hashes[j], or queries[j] and hashes[i], within a radius.

    The search is exhaustive, in blocks of bounded memory: 16,000 hashes take half a second.

    Args:
        queries: (N,) uint64: the hashes themselves, or those of the mirrored pictures.
        hashes: (N,) uint64.
        radius_bits: Largest number of differing bits.

    Returns:
        (M, 2) int64, sorted, each pair once.
    """
    n = len(hashes)
    rows = max(1, CELLS // max(1, n))

    def search(start: int) -> NDArray[np.int64]:
        block = queries[start : start + rows]
        near = np.bitwise_count(block[:, None] ^ hashes[None, :]) <= radius_bits
        first, second = np.nonzero(near)
        return encode_pairs(first + start, second, n)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return decode_pairs(pool.map(search, range(0, n, rows)), n)


def encode_pairs(first: NDArray[np.int64], second: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Unordered pairs of different members as one number each, unique and sorted."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.unique((low * n + high)[low < high])


def decode_pairs(codes: Iterator[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """(M, 2) sorted pairs from blocks of codes, each pair once."""
    blocks = [block for block in codes if len(block)]
    if not blocks:
        return np.zeros((0, 2), np.int64)
    return np.stack(np.divmod(np.unique(np.concatenate(blocks)), n), axis=1)
