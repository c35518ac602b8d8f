from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from stages.common.resample import Resamples
from stages.evaluate.calibrate import scale
from stages.evaluate.part import Part
from stages.evaluate.scores import (
    WITH_INTERVAL,
    add_intervals,
    resample_scores,
    summarise_intervals,
)
from stages.evaluate.tables import score_attributes, score_calibration, summarise
from tests.evaluate_fabric import draw_part

N_BINS = 8
SK_SCORES = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "f1": sk.f1_score,
    "mcc": sk.matthews_corrcoef,
}


def reference(
    truth: np.ndarray, probs: np.ndarray, weights: np.ndarray, scaled: np.ndarray | None
) -> dict[str, float]:
    """All scores by scikit-learn, and the calibration error by its definition."""
    decided = probs > 0.5
    scores = {
        name: score(truth, decided, sample_weight=weights) for name, score in SK_SCORES.items()
    }
    scores["specificity"] = sk.recall_score(1 - truth, ~decided, sample_weight=weights)
    scores["roc_auc"] = sk.roc_auc_score(truth, probs, sample_weight=weights)
    scores["average_precision"] = sk.average_precision_score(truth, probs, sample_weight=weights)
    scores["brier"] = sk.brier_score_loss(truth, probs, sample_weight=weights)
    for name, given in (("calibration_error", probs), ("calibration_error_scaled", scaled)):
        if given is not None:
            error = 0.0
            for b in range(N_BINS):
                rows = np.digitize(given.astype(float), np.arange(1, N_BINS) / N_BINS) == b
                if weights[rows].sum() > 0:
                    w = weights[rows]
                    gap = np.average(given[rows].astype(float) - truth[rows], weights=w)
                    error += abs(gap) * w.sum() / weights.sum()
            scores[name] = error
    return scores


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    part = draw_part(seed=1)
    resamples = Resamples(part.identities, 12, [7])
    scaled = scale(part.probs, np.array([0.5, 2.0, 1.3, np.nan]))
    scores, pooled, confusion = resample_scores(part, scaled, 0.5, N_BINS, resamples)
    weights = np.concatenate(list(resamples.iter_weights()))[:, resamples.clusters]
    return {"part": part, "scaled": scaled, "scores": scores, "pooled": pooled,
            "confusion": confusion, "weights": weights}  # fmt: skip


def test_every_resample_agrees_with_weighted_scikit_learn(drawn: dict[str, Any]) -> None:
    part, scores = drawn["part"], drawn["scores"]
    assert set(scores) == set(WITH_INTERVAL)
    for k, known in enumerate(part.mask.T):
        for row, weights in enumerate(drawn["weights"]):
            w, truth = weights[known].astype(float), part.labels[known, k]
            scaled = None if k == 3 else drawn["scaled"][known, k]
            expected = reference(truth, part.probs[known, k], w, scaled)
            base = np.average(truth == part.majority[k], weights=w)
            expected |= {"majority_accuracy": base, "gain": expected["accuracy"] - base}
            for name, value in expected.items():
                assert scores[name][row, k] == pytest.approx(value, abs=1e-6), (name, k, row)
    assert np.isnan(scores["calibration_error_scaled"][:, 3]).all()


def test_all_labels_together_agree_with_weighted_scikit_learn(drawn: dict[str, Any]) -> None:
    part, pooled = drawn["part"], drawn["pooled"]
    rows, columns = np.nonzero(part.mask)
    truth, probs = part.labels[rows, columns], part.probs[rows, columns]
    for row, weights in enumerate(drawn["weights"]):
        expected = reference(truth, probs, weights[rows].astype(float), None)
        for name, value in expected.items():
            assert pooled[name][row] == pytest.approx(value, abs=1e-6), name
        some = columns < 3
        w = weights[rows[some]].astype(float)
        scaled = drawn["scaled"][rows[some], columns[some]]
        error = reference(truth[some], probs[some], w, scaled)["calibration_error_scaled"]
        assert pooled["calibration_error_scaled"][row] == pytest.approx(error, abs=1e-6)


def test_values_agree_with_scikit_learn(drawn: dict[str, Any]) -> None:
    """The table's values are those of a resample that draws everyone once."""
    part = drawn["part"]
    names = list(part.attributes)
    table = score_attributes(part.probs, part.labels, part.mask, part.majority, names, 0.5)
    errors, means = score_calibration(part.probs, drawn["scaled"], part.labels, part.mask, N_BINS)
    table = pd.concat([table, errors], axis=1)
    for k, known in enumerate(part.mask.T):
        truth = part.labels[known, k]
        scaled = None if k == 3 else drawn["scaled"][known, k]
        expected = reference(truth, part.probs[known, k], np.ones(len(truth)), scaled)
        for name, value in expected.items():
            assert table[name][k] == pytest.approx(value, abs=1e-6), name
    assert np.isnan(table["calibration_error_scaled"][3])
    mean = table["calibration_error_scaled"][:3].mean()
    assert means["calibration_error_scaled"] == pytest.approx(mean, abs=1e-6)
    values = summarise(table, part.probs, part.labels, part.mask, 0.5)
    rows, columns = np.nonzero(part.mask)
    truth, probs = part.labels[rows, columns], part.probs[rows, columns]
    expected = reference(truth, probs, np.ones(len(truth)), None)
    for name in ("precision", "specificity", "mcc", "average_precision", "brier"):
        assert values[f"micro_{name}"] == pytest.approx(expected[name], abs=1e-6), name
    assert means["micro_calibration_error"] == pytest.approx(
        expected["calibration_error"], abs=1e-6
    )


def test_intervals_hold_their_values() -> None:
    part = draw_part(seed=2)
    names = list(part.attributes)
    resamples = Resamples(part.identities, 400, [7])
    table = score_attributes(part.probs, part.labels, part.mask, part.majority, names, 0.5)
    errors, means = score_calibration(part.probs, None, part.labels, part.mask, N_BINS)
    table = pd.concat([table, errors], axis=1)
    scores, pooled, _ = resample_scores(part, None, 0.5, N_BINS, resamples)
    wide = add_intervals(table, scores, 0.95)
    measured = [name for name in WITH_INTERVAL if name != "calibration_error_scaled"]
    for name in measured:
        assert (wide[f"{name}_low"] < wide[name]).all(), name
        assert (wide[f"{name}_high"] > wide[name]).all(), name
        assert list(wide.columns).index(f"{name}_low") == list(wide.columns).index(name) + 1
    assert wide["calibration_error_scaled_low"].isna().all()
    values = summarise(table, part.probs, part.labels, part.mask, 0.5) | means
    interval = summarise_intervals(values, scores, pooled, 0.95)
    assert {f"{name}_low" for name in values if name.startswith("micro_")} <= interval.keys()
    for name in [*measured, *(name for name in values if name.startswith("micro_"))]:
        if "scaled" in name:
            assert interval[f"{name}_low"] is None
            continue
        low, high = interval[f"{name}_low"], interval[f"{name}_high"]
        assert low is not None
        assert high is not None
        assert low < values[name] < high, name
    accuracy = scores["accuracy"].mean(1)
    assert interval["accuracy_high"] == pytest.approx(np.quantile(accuracy, 0.975), abs=1e-6)


def test_without_resamples_there_are_no_intervals() -> None:
    part = draw_part(seed=3)
    names = list(part.attributes)
    table = score_attributes(part.probs, part.labels, part.mask, part.majority, names, 0.5)
    nothing = Resamples(part.identities, 0, [7])
    scores, pooled, _ = resample_scores(part, None, 0.5, N_BINS, nothing)
    wide = add_intervals(table, scores, 0.95)
    assert wide["accuracy"].notna().all()
    assert wide[["accuracy_low", "roc_auc_high", "brier_low"]].isna().all(axis=None)
    values = summarise(table, part.probs, part.labels, part.mask, 0.5)
    interval = summarise_intervals(values, scores, pooled, 0.95)
    assert set(interval.values()) == {None}


def test_one_class_leaves_undefined_what_needs_two() -> None:
    full = draw_part(seed=4)
    part = Part(**{**vars(full), "labels": np.zeros_like(full.labels)})
    scores, pooled, _ = resample_scores(part, None, 0.5, N_BINS, Resamples(part.identities, 5, [7]))
    for name in ("roc_auc", "average_precision", "recall", "balanced_accuracy", "mcc"):
        assert np.isnan(scores[name]).all(), name
        assert np.isnan(pooled[name]).all(), name
    assert (scores["majority_accuracy"] == (1 - part.majority)).all()
