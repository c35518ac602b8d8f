"""Which pictures are copies of which: exact groups, verified near pairs, and all pairs of both."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.audit.crowds import Crowds
from stages.audit.lookalikes import find_covered, find_look_alikes
from stages.audit.pictures import Pictures
from stages.audit.search import find_pairs
from stages.audit.verification import compare_pictures
from stages.common.params import AuditParams
from stages.common.tables import PARTITIONS

#: Members of larger groups (a placeholder picture, say) are paired with one per partition only, so
#: that each still meets a copy in every partition that holds one.
MAX_GROUP = 100
MIN_RANGE = 3  # gray levels of a thumb: below, it shows nothing that could be compared

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Two copies, rows in annotations, first < second; similarity is 1 for exact copies."""

    first: int
    second: int
    exact: bool
    similarity: float
    how: str


@dataclass(frozen=True)
class Copies:
    """Exact groups and near pairs as rows in annotations.

    exact: groups of at least two rows, ascending, exact copies of one another.
    near: verified pairs of different pictures, by their first members where those have copies.
    pairs: every pair of copies, exact and near, of which each is a copy of the other; of crowds
        those with the first of each partition.
    """

    exact: list[list[int]]
    near: list[Pair]
    pairs: list[Pair]


def find_copies(pictures: Pictures, partition: NDArray[np.object_], params: AuditParams) -> Copies:
    """Find all copies among the readable pictures.

    Args:
        pictures: Readable pictures.
        partition: (N,) partition of every image of annotations.
        params: Thresholds.
    """
    group_of = group_exact(pictures)
    firsts = np.unique(group_of, return_index=True)[1]  # rows ascend, so the first member leads
    members: dict[int, list[int]] = {}
    for place, group in enumerate(group_of):
        members.setdefault(int(group), []).append(place)
    sides = np.zeros((len(firsts), len(PARTITIONS)), bool)
    for column, name in enumerate(PARTITIONS):
        sides[group_of[partition[pictures.row] == name], column] = True
    near = find_near(pictures, firsts, sides, params)

    pairs: list[Pair] = []
    exact = [[int(pictures.row[k]) for k in group] for group in members.values() if len(group) > 1]
    for group in (group for group in members.values() if len(group) > 1):
        for first, second in _pair_up(group, group, pictures.row, partition):
            same = pictures.sha1[first] == pictures.sha1[second]
            how = "same bytes" if same else "same pixels, other bytes"
            pairs.append(Pair(int(pictures.row[first]), int(pictures.row[second]), True, 1.0, how))
    for pair in near:
        one, other = (
            members[int(group_of[np.searchsorted(pictures.row, row)])]
            for row in (pair.first, pair.second)
        )
        for first, second in _pair_up(one, other, pictures.row, partition):
            low, high = sorted((int(pictures.row[first]), int(pictures.row[second])))
            pairs.append(Pair(low, high, False, pair.similarity, pair.how))
    return Copies(exact, near, sorted(pairs, key=lambda pair: (pair.first, pair.second)))


def group_exact(pictures: Pictures) -> NDArray[np.int64]:
    """Number of the exact group of each of P pictures: same file or same pixels, (P,) int64."""
    n = len(pictures.row)
    joined = [_join_equal(pictures.sha1), _join_equal(pictures.pixels)]
    first, second = np.concatenate(joined, axis=1)
    return join_pairs(first, second, n)


def join_pairs(first: NDArray[np.int64], second: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Connected components of n members under pairs, (n,) int64."""
    if not n:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def find_near(
    pictures: Pictures, places: NDArray[np.int64], sides: NDArray[np.bool_], params: AuditParams
) -> list[Pair]:
    """Verified near copies among the pictures at `places`, one of each exact group.

    Candidates come from the perceptual hash and from coarse resemblance; each is then verified
    on pixels, upright and, if asked for, mirrored. The better of the two counts.

    Args:
        pictures: Readable pictures.
        places: (Q,) places, ascending.
        sides: (Q, 3) bool: partitions in which each of them lies, or an exact copy.
        params: Thresholds.
    """
    is_plain = np.ptp(pictures.thumbs, axis=(1, 2))[places] < MIN_RANGE
    places, crowds = places[~is_plain], Crowds(sides[~is_plain])
    thumbs, hashes = pictures.thumbs[places], pictures.hashes[places]
    found: dict[tuple[int, int], tuple[float, bool]] = {}
    for mirrored in (False, True) if params.mirrored else (False,):
        queries = pictures.mirrored[places] if mirrored else hashes
        by_hash = find_pairs(queries, hashes, params.near_radius_bits)
        alike = np.unique(np.concatenate([by_hash, find_look_alikes(thumbs, mirrored)]), axis=0)
        n_verified = 0
        for candidates, is_in_place in ((alike, False), (find_covered(thumbs, mirrored), True)):
            compare = partial(compare_pictures, thumbs, mirrored=mirrored, is_in_place=is_in_place)
            pairs, similarity = crowds.verify(candidates, compare, params.near_similarity)
            for (first, second), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
                n_verified += (first, second) not in found
                if value > found.get((first, second), (0.0,))[0]:
                    found[first, second] = (value, mirrored)
        log.info(
            "near copies%s: %d candidates by hash, %d in all, %d verified",
            ", mirrored" if mirrored else "", len(by_hash), len(alike), n_verified,
        )  # fmt: skip
    rows = pictures.row[places]
    return [
        Pair(
            int(rows[first]),
            int(rows[second]),
            False,
            similarity,
            f"{'mirrored ' if mirrored else ''}near copy, similarity {similarity:.3f}",
        )
        for (first, second), (similarity, mirrored) in sorted(found.items())
    ]


def _join_equal(keys: NDArray[np.object_]) -> NDArray[np.int64]:
    """(2, M) pairs that join each member with the first of the same key."""
    first_of: dict[object, int] = {}
    return (
        np.array(
            [(first_of.setdefault(key, place), place) for place, key in enumerate(keys)], np.int64
        )
        .reshape(-1, 2)
        .T
    )


def _pair_up(
    one: Sequence[int],
    other: Sequence[int],
    row: NDArray[np.int64],
    partition: NDArray[np.object_],
) -> list[tuple[int, int]]:
    """Pairs of places between two groups, or within one; large groups by their leaders only."""
    if one is other:
        if len(one) <= MAX_GROUP:
            return list(combinations(one, 2))
        leaders = _leaders(one, row, partition)
        return [
            (min(leader, member), max(leader, member))
            for leader, member in product(leaders, one)
            if member != leader and (member not in leaders or leader < member)
        ]
    if len(one) * len(other) <= MAX_GROUP**2:
        return list(product(one, other))
    few, less = (_leaders(group, row, partition) for group in (one, other))
    return sorted({*product(one, less), *product(few, other)})


def _leaders(
    group: Sequence[int], row: NDArray[np.int64], partition: NDArray[np.object_]
) -> list[int]:
    """The first member of each partition."""
    first: dict[str, int] = {}
    for place in group:
        first.setdefault(str(partition[row[place]]), place)
    return sorted(first.values())
