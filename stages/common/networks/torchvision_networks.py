"""Networks of torchvision, and their ImageNet weights: fetched once, or found where they lie."""

import pickle
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.networks.kinds import IMAGENET_MEAN, IMAGENET_STD, N_IMAGENET, NetworkKind


def fetch_imagenet(name: str, version: str) -> dict[str, Tensor]:
    """ImageNet weights of a network of torchvision.

    Args:
        name: torchvision's name.
        version: imagenet (the best that torchvision offers) or imagenet_v1 (its first ones, which
            systems before 2022 began with).

    Raises:
        FacetError: they can neither be found nor fetched; says where to put them.
    """
    kinds = torchvision.models.get_model_weights(name)
    weights = kinds["IMAGENET1K_V1"] if version == "imagenet_v1" else kinds["DEFAULT"]
    return fetch_state(weights.url, name)


def fetch_state(url: str, name: str) -> dict[str, Tensor]:
    """Tensors of a file that torch's hub folder holds or gets from `url`.

    The eight digits at the end of the file's name begin its SHA-256, which a transfer is checked
    by. The file is a pickle, read with weights_only, so that nothing in it is executed.

    Raises:
        FacetError: the file can neither be found nor fetched, or is damaged.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise FacetError(
            f"train.weights: the ImageNet weights of {name} could not be had from {url} ({error}); "
            f"put that file, whole, at {path}, or set train.weights to none or to a .safetensors "
            "file of that network"
        ) from None
    return state


def _build_mobilenet_v2(n_outputs: int, height: int, width: int, dropout: float) -> nn.Module:
    return torchvision.models.mobilenet_v2(weights=None, num_classes=n_outputs, dropout=dropout)


def _build_resnet(
    n_outputs: int, height: int, width: int, dropout: float, *, name: str
) -> nn.Module:
    network = torchvision.models.get_model(name, weights=None, num_classes=n_outputs)
    # torchvision's has no dropout; behind the pooling it stands before the last layer, nameless.
    network.avgpool = nn.Sequential(network.avgpool, nn.Dropout(dropout))
    return network


def _make_kind(name: str, build: Callable[..., nn.Module], last: str) -> NetworkKind:
    return NetworkKind(
        build,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        last=last,
        imagenet_state=lambda version, height, width: fetch_imagenet(name, version),
        n_classes=N_IMAGENET,
    )


MOBILENET_V2 = _make_kind("mobilenet_v2", _build_mobilenet_v2, "classifier.1")
RESNETS = {
    name: _make_kind(name, partial(_build_resnet, name=name), "fc")
    for name in ("resnet18", "resnet50", "resnext50_32x4d")
}
