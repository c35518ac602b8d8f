"""The network whose features the audit uses: several of its maps, pooled over a coarse grid.

On aligned faces a place is a part of the face. Means over the cells of a grid keep it, and the
middle layers know more of a beard or a necktie than the last: with 6,000 photographs and planted
flips a linear probe reached an average precision of 0.64 on these features and 0.56 on the usual
ones, the last layer's mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from stages.common.errors import FacetError
from stages.common.networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NETWORKS,
    build_network,
    load_weights,
    read_weights,
)
from stages.common.params import AuditParams, resolve_path

SIZE_PX = (160, 128)  # height, width; CelebA's own 218 x 178 costs twice as much and brings 0.003
GRID = (5, 4)  # cells of a map, rows and columns; the deepest map gives one mean
N_MAPS = 3

Maps = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Backbone:
    """maps gives the feature maps (N, C, H, W), deepest last, of normalised pictures.

    network: what they come from, for inference. height, width: of the pictures in pixels. mean,
    std: per RGB channel on the 0..255 scale.
    """

    network: nn.Module
    maps: Maps
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device

    def pool(self, images_u8: Tensor) -> Tensor:
        """Features (N, F) float32 on the CPU of pictures (N, H, W, 3) uint8 RGB."""
        with torch.inference_mode():
            return self.pool_maps(self.normalise(images_u8)).cpu()

    def normalise(self, images_u8: Tensor) -> Tensor:
        """The network's input (N, 3, H, W) on its device of pictures (N, H, W, 3) uint8 RGB."""
        mean, std = (torch.tensor(value, device=self.device) for value in (self.mean, self.std))
        return ((images_u8.to(self.device).float() - mean) / std).permute(0, 3, 1, 2)

    def pool_maps(self, x: Tensor) -> Tensor:
        """Features (N, F) float32 of the network's input (N, 3, H, W)."""
        *middle, last = self.maps(x)[-N_MAPS:]
        pooled = [functional.adaptive_avg_pool2d(map_, GRID).flatten(1) for map_ in middle]
        pooled.append(last.mean((2, 3)))
        return torch.cat([part.float() for part in pooled], 1)


def load_backbone(params: AuditParams) -> Backbone:
    """The network `audit.features` with `audit.weights`, for inference, on a GPU if there is one.

    Raises:
        FacetError: an unknown network, weights that do not fit, or a network without maps.
    """
    name, size = params.features, SIZE_PX
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if name in NETWORKS:
        weights = params.weights
        path = weights if weights == "imagenet" else resolve_path(weights)
        network = build_network(name, 1, *size, dropout=0.0, weights=path)
        mean, std = NETWORKS[name].mean, NETWORKS[name].std
    else:
        network, last, config = _create(name)
        if params.weights == "imagenet":
            raise FacetError(
                f"audit.weights: expected a .safetensors file, as {name} has no weights in a "
                "package; got imagenet"
            )
        path = resolve_path(params.weights)
        load_weights(network, read_weights(path), last, keep_last=False, source=str(path))
        if config:
            mean, std = (tuple(255 * x for x in config[key]) for key in ("mean", "std"))
            if config.get("fixed_input_size"):
                size = config["input_size"][1:]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.eval().requires_grad_(False)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    backbone = Backbone(network, _find_maps(network), *size, mean, std, device)
    try:
        backbone.pool(torch.zeros(1, *size, 3, dtype=torch.uint8))
    except (RuntimeError, AssertionError, IndexError, ValueError) as error:
        raise FacetError(
            f"audit.features: {name} gives no feature maps of {size[0]}x{size[1]} pixels ({error})"
        ) from None
    return backbone


def _create(name: str) -> tuple[nn.Module, str, dict[str, Any] | None]:
    """A network of timm or torchvision without weights, its last layer's name, timm's config."""
    if timm.is_model(name):
        network = timm.create_model(name, pretrained=False)
        config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
        return network, config["classifier"], config
    if name in torchvision.models.list_models(torchvision.models):
        network = torchvision.models.get_model(name, weights=None)
        layers = [key for key, part in network.named_modules() if isinstance(part, nn.Linear)]
        return network, layers[-1] if layers else "classifier", None
    raise FacetError(
        f"audit.features: expected none or a network of timm or torchvision; got '{name}'"
    )


def _find_maps(network: nn.Module) -> Maps:
    """Intermediate maps of timm; of other networks the last map of each size."""
    if hasattr(network, "forward_intermediates"):

        def intermediates(x: Tensor) -> list[Tensor]:
            return network.forward_intermediates(x, intermediates_only=True, output_fmt="NCHW")  # type: ignore[no-any-return, operator]

        return intermediates

    def hooked(x: Tensor) -> list[Tensor]:
        by_size: dict[tuple[int, ...], Tensor] = {}

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
                by_size[tuple(output.shape[2:])] = output

        hooks = [part.register_forward_hook(keep) for part in network.modules()]
        network(x)
        for hook in hooks:
            hook.remove()
        return list(by_size.values())

    return hooked
