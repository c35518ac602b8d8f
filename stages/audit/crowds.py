"""Crowds: pictures that are all candidates of one another, not compared pair by pair.

A picture that was saved 2,000 times with small changes makes two million pairs, an hour's work and
as many findings that nobody reads. So the first of a crowd leads: all others are compared with it,
and its copies no more with each other, but for one of each partition, so that leaks stand at every
image concerned.
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

MAX_CROWD = 100  # pictures with more candidates, which have as many themselves, are a crowd
MAX_VAIN = 10  # leaders of which most candidates are no copies: then it is a crowd of look-alikes
MAX_LOOK_ALIKES = 20  # candidates that a picture of such a crowd keeps

Pairs = NDArray[np.int64]
Similarities = NDArray[np.float64]

log = logging.getLogger(__name__)


class Crowds:
    """The crowds among N pictures, as far as they are known.

    Args of `__init__`:
        sides: (N, S) bool: the partitions in which each picture lies, or an exact copy of it.
    """

    def __init__(self, sides: NDArray[np.bool_]) -> None:
        self.sides = sides
        self.crowd_of = np.full(len(sides), -1)  # its leader, -1 = in none

    def verify(
        self, candidates: Pairs, compare: Callable[[Pairs], Similarities], least: float
    ) -> tuple[Pairs, Similarities]:
        """The candidates that are copies, and how similar they are; of crowds their leaders' pairs.

        Args:
            candidates: (M, 2) int64, i < j, each pair once.
            compare: Similarity (M,) of pairs (M, 2).
            least: Similarity of copies.

        Returns:
            (K, 2) int64 and (K,) float64, each pair once.
        """
        n = len(self.sides)
        crowd = self.crowd_of[candidates]
        candidates = candidates[(crowd[:, 0] != crowd[:, 1]) | (crowd[:, 0] < 0)]
        compared: list[tuple[Pairs, Similarities]] = []
        n_vain = 0
        while n_vain < MAX_VAIN:
            leaders = _count(candidates[_among_crowded(candidates, n)], n) > MAX_CROWD
            if not leaders.any():
                break
            leader = int(np.argmax(leaders))
            led = (candidates == leader).any(1)
            pairs, candidates = candidates[led], candidates[~led]
            similarity = compare(pairs)
            compared.append((pairs, similarity))
            members = np.unique(pairs[similarity >= least])
            n_vain += 2 * len(members) < len(pairs)
            if len(members):
                self.crowd_of[members] = leader
                candidates = candidates[(self.crowd_of[candidates] != leader).any(1)]
                pairs = _pair_with_sides(members, leader, self.sides)
                compared.append((pairs, compare(pairs)))
        else:
            candidates = _thin_out(candidates, n)
        compared.append((candidates, compare(candidates)))
        pairs = np.concatenate([pairs for pairs, _ in compared])
        similarity = np.concatenate([values for _, values in compared])
        _, kept = np.unique(pairs @ np.array([n, 1]), return_index=True)
        kept = kept[similarity[kept] >= least]
        return pairs[kept], similarity[kept]


def _count(pairs: Pairs, n: int) -> NDArray[np.int64]:
    """Pairs (n,) of each of n pictures."""
    return np.bincount(pairs.ravel(), minlength=n)


def _among_crowded(candidates: Pairs, n: int) -> NDArray[np.bool_]:
    """Which candidates (M,) are of two pictures with more than MAX_CROWD candidates each."""
    is_crowded = _count(candidates, n) > MAX_CROWD
    return is_crowded[candidates[:, 0]] & is_crowded[candidates[:, 1]]


def _pair_with_sides(members: NDArray[np.int64], leader: int, sides: NDArray[np.bool_]) -> Pairs:
    """Every other member with the first of each partition that the leader does not lie in."""
    seconds = [members[sides[members, side]][:1] for side in np.flatnonzero(~sides[leader])]
    first = np.unique(np.concatenate([np.zeros(0, np.int64), *seconds]))
    others = members[members != leader]
    one, other = (grid.ravel() for grid in np.meshgrid(first, others, indexing="ij"))
    pairs = np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1)
    return np.unique(pairs[one != other], axis=0)


def _thin_out(candidates: Pairs, n: int) -> Pairs:
    """Of what crowds are left MAX_LOOK_ALIKES pairs for the first picture of each, and the rest.

    Args:
        candidates: (M, 2), sorted.
        n: Pictures.
    """
    both = _among_crowded(candidates, n)
    first = candidates[both, 0]
    rank = np.arange(len(first)) - np.searchsorted(first, first)
    kept = np.flatnonzero(both)[rank < MAX_LOOK_ALIKES]
    log.warning(
        "%d pairs of pictures that all resemble one another are not compared",
        both.sum() - len(kept),
    )
    return np.concatenate([candidates[~both], candidates[kept]])
