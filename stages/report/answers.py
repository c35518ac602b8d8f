"""What the model answered on one partition beside the labels, and counts at any threshold."""

import base64
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.tables import label_arrays
from stages.report.inputs import Inputs

#: A page carries every probability as long as an attribute has at most so many different ones (6
#: bytes each); beyond that, counts at thresholds this far apart.
MAX_STEPS = 60_000
COARSE = 0.001


@dataclass(frozen=True)
class Answers:
    """Raw probabilities (N, A) float32 beside labels (N, A) bool, valid where known (N, A) bool."""

    partition: str
    image_ids: NDArray[np.object_]
    probs: NDArray[np.float32]
    labels: NDArray[np.bool_]
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """Known labels by answer and truth at one threshold."""

    tp: int
    fp: int
    fn: int
    tn: int

    def score(self) -> dict[str, float | None]:
        """precision, recall, specificity, f1, accuracy and balanced_accuracy; None = undefined."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        recall, specificity = _divide(tp, tp + fn), _divide(tn, tn + fp)
        both = recall is not None and specificity is not None
        return {
            "precision": _divide(tp, tp + fp),
            "recall": recall,
            "specificity": specificity,
            "f1": _divide(2 * tp, 2 * tp + fp + fn),
            "accuracy": _divide(tp + tn, tp + fp + fn + tn),
            "balanced_accuracy": (recall + specificity) / 2 if both else None,  # type: ignore[operator]
        }


@dataclass(frozen=True)
class Ladder:
    """Known labels of one attribute, counted by steps of the threshold.

    steps: (K,) ascending. fn, tn: (K,) positives and negatives with a probability of at most the
    step, which a threshold there answers with no. is_exact: the steps are the probabilities
    themselves, so that every threshold between two steps counts as the lower one does; else counts
    are known at the steps only.
    """

    steps: NDArray[np.float64]
    fn: NDArray[np.int64]
    tn: NDArray[np.int64]
    n_positive: int
    n_negative: int
    is_exact: bool

    def count(self, threshold: float) -> Counts:
        """Counts where a probability above `threshold` is a yes; if inexact, of the step below."""
        place = self._find(threshold)
        fn, tn = (int(self.fn[place]), int(self.tn[place])) if place >= 0 else (0, 0)
        return Counts(self.n_positive - fn, self.n_negative - tn, fn, tn)

    def find_limit(self, threshold: float) -> float:
        """The threshold that counts stand for: itself or, if inexact, the step below."""
        place = self._find(threshold)
        return threshold if self.is_exact or place < 0 else float(self.steps[place])

    def _find(self, threshold: float) -> int:
        return int(np.searchsorted(self.steps, threshold, "right")) - 1

    def trace(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """True and false positives (K + 1,) at the thresholds of all steps, from many to few."""
        tp = self.n_positive - np.concatenate([[0], self.fn])
        fp = self.n_negative - np.concatenate([[0], self.tn])
        return tp, fp

    def encode(self) -> str:
        """Base64 of the steps, then of their increments of positives, then of negatives.

        Steps are float32, or float64 if inexact; an increment is a byte: more than 255 labels at
        one step make several steps of it.
        """
        yes = np.diff(np.concatenate([[0], self.fn]))
        no = np.diff(np.concatenate([[0], self.tn]))
        times = np.maximum(1, -(-np.maximum(yes, no) // 255))
        place = np.repeat(np.arange(len(self.steps)), times)
        rank = np.arange(len(place)) - np.repeat(np.cumsum(times) - times, times)
        parts = [
            np.clip(x[place] - 255 * rank, 0, 255).astype(np.uint8).tobytes() for x in (yes, no)
        ]
        steps = self.steps[place].astype("<f4" if self.is_exact else "<f8")
        return base64.b64encode(steps.tobytes() + b"".join(parts)).decode()


def read_answers(inputs: Inputs, partition: str) -> Answers:
    """Answers on a partition of the data set, with the labels of the source."""
    table = inputs.evaluated.predictions
    table = table[table["partition"] == partition]
    names: list[str] = inputs.trained.model["attributes"]
    rows = inputs.annotations.set_index("image_id").reindex(table["image_id"])
    labels, known = label_arrays(rows, names)
    return Answers(
        partition,
        table["image_id"].to_numpy(object),
        table[names].to_numpy(np.float32),
        labels.astype(bool),
        known,
    )


def build_ladder(probs: NDArray[np.float32], labels: NDArray[np.bool_]) -> Ladder:
    """Count n known labels by probability, exactly unless they are very many."""
    steps, place = np.unique(probs, return_inverse=True)
    fn = np.cumsum(np.bincount(place[labels], minlength=len(steps)))
    tn = np.cumsum(np.bincount(place[~labels], minlength=len(steps)))
    n_positive = int(labels.sum())
    whole = Ladder(steps.astype(np.float64), fn, tn, n_positive, len(labels) - n_positive, True)
    return whole if len(steps) <= MAX_STEPS else thin(whole)


def thin(ladder: Ladder) -> Ladder:
    """The counts at multiples of COARSE only."""
    n = round(1 / COARSE)
    steps = np.arange(n + 1) / n
    counts = [ladder.count(step) for step in steps]
    fn, tn = (np.array([getattr(c, name) for c in counts], np.int64) for name in ("fn", "tn"))
    return Ladder(steps, fn, tn, ladder.n_positive, ladder.n_negative, False)


def read_ladder(curve: pd.DataFrame) -> Ladder:
    """The counts of curves.csv, for a set of which the report holds no labels.

    Args:
        curve: threshold, tp, fp, fn, tn of one attribute.
    """
    curve = curve.sort_values("threshold")
    tp, fp, fn, tn = (curve[name].to_numpy(np.int64) for name in ("tp", "fp", "fn", "tn"))
    n_positive = int(tp[0] + fn[0]) if len(curve) else 0
    n_negative = int(fp[0] + tn[0]) if len(curve) else 0
    return Ladder(curve["threshold"].to_numpy(float), fn, tn, n_positive, n_negative, False)


def _divide(a: int, b: int) -> float | None:
    return a / b if b else None
