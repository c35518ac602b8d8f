"""Lay pictures upon each other: affine maps, found by steps that forget what does not fit."""

import torch
import torch.nn.functional as nn
from torch import Tensor

#: Zoom, and shift down and right in half sides: nothing, crops on all sides, crops at a corner.
STARTS = (
    *((zoom, 0.0, 0.0) for zoom in (1.0, 0.92, 0.84, 1.09, 1.19)),
    *((zoom, y, x) for zoom in (0.93, 1.07) for y in (-0.07, 0.07) for x in (-0.07, 0.07)),
)
MIN_OVERLAP = 0.6  # share of the picture that must lie inside the other
MAX_STEP = 0.1  # of half the side


def choose_start(fixed: Tensor, moving: Tensor) -> Tensor:
    """The best of STARTS for each pair, (M, 2, 3): steps alone do not cross a tight crop."""
    goal = fixed.flatten(1)
    starts = torch.tensor([[[z, 0, y], [0, z, x]] for z, y, x in STARTS])
    reached = []
    for start in starts:
        laid, inside = lay(moving[:, None], start.expand(len(fixed), 2, 3))
        _, unexplained = _fit(goal, laid[:, 0], inside)
        reached.append(unexplained)
    return starts[torch.stack(reached).argmin(0)]


def align(fixed: Tensor, moving: Tensor, maps: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Improve affine maps by Gauss-Newton steps on map, gain and offset at once.

    The regression fixed = gain * (moving + gradient * change of the map) + offset is linear, so
    brightness and contrast need no treatment of their own (Lucas and Kanade 1981). Pixels that do
    not fit are weighed down after Geman and McClure (1987).

    Args:
        fixed: (M, n, n) float32.
        moving: (M, n, n) float32.
        maps: (M, 2, 3) float32; where in `moving` (y, x in [-1, 1]) the point (y, x, 1) lies.
        n_steps: Steps.

    Returns:
        The best maps seen, and the share of the variance that they leave unexplained (M,),
        infinite where too little overlaps.
    """
    n_pairs, side, _ = fixed.shape
    goal = fixed.flatten(1)
    y, x = _grid(side)
    channels = torch.stack([moving, *_find_slopes(moving)], dim=1)
    weight = torch.ones_like(goal)
    best, reached = maps, torch.full((n_pairs,), float("inf"))
    for step in range(n_steps + 1):
        laid, inside = lay(channels, maps)
        values, slope_y, slope_x = laid.unbind(1)
        left, _ = _fit(goal, values, weight * inside)
        weight = _weigh(left, side) * inside
        now = _fit(goal, values, weight)[1]
        now = torch.where(inside.mean(1) >= MIN_OVERLAP, now, float("inf"))
        better = now < reached
        best = torch.where(better[:, None, None], maps, best)
        reached = torch.where(better, now, reached)
        if step == n_steps:
            break
        change = [slope_y * y, slope_y * x, slope_y, slope_x * y, slope_x * x, slope_x]
        terms = torch.stack([*change, values, torch.ones_like(values)], dim=1)
        weighed = terms * weight[:, None]
        normal = (weighed @ terms.transpose(1, 2)).double()
        damping = normal.diagonal(dim1=1, dim2=2)[:, :6].mean(1, keepdim=True) * 1e-3
        normal.diagonal(dim1=1, dim2=2).add_(1e-3)
        normal.diagonal(dim1=1, dim2=2)[:, :6].add_(damping)
        solved = torch.linalg.solve(normal, (weighed @ goal[:, :, None]).double())[:, :, 0]
        gain = solved[:, 6:7].clamp(min=0.2)  # a flat or inverted picture must not explode the step
        moved = (solved[:, :6] / gain).clamp(-MAX_STEP, MAX_STEP).float()
        maps = maps + moved.reshape(-1, 2, 3)
    return best, reached


def lay(channels: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Sample (M, C, n, n) at mapped points, bilinearly: (M, C, n * n), and (M, n * n) 1 inside."""
    n_pairs, n_channels, side, _ = channels.shape
    y, x = _grid(side)
    points = maps @ torch.stack([y, x, torch.ones_like(x)])
    inside = (points.abs() <= 1).all(1).float()
    grid = points.flip(1).transpose(1, 2).reshape(n_pairs, side, side, 2)
    laid = nn.grid_sample(channels, grid, padding_mode="border", align_corners=False)
    return laid.reshape(n_pairs, n_channels, -1), inside


def _fit(goal: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """What gain and offset cannot explain of (M, P) goals: (M, P), and 1 - correlation, at most 1.

    The gain is the ratio of the spreads. That of least squares vanishes where `values` hold what
    `goal` lacks, so the same two pictures would fit one way round and not the other.
    """
    total = weight.sum(1, keepdim=True) + 1e-6
    goal = goal - (goal * weight).sum(1, keepdim=True) / total
    values = values - (values * weight).sum(1, keepdim=True) / total
    weighed = values * weight
    both = (goal * weighed).sum(1, keepdim=True)
    mine, theirs = (
        (goal * goal * weight).sum(1, keepdim=True),
        (values * weighed).sum(1, keepdim=True),
    )
    correlation = both / ((mine * theirs).sqrt() + total * 1e-3)
    left = goal - (mine / (theirs + total * 1e-3)).sqrt() * values
    return left, 1 - correlation[:, 0].clamp(min=0)


def _weigh(left: Tensor, side: int) -> Tensor:
    """Weights that forget pixels whose misfit (M, P) is far beyond the usual one."""
    step = side // 8
    sample = left.reshape(-1, side, side)[:, ::step, ::step].flatten(1)
    usual = 1.5 * sample.abs().median(1, keepdim=True).values + 1
    return (1 + (left / (2 * usual)).square()).square().reciprocal()


def _find_slopes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences down and right, per half side, the unit of the maps."""
    half = pictures.shape[1] / 2
    padded = nn.pad(pictures[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * (half / 2)
    return down, (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * (half / 2)


def _grid(side: int) -> tuple[Tensor, Tensor]:
    """Coordinates y and x in [-1, 1] of the pixels of a (side, side) picture, row by row."""
    centres = (torch.arange(side) + 0.5) * 2 / side - 1
    return centres.repeat_interleave(side), centres.repeat(side)
