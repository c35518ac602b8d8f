"""Networks by name: (N, 3, H, W) normalised pixels in, (N, A) logits out."""

from stages.common.networks.build import (
    NETWORKS,
    build_network,
    count_parameters,
    find_kind,
    normalise,
    read_structure,
)
from stages.common.networks.heads import ClassHeads, Head
from stages.common.networks.kinds import IMAGENET_MEAN, IMAGENET_STD, NetworkKind
from stages.common.networks.weights import load_weights, read_weights

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NETWORKS",
    "ClassHeads",
    "Head",
    "NetworkKind",
    "build_network",
    "count_parameters",
    "find_kind",
    "load_weights",
    "normalise",
    "read_structure",
    "read_weights",
]
