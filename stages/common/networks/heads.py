"""What turns a network's outputs into logits: one linear layer, or hidden layers per attribute."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from stages.common.errors import FacetError


@dataclass(frozen=True)
class Head:
    """Parameters of a head.

    Attributes:
        kind: linear (the network's own last layer), separate (a hidden layer per attribute), or
            trunk (a shared hidden layer before those).
        source: What separate and trunk read: the last layer's inputs (features), or the outputs of
            the ImageNet weights, which are kept (classes).
        width: Hidden units per attribute.
        dropout: Probability, after each hidden layer.
        trunk_width: Units of the shared layer.
    """

    kind: Literal["linear", "separate", "trunk"] = "linear"
    source: Literal["features", "classes"] = "features"
    width: int = 1
    dropout: float = 0.0
    trunk_width: int = 1


class SeparateHeads(nn.Module):
    """A head of its own per attribute, as kkaryl's, computed for all attributes at once.

    Each is [Linear F -> W, BatchNorm1d, Dropout, ReLU, Linear W -> 2]. A softmax over its two
    outputs (z0, z1) gives the probability sigmoid(z1 - z0), and cross-entropy or focal loss on the
    one equal those on the other: the difference is the logit. As all heads read the same inputs,
    their first layers are one matrix product and their norms one norm; what is left is a dot
    product per attribute.

    Args:
        n_inputs: F.
        n_attributes: Number of logits.
        width: W.
        dropout: Probability.
    """

    def __init__(self, n_inputs: int, n_attributes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.shape = (n_attributes, width)
        self.hidden = nn.Linear(n_inputs, n_attributes * width)
        self.norm = nn.BatchNorm1d(n_attributes * width)
        self.dropout = nn.Dropout(dropout)
        self.relu = nn.ReLU(inplace=True)
        # The start of nn.Linear(width, 2); the bias is flat, so that it is seen to be a bias.
        limit = width**-0.5
        self.weight = nn.Parameter(torch.empty(n_attributes, 2, width).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.empty(n_attributes * 2).uniform_(-limit, limit))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, A) of (N, F)."""
        x = self.relu(self.dropout(self.norm(self.hidden(x)))).unflatten(1, self.shape)
        weight = self.weight[:, 1] - self.weight[:, 0]
        bias = self.bias.view(-1, 2)
        return torch.einsum("naw,aw->na", x, weight) + (bias[:, 1] - bias[:, 0])


class TrunkHeads(nn.Sequential):
    """A hidden layer that all attributes share, then a head of its own per attribute."""

    def __init__(self, n_inputs: int, n_attributes: int, head: Head) -> None:
        super().__init__(
            OrderedDict(
                shared=nn.Linear(n_inputs, head.trunk_width),
                norm=nn.BatchNorm1d(head.trunk_width),
                dropout=nn.Dropout(head.dropout),
                relu=nn.ReLU(inplace=True),
                heads=SeparateHeads(head.trunk_width, n_attributes, head.width, head.dropout),
            )
        )


class ClassHeads(nn.Module):
    """A network with its ImageNet outputs kept, and a head that reads them."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, A) of (N, 3, H, W)."""
        logits: Tensor = self.head(self.body(x))
        return logits


def build_head(head: Head, n_inputs: int, n_attributes: int) -> nn.Module:
    """A head from (N, n_inputs) to (N, n_attributes)."""
    if head.kind == "linear":
        return nn.Linear(n_inputs, n_attributes)
    if head.kind == "separate":
        return SeparateHeads(n_inputs, n_attributes, head.width, head.dropout)
    return TrunkHeads(n_inputs, n_attributes, head)


def replace_last(network: nn.Module, last: str, head: Head, n_attributes: int) -> None:
    """Put a head in the place of the last layer.

    Raises:
        FacetError: the last layer is not linear, so that it says nothing of its inputs.
    """
    layer = network.get_submodule(last)
    if not isinstance(layer, nn.Linear):
        raise FacetError(
            f"train.head: expected linear for this network, as its last layer is no linear one but "
            f"{type(layer).__name__}; got {head.kind}"
        )
    parent, _, name = last.rpartition(".")
    setattr(network.get_submodule(parent), name, build_head(head, layer.in_features, n_attributes))
