"""Multi-label metrics from probabilities: vectors of shape (A,), NaN where undefined."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


@dataclass(frozen=True)
class Confusion:
    """Counts per attribute, each (A,) int64, over known labels only."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    @property
    def n(self) -> np.ndarray:
        """Known labels per attribute."""
        return self.tp + self.fp + self.fn + self.tn

    def pooled(self) -> "Confusion":
        """Counts over all attributes together, each (1,): the basis of micro averages."""
        return Confusion(*(np.atleast_1d(x.sum()) for x in (self.tp, self.fp, self.fn, self.tn)))


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
    result = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def score_confusion(confusion: Confusion) -> dict[str, np.ndarray]:
    """accuracy, balanced_accuracy, precision, recall and f1, each (A,) float64.

    precision is undefined without positive decisions, recall without positive labels,
    balanced_accuracy without both classes, f1 without any positive decision or label.
    """
    c = confusion
    recall, specificity = divide(c.tp, c.tp + c.fn), divide(c.tn, c.tn + c.fp)
    return {
        "accuracy": divide(c.tp + c.tn, c.n),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": divide(c.tp, c.tp + c.fp),
        "recall": recall,
        "f1": divide(2 * c.tp, 2 * c.tp + c.fp + c.fn),
    }


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
