"""Pictures without a face: features tell spoiled copies of the user's own pictures from the rest.

Nobody says which pictures show a face, but most do, and what hides or lacks one can be made:
noise, plain areas, background, shuffled tiles, a covered face. A probe learns the difference, and
how far a picture lies from all others, for kinds of faceless pictures that nobody thought of.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.audit.backbone import Backbone
from stages.audit.combine import fit_combiner
from stages.audit.features import Axes, Features, iter_pixels
from stages.audit.probe import predict_out_of_fold

N_SPOILED = 1500  # at most, and a quarter of the training pictures
#: Later axes fit the pictures that they were learned on better than others, and spoiled pictures
#: are others: with all 768 axes the probe learned that instead of faces.
N_AXES = 128  # and an eighth of the training pictures at most
N_NEAR = 32  # a second distance, over the main axes alone
MAX_DEVIATIONS = 5.0  # median deviations from the middle, 3.4 standard deviations of a normal
N_ROUNDS = 3  # from the second on, what looks spoiled is no example of a face
RIDGE = 100.0  # over the square root of the number of pictures: kinds not thought of need it
DISTANCE_WEIGHT = 3.0  # of the distances, in standard deviations, beside features of variance 1


def score_faceless(
    download: Path,
    image_ids: NDArray[np.object_],
    features: Features,
    axes: Axes,
    backbone: Backbone,
    folds: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float32]:
    """Probability (P,) that a picture shows no face.

    Args:
        download: data/download.
        image_ids: (N,) of annotations.
        features: Of P pictures.
        axes: Those of the features.
        backbone: The network.
        folds: (P,) fold, -1 = not in train: judged by probes that never saw its picture either.
        seed: Of the spoiled pictures.
    """
    rng = np.random.default_rng([seed, 2])
    train = np.flatnonzero(folds >= 0)
    n_axes = min(N_AXES, len(train) // 8)
    sources = np.sort(rng.permutation(train)[: min(N_SPOILED, len(train) // 4)])
    place = {int(row): k for k, row in zip(sources, features.row[sources], strict=True)}
    spoiled, fold = [], []
    rows = features.row[sources]
    for here, pixels in iter_pixels(download, image_ids, rows, backbone, "spoiled pictures"):
        bad = np.stack([spoil(picture, rng) for picture in pixels])
        spoiled.append(axes.project(backbone.pool(torch.from_numpy(bad)))[:, :n_axes])
        fold += [int(folds[place[row]]) for row in here]
    n = len(features.row)
    matrix = np.concatenate([features.matrix[:, :n_axes], *spoiled]).astype(np.float32)
    everyone = np.concatenate([folds, np.array(fold, np.int64)])
    bad_one = np.arange(len(matrix)) >= n
    kept = np.ones((len(matrix), 1), bool)
    for _ in range(N_ROUNDS):
        logit = predict_out_of_fold(
            _add_distances(matrix, (everyone >= 0) & ~bad_one & kept[:, 0]),
            bad_one.astype(np.float32)[:, None],
            kept,
            everyone,
            RIDGE / len(train) ** 0.5,
            standardise=False,
        )
        kept = bad_one[:, None] | (logit < find_limit(logit[(everyone >= 0) & ~bad_one]))
    seen = everyone >= 0
    share = bad_one[seen].mean()
    nothing = np.zeros(logit.shape, np.float32)
    combiner = fit_combiner(
        logit[seen],
        nothing[seen],
        bad_one[seen][:, None],
        np.ones((int(seen.sum()), 1), bool),
        float(share),
        seed,
    )
    return combiner.judge(logit[:n], nothing[:n])[:, 0]


def find_limit(logits: NDArray[np.float32]) -> float:
    """From which logit on, of the user's own pictures, one is no example of a face.

    Where many show none the probe takes them for faces too, and few come above 0; but they lie
    far from the bulk, whose spread the median deviation tells.
    """
    middle = float(np.median(logits))
    deviation = float(np.median(np.abs(logits - middle)))
    return min(0.0, middle + MAX_DEVIATIONS * deviation)


def _add_distances(matrix: NDArray[np.float32], normal: NDArray[np.bool_]) -> torch.Tensor:
    """Features (M, D) with two more columns: log distances from the middle of the normal ones."""
    centred = (matrix - matrix[normal].mean(0)) / np.maximum(matrix[normal].std(0), 1e-3)
    columns = [matrix]
    for n_axes in (N_NEAR, None):
        log = np.log(np.square(centred[:, :n_axes]).mean(1) + 1e-3)
        z = (log - np.median(log[normal])) / (log[normal].std() + 1e-6)
        columns.append(DISTANCE_WEIGHT * np.clip(z, -5, 10)[:, None])
    return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))


def spoil(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 without its face, in one of several ways."""
    height, width = picture.shape[:2]
    kind = int(rng.integers(6))
    if kind == 0:
        return _draw_noise(height, width, rng)
    if kind == 1:
        return np.broadcast_to(_pick_colour(picture, rng), picture.shape).astype(np.uint8)
    if kind == 2:
        return _cut_background(picture, rng)
    if kind == 3:
        return _shuffle_tiles(picture, rng)
    covered = picture.copy()
    top, bottom = (round(x * height) for x in (rng.uniform(0.2, 0.38), rng.uniform(0.7, 0.9)))
    left, right = (round(x * width) for x in (rng.uniform(0.1, 0.3), rng.uniform(0.7, 0.9)))
    if kind == 4:
        covered[top:bottom, left:right] = _pick_colour(picture, rng)
    else:
        patch = Image.fromarray(_cut_background(picture, rng))
        covered[top:bottom, left:right] = np.asarray(patch.resize((right - left, bottom - top)))
    return covered


def _pick_colour(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A pixel of the picture or any colour."""
    if rng.random() < 0.5:
        return picture[rng.integers(picture.shape[0]), rng.integers(picture.shape[1])]
    return rng.integers(0, 256, 3, dtype=np.uint8)


def _draw_noise(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise of any grain, contrast and colour."""
    grain = int(rng.choice([1, 2, 8, 40]))
    size = (-(-height // grain), -(-width // grain), 3)
    noise = rng.normal(rng.uniform(60, 200, 3), rng.uniform(20, 90), size)
    image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _cut_background(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A corner or a strip at the border, enlarged."""
    height, width = picture.shape[:2]
    h, w = round(height * rng.uniform(0.15, 0.4)), round(width * rng.uniform(0.12, 0.28))
    top = int(rng.integers(0, height - h + 1))
    left = 0 if rng.random() < 0.5 else width - w
    part = Image.fromarray(picture[top : top + h, left : left + w])
    return np.asarray(part.resize((width, height), Image.Resampling.BILINEAR))


def _shuffle_tiles(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Tiles of a grid in another order."""
    rows, columns = int(rng.integers(3, 7)), int(rng.integers(3, 7))
    h, w = picture.shape[0] // rows, picture.shape[1] // columns
    tiles = [(r * h, c * w) for r in range(rows) for c in range(columns)]
    shuffled = picture.copy()
    for (top, left), k in zip(tiles, rng.permutation(len(tiles)), strict=True):
        y, x = tiles[k]
        shuffled[top : top + h, left : left + w] = picture[y : y + h, x : x + w]
    return shuffled
