"""Every score of every resample, and the intervals that follow."""

from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import (
    ERROR_NAMES,
    SCORE_NAMES,
    Confusion,
    bin_probabilities,
    divide,
    score_confusion,
)
from stages.common.resample import Ranking, Resamples, find_interval, rank_resamples
from stages.evaluate.part import Part

#: Scores with an interval per attribute and for their mean.
WITH_INTERVAL = ("accuracy", "majority_accuracy", "gain", *SCORE_NAMES[1:], *ERROR_NAMES)
#: Chance moves the shares of a resample's bins once more than those of the data, so that these
#: replicates lie too high as a whole: they tell the spread, not the place.
RECENTRED = ERROR_NAMES


def resample_confusion(
    part: Part, threshold: float | np.ndarray, resamples: Resamples, rows: np.ndarray | None = None
) -> Confusion:
    """Confusion counts (R, A) of decisions at a threshold, or (A,) thresholds.

    Args:
        part: What is evaluated.
        threshold: A probability above it decides for 1.
        resamples: Of the part's images.
        rows: (N,) bool, images that count; None for all.
    """
    mask = part.mask if rows is None else part.mask & rows[:, None]
    decided, truth = part.probs > threshold, part.labels.astype(bool)
    cells = (decided & truth, decided & ~truth, ~decided & truth, ~decided & ~truth)
    sums = resamples.sum_up(np.concatenate([cell & mask for cell in cells], axis=1))
    return Confusion(*np.split(sums, 4, axis=1))


def resample_scores(
    part: Part, scaled: np.ndarray | None, threshold: float, n_bins: int, resamples: Resamples
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Confusion]:
    """Replicates of all scores.

    Args:
        part: What is evaluated.
        scaled: Calibrated probabilities (N, A), NaN where there are none; None where valid, which
            they are fitted on, was not evaluated.
        threshold: A probability above it decides for 1.
        n_bins: Of the calibration error.
        resamples: Of the part's images.

    Returns:
        Scores per attribute, each (R, A); over all labels together, each (R,); and the counts.
    """
    confusion = resample_confusion(part, threshold, resamples)
    scores = _score_counts(confusion, part.majority)
    pooled = {name: x[:, 0] for name, x in score_confusion(confusion.pooled()).items()}
    scores["roc_auc"], scores["average_precision"] = rank_resamples(
        resamples, part.probs, part.labels, part.mask
    )
    pooled["roc_auc"], pooled["average_precision"] = _rank_pooled(part, resamples)
    n_known = confusion.n
    squares = np.where(part.mask, (part.probs.astype(np.float64) - part.labels) ** 2, 0.0)
    sums = resamples.sum_up(squares)
    scores["brier"] = divide(sums, n_known)
    pooled["brier"] = divide(sums.sum(1), n_known.sum(1))
    for name, probs in (("calibration_error", part.probs), ("calibration_error_scaled", scaled)):
        if probs is None:
            scores[name] = np.full_like(n_known, np.nan)
            pooled[name] = np.full(len(n_known), np.nan)
            continue
        usable = ~np.isnan(probs).any(0)
        surplus = _sum_surplus(part, np.where(usable, probs, 0.5), n_bins, resamples)
        errors = divide(np.abs(surplus).sum(2), n_known)
        scores[name] = np.where(usable, errors, np.nan)
        pooled[name] = divide(np.abs(surplus[:, usable].sum(1)).sum(1), n_known[:, usable].sum(1))
    return scores, pooled, confusion


def add_intervals(
    table: pd.DataFrame, replicates: dict[str, np.ndarray], confidence: float
) -> pd.DataFrame:
    """The table of score_attributes with <score>_low and <score>_high beside each score."""
    columns: dict[str, Any] = {}
    for name in table.columns:
        columns[name] = table[name]
        if name in replicates:
            low, high = _find_interval(name, replicates[name], table[name].to_numpy(), confidence)
            columns |= {f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns)


def summarise_intervals(
    values: dict[str, Any],
    replicates: dict[str, np.ndarray],
    pooled: dict[str, np.ndarray],
    confidence: float,
) -> dict[str, float | None]:
    """Intervals of the means over attributes and of the values over all labels.

    Args:
        values: The values themselves, as in metrics.json.
        replicates: Scores per attribute, each (R, A); an attribute without a value in a resample
            takes no part in its mean.
        pooled: Scores over all labels, each (R,).
        confidence: Share of the resamples inside.

    Returns:
        <name>_low and <name>_high; None where undefined.
    """
    found: dict[str, float | None] = {}
    drawn = {name: _mean_defined(replicates[name]) for name in WITH_INTERVAL}
    drawn |= {f"micro_{name}": x for name, x in pooled.items()}
    for name, replicate in drawn.items():
        value = values.get(name)
        if name not in values:
            continue
        centre = np.array(np.nan if value is None else value)
        low, high = _find_interval(name.removeprefix("micro_"), replicate, centre, confidence)
        for end, number in (("low", float(low)), ("high", float(high))):
            found[f"{name}_{end}"] = None if number != number else round(number, 6)
    return found


def _score_counts(confusion: Confusion, majority: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of counts (R, A), with those of the majority class, which has no probabilities."""
    scores = score_confusion(confusion)
    n_right = np.where(majority == 1, confusion.tp + confusion.fn, confusion.tn + confusion.fp)
    scores["majority_accuracy"] = divide(n_right, confusion.n)
    scores["gain"] = scores["accuracy"] - scores["majority_accuracy"]
    return scores


def _rank_pooled(part: Part, resamples: Resamples) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(part.mask)
    probs, labels = part.probs[rows, columns], part.labels[rows, columns]
    ranking = Ranking(probs, labels, resamples.clusters[rows])
    parts = [ranking.score(weights) for weights in resamples.iter_weights()]
    if not parts:
        return np.empty(0), np.empty(0)
    auc, precision = (np.concatenate(column) for column in zip(*parts, strict=True))
    return auc, precision


def _sum_surplus(part: Part, probs: np.ndarray, n_bins: int, resamples: Resamples) -> np.ndarray:
    """Sums (R, A, n_bins) of probability minus label."""
    n_attributes = probs.shape[1]
    cells = bin_probabilities(probs, n_bins) + n_bins * np.arange(n_attributes)
    values = np.where(part.mask, probs.astype(np.float64) - part.labels, 0.0)
    sums = resamples.sum_cells(values, cells, n_attributes * n_bins)
    return sums.reshape(len(sums), n_attributes, n_bins)


def _find_interval(
    name: str, replicates: np.ndarray, values: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    if name in RECENTRED and len(replicates):
        replicates = np.maximum(replicates - replicates.mean(0) + values, 0.0)
    low, high = find_interval(replicates, confidence)
    undefined = np.isnan(values)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _mean_defined(replicates: np.ndarray) -> np.ndarray:
    """Means (R,) over the attributes that are defined; NaN where none is."""
    defined = ~np.isnan(replicates)
    return divide(np.where(defined, replicates, 0.0).sum(1), defined.sum(1))
