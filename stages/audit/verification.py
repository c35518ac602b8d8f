"""Are two pictures one photograph? Lay one upon the other, then compare their fine details.

Aligned portraits all look alike coarsely: strangers correlate up to 0.97. What a copy keeps and a
look-alike lacks are the details, so these decide, after an affine alignment from coarse to fine.
What covers a part of a copy, a banner or a frame, takes no part: neither in the alignment nor in
the comparison, which asks what most parts say.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nn
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from stages.audit.alignment import align, choose_start, lay
from stages.common.progress import track


@dataclass(frozen=True)
class Level:
    """Pictures shrunk by `divisor`, their details compared in `n_parts` x `n_parts` squares.

    Pairs whose similarity stays below `needed` are given up.
    """

    divisor: int
    n_steps: int
    sigma_px: float
    n_parts: int
    needed: float


LEVELS = (Level(4, 4, 1.0, 4, 0.4), Level(2, 2, 1.0, 8, 0.6), Level(1, 2, 2.0, 8, 0.0))
MIN_DETAIL = 1.0  # gray levels: parts with less than this are flat, noise decides nothing
BLOCK = 64


def compare_pictures(
    thumbs: NDArray[np.uint8],
    pairs: NDArray[np.int64],
    mirrored: bool,
    is_in_place: bool = False,
) -> NDArray[np.float64]:
    """How surely the two pictures of each pair are copies.

    Args:
        thumbs: (N, S, S) uint8 gray, S a multiple of 32.
        pairs: (M, 2) int64.
        mirrored: The second picture of each pair is mirrored first.
        is_in_place: Neither was cropped, so the alignment starts without a shift or zoom.

    Returns:
        (M,) float64 in [0, 1]: what the details of most parts correlate by after the alignment;
        0 where given up.
    """
    n_threads = torch.get_num_threads()

    def compare(start: int) -> NDArray[np.float64]:
        torch.set_num_threads(1)  # of this thread: the pool is parallel already
        block = pairs[start : start + BLOCK]
        one, other = (torch.from_numpy(thumbs[block[:, side]]).float() for side in (0, 1))
        with torch.inference_mode():
            return _compare_block(one, other.flip(2) if mirrored else other, is_in_place)

    starts = range(0, len(pairs), BLOCK)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            blocks = track(pool.map(compare, starts), "verify copies", total=len(starts))
            return np.concatenate([np.zeros(0), *blocks])
    finally:
        torch.set_num_threads(n_threads)


def _compare_block(one: Tensor, other: Tensor, is_in_place: bool) -> NDArray[np.float64]:
    """Similarity of M pairs of (S, S) pictures; hopeless pairs leave early.

    The first level lays each upon the other, as a frame or a banner disturbs less where it lies
    below; the better way is followed.
    """
    similarity = np.zeros(len(one))
    alive = torch.arange(len(one))
    fixed, moving = torch.cat([one, other]), torch.cat([other, one])
    if is_in_place:
        maps = torch.eye(2, 3).repeat(len(fixed), 1, 1)
    else:
        start = choose_start(_shrink(one, LEVELS[0].divisor), _shrink(other, LEVELS[0].divisor))
        zoom = start[:, :1, :1]
        back = torch.cat([torch.eye(2) / zoom, -start[:, :, 2:] / zoom], dim=2)
        maps = torch.cat([start, back])
    for level in LEVELS:
        small, laid = _shrink(fixed, level.divisor), _shrink(moving, level.divisor)
        maps, _ = align(small, laid, maps, level.n_steps)
        reached = compare_details(small, laid, maps, level)
        if level is LEVELS[-1]:
            similarity[alive.numpy()] = reached.clamp(0, 1).numpy()
            break
        if level is LEVELS[0]:
            better = alive + len(one) * (reached[len(one) :] > reached[: len(one)])
            reached, maps, fixed, moving = (x[better] for x in (reached, maps, fixed, moving))
        stay = reached >= level.needed
        if not stay.any():
            break
        alive, maps, fixed, moving = alive[stay], maps[stay], fixed[stay], moving[stay]
    return similarity


def compare_details(fixed: Tensor, moving: Tensor, maps: Tensor, level: Level) -> Tensor:
    """Correlation of the details, part by part; of those the median, weighted by their details.

    Details are what is finer than the level's sigma.

    Args:
        fixed: (M, n, n) float32.
        moving: (M, n, n) float32.
        maps: (M, 2, 3) float32, see `align`.
        level: Sigma and number of parts.

    Returns:
        (M,) float32.
    """
    side = fixed.shape[1]
    first, second = (_take_details(pictures, level.sigma_px) for pictures in (fixed, moving))
    laid, inside = lay(second[:, None], maps)
    second, weight = laid[:, 0].reshape(fixed.shape), inside.reshape(fixed.shape)

    def add_up(values: Tensor) -> Tensor:
        return nn.avg_pool2d(values[:, None], side // level.n_parts).flatten(1)

    ones, twos = add_up(first * first * weight), add_up(second * second * weight)
    share, scale = add_up(weight), (ones * twos).sqrt()
    correlation = add_up(first * second * weight) / (scale + MIN_DETAIL**2 / 2)
    correlation, order = correlation.sort(dim=1)
    heavy = ((scale > MIN_DETAIL**2) & (share > 0.5)).float().gather(1, order).cumsum(1)
    middle = (heavy < heavy[:, -1:] / 2).sum(1, keepdim=True).clamp(max=level.n_parts**2 - 1)
    return correlation.gather(1, middle)[:, 0]


def _take_details(pictures: Tensor, sigma_px: float) -> Tensor:
    """(M, n, n) less everything coarser than a Gaussian of sigma_px; edges are reflected."""
    side = pictures.shape[1]
    blur = torch.from_numpy(gaussian_filter1d(np.eye(side), sigma_px, axis=0)).float()
    return pictures - blur @ pictures @ blur.T


def _shrink(pictures: Tensor, divisor: int) -> Tensor:
    """Means of squares of `divisor` pixels."""
    return nn.avg_pool2d(pictures[:, None], divisor)[:, 0] if divisor > 1 else pictures
