"""Images unlike the others of their identity.

Features tell people apart badly, so they are turned to it: along axes on which the images of a
person vary little compared with all others. An image is compared with the mean of its person's
other images and with the means of strangers; what a wrong identity looks like, the comparison with
strangers shows.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from stages.audit.combine import fit_combiner

N_DIMENSIONS = 256
N_STRANGERS = 20
MIN_OTHERS = 2  # images of the person beside the image itself


def score_identities(
    matrix: NDArray[np.float16],
    logits: NDArray[np.float32] | None,
    person: NDArray[np.int64],
    folds: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float32] | None:
    """Probability (P,) that an image shows somebody else, NaN with fewer than MIN_OTHERS others.

    None where fewer than 50 training images have that many, or too few people to compare with.

    Args:
        matrix: (P, D) features, main axes first.
        logits: (P, A) what a probe says of attributes, or None.
        person: (P,) codes.
        folds: (P,) folds, none divides a person; -1 = not in train. Axes are learned on the other
            folds of train.
        seed: Of the choice of strangers.
    """
    side = 2 * person + (folds >= 0)  # train and the rest are compared each within itself
    n_others = np.bincount(side)[side] - 1
    usable = n_others >= MIN_OTHERS
    if int((usable & (folds >= 0)).sum()) < 50:
        return None
    parts = [torch.from_numpy(matrix[:, :N_DIMENSIONS].astype(np.float32))]
    if logits is not None:
        parts.append(torch.from_numpy(np.clip(logits, -8, 8)))
    x = torch.cat([(part - part.mean(0)) / part.std(0).clamp(min=1e-3) for part in parts], 1)
    own = np.full(len(x), np.nan, np.float32)
    other = np.full(len(x), np.nan, np.float32)
    rng = np.random.default_rng([seed, 3])
    for fold in range(-1, int(folds.max()) + 1):
        here = np.flatnonzero((folds == fold) & usable)
        fitted = np.flatnonzero((folds >= 0) & (folds != fold) & usable)
        if not len(here) or not len(fitted):
            continue
        turned = _turn(x, person, fitted, here)
        own[here], other[here] = _compare(turned, person[here], rng)
    seen = (folds >= 0) & ~np.isnan(own) & ~np.isnan(other)
    if not seen.any():
        return None
    doubt = np.concatenate([own[seen], other[seen]])[:, None]
    planted = (np.arange(len(doubt)) >= seen.sum())[:, None]
    nothing = np.zeros(doubt.shape, np.float32)
    combiner = fit_combiner(doubt, nothing, planted, np.ones(doubt.shape, bool), 0.5, seed)
    judged = combiner.judge(np.nan_to_num(own)[:, None], np.zeros((len(own), 1), np.float32))[:, 0]
    return np.where(np.isnan(own), np.float32(np.nan), judged)


def _turn(
    x: torch.Tensor, person: NDArray[np.int64], fitted: NDArray[np.int64], here: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Rows `here` after whitening the differences within people of `fitted` (half shrunk)."""
    codes = np.unique(person[fitted], return_inverse=True)[1]
    values = x[torch.from_numpy(fitted)]
    index = torch.from_numpy(codes)
    n = int(codes.max()) + 1
    total = torch.zeros(n, x.shape[1]).index_add_(0, index, values)
    count = torch.bincount(index, minlength=n).float()[:, None]
    within = values - (total / count)[index]
    covariance = (within.T @ within).double() / max(len(fitted) - n, 1)
    scale = covariance.diagonal().mean()
    covariance = 0.8 * covariance + 0.2 * scale * torch.eye(len(covariance), dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    rows = x[torch.from_numpy(here)] - values.mean(0)
    turned = torch.linalg.solve_triangular(factor.float(), rows.T, upper=False).T
    return torch.nn.functional.normalize(turned, dim=1).double().numpy()


def _compare(
    x: NDArray[np.float64], person: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How strange each image is to its person's others, and to a stranger's images.

    Both are minus the cosine to the mean, in standard deviations of the cosines to the means of
    N_STRANGERS strangers.
    """
    codes = np.unique(person, return_inverse=True)[1]
    n = int(codes.max()) + 1
    total = np.zeros((n, x.shape[1]))
    np.add.at(total, codes, x)
    unit = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    rest = total[codes] - x
    mine = (rest * x).sum(1) / np.maximum(np.linalg.norm(rest, axis=1), 1e-9)
    if n < 3:
        return np.full(len(x), np.nan, np.float32), np.full(len(x), np.nan, np.float32)
    steps = rng.integers(1, n, (len(x), N_STRANGERS + 1))
    strangers = (codes[:, None] + steps) % n
    cosine = np.stack([(unit[strangers[:, k]] * x).sum(1) for k in range(N_STRANGERS + 1)], 1)
    mean, std = cosine[:, 1:].mean(1), cosine[:, 1:].std(1) + 1e-3
    scale = 2.0  # to the size of log odds
    return (
        (-scale * (mine - mean) / std).astype(np.float32),
        (-scale * (cosine[:, 0] - mean) / std).astype(np.float32),
    )
