"""Differences of two runs on the same images and labels, with intervals from the same people.

Both runs answer the same resampled people at once (a paired, identity-clustered bootstrap): what
makes a picture hard for both cancels out, so that the interval of a difference is far narrower than
those of the two figures. It tells what other people's pictures would have given with these weights,
not what another training seed would have.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.common.metrics import divide, mean_defined
from stages.common.resample import Resamples, find_interval
from stages.compare.answers import Answers


@dataclass(frozen=True)
class Interval:
    """A value per attribute and their mean, each with its interval; NaN where undefined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: float
    mean_low: float
    mean_high: float


@dataclass(frozen=True)
class Difference:
    """Accuracy of run a less that of run b.

    attributes: The A common ones, in a's order. n_images: common to both. n_identities: people
    among them, a picture without one counted as a person. n_labels: (A,) known ones.
    accuracy_a, accuracy_b: (A,). interval: of the difference.
    """

    attributes: tuple[str, ...]
    n_images: int
    n_identities: int
    n_labels: np.ndarray
    accuracy_a: np.ndarray
    accuracy_b: np.ndarray
    interval: Interval


class Drawn:
    """Resampled accuracies; runs that share images, labels and people share the draws."""

    def __init__(self, n_resamples: int, confidence: float, seed: Sequence[int]) -> None:
        """Remember how to draw.

        Args:
            n_resamples: Resamples of people; 0 makes every interval undefined.
            confidence: Of the intervals, such as 0.95.
            seed: Of the draws.
        """
        self.n_resamples, self.confidence, self.seed = n_resamples, confidence, seed
        self._resamples: dict[bytes, Resamples] = {}
        self._sums: dict[bytes, np.ndarray] = {}

    def score(self, answers: Answers, majority: np.ndarray) -> tuple[Interval, Interval, Interval]:
        """Accuracy, that of the majority class (A,), and the gain over it."""
        known = answers.mask
        constant = (answers.labels == majority) & known
        drawn = self._draw(answers.identities, answers.right, known)
        drawn_constant = self._draw(answers.identities, constant, known)
        accuracy, base = _share(answers.right, known), _share(constant, known)
        return (
            self._summarise(accuracy, drawn),
            self._summarise(base, drawn_constant),
            self._summarise(accuracy - base, drawn - drawn_constant),
        )

    def compare(self, a: Answers, b: Answers) -> Difference | None:
        """Accuracy of `a` less that of `b` where both know the label; None without common ones."""
        attributes = tuple(name for name in a.attributes if name in b.attributes)
        _, rows_a, rows_b = np.intersect1d(
            a.image_ids, b.image_ids, assume_unique=True, return_indices=True
        )
        if not attributes or not len(rows_a):
            return None
        at_a = np.ix_(rows_a, np.array([a.attributes.index(name) for name in attributes]))
        at_b = np.ix_(rows_b, np.array([b.attributes.index(name) for name in attributes]))
        same = a.labels[at_a] == b.labels[at_b]
        known = a.mask[at_a] & b.mask[at_b] & same
        right_a, right_b = a.right[at_a] & known, b.right[at_b] & known
        people = a.identities[rows_a]
        accuracy_a, accuracy_b = _share(right_a, known), _share(right_b, known)
        replicates = self._draw(people, right_a, known) - self._draw(people, right_b, known)
        return Difference(
            attributes,
            len(rows_a),
            self._resample(people).n_clusters,
            known.sum(0),
            accuracy_a,
            accuracy_b,
            self._summarise(accuracy_a - accuracy_b, replicates),
        )

    def _resample(self, people: Sequence[str | None] | np.ndarray) -> Resamples:
        digest = hashlib.sha256("\0".join("" if p is None else f"+{p}" for p in people).encode())
        key = digest.digest()
        if key not in self._resamples:
            self._resamples[key] = Resamples(list(people), self.n_resamples, self.seed)
        return self._resamples[key]

    def _draw(self, people: np.ndarray, right: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Shares (R, A) of known labels that are right, per resample; NaN without any."""
        resamples = self._resample(people)
        return divide(self._sum(resamples, right), self._sum(resamples, known))

    def _sum(self, resamples: Resamples, values: np.ndarray) -> np.ndarray:
        place = str((id(resamples), values.shape)).encode()
        key = hashlib.sha256(place + np.packbits(values).tobytes()).digest()
        if key not in self._sums:
            self._sums[key] = resamples.sum_up(values)
        return self._sums[key]

    def _summarise(self, values: np.ndarray, replicates: np.ndarray) -> Interval:
        low, high = find_interval(replicates, self.confidence)
        undefined = np.isnan(values)
        drawn = replicates[:, ~undefined]
        defined = ~np.isnan(drawn)
        means = divide(np.where(defined, drawn, 0.0).sum(1), defined.sum(1))
        mean_low, mean_high = find_interval(means, self.confidence)
        return Interval(
            values,
            np.where(undefined, np.nan, low),
            np.where(undefined, np.nan, high),
            mean_defined(values),
            float(mean_low),
            float(mean_high),
        )


def excludes_zero(low: float, high: float) -> bool | None:
    """Whether an interval lies on one side of 0; None where it is undefined."""
    if np.isnan(low) or np.isnan(high):
        return None
    return bool(low > 0 or high < 0)


def _share(right: np.ndarray, known: np.ndarray) -> np.ndarray:
    return divide(right.sum(0), known.sum(0))
