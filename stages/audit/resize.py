"""Shrink many gray pictures at once with Pillow's filters, as matrix products.

Pillow's arithmetic is kept: horizontal pass first, rounded to whole gray levels between the passes.
What differs is the order of additions, which moves one value in 70,000 by one level.
"""

import functools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

#: Values at once: 1 MB of float32, which stays in a core's own cache.
CELLS = 1 << 18
BAND = 8  # results per product: fewer multiply too thinly, more multiply zeros
BITS = 22  # Pillow's weights are whole multiples of 2 ** -22 for 8-bit pictures


def shrink_pictures(grays: Bytes, side: int, method: str) -> Bytes:
    """Resize pictures of one size as Pillow's `resize` does.

    Args:
        grays: (N, H, W) uint8.
        side: Height and width of the results in pixels.
        method: "lanczos" or "box".

    Returns:
        (N, side, side) uint8.
    """
    n, height, width = grays.shape
    across, down = _cut_bands(width, side, method), weigh(height, side, method)
    rows = max(1, CELLS // (height * width))
    shrunk = np.empty((n, side, side), np.uint8)
    source = np.empty((rows * height, width), np.float32)
    narrow = np.empty((rows * height, side), np.float32)
    for start in range(0, n, rows):
        block = grays[start : start + rows]
        lines = len(block) * height
        np.copyto(source[:lines], block.reshape(lines, width))
        for inputs, results, weights in across:
            np.matmul(source[:lines, inputs], weights, out=narrow[:lines, results])
        _round(narrow[:lines])
        small = np.matmul(down, narrow[:lines].reshape(len(block), height, side))
        shrunk[start : start + rows] = _round(small)
    return shrunk


def shrink_each(grays: Iterable[Bytes], side: int, method: str) -> Bytes:
    """As `shrink_pictures`, of (H, W) pictures of any sizes; (N, side, side) uint8."""
    grays = list(grays)
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, gray in enumerate(grays):
        by_size.setdefault(gray.shape, []).append(place)
    shrunk = np.empty((len(grays), side, side), np.uint8)
    for places in by_size.values():
        shrunk[places] = shrink_pictures(np.stack([grays[k] for k in places]), side, method)
    return shrunk


@functools.lru_cache(512)
def weigh(n_in: int, n_out: int, method: str) -> Floats:
    """Share of each of n_in values in each of n_out results, (n_out, n_in).

    Source: precompute_coeffs and normalize_coeffs_8bpc in Pillow's src/libImaging/Resample.c.
    """
    scale = n_in / n_out
    stretch = max(scale, 1.0)
    reach = stretch * {"lanczos": 3.0, "box": 0.5}[method]
    weights = np.zeros((n_out, n_in))
    for row in range(n_out):
        centre = (row + 0.5) * scale
        low = max(int(centre - reach + 0.5), 0)
        high = min(int(centre + reach + 0.5), n_in)
        x = (np.arange(low, high) - centre + 0.5) / stretch
        if method == "lanczos":
            values = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
        else:
            values = ((x > -0.5) & (x <= 0.5)).astype(float)
        weights[row, low:high] = values / values.sum()
    scaled = np.abs(weights) * 2**BITS
    return (np.copysign(np.floor(scaled + 0.5), weights) / 2**BITS).astype(np.float32)


@functools.lru_cache(512)
def _cut_bands(n_in: int, n_out: int, method: str) -> list[tuple[slice, slice, Floats]]:
    """Inputs, results and their weights (inputs, results): most weights of a row are zero."""
    weights = weigh(n_in, n_out, method)
    bands = []
    for start in range(0, n_out, BAND):
        results = slice(start, min(start + BAND, n_out))
        used = np.flatnonzero(weights[results].any(0))
        inputs = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((inputs, results, weights[results, inputs].T.copy()))
    return bands


def _round(values: Floats) -> Floats:
    """To the nearest of 0 to 255, halves up, in place."""
    values += 0.5
    np.clip(values, 0, 255, out=values)
    return np.floor(values, out=values)
