"""devarashs' network: the places of a convolutional map, read as a sequence."""

import torchvision
from torch import Tensor, nn

from stages.common.networks.kinds import NetworkKind
from stages.common.networks.torchvision_networks import fetch_imagenet

N_HIDDEN = 128  # of the LSTM, per direction
N_HEADS = 4
N_DENSE = 64


class CnnRnn(nn.Module):
    """ResNet-18 up to layer3, bidirectional LSTM over its places, self-attention, mean, dense.

    An input of 224 x 224 gives a map of 256 x 14 x 14, thus 196 tokens of 256 values.

    Args:
        n_attributes: Number of logits.
        height: Of the input in pixels; any.
        width: Of the input in pixels; any.
        dropout: Probability, before the last layer.
    """

    def __init__(self, n_attributes: int, height: int, width: int, dropout: float) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18(weights=None)
        self.conv1, self.bn1, self.relu = resnet.conv1, resnet.bn1, resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2, self.layer3 = resnet.layer1, resnet.layer2, resnet.layer3
        self.lstm = nn.LSTM(256, N_HIDDEN, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(2 * N_HIDDEN, N_HEADS, batch_first=True)
        self.dense = nn.Sequential(
            nn.Linear(2 * N_HIDDEN, N_DENSE), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.last = nn.Linear(N_DENSE, n_attributes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, A) of (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        tokens, _ = self.lstm(make_tokens(self.layer3(self.layer2(self.layer1(x)))))
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        logits: Tensor = self.last(self.dense(attended.mean(1)))
        return logits


def make_tokens(maps: Tensor) -> Tensor:
    """One token per place, row by row: (N, C, H, W) to (N, H * W, C).

    The reference's code views the map's memory as (N, H * W, C), which mixes places and channels;
    that is not copied.
    """
    return maps.flatten(2).transpose(1, 2)


def _imagenet(version: str, height: int, width: int) -> dict[str, Tensor]:
    """ResNet-18's weights up to layer3."""
    state = fetch_imagenet("resnet18", version)
    return {name: state[name] for name in state if not name.startswith(("layer4.", "fc."))}


CNN_RNN = NetworkKind(
    CnnRnn,
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    last="last",
    imagenet_state=_imagenet,
    added=("lstm", "attention", "dense"),
)
