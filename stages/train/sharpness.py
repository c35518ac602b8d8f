"""Sharpness-aware minimisation: the gradient is taken uphill of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import get_total_norm


@contextmanager
def moved_uphill(network: nn.Module, rho: float) -> Iterator[None]:
    """The weights stand `rho` up their gradient inside the block, and where they were after it.

    A second forward and backward pass inside leaves the gradient that the optimiser then steps
    along: that of the loss nearby, where it is about the greatest (Foret et al., 2021, equation 2,
    with the 2-norm over all that learns). So flat minima are found, and wrong labels are
    memorised later. Running statistics of norms come back too: they describe the weights
    themselves. Nothing waits for a GPU.

    Args:
        network: The bare network after a backward pass. Its gradients are taken away.
        rho: Length of the move, `train.sam_rho`, above 0.
    """
    learning = [p for p in network.parameters() if p.grad is not None]
    gradients = [p.grad for p in learning if p.grad is not None]
    kept = [*learning, *network.buffers()]
    copies = [tensor.detach().clone() for tensor in kept]
    scale = rho / (get_total_norm(gradients) + 1e-12)
    with torch.no_grad():
        for parameter, gradient in zip(learning, gradients, strict=True):
            parameter.add_(gradient * scale)
            parameter.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(kept, copies, strict=True):
                tensor.copy_(copy)
