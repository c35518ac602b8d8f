"""How far a shift of prevalence from valid to test explains the loss of accuracy between them.

Were faces with and without an attribute as hard in test as in valid, and only their shares other
(label shift), test's accuracy would be valid's with its positives and negatives weighted to test's
prevalence: p * recall + (1 - p) * specificity, with recall and specificity of valid and p of test.

    loss      = accuracy(valid) - accuracy(test)
    explained = accuracy(valid) - accuracy(valid, weighted to test's prevalence)
    rest      = loss - explained: other pictures, choices fitted to valid, chance

Each attribute is weighted by its own label only. People of valid and test are drawn independently.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import Confusion, divide, mean_defined
from stages.common.resample import find_interval

TERMS = ("prevalence_change", "loss", "explained", "rest")


@dataclass(frozen=True)
class Shift:
    """A row per attribute, and the mean over attributes with its interval; null = undefined."""

    table: pd.DataFrame
    summary: dict[str, Any]


def split_loss(valid: Confusion, test: Confusion) -> dict[str, np.ndarray]:
    """The terms from counts (A,) or (R, A); NaN where valid lacks a class that test has.

    Returns:
        prevalence_valid, prevalence_test, accuracy_valid, accuracy_test, accuracy_reweighted, and
        TERMS.
    """
    p_valid, p_test = (divide(c.tp + c.fn, c.n) for c in (valid, test))
    accuracy_valid, accuracy_test = (divide(c.tp + c.tn, c.n) for c in (valid, test))
    recall, specificity = (
        divide(valid.tp, valid.tp + valid.fn),
        divide(valid.tn, valid.tn + valid.fp),
    )
    # A class that test lacks needs no accuracy of valid.
    positives = np.where(p_test == 0, 0.0, p_test * recall)
    negatives = np.where(p_test == 1, 0.0, (1 - p_test) * specificity)
    reweighted = positives + negatives
    return {
        "prevalence_valid": p_valid,
        "prevalence_test": p_test,
        "prevalence_change": p_test - p_valid,
        "accuracy_valid": accuracy_valid,
        "accuracy_test": accuracy_test,
        "accuracy_reweighted": reweighted,
        "loss": accuracy_valid - accuracy_test,
        "explained": accuracy_valid - reweighted,
        "rest": reweighted - accuracy_test,
    }


def explain_loss(
    attributes: list[str],
    valid: Confusion,
    test: Confusion,
    valid_drawn: Confusion,
    test_drawn: Confusion,
    confidence: float,
) -> Shift:
    """Split each attribute's loss and the mean loss.

    Args:
        attributes: Names.
        valid: Counts (A,) on valid.
        test: Counts (A,) on test.
        valid_drawn: Counts (R, A) of valid's resamples.
        test_drawn: Counts (R, A) of test's resamples, drawn independently.
        confidence: Of the intervals.

    Returns:
        The table has the columns of split_loss, TERMS each with _low and _high. The summary has the
        means of loss, explained and rest with their intervals, over the attributes where all three
        are defined, and share_explained, explained / loss of the means: null unless the loss is
        clear, that is its interval lies on one side of 0.
    """
    terms, drawn = split_loss(valid, test), split_loss(valid_drawn, test_drawn)
    columns: dict[str, Any] = {"attribute": attributes}
    for name, values in terms.items():
        columns[name] = values
        if name in TERMS:
            low, high = find_interval(drawn[name], confidence)
            undefined = np.isnan(values)
            columns[f"{name}_low"] = np.where(undefined, np.nan, low)
            columns[f"{name}_high"] = np.where(undefined, np.nan, high)
    whole = ~np.isnan(terms["rest"])
    summary: dict[str, Any] = {"n_attributes": int(whole.sum())}
    for name in TERMS[1:]:
        replicates = drawn[name][:, whole]
        defined = ~np.isnan(replicates)
        means = divide(np.where(defined, replicates, 0).sum(1), defined.sum(1))
        low, high = find_interval(means, confidence)
        summary |= {
            name: _round(mean_defined(terms[name][whole])),
            f"{name}_low": _round(float(low)),
            f"{name}_high": _round(float(high)),
        }
    low_end, high_end = summary["loss_low"], summary["loss_high"]
    is_clear = low_end is not None and (low_end > 0 or high_end < 0)
    summary["share_explained"] = (
        round(summary["explained"] / summary["loss"], 4) if is_clear and summary["loss"] else None
    )
    return Shift(pd.DataFrame(columns), summary)


def _round(value: float) -> float | None:
    return None if value != value else round(value, 6)
