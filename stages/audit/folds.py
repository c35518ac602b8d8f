"""Folds of the training images: no person and no group of copies in two of them."""

import numpy as np
from numpy.typing import NDArray

from stages.audit.copies import Copies
from stages.common.stratify import group_rows, stratify


def make_folds(
    identity: NDArray[np.object_],
    copies: Copies,
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    rows: NDArray[np.int64],
    n_folds: int,
    seed: int,
) -> NDArray[np.int64]:
    """Fold of every one of N images; -1 for those that are not among `rows`.

    Folds are numbered from 0. Where few people or large groups leave some empty there are fewer,
    in the worst case one.

    Args:
        identity: (N,) name of the person or None.
        copies: Copies among the N images.
        labels: (N, A) uint8 in {0, 1}.
        known: (N, A) bool.
        rows: (M,) training images.
        n_folds: Number of folds of about the same size and the same shares of every attribute.
        seed: Of what stratify leaves to chance.
    """
    keys = [value if isinstance(value, str) else None for value in identity]
    pairs = np.array([(pair.first, pair.second) for pair in copies.pairs], np.int64).reshape(-1, 2)
    groups = group_rows(keys, pairs=pairs)
    sizes = [len(rows) // n_folds + (k < len(rows) % n_folds) for k in range(n_folds)]
    folds = np.full(len(identity), -1, np.int64)
    parts = stratify(labels[rows], known[rows], groups[rows], sizes, seed)
    folds[rows] = np.unique(parts, return_inverse=True)[1]
    return folds
