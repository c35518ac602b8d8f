import numpy as np
import pytest

from stages.audit import nearest
from stages.audit.nearest import Lists


def make_vectors(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def search_by_hand(queries: np.ndarray, vectors: np.ndarray, least: float) -> set[tuple[int, int]]:
    return set(zip(*(part.tolist() for part in np.nonzero(queries @ vectors.T >= least))))  # noqa: B905


@pytest.mark.parametrize("n", [1, 700, 3000])
def test_few_vectors_are_all_compared(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "CELLS", 10_000)
    vectors, queries = make_vectors(n), make_vectors(50, seed=1)
    queries[0] = vectors[-1]
    query, vector, cosine = Lists(vectors).search(queries, 0.7)
    expected = search_by_hand(queries, vectors, 0.7)
    assert len(expected) > 0
    assert set(zip(query.tolist(), vector.tolist(), strict=True)) == expected
    assert len(query) == len(expected)
    np.testing.assert_allclose(cosine, (queries[query] * vectors[vector]).sum(1), atol=1e-6)


def test_of_many_vectors_close_ones_are_found_in_few_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "LIST_SIZE", 50)
    monkeypatch.setattr(nearest, "N_PROBES", 12)
    vectors = make_vectors(5000)
    queries = vectors[:400] + 0.1 * make_vectors(400, seed=2)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    query, vector, _ = Lists(vectors).search(queries, 0.95)
    found = set(zip(query.tolist(), vector.tolist(), strict=True))
    expected = search_by_hand(queries, vectors, 0.95)
    assert found <= expected
    assert len(found) >= 0.99 * len(expected)
