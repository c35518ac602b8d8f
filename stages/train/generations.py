"""Trainings one after the other, each of which also learns what the one before it answers.

A born-again network (Furlanello et al., ICML 2018): a fresh start of the same network learns from
labels mixed with its predecessor's probabilities. Where a label is an accident the predecessor
rarely agrees with it, and the successor has less to learn by heart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from stages.common.mirror import Mirrored
from stages.common.networks import normalise
from stages.common.params import TrainParams
from stages.train.checkpoint import Checkpoint
from stages.train.failures import explain_answers
from stages.train.feed import Feed, Held
from stages.train.loop import VALID_BATCH, Epoch, Fitted, fit


@dataclass(frozen=True)
class Descent:
    """The last generation and its network; the best (epoch, mean accuracy on valid) of each."""

    network: nn.Module
    fitted: Fitted
    best: list[tuple[int, float]]


def fit_generations(
    fabric: Fabric,
    build: Callable[[], nn.Module],
    feed: Feed,
    held: Held,
    params: TrainParams,
    factors: Tensor | None,
    checkpoint: Checkpoint | None,
    state: dict[str, Any] | None,
    on_epoch: Callable[[int, Epoch], None],
) -> Descent:
    """Train `generations` networks in turn; the last one counts.

    Args:
        fabric: Launched.
        build: Gives a network at its start, drawn from torch's random state.
        feed: The training images; it is told what to learn.
        held: The validation images.
        params: The whole section.
        factors: See `fit`.
        checkpoint: Of the first process; None in the others.
        state: What it held, in every process; None to start anew.
        on_epoch: Called by the first process with the generation, from 1, and its epoch.

    Raises:
        FacetError: see `fit`.
    """
    first = 1 if state is None else int(state["generation"])
    targets: Tensor | None = None if state is None else state["targets"]
    best: list[tuple[int, float]] = [] if state is None else [tuple(b) for b in state["past"]]
    for generation in range(first, params.generations + 1):
        torch.manual_seed(params.seed + generation - 1)
        network = build()
        if targets is not None:
            feed.learn(targets)
        mark = {"generation": generation, "targets": targets, "past": list(best)}

        def save(epoch_state: dict[str, Any], mark: dict[str, Any] = mark) -> None:
            assert checkpoint is not None
            checkpoint.save({**epoch_state, **mark})

        fitted = fit(
            fabric,
            network,
            feed,
            held,
            params,
            factors,
            None if checkpoint is None else save,
            state,
            partial(on_epoch, generation),
            generation,
        )
        state = None
        best.append((fitted.best_epoch, fitted.history[fitted.best_epoch - 1].valid_accuracy))
        if generation < params.generations:
            network.load_state_dict(fitted.weights)
            # The first process's answers for all: the others' batch norms have statistics of their
            # own, which no checkpoint keeps.
            first_answers = answer(network, feed, params, fabric) if fabric.is_global_zero else None
            targets = fabric.broadcast(first_answers)
    return Descent(network, fitted, best)


@torch.inference_mode()
def answer(network: nn.Module, feed: Feed, params: TrainParams, fabric: Fabric) -> Tensor:
    """Probabilities (N, A) float32 on the CPU of all training images, as they are.

    Where training flips, of the mean of the logits of a picture and of its mirror image.
    """
    teacher = (Mirrored(network) if params.augment.flip else network).eval()
    parts = []
    n_parts = -(-feed.n_images // VALID_BATCH)
    with explain_answers(params, VALID_BATCH), fabric.autocast():
        for rows in np.array_split(np.arange(feed.n_images), n_parts):
            pictures = normalise(feed.read(rows), params.network)
            parts.append(teacher(pictures).float().sigmoid().cpu())
    return torch.cat(parts)
