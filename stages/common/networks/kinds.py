"""What is known of a network by its name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

IMAGENET_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
IMAGENET_STD = (255 * 0.229, 255 * 0.224, 255 * 0.225)
N_IMAGENET = 1000


@dataclass(frozen=True)
class NetworkKind:
    """How a network is built, and what it expects of its input.

    Attributes:
        build: Takes the number of outputs, the input's height and width in pixels and the dropout;
            where has_channels, also `channels`.
        mean: Per RGB channel, on the 0..255 scale.
        std: As mean.
        last: Name of the layer that gives the outputs.
        imagenet_state: ImageNet weights by their name in `train.weights` (imagenet, imagenet_v1),
            for an input of a height and a width; with the last layer, where the weights have one.
        n_classes: Outputs of the ImageNet weights; 0 where they have none.
        has_channels: Its convolutions' channels are free.
        added: Names of the parts that ImageNet weights do not have, beside the last layer.
    """

    build: Callable[..., nn.Module]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    last: str
    imagenet_state: Callable[[str, int, int], dict[str, Tensor]] | None = None
    n_classes: int = 0
    has_channels: bool = False
    added: tuple[str, ...] = ()
