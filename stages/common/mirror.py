"""Answers that do not depend on which way a face looks."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Mirrored(nn.Module):
    """The mean of a network's logits of a picture and of its mirror image.

    In training mode it is the network alone: what it learns from is flipped by chance already.

    Args:
        network: (N, 3, H, W) pictures in, (N, A) logits out; its weights are its own still.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (N, A)."""
        logits: Tensor = self.network(pictures)
        if self.training:
            return logits
        return (logits + self.network(pictures.flip(3))) / 2


def mirrored(network: nn.Module, train: Mapping[str, Any]) -> nn.Module:
    """A network as a `train` section wants its answers: Mirrored under `mirror`, else itself."""
    return Mirrored(network) if train.get("mirror", False) else network


def bare(network: nn.Module) -> nn.Module:
    """A network without Mirrored around it."""
    return network.network if isinstance(network, Mirrored) else network
