"""Losses over known labels: a masked label takes no part."""

import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (N, A) where mask (N, A) is 1; 0 where no label is known."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def bce(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy, mean over known labels; logits, labels, mask: (N, A) float."""
    return masked_mean(F.binary_cross_entropy_with_logits(logits, labels, reduction="none"), mask)


def focal(logits: Tensor, labels: Tensor, mask: Tensor, gamma: float, alpha: float) -> Tensor:
    """Focal loss alpha * (1 - p_t)^gamma * BCE, mean over known labels (Lin et al., 2017, eq. 4).

    alpha scales both classes alike, so it is a constant factor and balances nothing.
    """
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    probs = logits.sigmoid()
    p_t = probs * labels + (1 - probs) * (1 - labels)
    return masked_mean(alpha * (1 - p_t) ** gamma * loss, mask)
