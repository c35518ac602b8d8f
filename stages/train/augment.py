"""From uint8 pictures to the network's input: all augmentations of a batch, then normalisation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import FacetError
from stages.common.params import AugmentParams
from stages.train import colour, geometry
from stages.train.draws import Chosen, draw_augmentations, draw_noise_bank

#: Images that are augmented together on a CPU: few enough for its caches.
CHUNK_IMAGES = 16


@dataclass(frozen=True)
class EpochDraws:
    """What chance decided for an epoch; see `draw_augmentations` and `draw_noise_bank`."""

    chosen: dict[str, Chosen]
    bank: Tensor | None


class Augmenter:
    """Flip, crop, affine, jitter, lighting, noise, normalisation, erasing, in that order.

    Each is done only to the images that chance chose for it. Flip and crop move bytes; the rest
    works on float32 from 0 to 255, clamped after every change of colour. An erased box has the
    network's mean colour.

    Args:
        params: Which augmentations, and how strong.
        height: Of the pictures, in pixels.
        width: Of the pictures, in pixels.
        mean: Per RGB channel, 0 to 255, as is std.
        std: What a pixel less the mean is divided by.
        axes: (3, 3) of `find_light`; None without fancy_pca.
        seed: Of the training.
        device: Where the pictures come and the results lie.

    Raises:
        FacetError: boxes or a padding larger than the pictures.
    """

    def __init__(
        self,
        params: AugmentParams,
        height: int,
        width: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        axes: np.ndarray | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self._params, self._size, self._seed, self._device = params, (height, width), seed, device
        # Repeated along a line: many times faster than along channels of 3.
        self._mean = torch.tensor(mean, device=device).repeat(width)
        self._std = torch.tensor(std, device=device).repeat(width)
        self._axes = None if axes is None else torch.from_numpy(axes).float().to(device)
        for key, value, limit in (
            ("erase_max_px", params.erase_max_px if params.erase > 0 else 0, min(height, width)),
            ("crop_padding_px", params.crop_padding_px, min(height, width) - 1),
        ):
            if value > limit:
                raise FacetError(
                    f"train.augment.{key}: expected at most {limit} for pictures of "
                    f"{height}x{width} pixels; got {value}"
                )

    def draw(self, epoch: int, order: np.ndarray) -> EpochDraws:
        """What happens to the images of an epoch, whose draws come in `order` (n,)."""
        height, width = self._size
        chosen = draw_augmentations(
            self._params, height, width, self._seed, epoch, order, self._device
        )
        bank = None
        if "noise" in chosen:
            bank = draw_noise_bank(height * width * 3, self._seed, epoch).to(self._device)
        return EpochDraws(chosen, bank)

    def apply(self, images_u8: Tensor, draws: EpochDraws, start: int, stop: int) -> Tensor:
        """(B, H, W, 3) float32, normalised, of the epoch's places from `start` up to `stop`.

        images_u8 (B, H, W, 3) is changed in place.
        """
        params, chosen = self._params, draws.chosen
        if "flip" in chosen:
            geometry.flip(images_u8, chosen["flip"].between(start, stop)[0])
        if "crop" in chosen:
            offsets = chosen["crop"].between(start, stop)[1]
            images_u8 = geometry.crop(images_u8, offsets, params.crop_padding_px, params.border)
        n = stop - start
        n_chunk = n if images_u8.is_cuda else CHUNK_IMAGES
        images = torch.empty(images_u8.shape, device=self._device)
        for low in range(0, n, n_chunk):
            high = min(n, low + n_chunk)
            self._finish(images_u8[low:high], images[low:high], draws, start + low, start + high)
        return images

    def _finish(
        self, images_u8: Tensor, images: Tensor, draws: EpochDraws, start: int, stop: int
    ) -> None:
        """All but flip and crop, into `images`."""
        params = self._params
        here = {
            name: chosen.between(start, stop)
            for name, chosen in draws.chosen.items()
            if name not in ("flip", "crop")
        }
        images.copy_(images_u8)
        if "affine" in here:
            geometry.warp(images, *here["affine"], params.border)
        if "jitter" in here:
            rows, factors = here["jitter"]
            geometry.put(images, rows, self._jitter(images.index_select(0, rows), factors))
        if "light" in here and self._axes is not None:
            colour.add_light(images, mix_axes(here["light"][1], self._axes))
        if "noise" in here and draws.bank is not None:
            colour.add_noise(images, draws.bank, here["noise"][1][:, 0], params.noise)
        n, height, width, _ = images.shape
        images.view(n, height, width * 3).sub_(self._mean).div_(self._std)
        if "erase" in here:
            erase(images, *here["erase"])

    def restore(self, images: Tensor) -> np.ndarray:
        """(B, H, W, 3) uint8 pictures of normalised ones, to be looked at."""
        n, height, width, _ = images.shape
        lines = images.reshape(n, height, width * 3) * self._std + self._mean
        return lines.round().clamp(0, 255).byte().view(n, height, width, 3).cpu().numpy()

    def _jitter(self, images: Tensor, factors: Tensor) -> Tensor:
        """Brightness, contrast, saturation and hue, in this order, those that are on."""
        for column, (strength, change) in enumerate(
            (
                (self._params.brightness, colour.brighten),
                (self._params.contrast, colour.change_contrast),
                (self._params.saturation, colour.saturate),
                (self._params.hue, colour.turn_hue),
            )
        ):
            if strength > 0 and len(images):
                change(images, factors[:, column])
        return images


def mix_axes(shares: Tensor, axes: Tensor) -> Tensor:
    """Shifts (B, 3) of RGB: shares (B, 3) along the axes (3, 3), summed in a fixed order."""
    first, second, third = (shares[:, i, None] * axes[:, i] for i in range(3))
    return first + second + third


def erase(images: Tensor, rows: Tensor, boxes: Tensor) -> Tensor:
    """Set the boxes (k, 4), top, bottom, left, right, of images[rows] to 0, in place."""
    n, height, width, n_channels = len(rows), *images.shape[1:]
    y = torch.arange(height, device=images.device).view(1, height, 1)
    x = torch.arange(width, device=images.device).repeat_interleave(n_channels).view(1, 1, -1)
    top, bottom, left, right = (boxes[:, i].view(n, 1, 1) for i in range(4))
    inside = ((y >= top) & (y < bottom)) & ((x >= left) & (x < right))
    changed = images.index_select(0, rows).view(n, height, width * n_channels)
    changed = changed.masked_fill_(inside, 0.0).view(n, height, width, n_channels)
    return geometry.put(images, rows, changed)
