"""Flip, crop and affine on batches (B, H, W, 3); no step waits for the device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def flip(images: Tensor, rows: Tensor) -> Tensor:
    """Mirror images[rows] of (B, H, W, 3), any dtype, left to right, in place."""
    return put(images, rows, images.index_select(0, rows).flip(2))


def put(images: Tensor, rows: Tensor, changed: Tensor) -> Tensor:
    """Copy `changed` (k, ...) to images[rows], in place.

    On a CPU one by one, which is several times faster than index_copy_ is there; on a GPU a loop
    would wait for the rows.
    """
    if images.is_cuda:
        return images.index_copy_(0, rows, changed)
    for row, picture in zip(rows.tolist(), changed, strict=True):
        images[row].copy_(picture)
    return images


def crop(images: Tensor, offsets: Tensor, padding: int, border: str) -> Tensor:
    """Cut (B, H, W, 3) anew out of the pictures padded by `padding` pixels on each side.

    Args:
        images: Any dtype.
        offsets: (B, 2) int64 pixels from the padded picture's top and left, 0 to 2 * padding.
        padding: Pixels; with border reflect less than height and width.
        border: reflect (about the middle of the edge's pixels, as OpenCV's BORDER_REFLECT_101) or
            black.
    """
    n, height, width, n_channels = images.shape
    padded = pad(pad(images, 1, padding, border), 2, padding, border)
    tall, wide = height + 2 * padding, width + 2 * padding
    # A row of the result is a run of bytes of the padded picture, wherever it begins.
    pixels = padded.reshape(-1, n_channels)
    runs = pixels.as_strided((len(pixels) - width + 1, width * n_channels), (n_channels, 1))
    first = torch.arange(n, device=images.device) * tall + offsets[:, 0]
    lines = first[:, None] + torch.arange(height, device=images.device)
    return runs.index_select(0, (lines * wide + offsets[:, 1:]).flatten()).view(images.shape)


def pad(images: Tensor, dim: int, padding: int, border: str) -> Tensor:
    """`images` with `padding` more pixels at both ends of `dim`; see `crop` for `border`."""
    if border == "black":
        before = after = torch.zeros_like(images.narrow(dim, 0, 1)).expand(
            *(padding if i == dim else size for i, size in enumerate(images.shape))
        )
    else:
        before = images.narrow(dim, 1, padding).flip(dim)
        after = images.narrow(dim, images.shape[dim] - 1 - padding, padding).flip(dim)
    return torch.cat([before, images, after], dim)


def warp(images: Tensor, rows: Tensor, values: Tensor, border: str) -> Tensor:
    """Scale and rotate images[rows] about their middle, then shift them, in place, bilinear.

    What lies at p relative to the middle goes to scale * R p + shift, where R turns clockwise on
    the screen by the angle.

    Args:
        images: (B, H, W, 3) float32.
        rows: (k,) int64.
        values: (k, 4) cos(angle) / scale, sin(angle) / scale, shift right and down in pixels.
        border: reflect or black: what lies beyond the edge; see `crop`.
    """
    n, (height, width) = len(rows), images.shape[1:3]
    cos, sin, right, down = (values[:, i].view(n, 1, 1) for i in range(4))
    device = images.device
    x = torch.arange(width, device=device).view(1, 1, width) - (width - 1) / 2 - right
    y = torch.arange(height, device=device).view(1, height, 1) - (height - 1) / 2 - down
    grid = torch.empty(n, height, width, 2, device=device)  # where each pixel comes from, -1 to 1
    torch.add(cos * x, sin * y, out=grid[..., 0]).mul_(2 / (width - 1))
    torch.sub(cos * y, sin * x, out=grid[..., 1]).mul_(2 / (height - 1))
    moved = F.grid_sample(
        images.index_select(0, rows).permute(0, 3, 1, 2),
        grid,
        mode="bilinear",
        padding_mode="reflection" if border == "reflect" else "zeros",
        align_corners=True,
    )
    return put(images, rows, moved.permute(0, 2, 3, 1))
