"""Losses over known labels: a masked label takes no part.

Every loss is a pair of terms, what a logit costs under label 1 and under label 0, and is linear in
the label. Soft labels therefore cost the mixture of both terms, class weights are factors on them,
and mixing two labels' losses is the loss of the mixed label. All terms are made of softplus, so
that neither value nor gradient overflows at any logit.
"""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.common.params import TrainParams

#: Below any count that is not 0, a process's share of one included.
TINY = 1e-6


def compute_loss(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor,
    params: TrainParams,
    factors: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """The loss that `train` names; a scalar in float32, or in float64 if the logits are.

    Training and validation use the same one, label smoothing included, so that they compare. A
    batch mixed of two costs weight * compute_loss(a) + (1 - weight) * compute_loss(b).

    Args:
        logits: (N, A) of any precision.
        labels: (N, A) float in [0, 1].
        mask: (N, A) float, 1 where the label is known.
        params: Names and constants of the loss.
        factors: (2, A) from weigh_classes, on label 0's and label 1's losses.
        known: (A,) known labels of each attribute that the loss is divided by; None = those of
            mask. Of several processes: their mean, so that the mean of the losses is that of all.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if params.label_smoothing:
        labels = labels * (1 - params.label_smoothing) + params.label_smoothing / 2
    if params.loss == "bce" and factors is None:
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    else:
        positive, negative = _find_terms(logits, params)
        if factors is not None:
            positive, negative = factors[1] * positive, factors[0] * negative
        losses = labels * positive + (1 - labels) * negative
    reduce = masked_sum if params.reduction == "sum" else masked_mean
    return reduce(losses, mask, known)


def _find_terms(logits: Tensor, params: TrainParams) -> tuple[Tensor, Tensor]:
    if params.loss == "bce":
        return bce_terms(logits)
    if params.loss == "focal":
        return focal_terms(logits, params.focal_gamma, params.focal_alpha, params.focal_alpha)
    if params.loss == "sigmoid_focal":
        return focal_terms(logits, params.focal_gamma, params.focal_alpha, 1 - params.focal_alpha)
    return asymmetric_terms(
        logits,
        params.asymmetric_gamma_positive,
        params.asymmetric_gamma_negative,
        params.asymmetric_margin,
    )


def bce_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy under label 1 and label 0: -log p and -log(1 - p)."""
    return F.softplus(-logits), F.softplus(logits)


def focal_terms(
    logits: Tensor, gamma: float, alpha_positive: float, alpha_negative: float
) -> tuple[Tensor, Tensor]:
    """Focal loss alpha_t (1 - p_t)^gamma (-log p_t) under both labels (Lin et al., 2017, eq. 5).

    Their alpha_t is alpha for label 1 and 1 - alpha for label 0, which balances the classes.
    kkaryl's is the same number for both, a constant factor that balances nothing.
    """
    positive, negative = bce_terms(logits)
    # 1 - p = exp(-softplus(logit)): no power of 0, whose gradient is infinite for gamma < 1.
    focus, unfocus = torch.exp(-gamma * negative), torch.exp(-gamma * positive)
    return alpha_positive * focus * positive, alpha_negative * unfocus * negative


def asymmetric_terms(
    logits: Tensor, gamma_positive: float, gamma_negative: float, margin: float
) -> tuple[Tensor, Tensor]:
    """Asymmetric loss under both labels (Ridnik et al., 2021, section 2).

    Label 1: (1 - p)^gamma_positive (-log p). Label 0: q^gamma_negative (-log(1 - q)) with
    q = max(p - margin, 0), so that easy negatives cost nothing. Gradients flow through the powers
    too, as in the paper; their sum over a batch is ours over known labels.
    """
    positive, negative = bce_terms(logits)
    log_rest = -negative  # log(1 - q)
    if margin:
        log_rest = torch.logaddexp(log_rest, logits.new_full((), log(margin))).clamp(max=0.0)
    shifted = -torch.expm1(log_rest)
    # A power of 0 has an infinite gradient below 1; so small a probability costs nothing anyway.
    focus = shifted.clamp(min=1e-12) ** gamma_negative
    return torch.exp(-gamma_positive * negative) * positive, focus * -log_rest


def masked_mean(values: Tensor, mask: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of values (N, A) where mask (N, A) is 1; 0 where no label is known."""
    known = mask.sum(0) if known is None else known
    return (values * mask).sum() / known.sum().clamp(min=TINY)


def masked_sum(values: Tensor, mask: Tensor, known: Tensor | None = None) -> Tensor:
    """Sum over attributes of the mean over their known labels; (N, A) each, as kkaryl sums heads.

    An attribute without a known label counts 0.
    """
    known = mask.sum(0) if known is None else known
    return ((values * mask).sum(0) / known.clamp(min=TINY)).sum()


def weigh_classes(labels: Tensor, mask: Tensor, params: TrainParams) -> Tensor | None:
    """Factors for label 0 and label 1 of each attribute, from the labels of training.

    none: None. prevalence: label 1 weighs n_0 / n_1, so that both labels weigh the same in all.
    effective: (1 - beta) / (1 - beta^n) per label, scaled so that both add up to 2, the number of
    classes (Cui et al., 2019, eq. 4). An attribute with one label only is not weighted.

    Args:
        labels: (N, A) in {0, 1}, of the training images.
        mask: (N, A), 1 or True where the label is known.
        params: class_weights and effective_beta.

    Returns:
        (2, A) float32, or None.
    """
    if params.class_weights == "none":
        return None
    known = mask.double()
    n_positive = (labels.double() * known).sum(0)
    counts = torch.stack([known.sum(0) - n_positive, n_positive])
    if params.class_weights == "prevalence":
        weights = torch.stack([torch.ones_like(n_positive), counts[0] / counts[1]])
    else:
        beta = params.effective_beta
        weights = (1 - beta) / -torch.expm1(counts * log(beta))
        weights = 2 * weights / weights.sum(0)
    return torch.where((counts > 0).all(0), weights, 1.0).float()
