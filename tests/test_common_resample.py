import numpy as np
import pytest
from sklearn import metrics as sk

from stages.common.resample import Ranking, Resamples, find_interval, rank_resamples

IDENTITIES = ["ann", None, "ben", "ann", None, "ben", "ben", "cleo"]


def all_weights(resamples: Resamples) -> np.ndarray:
    """Weights (R, N) of the pictures."""
    return np.concatenate(list(resamples.iter_weights()))[:, resamples.clusters]


def test_pictures_of_a_person_are_drawn_together() -> None:
    resamples = Resamples(IDENTITIES, 200, [7])
    assert resamples.n_clusters == 5
    weights = all_weights(resamples)
    assert weights.shape == (200, 8)
    assert (weights[:, 0] == weights[:, 3]).all()
    assert (weights[:, 2] == weights[:, [5, 6]].T).all()
    assert (weights[:, 1] != weights[:, 4]).any()  # two unknown people are two people
    drawn = weights[:, [0, 1, 2, 4, 7]]
    assert (drawn.sum(1) == 5).all()
    assert drawn.mean(0) == pytest.approx(np.ones(5), abs=0.25)


def test_resamples_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = all_weights(Resamples(IDENTITIES, 50, [7]))
    monkeypatch.setattr("stages.common.resample.CHUNK_WEIGHTS", 10)  # 2 rows at a time
    assert (all_weights(Resamples(IDENTITIES, 50, [7])) == expected).all()
    assert (all_weights(Resamples(IDENTITIES, 50, [8])) != expected).any()
    assert (all_weights(Resamples(IDENTITIES, 80, [7]))[:50] == expected).all()


def test_sums_are_weighted_sums() -> None:
    rng = np.random.default_rng(1)
    resamples = Resamples(IDENTITIES, 30, [7])
    values, weights = rng.random((8, 3)), all_weights(resamples)
    assert resamples.sum_up(values) == pytest.approx(weights @ values)
    cells = rng.integers(0, 4, (8, 3))
    expected = np.zeros((30, 4))
    for row in range(8):
        for column in range(3):
            expected[:, cells[row, column]] += weights[:, row] * values[row, column]
    assert resamples.sum_cells(values, cells, 4) == pytest.approx(expected)


@pytest.mark.parametrize("n_values", [4, 1000], ids=["many ties", "few ties"])
def test_ranking_agrees_with_scikit_learn(n_values: int) -> None:
    """Sample weights of scikit-learn are what a resample is."""
    rng = np.random.default_rng(2)
    n, n_people = 300, 60
    people = rng.integers(0, n_people, n)
    labels = (rng.random((n, 3)) < [0.5, 0.1, 0.9]).astype(np.uint8)
    probs = (np.floor((labels * 0.4 + rng.random((n, 3))) * n_values) / n_values / 2).astype("f4")
    mask = rng.random((n, 3)) < 0.8
    resamples = Resamples([str(person) for person in people], 25, [7])
    auc, precision = rank_resamples(resamples, probs, labels, mask)
    weights = all_weights(resamples)
    for k in range(3):
        known = mask[:, k]
        for row in range(25):
            given = labels[known, k], probs[known, k]
            w = weights[row, known]
            assert auc[row, k] == pytest.approx(sk.roc_auc_score(*given, sample_weight=w))
            expected = sk.average_precision_score(*given, sample_weight=w)
            assert precision[row, k] == pytest.approx(expected)


def test_ranking_without_both_classes_is_undefined() -> None:
    probs, clusters = np.array([0.1, 0.7, 0.9]), np.arange(3)
    for labels in ([0, 0, 0], [1, 1, 1]):
        scores = Ranking(probs, np.array(labels), clusters).score(np.ones((2, 3), np.int32))
        assert np.isnan(scores).all()
    weights = np.array([[1, 2, 0], [0, 0, 3], [1, 1, 1]], np.int32)  # no positive; no negative
    auc, precision = Ranking(probs, np.array([0, 0, 1]), clusters).score(weights)
    assert np.isnan(auc).tolist() == np.isnan(precision).tolist() == [True, True, False]
    assert (auc[2], precision[2]) == (1.0, 1.0)


def test_ranking_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    ranking = Ranking(rng.random(50), rng.integers(0, 2, 50), np.arange(50))
    weights = rng.integers(0, 4, (20, 50)).astype(np.int32)
    expected = np.array(ranking.score(weights))
    monkeypatch.setattr("stages.common.resample.CHUNK_RANKS", 120)
    assert (np.array(ranking.score(weights)) == expected).all()


def test_interval_is_that_of_numpy_over_defined_replicates() -> None:
    rng = np.random.default_rng(4)
    replicates = rng.normal(size=(999, 3))
    replicates[:50, 1] = np.nan  # enough are left
    replicates[:500, 2] = np.nan
    low, high = find_interval(replicates, 0.9)
    assert low[0] == pytest.approx(np.quantile(replicates[:, 0], 0.05))
    assert high[0] == pytest.approx(np.quantile(replicates[:, 0], 0.95))
    assert high[1] == pytest.approx(np.quantile(replicates[50:, 1], 0.95))
    assert np.isnan([low[2], high[2]]).all()
    assert np.isnan(find_interval(np.empty((0, 3)), 0.9)).all()


def test_interval_knows_that_pictures_of_a_person_are_no_new_evidence() -> None:
    """16 pictures a person that are right or wrong together: the interval is 4 times as wide."""
    rng = np.random.default_rng(5)
    right = np.repeat(rng.random(200) < 0.8, 16)[:, None].astype(float)
    people = [str(k) for k in np.repeat(np.arange(200), 16)]
    widths = []
    for identities in (people, [None] * len(people)):
        shares = Resamples(identities, 2000, [7]).sum_up(right) / len(right)
        low, high = find_interval(shares, 0.95)
        widths.append(float(high[0] - low[0]))
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.08)
    by_formula = 2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 200)
    assert widths[0] == pytest.approx(by_formula, rel=0.06)
