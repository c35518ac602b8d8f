"""Multi-label metrics from probabilities: vectors of shape (A,), NaN where undefined."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

#: Scores of an attribute, in the order of tables.
SCORE_NAMES = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "mcc",
    "roc_auc",
    "average_precision",
    "brier",
)
#: How far probabilities are off, raw and after temperature scaling.
ERROR_NAMES = ("calibration_error", "calibration_error_scaled")


@dataclass(frozen=True)
class Confusion:
    """Counts per attribute over known labels only: each (A,) int64, or (R, A) of R resamples."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    @property
    def n(self) -> np.ndarray:
        """Known labels per attribute."""
        return self.tp + self.fp + self.fn + self.tn

    def pooled(self) -> "Confusion":
        """Counts over all attributes together, (1,) or (R, 1): the basis of micro averages."""
        counts = (self.tp, self.fp, self.fn, self.tn)
        return Confusion(*(x.sum(-1, keepdims=True) for x in counts))


def count_confusion(positive: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> Confusion:
    """Confusion of decisions (N, A) bool against labels in {0, 1} where mask (N, A) is True."""
    positive, truth = positive.astype(bool), labels.astype(bool)
    return Confusion(
        tp=(positive & truth & mask).sum(0),
        fp=(positive & ~truth & mask).sum(0),
        fn=(~positive & truth & mask).sum(0),
        tn=(~positive & ~truth & mask).sum(0),
    )


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient as float64, NaN where the denominator is 0."""
    result = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def score_confusion(confusion: Confusion) -> dict[str, np.ndarray]:
    """Scores from counts, each of the counts' shape in float64; counts may be weighted.

    Returns:
        accuracy; precision (undefined without positive decisions); recall (without positive
        labels); specificity (without negative labels); balanced_accuracy, the mean of these two;
        f1 (without any positive decision or label); mcc, Matthews' correlation of decision and
        label (where either is constant).
    """
    tp, fp, fn, tn = (np.asarray(x, np.float64) for x in (confusion.tp, confusion.fp,
                                                          confusion.fn, confusion.tn))  # fmt: skip
    recall, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
    spread = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return {
        "accuracy": divide(tp + tn, tp + fp + fn + tn),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": divide(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": divide(2 * tp, 2 * tp + fp + fn),
        "mcc": divide(tp * tn - fp * fn, spread),
    }


def score_probabilities(
    probs: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Brier (A,): mean squared difference of probability and label; NaN without known labels."""
    squares = np.where(mask, (probs.astype(np.float64) - labels) ** 2, 0.0)
    return {"brier": divide(squares.sum(0), mask.sum(0))}


def bin_probabilities(probs: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of equal width, 0 to n_bins - 1, of each probability; 1.0 is in the last one."""
    return np.minimum((probs.astype(np.float64) * n_bins).astype(np.int64), n_bins - 1)


def calibration_error(
    probs: np.ndarray, labels: np.ndarray, mask: np.ndarray, n_bins: int
) -> np.ndarray:
    """Expected calibration error (A,), NaN without known labels.

    The mean over labels of |mean probability - share of positives| in the label's bin, with bins of
    equal width (Naeini et al., AAAI 2015, for the positive class). Of few labels it is too large:
    chance alone moves the shares.
    """
    n_attributes = probs.shape[1]
    cells = bin_probabilities(probs, n_bins) + n_bins * np.arange(n_attributes)
    surplus = np.where(mask, probs.astype(np.float64) - labels, 0.0)
    sums = np.bincount(cells.ravel(), surplus.ravel(), n_attributes * n_bins)
    return divide(np.abs(sums.reshape(n_attributes, n_bins)).sum(1), mask.sum(0))


def score_ranking(probs: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """roc_auc and average_precision per attribute (scikit-learn), NaN without both classes."""
    n_attributes = probs.shape[1]
    scores = {name: np.full(n_attributes, np.nan) for name in ("roc_auc", "average_precision")}
    for index in range(n_attributes):
        known = mask[:, index]
        truth, prob = labels[known, index], probs[known, index]
        if truth.size and truth.min() != truth.max():
            scores["roc_auc"][index] = roc_auc_score(truth, prob)
            scores["average_precision"][index] = average_precision_score(truth, prob)
    return scores


def majority_class(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The more frequent class (A,) in {0, 1} of known labels; 0 on a tie or without labels."""
    return (2 * (labels.astype(bool) & mask).sum(0) > mask.sum(0)).astype(np.uint8)


def majority_accuracy(majority: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Accuracy (A,) of always answering `majority` (A,)."""
    return divide(((labels == majority) & mask).sum(0), mask.sum(0))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are defined, NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
