"""Features of every readable picture: pooled maps of a network, reduced to their main axes.

Standardisation and axes are learned on a sample of the training pictures. Of a picture remain
N_AXES numbers, so that memory stays small: 320 MB for 202,599 pictures.
"""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stages.audit.backbone import Backbone
from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.progress import track
from stages.common.tables import iter_images

N_AXES = 768
N_SAMPLE = 6144  # training pictures that standardisation and axes are learned on
MIN_SAMPLE = 64
BATCH = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Axes:
    """mean, scale: (F,). axes: (F, D) with a common scale: features have variance 1 on average."""

    mean: Tensor
    scale: Tensor
    axes: Tensor

    def project(self, pooled: Tensor) -> NDArray[np.float16]:
        """Features (N, D) float16 of pooled maps (N, F), the main axes first."""
        x = ((pooled - self.mean) * self.scale) @ self.axes
        return x.clamp(-6e4, 6e4).numpy().astype(np.float16)


@dataclass(frozen=True)
class Features:
    """Features of P readable pictures.

    row: (P,) int64, rows in annotations, ascending. matrix: (P, D) float16.
    """

    row: NDArray[np.int64]
    matrix: NDArray[np.float16]


def extract_features(
    download: Path,
    image_ids: NDArray[np.object_],
    rows: NDArray[np.int64],
    train: NDArray[np.bool_],
    backbone: Backbone,
    seed: int,
) -> tuple[Features, Axes] | None:
    """Features of the pictures of `rows`; None with fewer than MIN_SAMPLE training pictures.

    Args:
        download: data/download.
        image_ids: (N,) of annotations.
        rows: (P,) rows with readable pictures, ascending.
        train: (N,) bool.
        backbone: The network.
        seed: Of the sample.
    """
    candidates = rows[train[rows]]
    if len(candidates) < MIN_SAMPLE:
        return None
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(candidates)[:N_SAMPLE])
    pooled: list[Tensor] = []
    order: list[int] = []
    for here, pixels in iter_pixels(download, image_ids, sample, backbone, "features (sample)"):
        pooled.append(backbone.pool(torch.from_numpy(pixels)))
        order += here
    axes = fit_axes(torch.cat(pooled), seed)
    place = {int(row): k for k, row in enumerate(rows)}
    matrix = np.zeros((len(rows), axes.axes.shape[1]), np.float16)

    def put(here: list[int], values: Tensor) -> None:
        matrix[[place[row] for row in here]] = axes.project(values)

    put(order, torch.cat(pooled))
    del pooled
    others = np.setdiff1d(rows, sample)
    for here, pixels in iter_pixels(download, image_ids, others, backbone, "features"):
        put(here, backbone.pool(torch.from_numpy(pixels)))
    return Features(rows, matrix), axes


def fit_axes(pooled: Tensor, seed: int) -> Axes:
    """Axes of at least MIN_SAMPLE pooled features (M, F); half as many axes as pictures at most.

    Each map has the same weight whatever its number of channels, as each feature is standardised
    and the maps of these networks have similar numbers of values.
    """
    n, n_features = pooled.shape
    mean, std = pooled.mean(0), pooled.std(0)
    scale = 1 / (std + 1e-6 + 1e-3 * std.max()) / n_features**0.5
    x = (pooled - mean) * scale
    d = min(N_AXES, n // 2, n_features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, _, axes = torch.pca_lowrank(x, q=min(d + 32, n, n_features), center=False, niter=2)
    axes = axes[:, :d]
    return Axes(mean, scale, (axes / (x @ axes).std()).contiguous())


def iter_pixels(
    download: Path,
    image_ids: NDArray[np.object_],
    rows: NDArray[np.int64],
    backbone: Backbone,
    title: str,
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """Yield rows and (n, H, W, 3) uint8 RGB of the backbone's size, at most BATCH at a time."""
    row_of = {str(image_ids[row]): int(row) for row in rows}
    size = (backbone.width, backbone.height)

    def read(data: object) -> NDArray[np.uint8] | None:
        try:
            rgb = decode_rgb(data.as_py())  # type: ignore[attr-defined]
        except UnreadableImageError:
            return None
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = iter_images(download, ("image_id", "bytes"))
        for batch in track(batches, title, total=-(-len(image_ids) // 256)):
            ids = batch["image_id"].to_pylist()
            wanted = [k for k, name in enumerate(ids) if name in row_of]
            for start in range(0, len(wanted), BATCH):
                part = wanted[start : start + BATCH]
                read_ = list(pool.map(read, [batch["bytes"][k] for k in part]))
                pairs = zip(part, read_, strict=True)
                good = [(k, pixels) for k, pixels in pairs if pixels is not None]
                if good:
                    rows_ = [row_of[ids[k]] for k, _ in good]
                    yield rows_, np.stack([pixels for _, pixels in good])
