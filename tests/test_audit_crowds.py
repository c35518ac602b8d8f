from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.audit import crowds as module
from stages.audit.copies import join_pairs
from stages.audit.crowds import Crowds

LEAST = 0.8


@pytest.fixture(autouse=True)
def small_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CROWD", 10)


class Judge:
    """Says that pictures of one number are copies, and counts what it was asked."""

    def __init__(self, picture: NDArray[np.int64]) -> None:
        self.picture, self.n_asked = picture, 0

    def __call__(self, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        self.n_asked += len(pairs)
        return np.where(self.picture[pairs[:, 0]] == self.picture[pairs[:, 1]], 0.9, 0.1)


def pair_all(n: int) -> NDArray[np.int64]:
    return np.array([*combinations(range(n), 2)], np.int64)


def in_partitions(n: int, seed: int = 0) -> NDArray[np.bool_]:
    return np.eye(3, dtype=bool)[np.random.default_rng(seed).integers(0, 3, n)]


def test_a_crowd_of_copies_is_led_by_its_first_and_leaks_at_every_member() -> None:
    n = 300
    picture = np.random.default_rng(1).integers(0, 3, n)
    sides, judge = in_partitions(n), Judge(picture)
    candidates = pair_all(n)
    candidates = candidates[picture[candidates[:, 0]] == picture[candidates[:, 1]]]
    crowds = Crowds(sides)
    pairs, similarity = crowds.verify(candidates, judge, LEAST)
    assert (similarity == 0.9).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs) < 3 * n
    assert (pairs[:, 0] < pairs[:, 1]).all()
    groups = join_pairs(*pairs.T, n)
    assert len(np.unique(np.stack([groups, picture]), axis=1).T) == len(np.unique(groups)) == 3
    assert judge.n_asked < 3 * n
    for k in range(n):
        met = {j for pair in pairs if k in pair for j in pair}
        assert sides[sorted(met)].any(0).all()  # itself and a copy in every other partition
    again, _ = crowds.verify(candidates, judge, LEAST)
    assert len(again) == 0  # what another search proposes of a known crowd is known


def test_a_copy_of_a_picture_counts_in_its_partitions_too() -> None:
    sides = np.eye(3, dtype=bool)[np.zeros(40, int)]
    sides[17, 2] = True  # has an exact copy in test
    pairs, _ = Crowds(sides).verify(pair_all(40), Judge(np.zeros(40, int)), LEAST)
    expected = {(0, k) for k in range(1, 40)}
    expected |= {(min(k, 17), max(k, 17)) for k in range(40) if k != 17}
    assert {tuple(pair) for pair in pairs.tolist()} == expected


def test_few_candidates_and_a_hub_are_compared_in_full() -> None:
    n = 60
    hub = np.array([(0, k) for k in range(1, n)], np.int64)
    rest = np.array([(k, k + 1) for k in range(1, n - 1)], np.int64)
    judge = Judge(np.zeros(n, int))
    pairs, _ = Crowds(in_partitions(n)).verify(np.concatenate([hub, rest]), judge, LEAST)
    assert len(pairs) == judge.n_asked == len(hub) + len(rest)


def test_a_crowd_of_mere_look_alikes_stays_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_VAIN", 5)
    monkeypatch.setattr(module, "MAX_LOOK_ALIKES", 3)
    n = 300
    judge = Judge(np.arange(n))
    pairs, _ = Crowds(in_partitions(n)).verify(pair_all(n), judge, LEAST)
    assert len(pairs) == 0
    assert judge.n_asked <= 5 * n + 3 * n
    assert "are not compared" in caplog.text


def test_nothing_to_compare() -> None:
    nothing = np.zeros((0, 2), np.int64)
    pairs, similarity = Crowds(in_partitions(4)).verify(nothing, Judge(np.arange(4)), LEAST)
    assert pairs.shape == (0, 2)
    assert similarity.shape == (0,)
