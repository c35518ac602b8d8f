"""What is evaluated: the predictions for one partition beside its labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """One evaluated partition of N images and A attributes.

    name: valid, test, or extra for the second set.
    image_ids: (N,). identities: (N,), None where the person is unknown.
    probs: (N, A) float32 in [0, 1]; a probability above the threshold decides for 1.
    labels: (N, A) uint8 in {0, 1}. mask: (N, A) bool, True where the label is known.
    majority: (A,) uint8, the constant answers that the model has to beat.
    """

    name: str
    attributes: Sequence[str]
    image_ids: Sequence[str]
    identities: Sequence[str | None]
    probs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    majority: np.ndarray
