"""Networks fine-tuned out of fold on the labels: `audit.fine_tune`, an option that costs time.

A network per fold learns all attributes from the other folds' pictures and judges its own fold, so
its answer about a picture knows neither that picture's labels nor those of the person's others.
Pictures outside train get the mean of all networks. The answers join the features of the probe.
"""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from stages.audit.backbone import Backbone, load_backbone
from stages.audit.features import iter_pixels
from stages.common.losses import masked_mean
from stages.common.params import AuditParams
from stages.common.progress import track

SIZE_PX = (128, 104)  # height, width: half the cost of the features' size
BATCH = 32
LR = 1e-3  # peak of one cycle, AdamW
WEIGHT_DECAY = 1e-2
DROPOUT = 0.2
#: The answers' standard deviation beside the features', which is 1 (1 to 30 were tried, all within
#: 0.003 of average precision).
SPREAD = 3.0

log = logging.getLogger(__name__)


class Tuned(nn.Module):
    """The features' network with one linear layer on its pooled maps: (N, 3, H, W) to (N, A)."""

    def __init__(self, backbone: Backbone, n_attributes: int) -> None:
        super().__init__()
        self.network = backbone.network.requires_grad_(True)
        self._pool_maps = backbone.pool_maps
        blank = torch.zeros(2, 3, backbone.height, backbone.width, device=backbone.device)
        with torch.inference_mode():
            n_features = self._pool_maps(blank).shape[1]
        self.norm = nn.BatchNorm1d(n_features, affine=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.last = nn.Linear(n_features, n_attributes)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, A) of normalised pictures."""
        logits: Tensor = self.last(self.dropout(self.norm(self._pool_maps(x))))
        return logits


def ask_tuned(
    params: AuditParams,
    download: Path,
    image_ids: NDArray[np.object_],
    rows: NDArray[np.int64],
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    folds: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Logits (P, A) float32 of every readable picture by networks that never saw its fold.

    Args:
        params: features, weights, fine_tune (epochs) and seed are used.
        download: data/download.
        image_ids: (N,) of annotations.
        rows: (P,) rows with readable pictures, ascending.
        labels: (P, A) uint8.
        known: (P, A) bool.
        folds: (P,) fold of training pictures, -1 = not in train.
    """
    logits = np.zeros(labels.shape, np.float32)
    n_folds = int(folds.max()) + 1
    backbone = load_small(params)
    place = {int(row): k for k, row in enumerate(rows)}
    # On disk, as 202,599 pictures are 8 GB: what fits stays in memory anyway. The file has no name,
    # so a killed run leaves none.
    with tempfile.TemporaryFile() as file:
        shape = (len(rows), backbone.height, backbone.width, 3)
        pixels = np.memmap(file, np.uint8, "w+", shape=shape)
        for here, pictures in iter_pixels(download, image_ids, rows, backbone, "pictures"):
            pixels[[place[row] for row in here]] = pictures
        outside = np.flatnonzero(folds < 0)
        for fold in range(n_folds):
            fitted = np.flatnonzero((folds >= 0) & (folds != fold))
            title = f"fine-tune {fold + 1}/{n_folds}"
            network, backbone = fit_fold(params, pixels, labels, known, fitted, fold, title)
            for part, share in ((np.flatnonzero(folds == fold), 1.0), (outside, 1 / n_folds)):
                logits[part] += share * predict(network, backbone, pixels, part)
        del pixels
    return logits


def load_small(params: AuditParams) -> Backbone:
    """The features' network for smaller pictures; for its own size if it takes no other."""
    backbone = load_backbone(params)
    small = replace(backbone, height=SIZE_PX[0], width=SIZE_PX[1])
    try:
        small.pool(torch.zeros(1, *SIZE_PX, 3, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError):
        return backbone
    return small


def fit_fold(
    params: AuditParams,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    fitted: NDArray[np.int64],
    fold: int,
    title: str,
) -> tuple[Tuned, Backbone]:
    """A network trained on the pictures `fitted`; its order and flips are by seed and fold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed * 1_000_003 + fold)
        backbone = load_small(params)
        network = Tuned(backbone, labels.shape[1]).to(backbone.device)
        count = known[fitted].sum(0)
        share = ((labels * known)[fitted].sum(0) + 0.5) / (count + 1)
        with torch.no_grad():
            network.last.bias.copy_(torch.logit(torch.from_numpy(share)))
        size = min(BATCH, len(fitted))
        n_steps = len(fitted) // size
        optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LR, total_steps=params.fine_tune * n_steps, pct_start=0.15
        )
        network.train()
        for epoch in range(params.fine_tune):
            order = fitted[torch.randperm(len(fitted)).numpy()]
            note = f"{title}, epoch {epoch + 1}/{params.fine_tune}"
            for step in track(range(n_steps), note, total=n_steps):
                batch = order[step * size : (step + 1) * size]
                x = backbone.normalise(torch.from_numpy(pixels[batch]))
                flips = torch.rand(len(batch)) < 0.5
                x = torch.where(flips.to(x.device)[:, None, None, None], x.flip(3), x)
                y, mask = (torch.from_numpy(table[batch]).float() for table in (labels, known))
                optimizer.zero_grad()
                logits, y = network(x), y.to(x.device)
                losses = binary_cross_entropy_with_logits(logits, y, reduction="none")
                masked_mean(losses, mask.to(x.device)).backward()
                optimizer.step()
                schedule.step()
        return network.eval(), backbone


@torch.inference_mode()
def predict(
    network: Tuned, backbone: Backbone, pixels: NDArray[np.uint8], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits (M, A) of the pictures `rows`: the mean of a picture's and its mirror image's."""
    parts = []
    for start in range(0, len(rows), 4 * BATCH):
        x = backbone.normalise(torch.from_numpy(pixels[rows[start : start + 4 * BATCH]]))
        parts.append(((network(x) + network(x.flip(3))) / 2).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, network.last.out_features), np.float32)


def join_answers(features: NDArray[np.float16], answers: NDArray[np.float32]) -> Tensor:
    """Inputs (P, D + A) float16 of the probe: features and answers, the latter spread SPREAD."""
    spread = answers.std(0) + 1e-6
    scaled = (answers - answers.mean(0)) / spread * SPREAD
    return torch.from_numpy(np.concatenate([features, scaled.astype(np.float16)], 1))
