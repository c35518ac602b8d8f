"""Thresholds tuned on valid, one per attribute and aim, and what they bring elsewhere."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stages.common.metrics import Confusion, count_confusion, score_confusion
from stages.common.resample import Resamples, find_interval
from stages.evaluate.part import Part
from stages.evaluate.scores import resample_confusion

#: What thresholds are tuned for.
AIMS = ("accuracy", "f1", "balanced_accuracy")


def tune_threshold(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The best threshold per aim on n known labels.

    Candidates lie halfway between neighbouring probabilities, and at 0 and 1; six digits. Of
    equally good ones the nearest to 0.5 wins, so that chance moves as little as possible.

    Args:
        probs: (n,) in [0, 1]; one above the threshold decides for 1.
        labels: (n,) in {0, 1}.

    Returns:
        A threshold per aim; NaN without both classes.
    """
    n_positive = int(labels.sum())
    if n_positive in (0, len(labels)):
        return dict.fromkeys(AIMS, float("nan"))
    order = np.argsort(probs, kind="stable")
    ordered, truth = probs[order].astype(np.float64), labels[order].astype(np.int64)
    between = np.array([float(f"{x:.6g}") for x in (ordered[1:] + ordered[:-1]) / 2])
    candidates = np.unique(np.concatenate([[0.0, 0.5, 1.0], between]))
    below = np.searchsorted(ordered, candidates, "right")  # decided for 0
    fn = np.concatenate([[0], np.cumsum(truth)])[below]
    tn = below - fn
    tp, fp = n_positive - fn, len(labels) - n_positive - tn
    scores = score_confusion(Confusion(tp, fp, fn, tn))
    chosen = {}
    for aim in AIMS:
        best = candidates[scores[aim] >= np.nanmax(scores[aim]) - 1e-12]
        chosen[aim] = float(best[np.argmin(np.abs(best - 0.5))])
    return chosen


def tune_thresholds(valid: Part) -> dict[str, np.ndarray]:
    """Thresholds (A,) per aim, tuned on the known labels of valid; NaN where undefined."""
    rows = [
        tune_threshold(valid.probs[known, k], valid.labels[known, k])
        for k, known in enumerate(valid.mask.T)
    ]
    return {aim: np.array([row[aim] for row in rows]) for aim in AIMS}


def apply_thresholds(
    part: Part,
    tuned: Mapping[str, np.ndarray],
    threshold: float,
    resamples: Resamples,
    confidence: float,
) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """What tuned thresholds bring on a partition against the one for all.

    On valid itself, where they were chosen, the change is too good by nature.

    Returns:
        A table: partition, attribute, aim, threshold, value of the aim with it, accuracy with it,
        change of the aim's value against the one threshold, and its interval. Then the means over
        attributes of the value, and of its change, per aim; None where undefined.
    """
    plain = score_confusion(count_confusion(part.probs > threshold, part.labels, part.mask))
    plain_drawn = score_confusion(resample_confusion(part, threshold, resamples))
    tables, means = [], {}
    for aim in AIMS:
        usable = ~np.isnan(tuned[aim])
        limits = np.where(usable, tuned[aim], 2.0)
        scores = score_confusion(count_confusion(part.probs > limits, part.labels, part.mask))
        drawn = score_confusion(resample_confusion(part, limits, resamples))[aim]
        change = np.where(usable, scores[aim] - plain[aim], np.nan)
        low, high = find_interval(np.where(usable, drawn - plain_drawn[aim], np.nan), confidence)
        value = np.where(usable, scores[aim], np.nan)
        tables.append(
            pd.DataFrame(
                {
                    "partition": part.name,
                    "attribute": part.attributes,
                    "aim": aim,
                    "threshold": tuned[aim],
                    "value": value,
                    "accuracy": np.where(usable, scores["accuracy"], np.nan),
                    "change": change,
                    "change_low": low,
                    "change_high": high,
                }
            )
        )
        means[aim] = _mean(value)
        means[f"{aim}_change"] = _mean(change)
    return pd.concat(tables), means


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return round(float(defined.mean()), 6) if len(defined) else None
