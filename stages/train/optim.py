"""Optimisers and learning-rate schedules by name, all torch's own."""

from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from stages.common.params import TrainParams


def build_optimizer(network: nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW; biases and norms (tensors of one dimension) get no weight decay."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": params.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=params.lr, momentum=params.momentum)
    kind = torch.optim.Adam if params.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=params.lr)


def build_schedule(
    optimizer: torch.optim.Optimizer, params: TrainParams, steps_per_epoch: int
) -> Any:
    """The schedule of `train.lr`, stepped per batch; plateau is stepped per epoch with the loss.

    constant; cyclic: triangular between lr / 10 and lr, up during warmup_epochs and down as long;
    one_cycle (Smith & Topin, 2018) and cosine: up during warmup_epochs, then down to about 0;
    plateau: times plateau_factor after plateau_patience epochs without a lower validation loss.
    """
    n_steps = params.n_epochs * steps_per_epoch
    n_warmup = min(n_steps - 1, round(params.warmup_epochs * steps_per_epoch))
    if params.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=params.plateau_factor, patience=params.plateau_patience
        )
    if params.schedule == "cyclic":
        return lr_scheduler.CyclicLR(
            optimizer,
            base_lr=params.lr / 10,
            max_lr=params.lr,
            step_size_up=max(1, n_warmup),
            cycle_momentum=False,
        )
    if params.schedule == "one_cycle":
        if n_warmup == 1:  # torch divides by the steps of the rise less one
            n_warmup = 2 if n_steps > 3 else 0
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=params.lr,
            total_steps=n_steps,
            pct_start=n_warmup / n_steps,
            cycle_momentum=False,
        )
    if params.schedule == "cosine":
        rise = lr_scheduler.LinearLR(optimizer, 1 / (n_warmup + 1), total_iters=n_warmup)
        fall = lr_scheduler.CosineAnnealingLR(optimizer, max(1, n_steps - n_warmup))
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], [n_warmup])
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
