"""What speaks for every label: a probe of the picture, then all that is known beside it.

First a probe on features, out of fold. Then a second stage that sees the probe's answers for all
attributes, the image's other labels, the person's other images and the copies, but never the label
itself. Both are fitted twice: the second time towards what labels and evidence together say, so
that flipped labels mislead nobody. (Believing also the other labels only as far as the evidence
does would bring 0.002 of average precision, but through them the label itself would return.)
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.audit.consensus import ask_copies, ask_others, sum_others
from stages.audit.probe import predict_out_of_fold

N_ROUNDS = 2  # a third brought nothing
#: Share of wrong labels that doubts are reckoned with between the rounds. What is reported does
#: not depend on it: combine.py estimates the share.
ASSUMED_WRONG = 0.03
#: Ridges of the two stages are these over the square root of the number of fitted images. Chosen
#: on training images of CelebA, 3,440 and 12,000.
RIDGE, RIDGE_STACKED = 15.0, 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelSet:
    """What is known of P readable pictures.

    x: (P, D) features. labels: (P, A) uint8. known: (P, A) bool. person: (P,) codes. pairs: (M, 2)
    copies. folds: (P,), -1 = not in train.
    """

    x: Tensor
    labels: NDArray[np.uint8]
    known: NDArray[np.bool_]
    person: NDArray[np.int64]
    pairs: NDArray[np.int64]
    folds: NDArray[np.int64]

    @property
    def train(self) -> NDArray[np.bool_]:
        """(P,) bool."""
        return self.folds >= 0


@dataclass(frozen=True)
class Evidence:
    """Logits (P, A) float32 that an attribute is present.

    probe: by the picture alone. stacked: by everything but the label itself. Each image by models
    that were not fitted on it. others: log odds of the person's other images.
    """

    probe: NDArray[np.float32]
    stacked: NDArray[np.float32]
    others: NDArray[np.float32]


def gather_evidence(data: LabelSet, planted: float = 0.0) -> Evidence:
    """Evidence for every label, known or not.

    Args:
        data: Labels and what is known beside them.
        planted: Share of the labels that were flipped on purpose: it adds to ASSUMED_WRONG, so
            that evidence in a copy with planted errors is as sharp as in the original.
    """
    n_train = int(data.train.sum())
    n_folds = int(data.folds.max()) + 1
    root = (n_train * (n_folds - 1) / n_folds) ** 0.5
    n_attributes = data.labels.shape[1]
    given = _fill(data.labels.astype(np.float32), data.known, data.train)
    others = ask_others(given, data.known, data.person, data.train)
    n_others = np.maximum(sum_others(np.ones((len(given), 1), np.float32), data.person), 1)
    votes = ask_copies(data.pairs, given, data.known)
    everything = torch.ones(n_attributes, n_attributes)
    allowed = [everything, everything - torch.eye(n_attributes), *[everything] * 3]
    targets = given
    for round_ in range(N_ROUNDS):
        probe = predict_out_of_fold(
            data.x, targets, data.known, data.folds, RIDGE / root, standardise=False
        )
        theirs = (sum_others(probe, data.person) / n_others).astype(np.float32)
        inputs = [probe, given, others, theirs, votes]
        stacked = predict_out_of_fold(
            torch.from_numpy(np.concatenate(inputs, 1)),
            targets,
            data.known,
            data.folds,
            RIDGE_STACKED / root,
            standardise=True,
            allowed=torch.cat(allowed),
        )
        targets = _believe(stacked, given, data.known, ASSUMED_WRONG + planted, first=round_ == 0)
    return Evidence(probe, stacked, others)


def _fill(
    values: NDArray[np.float32], known: NDArray[np.bool_], train: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Unknown labels get the attribute's share among training images."""
    count = known[train].sum(0)
    share = ((values * known)[train].sum(0) + 0.5) / (count + 1)
    return np.where(known, values, share.astype(np.float32))


def _believe(
    logits: NDArray[np.float32],
    given: NDArray[np.float32],
    known: NDArray[np.bool_],
    wrong: float,
    first: bool,
) -> NDArray[np.float32]:
    """Probability (P, A) that the attribute is truly present, from evidence and label.

    By Bayes with a share `wrong` of the labels, the same both ways. In the first round the logits
    speak of labels as they stand and are brought back to the truth.
    """
    p = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    if first:
        p = (p - wrong) / (1 - 2 * wrong)
    p = np.clip(p, 1e-4, 1 - 1e-4)
    for_one = np.where(given > 0.5, 1 - wrong, wrong)
    posterior = p * for_one / (p * for_one + (1 - p) * (1 - for_one))
    return np.where(known, posterior, given).astype(np.float32)
