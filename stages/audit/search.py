"""All pairs of 64-bit hashes within a radius, exactly: every pair up to it, no other.

Two hashes at most r bits apart are at most r // 4 bits apart in one of their four quarters
(the pigeonhole principle; Norouzi, Punjani and Fleet, "Fast search in Hamming space with
multi-index hashing", 2012). So hashes are sorted by each quarter in turn, and only those of
like quarters are compared in full.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Task = Callable[[], Codes]

N_QUARTERS, QUARTER_BITS = 4, 16
#: Beyond, more quarters are alike than not; below N_SMALL, comparing all is quicker.
MAX_QUARTER_RADIUS = 3
N_SMALL = 8192
CELLS = 1 << 19  # pairs compared at once: some 20 MB per thread


def find_pairs(queries: Hashes, hashes: Hashes, radius_bits: int) -> NDArray[np.int64]:
    """Every pair i < j with queries[i] and hashes[j], or queries[j] and hashes[i], within a radius.

    Args:
        queries: (N,) uint64: the hashes themselves, or those of the mirrored pictures.
        hashes: (N,) uint64.
        radius_bits: Largest number of differing bits.

    Returns:
        (M, 2) int64, sorted, each pair once.
    """
    n = len(hashes)
    if n < N_SMALL or radius_bits // N_QUARTERS > MAX_QUARTER_RADIUS:
        tasks = _compare_all(queries, hashes, radius_bits)
    else:
        tasks = _compare_quarters(queries, hashes, radius_bits)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return decode_pairs(pool.map(lambda task: task(), tasks), n)


def encode_pairs(first: Codes, second: Codes, n: int) -> Codes:
    """Unordered pairs of different members as one number each, unique and sorted."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.unique((low * n + high)[low < high])


def decode_pairs(codes: Iterable[Codes], n: int) -> NDArray[np.int64]:
    """(M, 2) sorted pairs from blocks of codes, each pair once."""
    blocks = [block for block in codes if len(block)]
    if not blocks:
        return np.zeros((0, 2), np.int64)
    return np.stack(np.divmod(np.unique(np.concatenate(blocks)), n), axis=1)


def _compare_all(queries: Hashes, hashes: Hashes, radius_bits: int) -> Iterator[Task]:
    """Tasks that compare some queries each with all hashes."""
    n = len(hashes)
    rows = max(1, CELLS // max(1, n))

    def compare(start: int) -> Codes:
        block = queries[start : start + rows]
        near = np.bitwise_count(block[:, None] ^ hashes[None, :]) <= radius_bits
        first, second = np.nonzero(near)
        return encode_pairs(first + start, second, n)

    return (partial(compare, start) for start in range(0, n, rows))


def _compare_quarters(queries: Hashes, hashes: Hashes, radius_bits: int) -> Iterator[Task]:
    """Tasks that compare those whose quarter differs in the same few bits each."""
    is_self = np.array_equal(queries, hashes)
    for quarter in range(N_QUARTERS):
        members = _Sorted(hashes, quarter)
        asked = members if is_self else _Sorted(queries, quarter)
        for n_bits in range(radius_bits // N_QUARTERS + 1):
            for bits in combinations(range(QUARTER_BITS), n_bits):
                mask = sum(1 << bit for bit in bits)
                yield partial(_compare_like, asked, members, mask, radius_bits)


class _Sorted:
    """Hashes sorted by one quarter, and where each value of the quarter starts."""

    def __init__(self, hashes: Hashes, quarter: int) -> None:
        values = (hashes >> np.uint64(quarter * QUARTER_BITS)).astype(np.uint16).astype(np.int64)
        self.order = np.argsort(values, kind="stable")
        self.hashes, self.values = hashes[self.order], values[self.order]
        self.starts = np.searchsorted(self.values, np.arange((1 << QUARTER_BITS) + 1))


def _compare_like(asked: _Sorted, members: _Sorted, mask: int, radius_bits: int) -> Codes:
    """Pairs within the radius whose quarters differ in the bits of `mask` and no others."""
    places = np.arange(len(asked.values))
    if asked is members and mask:  # the other half meets the same pairs the other way round
        places = places[asked.values & (mask & -mask) == 0]
    wanted = asked.values[places] ^ mask
    low, high = members.starts[wanted], members.starts[wanted + 1]
    if asked is members and not mask:
        low = places + 1
    total = np.cumsum(high - low)
    n_cells = int(total[-1]) if len(total) else 0
    cuts = np.searchsorted(total, np.arange(CELLS, n_cells + CELLS, CELLS), side="right")
    codes = []
    for start, stop in pairwise([0, *np.unique(cuts.clip(1, len(total))).tolist()]):
        ends = total[start:stop] - (total[start - 1] if start else 0)
        counts = (high - low)[start:stop]
        shift = np.repeat(low[start:stop] - (ends - counts), counts)
        other = shift + np.arange(len(shift))
        asking = np.repeat(asked.hashes[places[start:stop]], counts)
        asking ^= members.hashes[other]
        near = np.flatnonzero(np.bitwise_count(asking) <= radius_bits)
        first = places[start + np.searchsorted(ends, near, side="right")]
        pairs = asked.order[first], members.order[other[near]]
        codes.append(encode_pairs(*pairs, len(members.order)))
    return np.concatenate([np.zeros(0, np.int64), *codes])
