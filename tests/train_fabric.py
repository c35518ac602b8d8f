"""Pictures in memory in place of shards, and parameters of a training on them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.common.params import AugmentParams, TrainParams, load_params
from stages.common.shards import PixelSet
from stages.train.feed import Feed

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train
SCALE = ((120.0, 110.0, 100.0), (60.0, 55.0, 50.0))

#: Every augmentation, for pictures of at least 16 pixels.
EVERYTHING: dict[str, Any] = {
    "flip": 0.5,
    "crop_padding_px": 3,
    "affine": 0.7,
    "jitter": 0.6,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.4,
    "hue": 0.2,
    "fancy_pca": 0.2,
    "noise": 6.0,
    "erase": 0.5,
    "erase_min_px": 3,
    "erase_max_px": 8,
}


def make_augment(**changes: Any) -> AugmentParams:
    off = {"flip": 0.0}
    return AugmentParams.model_validate({**SHIPPED.augment.model_dump(), **off, **changes})


def make_params(augment: AugmentParams | None = None, **changes: Any) -> TrainParams:
    values = {**SHIPPED.model_dump(), **changes}
    values["augment"] = (augment or make_augment()).model_dump()
    return TrainParams.model_validate(values)


class PictureReader:
    """Stands for a GroupReader: N pictures (N, H, W, 3) in row groups of `group` images."""

    def __init__(self, pixels: np.ndarray, group: int) -> None:
        self.pixels, self.group = pixels, group
        self.n_images, self.height, self.width = pixels.shape[:3]
        self.sizes = [len(pixels[i : i + group]) for i in range(0, len(pixels), group)]

    def read(self, index: int) -> np.ndarray:
        pixels = self.pixels[index * self.group : (index + 1) * self.group].copy()
        pixels.setflags(write=False)
        return pixels


def draw_pictures(n: int, height: int = 19, width: int = 23, seed: int = 0) -> np.ndarray:
    """Smooth and rough pictures (N, H, W, 3) uint8; the first two bytes hold the image's number."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.sin(
        rng.uniform(0.1, 0.9, (n, 1, 1, 3)) * y[None, :, :, None]
        + rng.uniform(0.1, 0.9, (n, 1, 1, 3)) * x[None, :, :, None]
        + rng.uniform(0, 6, (n, 1, 1, 3))
    )
    pixels = 127 + 110 * waves + rng.normal(0, 10, (n, height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def number_pictures(n: int, height: int = 2, width: int = 2) -> np.ndarray:
    """Pictures (N, H, W, 3) uint8 whose first three bytes are their number."""
    pixels = np.zeros((n, height, width, 3), np.uint8)
    for byte in range(3):
        pixels[:, 0, 0, byte] = np.arange(n) >> (8 * byte) & 255
    return pixels


def read_numbers(pixels: np.ndarray) -> np.ndarray:
    """The numbers (N,) of `number_pictures`."""
    return sum(pixels[:, 0, 0, byte].astype(np.int64) << (8 * byte) for byte in range(3))


def make_feed(
    pixels: np.ndarray,
    params: TrainParams,
    group: int = 16,
    labels: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    rank: int = 0,
    n_ranks: int = 1,
) -> Feed:
    """A Feed of pictures on the CPU; label 0 of image i is bit 0 of i, label 1 is bit 1."""
    n = len(pixels)
    if labels is None:
        labels = (np.arange(n)[:, None] >> np.arange(2) & 1).astype(np.uint8)
    mask = np.ones(labels.shape, bool) if mask is None else mask
    part = PixelSet([], [], pixels[:0], labels, mask)
    names = [f"a{i}" for i in range(labels.shape[1])]
    reader: Any = PictureReader(pixels, group)
    memory: Any = "stream" if params.memory == "stream" else "host"
    device = torch.device("cpu")
    return Feed(reader, part, names, params, SCALE, device, memory, rank, n_ranks)
