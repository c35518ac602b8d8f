"""Networks by name, with their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.networks.cnns import CNNS
from stages.common.networks.heads import ClassHeads, Head, build_head, replace_last
from stages.common.networks.kinds import NetworkKind
from stages.common.networks.recurrent import CNN_RNN
from stages.common.networks.timm_networks import LITES, find_timm
from stages.common.networks.torchvision_networks import MOBILENET_V2, RESNETS
from stages.common.networks.weights import load_weights, read_weights

#: Networks under names of ours. RESNETS and timm's are found by name too.
NETWORKS: dict[str, NetworkKind] = {
    **LITES,
    **CNNS,
    "devarashs_cnn_rnn": CNN_RNN,
    "mobilenet_v2": MOBILENET_V2,
}


def find_kind(name: str) -> NetworkKind:
    """What is known of a network: one of NETWORKS or RESNETS, or of timm (also as `timm:NAME`).

    Raises:
        FacetError: there is none of that name.
    """
    own = NETWORKS | RESNETS
    return own[name] if name in own else find_timm(name.removeprefix("timm:"), tuple(own))


def build_network(
    name: str,
    n_attributes: int,
    height: int,
    width: int,
    dropout: float,
    weights: str | Path,
    channels: tuple[int, ...] | None = None,
    head: Head = Head(),  # noqa: B008  frozen
) -> nn.Module:
    """A network in training mode, channels last.

    Args:
        name: As find_kind takes it.
        n_attributes: Number of logits.
        height: Input height in pixels.
        width: Input width in pixels.
        dropout: Probability of dropout before the last layer.
        weights: none, imagenet or imagenet_v1 (all but the last layer, which is kept only below
            a head that reads classes), or a .safetensors file, whose last layer is taken where its
            shape fits.
        channels: Of the plain CNNs' convolutions; None = the network's own.
        head: What gives the logits.

    Raises:
        FacetError: an unknown network, an input it does not take, a head or channels that do not
            go with it, weights that do not exist, cannot be fetched or do not fit.
    """
    kind = find_kind(name)
    if channels is not None and not kind.has_channels:
        raise FacetError(
            f"train.channels: expected null, as {name}'s channels are not free; got "
            f"{list(channels)}"
        )
    extra = {} if channels is None else {"channels": tuple(channels)}
    source = str(weights)
    if head.kind != "linear" and head.source == "classes":
        if kind.n_classes == 0:
            raise FacetError(
                f"train.head_input: expected features, as {name} has no ImageNet outputs to keep; "
                "got classes"
            )
        body = kind.build(kind.n_classes, height, width, dropout, **extra)
        network: nn.Module = ClassHeads(body, build_head(head, kind.n_classes, n_attributes))
        last = "head"
    else:
        body = network = kind.build(n_attributes, height, width, dropout, **extra)
        if head.kind != "linear":
            replace_last(network, kind.last, head, n_attributes)
        last = kind.last
    if weights in ("imagenet", "imagenet_v1"):
        if kind.imagenet_state is None:
            raise FacetError(f"train.weights: expected none or a file for {name}; got {weights}")
        state = kind.imagenet_state(source, height, width)
        load_weights(body, state, kind.last, body is not network, source, kind.added)
    elif weights != "none":
        state = read_weights(Path(weights))
        if body is not network and not any(key.startswith("body.") for key in state):
            load_weights(body, state, kind.last, True, source)
        else:
            load_weights(network, state, last, True, source)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_structure(train: Mapping[str, Any]) -> dict[str, Any]:
    """What build_network needs of a `train` section, beside names and sizes.

    A section as model.json keeps it is enough to build a trained network again; keys that an older
    one lacks have the values that it was trained with.
    """
    channels = train.get("channels")
    return {
        "channels": None if channels is None else tuple(channels),
        "head": Head(
            train.get("head", "linear"),
            train.get("head_input", "features"),
            train.get("head_width", 1),
            train.get("head_dropout", 0.0),
            train.get("trunk_width", 1),
        ),
    }


def normalise(images_u8: Tensor, name: str) -> Tensor:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32 on the network's scale, channels last."""
    kind = find_kind(name)
    mean = torch.tensor(kind.mean, device=images_u8.device)
    std = torch.tensor(kind.std, device=images_u8.device)
    return ((images_u8.float() - mean) / std).permute(0, 3, 1, 2)


def count_parameters(network: nn.Module) -> int:
    """Number of learned values."""
    return sum(parameter.numel() for parameter in network.parameters())
