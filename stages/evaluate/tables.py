"""From probabilities to the tables of reports/evaluate."""

from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import (
    ERROR_NAMES,
    SCORE_NAMES,
    calibration_error,
    count_confusion,
    majority_accuracy,
    mean_defined,
    score_confusion,
    score_probabilities,
    score_ranking,
)

#: Thresholds of curves.csv.
THRESHOLDS = np.linspace(0.0, 1.0, 41)


def score_attributes(
    probs: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    majority: np.ndarray,
    attributes: list[str],
    threshold: float,
) -> pd.DataFrame:
    """One row per attribute; NaN where a value is undefined.

    Args:
        probs: (N, A) in [0, 1].
        labels: (N, A) in {0, 1}.
        mask: (N, A) bool, True where the label is known.
        majority: (A,) majority class of the training partition.
        attributes: Names.
        threshold: A probability above this decides for 1.
    """
    scores = score_confusion(count_confusion(probs > threshold, labels, mask))
    scores |= score_ranking(probs, labels, mask) | score_probabilities(probs, labels, mask)
    n_known, n_positive = mask.sum(0), (labels.astype(bool) & mask).sum(0)
    base = majority_accuracy(majority, labels, mask)
    columns: dict[str, Any] = {
        "attribute": attributes,
        "n_known": n_known,
        "n_positive": n_positive,
        "prevalence": np.divide(
            n_positive, n_known, out=np.full(len(attributes), np.nan), where=n_known > 0
        ),
        "majority_class": majority,
        "majority_accuracy": base,
        "accuracy": scores["accuracy"],
        "gain": scores["accuracy"] - base,
    }
    return pd.DataFrame(columns | {name: scores[name] for name in SCORE_NAMES})


def summarise(
    table: pd.DataFrame, probs: np.ndarray, labels: np.ndarray, mask: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Means over attributes (macro) and values over all labels (micro); null = undefined."""
    known = mask.ravel()
    flat_probs, flat_labels = probs.ravel()[known, None], labels.ravel()[known, None]
    everything = np.ones_like(flat_labels, dtype=bool)
    micro = score_confusion(count_confusion(flat_probs > threshold, flat_labels, everything))
    micro |= score_ranking(flat_probs, flat_labels, everything)
    micro |= score_probabilities(flat_probs, flat_labels, everything)
    means = {
        name: mean_defined(table[name].to_numpy())
        for name in (*SCORE_NAMES, "majority_accuracy", "gain")
    }
    values = {
        "accuracy": means["accuracy"],
        "majority_accuracy": means["majority_accuracy"],
        "gain": means["gain"],
        **{name: means[name] for name in SCORE_NAMES[1:]},
        **{f"micro_{name}": float(micro[name][0]) for name in SCORE_NAMES[2:]},
    }
    rounded = {k: None if v != v else round(v, 6) for k, v in values.items()}
    above = int((table["gain"] > 0).sum())
    return {"n_images": len(probs), **rounded, "n_attributes_above_majority": above}


def score_calibration(
    probs: np.ndarray,
    scaled: np.ndarray | None,
    labels: np.ndarray,
    mask: np.ndarray,
    n_bins: int,
) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """ERROR_NAMES per attribute, as columns, then their means and those of all labels (micro).

    Args:
        probs: (N, A) in [0, 1], raw.
        scaled: (N, A) calibrated, an attribute without a temperature NaN throughout; None where
            there are no temperatures at all.
        labels: (N, A) in {0, 1}.
        mask: (N, A) bool, True where the label is known.
        n_bins: Of equal width.
    """
    columns: dict[str, np.ndarray] = {}
    values: dict[str, float] = {}
    for name, given in zip(ERROR_NAMES, (probs, scaled), strict=True):
        usable = np.zeros(probs.shape[1], bool) if given is None else ~np.isnan(given).any(0)
        columns[name] = np.full(probs.shape[1], np.nan)
        micro = np.full(1, np.nan)
        if given is not None and usable.any():
            mine, truth, known = given[:, usable], labels[:, usable], mask[:, usable]
            columns[name][usable] = calibration_error(mine, truth, known, n_bins)
            one = known.reshape(-1, 1)
            micro = calibration_error(mine.reshape(-1, 1), truth.reshape(-1, 1), one, n_bins)
        values |= {name: mean_defined(columns[name]), f"micro_{name}": float(micro[0])}
    return pd.DataFrame(columns), {k: None if v != v else round(v, 6) for k, v in values.items()}


def trace_curves(
    probs: np.ndarray, labels: np.ndarray, mask: np.ndarray, attributes: list[str]
) -> pd.DataFrame:
    """Confusion counts per attribute at THRESHOLDS, for precision, recall and ROC curves."""
    rows = []
    for threshold in THRESHOLDS:
        c = count_confusion(probs > threshold, labels, mask)
        columns = {"attribute": attributes, "threshold": round(float(threshold), 3)}
        rows.append(pd.DataFrame({**columns, "tp": c.tp, "fp": c.fp, "fn": c.fn, "tn": c.tn}))
    curves = pd.concat(rows, ignore_index=True)
    order = {name: index for index, name in enumerate(attributes)}
    return curves.sort_values(
        ["attribute", "threshold"], key=lambda s: s.map(order) if s.name == "attribute" else s
    )
