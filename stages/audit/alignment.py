"""Are two pictures one photograph? Lay one upon the other, then compare their fine details.

Aligned portraits all look alike coarsely: strangers correlate up to 0.97. What a copy keeps and a
look-alike lacks are the details, so these decide, after an affine alignment from coarse to fine.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stages.common.progress import track

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """Pictures shrunk by `divisor`; pairs whose details correlate below `needed` are given up."""

    divisor: int
    n_steps: int
    sigma_px: float
    needed: float


LEVELS = (Level(4, 6, 1.0, 0.6), Level(2, 4, 1.0, 0.6), Level(1, 3, 2.0, 0.0))
#: Zoom, and shift down and right in half sides: nothing, crops on all sides, crops at a corner.
STARTS = (
    *((zoom, 0.0, 0.0) for zoom in (1.0, 0.92, 0.84, 1.09, 1.19)),
    *((zoom, y, x) for zoom in (0.93, 1.07) for y in (-0.07, 0.07) for x in (-0.07, 0.07)),
)
MIN_OVERLAP = 0.6  # share of the picture that must lie inside the other
MAX_STEP = 0.1  # of half the side
BLOCK = 256


def compare_pictures(
    thumbs: NDArray[np.uint8], pairs: NDArray[np.int64], mirrored: bool
) -> NDArray[np.float64]:
    """How surely the two pictures of each pair are copies.

    Args:
        thumbs: (N, S, S) uint8 gray, S a multiple of 4.
        pairs: (M, 2) int64.
        mirrored: The second picture of each pair is mirrored first.

    Returns:
        (M,) float64 in [0, 1]: correlation of the details after the alignment; 0 where given up.
    """

    def compare(start: int) -> NDArray[np.float64]:
        block = pairs[start : start + BLOCK]
        fixed, moving = (thumbs[block[:, side]].astype(np.float32) for side in (0, 1))
        return _compare_block(fixed, moving[:, :, ::-1] if mirrored else moving)

    starts = range(0, len(pairs), BLOCK)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = track(pool.map(compare, starts), "verify copies", total=len(starts))
        return np.concatenate([np.zeros(0), *blocks])


def _compare_block(fixed: Floats, moving: Floats) -> NDArray[np.float64]:
    """Details' correlation of M pairs of (S, S) pictures; hopeless pairs leave early."""
    similarity = np.zeros(len(fixed))
    alive = np.arange(len(fixed))
    maps = choose_start(_shrink(fixed, LEVELS[0].divisor), _shrink(moving, LEVELS[0].divisor))
    for level in LEVELS:
        small, other = _shrink(fixed, level.divisor), _shrink(moving, level.divisor)
        maps, _ = align(small, other, maps, level.n_steps)
        reached = _compare_details(small, other, maps, level.sigma_px)
        if level is LEVELS[-1]:
            similarity[alive] = reached.clip(0, 1)
            break
        stay = reached >= level.needed
        if not stay.any():
            break
        alive, maps, fixed, moving = alive[stay], maps[stay], fixed[stay], moving[stay]
    return similarity


def _compare_details(fixed: Floats, moving: Floats, maps: Floats, sigma_px: float) -> Floats:
    """Correlation where both overlap, after everything coarser than sigma was taken away."""
    fixed, moving = (
        picture - gaussian_filter(picture, sigma_px, axes=(1, 2)) for picture in (fixed, moving)
    )
    laid, _, _, inside = _lay(moving, maps)
    return _correlate(fixed.reshape(laid.shape), laid, inside)


def choose_start(fixed: Floats, moving: Floats) -> Floats:
    """The best of STARTS for each pair, (M, 2, 3): steps alone do not cross a tight crop."""
    goal = fixed.reshape(len(fixed), -1)
    starts = np.array([[[z, 0, y], [0, z, x]] for z, y, x in STARTS], np.float32)
    reached = []
    for start in starts:
        laid, _, _, inside = _lay(moving, np.tile(start, (len(fixed), 1, 1)))
        reached.append(_correlate(goal, laid, inside))
    return starts[np.argmax(reached, axis=0)]


def align(fixed: Floats, moving: Floats, maps: Floats, n_steps: int) -> tuple[Floats, Floats]:
    """Improve affine maps by Gauss-Newton steps on map, gain and offset at once.

    The regression fixed = gain * (moving + gradient * change of the map) + offset is linear, so
    brightness and contrast need no treatment of their own (Lucas and Kanade 1981; Evangelidis and
    Psarakis 2008 for the aim, the correlation).

    Args:
        fixed: (M, n, n) float32.
        moving: (M, n, n) float32.
        maps: (M, 2, 3) float32; where in `moving` (y, x in [-1, 1]) the point (y, x, 1) lies.
        n_steps: Steps.

    Returns:
        The best maps seen and their correlations (M,), -1 where too little overlaps.
    """
    n_pairs, side, _ = fixed.shape
    goal = fixed.reshape(n_pairs, -1)
    y, x = _grid(side)
    best, reached = maps, np.full(n_pairs, -1, np.float32)
    for step in range(n_steps + 1):
        laid, slope_y, slope_x, inside = _lay(moving, maps)
        now = np.where(inside.mean(1) >= MIN_OVERLAP, _correlate(goal, laid, inside), -1)
        better = now > reached
        best = np.where(better[:, None, None], maps, best)
        reached = np.where(better, now, reached)
        if step == n_steps:
            break
        change = [slope_y * y, slope_y * x, slope_y, slope_x * y, slope_x * x, slope_x]
        terms = np.stack([*change, laid, np.ones_like(laid)], axis=1) * inside[:, None]
        normal = (terms @ terms.transpose(0, 2, 1)).astype(np.float64)
        damping = np.einsum("mkk->m", normal[:, :6, :6]) / 6 * 1e-3 + 1e-3
        normal[:, range(6), range(6)] += damping[:, None]
        normal[:, [6, 7], [6, 7]] += 1e-3
        solved = np.linalg.solve(normal, (terms @ goal[:, :, None]).astype(np.float64))[:, :, 0]
        gain = np.maximum(
            solved[:, 6:7], 0.2
        )  # a flat or inverted picture must not explode the step
        moved = (solved[:, :6] / gain).clip(-MAX_STEP, MAX_STEP).astype(np.float32)
        maps = maps + moved.reshape(-1, 2, 3)
    return best, reached


def _lay(moving: Floats, maps: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Sample pictures at mapped points, bilinearly: values, slopes along y and x, inside or not.

    All four are (M, n * n); slopes are per half side, the unit of the maps.
    """
    n_pairs, side, _ = moving.shape
    y, x = _grid(side)
    half = side / 2
    places = []
    for axis in (0, 1):
        row = maps[:, axis, :, None]
        places.append((row[:, 0] * y + row[:, 1] * x + row[:, 2] + 1) * half - 0.5)
    inside = np.logical_and.reduce([(place >= -0.5) & (place <= side - 0.5) for place in places])
    down, right = (place.clip(0, side - 1.001) for place in places)
    top, left = down.astype(np.int32), right.astype(np.int32)
    down, right = down - top, right - left
    corner = top * side + left + (np.arange(n_pairs, dtype=np.int32) * side**2)[:, None]
    flat = moving.reshape(-1)
    a, b, c, d = (flat[corner + offset] for offset in (0, 1, side, side + 1))
    upper, lower = a + (b - a) * right, c + (d - c) * right
    slope_x = ((b - a) * (1 - down) + (d - c) * down) * half
    return upper + (lower - upper) * down, (lower - upper) * half, slope_x, inside


def _grid(side: int) -> tuple[Floats, Floats]:
    """Coordinates y and x in [-1, 1] of the pixels of a (side, side) picture, row by row."""
    centres = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    return np.repeat(centres, side), np.tile(centres, side)


def _correlate(first: Floats, second: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Pearson correlation of rows where `inside`; 0 where a row is flat."""
    weight = inside.astype(np.float32)
    total = weight.sum(1, keepdims=True) + 1e-6
    first = (first - (first * weight).sum(1, keepdims=True) / total) * weight
    second = (second - (second * weight).sum(1, keepdims=True) / total) * weight
    scale = np.sqrt((first * first).sum(1) * (second * second).sum(1))
    return (first * second).sum(1) / (scale + total[:, 0] * 1e-3)


def _shrink(pictures: Floats, divisor: int) -> Floats:
    """Means of squares of `divisor` pixels."""
    n, side, _ = pictures.shape
    return pictures.reshape(n, side // divisor, divisor, side // divisor, divisor).mean((2, 4))
