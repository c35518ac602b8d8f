"""Where the network looked: Grad-CAM of the pictures that the report shows.

Selvaraju et al., ICCV 2017: the last map of features before the network pools it, its channels
weighted by the mean gradient of an attribute's logit, positive parts only. It says what spoke for
the attribute, also where the answer was no, as coarse as that map (a 32nd of the picture's side).
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stages.common.mirror import bare
from stages.common.networks import normalise
from stages.evaluate.part import Part

log = logging.getLogger(__name__)

#: Why a picture is shown: wrong answers, the surest first, and some of all.
KINDS = ("false_positive", "false_negative", "random")
#: Layers that work on sequences: behind them places mean no longer what they meant in the picture.
_SEQUENCE = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention, nn.RNNBase)


def choose_pictures(part: Part, threshold: float, n: int, seed: int) -> pd.DataFrame:
    """The pictures of each attribute that are shown: up to n of each of KINDS, known labels only.

    Returns:
        row (of the part), column (of the attribute), kind and rank (from 0); by column, kind, rank.
    """
    found: list[tuple[int, int, str, int]] = []
    for column, known in enumerate(part.mask.T):
        probs, truth = part.probs[:, column], part.labels[:, column].astype(bool)
        decided = probs > threshold
        wrong_yes = np.flatnonzero(known & decided & ~truth)
        wrong_no = np.flatnonzero(known & ~decided & truth)
        rng = np.random.default_rng([seed, column])
        chosen = (
            wrong_yes[np.argsort(-probs[wrong_yes], kind="stable")][:n],
            wrong_no[np.argsort(probs[wrong_no], kind="stable")][:n],
            rng.permutation(np.flatnonzero(known))[:n],
        )
        for kind, rows in zip(KINDS, chosen, strict=True):
            found += [(int(row), column, kind, rank) for rank, row in enumerate(rows)]
    return pd.DataFrame(found, columns=["row", "column", "kind", "rank"])


def find_last_map(network: nn.Module, name: str, pixels: np.ndarray) -> nn.Module | None:
    """The layer that gives the last map of features, (N, C, h, w) with h and w of at least 2.

    None where layers that work on sequences of places follow, or there is no such map.

    Args:
        network: In evaluation mode.
        name: Its name, for the normalisation.
        pixels: (1, H, W, 3) uint8, any picture.
    """
    last: list[nn.Module | None] = [None]

    def see(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(layer, _SEQUENCE):
            if not isinstance(output, Tensor) or output.ndim > 2:
                last[0] = None
        elif isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) >= 2:
            last[0] = layer

    leaves = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(see) for layer in leaves]
    try:
        with torch.inference_mode():
            network(normalise(_to_device(pixels, network), name))
    finally:
        for hook in hooks:
            hook.remove()
    return last[0]


def draw_heat(
    network: nn.Module,
    name: str,
    layer: nn.Module,
    pixels: np.ndarray,
    columns: np.ndarray,
    batch_size: int,
) -> Iterator[np.ndarray]:
    """Yield a heat map (h, w) uint8 per picture: 255 where most speaks for the attribute.

    All 0 where nothing does.

    Args:
        network: In evaluation mode; its weights are left as they are.
        name: Its name, for the normalisation.
        layer: That gives the map.
        pixels: (N, H, W, 3) uint8.
        columns: (N,) the attribute's place among the logits.
        batch_size: Pictures at once.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()  # what follows may write into it

    for parameter in network.parameters():
        parameter.requires_grad_(False)
    hook = layer.register_forward_hook(keep)
    try:
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            kept.clear()
            logits = network(normalise(_to_device(pixels[rows], network), name))
            wanted = torch.as_tensor(columns[rows], device=logits.device)[:, None]
            (gradient,) = torch.autograd.grad(logits.gather(1, wanted).sum(), kept[-1])
            weights = gradient.mean((2, 3), keepdim=True)
            heat = (weights * kept[-1].detach()).sum(1).clamp(min=0)
            peak = heat.amax((1, 2), keepdim=True)
            heat = torch.where(peak > 0, heat / peak, torch.zeros_like(heat))
            yield from (heat * 255).round().to(torch.uint8).cpu().numpy()
    finally:
        hook.remove()


def table_saliency(
    part: Part,
    chosen: pd.DataFrame,
    network: nn.Module,
    name: str,
    pixels: np.ndarray,
    batch_size: int,
) -> pd.DataFrame:
    """Rows of saliency.parquet (tables.SALIENCY_SCHEMA), in the order of choose_pictures.

    Args:
        part: What was evaluated.
        chosen: By choose_pictures.
        network: In evaluation mode.
        name: Its name, for the normalisation.
        pixels: (N, H, W, 3) uint8 of the part.
        batch_size: Pictures at once.
    """
    rows, columns = (chosen[name].to_numpy(np.int64, copy=True) for name in ("row", "column"))
    network = bare(network)  # where it looked in the picture, not in its mirror image
    layer = find_last_map(network, name, pixels[:1]) if len(rows) else None
    heat: list[np.ndarray | None] = [None] * len(rows)
    if layer is not None:
        heat = list(draw_heat(network, name, layer, pixels[rows], columns, batch_size))
    elif len(rows):
        log.info("evaluate: %s has no map of features for heat maps", name)
    return pd.DataFrame(
        {
            "image_id": [part.image_ids[row] for row in rows],
            "partition": part.name,
            "attribute": [part.attributes[column] for column in columns],
            "kind": chosen["kind"],
            "rank": chosen["rank"],
            "probability": part.probs[rows, columns],
            "label": part.labels[rows, columns].astype(bool),
            "height": [None if x is None else x.shape[0] for x in heat],
            "width": [None if x is None else x.shape[1] for x in heat],
            "heat": [None if x is None else x.tobytes() for x in heat],
        }
    )


def _to_device(pixels: np.ndarray, network: nn.Module) -> Tensor:
    device = next(network.parameters()).device
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
