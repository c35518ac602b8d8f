"""The three plain CNNs of the reference systems: one family with free channels."""

from functools import partial

from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.networks.kinds import NetworkKind


class Cnn(nn.Module):
    """Blocks of [3x3 convolution, ReLU, maybe batch norm, 2x2 max-pool], then dense layers.

    Every dense layer is followed by ReLU and dropout; without any, dropout stands before the last
    layer. Each block halves height and width, rounding down.

    Args:
        n_attributes: Number of logits.
        height: Of the input in pixels.
        width: Of the input in pixels.
        dropout: Probability.
        channels: Of the convolutions, one per block.
        has_norm: Batch norm after each ReLU.
        dense: Units of the dense layers.

    Raises:
        FacetError: nothing would be left of so small an input.
    """

    def __init__(
        self,
        n_attributes: int,
        height: int,
        width: int,
        dropout: float,
        channels: tuple[int, ...],
        has_norm: bool,
        dense: tuple[int, ...],
    ) -> None:
        super().__init__()
        if min(height, width) < 2 ** len(channels):
            raise FacetError(
                f"prepare.height_px, width_px: expected at least {2 ** len(channels)} pixels, as "
                f"each of the network's {len(channels)} blocks halves the picture; got "
                f"{height}x{width}"
            )
        blocks: list[nn.Module] = []
        for n_in, n_out in zip((3, *channels[:-1]), channels, strict=True):
            blocks += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(inplace=True)]
            blocks += [nn.BatchNorm2d(n_out)] if has_norm else []
            blocks += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks, nn.Flatten())
        n_inputs = channels[-1] * (height >> len(channels)) * (width >> len(channels))
        layers: list[nn.Module] = [] if dense else [nn.Dropout(dropout)]
        for n_units in dense:
            layers += [nn.Linear(n_inputs, n_units), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            n_inputs = n_units
        self.dense = nn.Sequential(*layers)
        self.last = nn.Linear(n_inputs, n_attributes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, A) of (N, 3, H, W)."""
        logits: Tensor = self.last(self.dense(self.features(x)))
        return logits


def _make_kind(
    mean: float, std: float, channels: tuple[int, ...], has_norm: bool, dense: tuple[int, ...]
) -> NetworkKind:
    build = partial(Cnn, channels=channels, has_norm=has_norm, dense=dense)
    return NetworkKind(build, (mean, mean, mean), (std, std, std), last="last", has_channels=True)


CNNS = {
    # "Facial Attribute Recognition using Deep Learning" (UAB): channels and dense layers are
    # published; that convolutions keep the size and dense layers end in ReLU is ours. Pixels 0..1.
    "uab_cnn": _make_kind(0.0, 255.0, (64, 128, 256, 512), True, (1024, 512)),
    # "Facial Attribute Analysis" (COMP3419): three convolutions, a hidden layer, pixels -1..1;
    # all as in its authors' program.
    "comp3419_cnn": _make_kind(127.5, 127.5, (32, 64, 128), False, (512,)),
    # "CelebModel" (HCMUS): convolution, ReLU and max-pool blocks, dropout, fully connected layers;
    # its description gives no value. Ours: four blocks, so that a face of 112 px leaves 7 x 7
    # places, one hidden layer, and pixels -1..1.
    "celebmodel_cnn": _make_kind(127.5, 127.5, (32, 64, 128, 256), False, (512,)),
}
