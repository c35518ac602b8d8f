"""Optimisers and learning-rate schedules by name, all torch's own."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler

from stages.common.params import TrainParams
from stages.train.layers import find_depths


def build_optimizer(network: nn.Module, params: TrainParams) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over all tensors that learn.

    Biases and norms (tensors of one dimension) get no weight decay unless `decay_norms`. With
    `layer_decay` below 1 each layer learns at that share of the next one's rate; the last learns
    at `lr`, and its group is the first.
    """
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    depths = dict.fromkeys((name for name, _ in named), 0)
    if params.layer_decay < 1:
        depths = find_depths(network)
    top = max(depths.values())
    groups = []
    for depth in range(top, -1, -1):
        layer = [p for name, p in named if depths[name] == depth]
        lr = params.lr * params.layer_decay ** (top - depth)
        weights = [p for p in layer if p.ndim > 1]
        others = [p for p in layer if p.ndim <= 1]
        decay = params.weight_decay
        if layer:
            groups += [
                {"params": weights, "lr": lr, "weight_decay": decay},
                {"params": others, "lr": lr, "weight_decay": decay if params.decay_norms else 0.0},
            ]
    if params.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=params.lr, momentum=params.momentum, nesterov=params.nesterov
        )
    kind = torch.optim.Adam if params.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=params.lr)


def build_schedule(
    optimizer: torch.optim.Optimizer, params: TrainParams, steps_per_epoch: int
) -> Any:
    """The schedule of every group's rate, stepped per step of the optimiser; plateau per epoch.

    constant; cyclic: triangular between lr / 10 and lr, up during warmup_epochs and down as long;
    one_cycle (Smith & Topin, 2018) and cosine: up during warmup_epochs, then down to about 0;
    plateau: times plateau_factor after more than plateau_patience epochs that are not better by a
    ten-thousandth, judged by judge_epoch; step: times step_factor every step_epochs.
    """
    n_steps = params.n_epochs * steps_per_epoch
    n_warmup = min(n_steps - 1, round(params.warmup_epochs * steps_per_epoch))
    rates = [group["lr"] for group in optimizer.param_groups]
    if params.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode="min" if params.plateau_on == "loss" else "max",
            factor=params.plateau_factor,
            patience=params.plateau_patience,
        )
    if params.schedule == "cyclic":
        return lr_scheduler.CyclicLR(
            optimizer,
            base_lr=[rate / 10 for rate in rates],
            max_lr=rates,
            step_size_up=max(1, n_warmup),
            cycle_momentum=False,
        )
    if params.schedule == "one_cycle":
        if n_warmup == 1:  # torch divides by the steps of the rise less one
            n_warmup = 2 if n_steps > 3 else 0
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=rates,
            total_steps=n_steps,
            pct_start=n_warmup / n_steps,
            cycle_momentum=False,
        )
    if params.schedule == "cosine":
        if n_warmup == 0:  # torch 2.11 begins a sequence whose first part is empty twice
            return lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        rise = lr_scheduler.LinearLR(optimizer, 1 / (n_warmup + 1), total_iters=n_warmup)
        fall = lr_scheduler.CosineAnnealingLR(optimizer, n_steps - n_warmup)
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], [n_warmup])
    if params.schedule == "step":
        n_level = params.step_epochs * steps_per_epoch
        return lr_scheduler.LambdaLR(
            optimizer, lambda step: params.step_factor ** (step // n_level)
        )
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def judge_epoch(
    params: TrainParams, train_loss: float, valid_loss: float, valid_accuracy: float
) -> float:
    """What plateau watches: loss (lower is better) or accuracy (higher is better), on valid.

    Without known labels in valid there is neither; the training's loss l, or exp(-l), stands in.
    """
    if params.plateau_on == "accuracy":
        return math.exp(-train_loss) if math.isnan(valid_accuracy) else valid_accuracy
    return valid_loss if math.isfinite(valid_loss) else train_loss


def trace_rates(
    params: TrainParams, steps_per_epoch: int, judged: Sequence[float] = ()
) -> np.ndarray:
    """The last layer's learning rate at each step of the optimiser, (n_epochs * steps,) float64.

    Args:
        params: The schedule's.
        steps_per_epoch: Steps of the optimiser.
        judged: For plateau: judge_epoch's value after each epoch that has run; in epochs beyond
            these the rate stays.
    """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=params.lr)
    schedule = build_schedule(optimizer, params, steps_per_epoch)
    rates = []
    for epoch in range(params.n_epochs):
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if params.schedule != "plateau":
                schedule.step()
        if params.schedule == "plateau" and epoch < len(judged):
            schedule.step(judged[epoch])
    return np.array(rates)
