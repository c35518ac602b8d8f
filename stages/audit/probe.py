"""Logistic regressions of all attributes at once, ridge-regularised, in torch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 80


@dataclass(frozen=True)
class Probe:
    """Logits = (x - mean) * scale @ weight + bias; mean, scale (D,), weight (D, A), bias (A,)."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def predict(self, x: Tensor) -> Tensor:
        """Logits (N, A) float32 of inputs (N, D)."""
        return ((x.float() - self.mean) * self.scale) @ self.weight + self.bias


def fit_probe(
    x: Tensor,
    targets: Tensor,
    known: Tensor,
    ridge: float,
    standardise: bool,
    allowed: Tensor | None = None,
) -> Probe:
    """Minimise mean binary cross-entropy + ridge / 2 * sum of squared weights, by L-BFGS.

    Args:
        x: (N, D) inputs, N at least 1.
        targets: (N, A) float32 in [0, 1]; soft targets are fine.
        known: (N, A) float32 weights, 0 where the label is unknown.
        ridge: Strength; the bias is free.
        standardise: Whether inputs get mean 0 and variance 1 first.
        allowed: (D, A) float32 in {0, 1}: which inputs an attribute may use; None = all.
    """
    x = x.float()
    mean, scale = x.mean(0), torch.ones(x.shape[1])
    if standardise:
        std = x.std(0, correction=0)
        scale = torch.where(std > 1e-4, 1 / std.clamp(min=1e-4), torch.zeros(()))
    x = (x - mean).mul_(scale)
    n_known = known.sum(0).clamp(min=1)
    share = ((targets * known).sum(0) + 0.5) / (n_known + 1)
    weight = torch.zeros(x.shape[1], targets.shape[1], requires_grad=True)
    bias = torch.logit(share).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_STEPS,
        history_size=10,
        tolerance_grad=1e-6,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def used() -> Tensor:
        return weight if allowed is None else weight * allowed

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = x @ used() + bias
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        total = (loss * known / n_known).sum() + ridge / 2 * used().square().sum()
        total.backward()
        return total

    optimizer.step(closure)  # type: ignore[arg-type, no-untyped-call]
    return Probe(mean, scale, used().detach(), bias.detach())


def predict_out_of_fold(
    x: Tensor,
    targets: NDArray[np.float32],
    known: NDArray[np.bool_],
    folds: NDArray[np.int64],
    ridge: float,
    standardise: bool,
    allowed: Tensor | None = None,
) -> NDArray[np.float32]:
    """Logits (N, A) of every row by probes that never saw its fold.

    Args:
        x: (N, D) inputs.
        targets: (N, A) float32 in [0, 1].
        known: (N, A) bool.
        folds: (N,) fold of training rows; -1 = no training row, which gets the mean logit of all
            probes.
        ridge: See fit_probe, as the others.
        standardise: See fit_probe.
        allowed: See fit_probe.
    """
    y, mask = torch.from_numpy(targets), torch.from_numpy(known.astype(np.float32))
    logits = torch.zeros(y.shape)
    n_folds = int(folds.max()) + 1
    outside = torch.from_numpy(np.flatnonzero(folds < 0))
    for fold in range(n_folds):
        inside = torch.from_numpy(np.flatnonzero(folds == fold))
        fitted = torch.from_numpy(np.flatnonzero((folds >= 0) & (folds != fold)))
        probe = fit_probe(x[fitted], y[fitted], mask[fitted], ridge, standardise, allowed)
        for rows, share in ((inside, 1.0), (outside, 1 / n_folds)):
            for part in rows.split(8192):
                logits[part] += share * probe.predict(x[part])
    return logits.numpy()
