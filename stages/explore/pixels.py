"""Statistics of pixels over a seeded sample of the readable images."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.progress import track
from stages.common.tables import image_files, iter_images

STATISTICS = (
    "height_px",
    "width_px",
    "bytes",
    "brightness",
    "contrast",
    "sharpness",
    "colorfulness",
)
COLUMNS = ["statistic", "n", "mean", "std", "min", "p05", "p50", "p95", "max"]


def sample_images(
    download: Path, image_ids: NDArray[np.object_], n_images: int, seed: int
) -> NDArray[np.float64]:
    """Measure a sample of images, drawn without replacement, those that turn out unreadable aside.

    Args:
        download: A data/download folder.
        image_ids: Ids of the images whose status is ok.
        n_images: Size of the sample; all images where there are fewer.
        seed: Seed of the draw.

    Returns:
        (n, 7) values in the order of STATISTICS; n is 0 where the folder holds no images.
    """
    if not image_files(download) or not len(image_ids):
        return np.zeros((0, len(STATISTICS)))
    draw = np.random.default_rng(seed).permutation(len(image_ids))[:n_images]
    chosen = set(np.sort(image_ids.astype(str))[draw].tolist())
    rows: list[list[float]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in track(iter_images(download), "measure", total=-(-len(image_ids) // 256)):
            ids = batch["image_id"].to_pylist()
            blobs = [batch["bytes"][k] for k, name in enumerate(ids) if name in chosen]
            rows += [row for row in pool.map(_measure_blob, blobs) if row is not None]
    return np.array(rows, np.float64).reshape(-1, len(STATISTICS))


def measure_picture(rgb: NDArray[np.uint8]) -> list[float]:
    """Brightness, contrast, sharpness and colorfulness of one (H, W, 3) uint8 picture.

    Mean and standard deviation of gray (0..255), variance of its Laplacian (Pech-Pacheco et al.
    2000), and the colorfulness of Hasler and Suesstrunk (2003).
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    red, green, blue = (rgb[:, :, k].astype(np.float32) for k in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    colorfulness = spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    sharpness = cv2.Laplacian(gray, cv2.CV_64F).var()
    return [float(gray.mean()), float(gray.std()), float(sharpness), float(colorfulness)]


def summarise_pixels(values: NDArray[np.float64]) -> pd.DataFrame:
    """One row per statistic: n, mean, standard deviation and quantiles; empty without a sample."""
    if not len(values):
        return pd.DataFrame(columns=COLUMNS)
    quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1], axis=0)
    table = np.stack([values.mean(0), values.std(0), *quantiles], axis=1)
    frame = pd.DataFrame(table, columns=COLUMNS[2:])
    frame.insert(0, "n", len(values))
    frame.insert(0, "statistic", STATISTICS)
    return frame


def _measure_blob(blob: object) -> list[float] | None:
    """Statistics of one file's bytes, None where it is no readable picture."""
    data: bytes = blob.as_py()  # type: ignore[attr-defined]
    try:
        rgb = decode_rgb(data)
    except UnreadableImageError:
        return None
    return [*map(float, rgb.shape[:2]), float(len(data)), *measure_picture(rgb)]
