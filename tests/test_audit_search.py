import numpy as np
import pytest

from stages.audit import search
from stages.audit.search import find_pairs


def make_hashes(n: int) -> np.ndarray:
    """Families of twelve with some bits changed, the third in a quarter that all share."""
    rng = np.random.default_rng(3)
    bits = rng.random((-(-n // 12), 64)) < 0.5
    bits[:, 32:48] = bits[0, 32:48]
    near = (np.repeat(bits, 12, axis=0) ^ (rng.random((len(bits) * 12, 64)) < 0.1))[:n]
    near[40] = near[90]
    return np.packbits(near, axis=1).view(np.uint64)[:, 0]


def search_by_hand(queries: np.ndarray, hashes: np.ndarray, radius: int) -> list[list[int]]:
    n = len(hashes)
    return [
        [i, j]
        for i in range(n)
        for j in range(i + 1, n)
        if min(
            int(queries[i] ^ hashes[j]).bit_count(), int(queries[j] ^ hashes[i]).bit_count()
        ) <= radius
    ]  # fmt: skip


@pytest.mark.parametrize("radius", [0, 3, 7, 10, 15, 20])
@pytest.mark.parametrize("itself", [True, False], ids=["hashes", "other queries"])
@pytest.mark.parametrize("n_small", [0, 10_000], ids=["by quarters", "all with all"])
def test_search_equals_brute_force(
    radius: int, itself: bool, n_small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "CELLS", 100)  # many blocks, the last one not full
    monkeypatch.setattr(search, "N_SMALL", n_small)
    hashes = make_hashes(132)
    queries = hashes if itself else np.random.default_rng(4).permutation(hashes)
    expected = search_by_hand(queries, hashes, radius)
    assert len(expected) > 0
    assert find_pairs(queries, hashes, radius).tolist() == expected


@pytest.mark.parametrize("itself", [True, False], ids=["hashes", "other queries"])
def test_search_by_quarters_equals_comparing_all(
    itself: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = make_hashes(9000)
    queries = hashes if itself else np.random.default_rng(4).permutation(hashes)
    found = find_pairs(queries, hashes, 10)
    monkeypatch.setattr(search, "N_SMALL", 10_000)
    expected = find_pairs(queries, hashes, 10)
    assert len(expected) > 5000
    np.testing.assert_array_equal(found, expected)


def test_equal_hashes_all_pair_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "N_SMALL", 0)
    assert len(find_pairs(*2 * [np.full(300, 77, np.uint64)], 10)) == 300 * 299 // 2


@pytest.mark.parametrize("n_small", [0, 10_000])
def test_search_among_few_finds_few(n_small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "N_SMALL", n_small)
    for n in (0, 1):
        assert find_pairs(*2 * [np.zeros(n, np.uint64)], 10).shape == (0, 2)
