"""Colour jitter, PCA lighting and noise on batches (B, H, W, 3) float32 from 0 to 255."""

import numpy as np
import torch
from torch import Tensor

#: Luma of RGB (ITU-R BT.601), with the digits that torchvision and Pillow use.
LUMA = (0.2989, 0.587, 0.114)


def brighten(images: Tensor, factors: Tensor) -> Tensor:
    """Times factors (B,), clamped, in place: 0 is black, 1 changes nothing."""
    return images.mul_(factors.view(-1, 1, 1, 1)).clamp_(0, 255)


def change_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the image's mean luma by factors (B,), clamped, in place.

    The mean is taken of luma rounded to 1/16, which makes its sum exact: the same bits in every
    order of summation, hence in every batch.
    """
    rounded = luma(images).mul_(16).round_()
    mean = (rounded.sum((1, 2), dtype=torch.float64) / (16 * rounded[0].numel())).float()
    images.mul_(factors.view(-1, 1, 1, 1))
    return images.add_((mean * (1 - factors)).view(-1, 1, 1, 1)).clamp_(0, 255)


def saturate(images: Tensor, factors: Tensor) -> Tensor:
    """Away from the pixel's luma by factors (B,), clamped, in place: 0 is grey."""
    factors = factors.view(-1, 1, 1)
    rest = luma(images).mul_(1 - factors)
    for channel in images.unbind(3):
        channel.mul_(factors).add_(rest)
    return images.clamp_(0, 255)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue by turns (B,) of the colour circle, -0.5 to 0.5, in place (HSV; Smith, 1978)."""
    red, green, blue = images.permute(3, 0, 1, 2).contiguous()  # faster than strides of 3
    value = torch.maximum(red, torch.maximum(green, blue))
    spread = value - torch.minimum(red, torch.minimum(green, blue))
    safe = spread.clamp(min=1e-6)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth += 6 * turns.view(-1, 1, 1)
    for channel, offset in zip(images.unbind(3), (5, 3, 1), strict=True):
        k = torch.remainder(sixth + offset, 6)
        channel.copy_(value - spread * torch.minimum(k, 4 - k).clamp_(0, 1))
    return images


def luma(images: Tensor) -> Tensor:
    """(B, H, W) of (B, H, W, 3)."""
    red, green, blue = images.unbind(3)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def add_light(images: Tensor, shifts: Tensor) -> Tensor:
    """Plus shifts (B, 3) per channel, clamped, in place."""
    n, height, width, _ = images.shape
    lines = images.view(n, height, width * 3)  # many times faster than along channels of 3
    lines.add_(shifts.repeat(1, width).view(n, 1, width * 3))
    return images.clamp_(0, 255)


def add_noise(images: Tensor, bank: Tensor, starts: Tensor, strength: float) -> Tensor:
    """Plus `strength` times each image's run of the bank, from starts (B,), clamped, in place."""
    flat = images.view(len(images), -1)
    n_values = flat.shape[1]
    runs = bank.as_strided((len(bank) - n_values + 1, n_values), (1, 1))
    flat.add_(runs.index_select(0, starts), alpha=strength)
    return images.clamp_(0, 255)


def find_light(pixels_u8: np.ndarray) -> np.ndarray:
    """The axes of FancyPCA (Krizhevsky et al., 2012, section 4.1), in grey levels.

    Column i of the result (3, 3) float64 is eigenvector i of the covariance of the pixels (M, 3),
    scaled to 0..1, times its eigenvalue, times 255; the largest first. Its product with three
    normal numbers shifts an image's colours. The sign is that which makes the largest component
    positive.
    """
    values, vectors = np.linalg.eigh(np.cov(pixels_u8.astype(np.float64) / 255, rowvar=False))
    largest = vectors[np.abs(vectors).argmax(0), range(3)]
    return np.ascontiguousarray((vectors * np.sign(largest) * values * 255)[:, ::-1])
