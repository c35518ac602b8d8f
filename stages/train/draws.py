"""What chance decides about an epoch's images: a function of seed, epoch and image, nothing else.

Every purpose has a stream of numbers of its own, of which an image owns one row. So neither batch
size nor the place in a batch, the memory, the number of processes or another augmentation changes
what becomes of an image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.common.params import AugmentParams

#: One stream of random numbers each. Append only: the place in this list is part of the seed.
PURPOSES = (
    "order",
    "sample",
    "flip",
    "crop",
    "affine",
    "jitter",
    "light",
    "noise",
    "noise bank",
    "erase",
    "mix",
)

#: Normal numbers in an epoch's noise bank beyond one image's: as many places to begin at.
BANK_STARTS = 1 << 22


@dataclass(frozen=True)
class Chosen:
    """The images that one augmentation changes, by their places in the epoch's order.

    places (k,) int64, ascending, lie on the CPU and rows, the same, on the device, with values
    (k, P), what was drawn for each. So a step waits for nothing: see `between`.
    """

    places: np.ndarray
    rows: Tensor
    values: Tensor

    def between(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows, counted from `start`, and values of the places from `start` up to `stop`."""
        low, high = np.searchsorted(self.places, (start, stop))
        return self.rows[low:high] - start, self.values[low:high]


def make_rng(purpose: str, seed: int, epoch: int) -> np.random.Generator:
    """The stream of one of PURPOSES."""
    return np.random.default_rng([seed, epoch, PURPOSES.index(purpose)])


def draw_augmentations(
    params: AugmentParams,
    height: int,
    width: int,
    seed: int,
    epoch: int,
    order: np.ndarray,
    device: torch.device,
) -> dict[str, Chosen]:
    """What each augmentation does to which images of an epoch; those that are off are left out.

    Args:
        params: Which augmentations, and how strong.
        height: Of the pictures, in pixels.
        width: Of the pictures, in pixels.
        seed: Of the training.
        epoch: From 1.
        order: (n,) int64, the image (or draw, when sampling with replacement) at every place.
        device: Where the values shall lie.

    Returns:
        flip: no values. crop: (n, 2) int64, pixels from the padded picture's top and left. affine:
        (k, 4) cosine and sine of the angle, each divided by the scale, and the shift in pixels
        right and down. jitter: (k, 4) factors of brightness, contrast and saturation, turn of the
        hue. light: (n, 3) shares of the three eigenvalues. noise: (n, 1) int64, where in the bank
        an image's noise begins. erase: (k, 4) int64 top, bottom, left, right.
    """
    n = len(order)

    def uniform(purpose: str, n_columns: int) -> np.ndarray:
        return make_rng(purpose, seed, epoch).random((n, n_columns))

    def every(values: np.ndarray, places: np.ndarray | None = None) -> Chosen:
        """All images, or those at `places`, with their values in order of use."""
        places = np.arange(n) if places is None else places
        kind = torch.int64 if values.dtype.kind == "i" else torch.float32
        on_device = torch.from_numpy(np.ascontiguousarray(values)).to(device, kind)
        return Chosen(places, torch.from_numpy(places).to(device), on_device)

    def some(purpose: str, share: float, n: int, values: Callable[..., np.ndarray]) -> Chosen:
        """The images whose first number is below `share`, with `values` of their n others."""
        u = uniform(purpose, 1 + n)[order]
        places = np.flatnonzero(u[:, 0] < share)
        return every(values(u[places, 1:]), places)

    found: dict[str, Chosen] = {}
    if params.flip > 0:
        found["flip"] = some("flip", params.flip, 0, lambda u: u)
    if params.crop_padding_px > 0:
        n_offsets = 2 * params.crop_padding_px + 1
        found["crop"] = every((uniform("crop", 2)[order] * n_offsets).astype(np.int64))
    if params.affine > 0:
        found["affine"] = some(
            "affine", params.affine, 4, lambda u: to_affine(u, params, height, width)
        )
    if params.jitter > 0:
        found["jitter"] = some("jitter", params.jitter, 4, lambda u: to_factors(u, params))
    if params.fancy_pca > 0:
        shares = make_rng("light", seed, epoch).standard_normal((n, 3))[order]
        found["light"] = every(params.fancy_pca * shares)
    if params.noise > 0:
        found["noise"] = every((uniform("noise", 1)[order] * BANK_STARTS).astype(np.int64))
    if params.erase > 0:
        found["erase"] = some(
            "erase", params.erase, 4, lambda u: to_boxes(u, params, height, width)
        )
    return found


def to_affine(u: np.ndarray, params: AugmentParams, height: int, width: int) -> np.ndarray:
    """Values of affine (k, 4) from u (k, 4): angle, scale and shifts, each even in its range."""
    angle = np.radians(params.rotate_deg * (2 * u[:, 0] - 1))
    scale = 1 + params.scale * (2 * u[:, 1] - 1)
    right = params.shift * (2 * u[:, 2] - 1) * width
    down = params.shift * (2 * u[:, 3] - 1) * height
    return np.stack([np.cos(angle) / scale, np.sin(angle) / scale, right, down], axis=1)


def to_factors(u: np.ndarray, params: AugmentParams) -> np.ndarray:
    """Values of jitter (k, 4) from u (k, 4), even between 1 - strength and 1 + strength."""
    strengths = np.array([params.brightness, params.contrast, params.saturation, params.hue])
    return np.array([1.0, 1.0, 1.0, 0.0]) + strengths * (2 * u - 1)


def to_boxes(u: np.ndarray, params: AugmentParams, height: int, width: int) -> np.ndarray:
    """Values of erase (k, 4) from u (k, 4): sides, then places, each even, inside the picture."""
    n_sides = params.erase_max_px - params.erase_min_px + 1
    tall, wide = (params.erase_min_px + (u[:, i] * n_sides).astype(np.int64) for i in (0, 1))
    top = (u[:, 2] * (height - tall + 1)).astype(np.int64)
    left = (u[:, 3] * (width - wide + 1)).astype(np.int64)
    return np.stack([top, top + tall, left, left + wide], axis=1)


def draw_noise_bank(n_values: int, seed: int, epoch: int) -> Tensor:
    """(BANK_STARTS + n_values - 1,) float32 standard normal numbers, of which images take runs.

    An image's n_values begin at its own place. Two images of a batch share a stretch of the bank,
    shifted, with a probability of about 2 n_values / BANK_STARTS: 2 % at 128x128.
    """
    rng = make_rng("noise bank", seed, epoch)
    return torch.from_numpy(rng.standard_normal(BANK_STARTS + n_values - 1, np.float32))
