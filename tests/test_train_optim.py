import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.common.params import TrainParams, load_params
from stages.train.optim import build_optimizer, build_schedule, judge_epoch, trace_rates

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train
SCHEDULES = ("constant", "cyclic", "one_cycle", "cosine", "plateau", "step")


def make_params(**changes: Any) -> TrainParams:
    small = {"network": "uab_cnn", "weights": "none", "batch_size": 16, "n_epochs": 3}
    return TrainParams.model_validate({**SHIPPED.model_dump(), **small, **changes})


def make_network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    )


@pytest.mark.parametrize("decay_norms", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_biases_and_norms_do_not_decay(optimizer: str, decay_norms: bool) -> None:
    network = make_network()
    params = make_params(optimizer=optimizer, weight_decay=0.5, decay_norms=decay_norms)
    groups = build_optimizer(network, params).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    expected = {id(p): 0.5 if p.ndim > 1 or decay_norms else 0.0 for p in network.parameters()}
    assert decays == expected


def test_one_rate_means_two_groups_in_the_networks_order() -> None:
    network = make_network()
    weights, others = build_optimizer(network, make_params()).param_groups
    assert [id(p) for p in weights["params"]] == [id(network[i].weight) for i in (0, 2, 4)]
    assert len(others["params"]) == 5


def test_frozen_tensors_are_left_out() -> None:
    network = make_network()
    network[0].requires_grad_(False)
    groups = build_optimizer(network, make_params(layer_decay=0.5)).param_groups
    learned = {id(p) for group in groups for p in group["params"]}
    assert learned == {id(p) for p in network.parameters() if p.requires_grad}


def test_layers_learn_at_falling_rates() -> None:
    network = make_network()
    groups = build_optimizer(network, make_params(lr=1.0, layer_decay=0.5)).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    expected = [0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0]  # the norm learns as the layer before
    assert [rates[id(p)] for p in network.parameters()] == expected
    assert groups[0]["lr"] == 1.0  # the rate that is reported


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_follows_its_formula(nesterov: bool) -> None:
    """Sutskever et al. (2013) as torch writes it: v = m v + g; w -= lr (g + m v or v)."""
    layer = nn.Linear(2, 1, bias=False)
    params = make_params(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.0, nesterov=nesterov)
    optimizer = build_optimizer(layer, params)
    weight, velocity = layer.weight.detach().numpy().copy(), 0.0
    for step in range(3):
        layer.weight.grad = torch.full((1, 2), step + 1.0)
        optimizer.step()
        gradient = step + 1.0
        velocity = 0.9 * velocity + gradient
        weight -= 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)
    assert layer.weight.detach().numpy() == pytest.approx(weight, rel=1e-5)


def trace(schedule: str, n_epochs: int = 4, warmup: float = 1.0, **changes: Any) -> list[float]:
    params = make_params(
        schedule=schedule, n_epochs=n_epochs, warmup_epochs=warmup, lr=1.0, **changes
    )
    return [float(rate) for rate in trace_rates(params, 10)]


def test_schedules_follow_their_definitions() -> None:
    assert trace("constant") == [1.0] * 40
    expected = [0.1 + 0.9 * (1 - abs(step % 20 - 10) / 10) for step in range(40)]
    assert trace("cyclic") == pytest.approx(expected)
    cosine = trace("cosine")
    assert cosine[:10] == pytest.approx([(1 + 10 * step / 10) / 11 for step in range(10)])
    falling = [(1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert cosine[10:] == pytest.approx(falling)
    one_cycle = trace("one_cycle")
    assert max(one_cycle) == pytest.approx(1.0, abs=0.02)
    assert one_cycle.index(max(one_cycle)) in (9, 10)
    assert one_cycle[-1] < 1e-3
    steps = trace("step", step_epochs=2, step_factor=0.3)
    assert steps == pytest.approx([0.3 ** (step // 20) for step in range(40)])


def drop_after(judged: list[float], is_better: Callable[[float, float], bool]) -> list[float]:
    """The rate in each epoch when it is divided by 10 after more than 2 epochs without gain."""
    rates, rate, best, n_bad = [], 1.0, judged[0], 0
    for value in judged:
        rates.append(rate)
        if value is judged[0]:
            continue
        n_bad = 0 if is_better(value, best) else n_bad + 1
        best = value if is_better(value, best) else best
        if n_bad > 2:
            rate, n_bad = rate * 0.1, 0
    return rates


@pytest.mark.parametrize("watched", ["loss", "accuracy"])
def test_plateau_falls_when_nothing_gets_better(watched: str) -> None:
    losses = [1.0, 0.8, 0.9, 0.81, 0.8, 0.7, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]
    judged = losses if watched == "loss" else [1 - loss / 2 for loss in losses]
    better = (lambda a, b: a < b) if watched == "loss" else (lambda a, b: a > b)
    params = make_params(
        schedule="plateau", plateau_on=watched, plateau_patience=2, lr=1.0, n_epochs=len(losses)
    )
    expected = np.repeat(drop_after(judged, better), 7)
    assert len(set(expected)) == 3
    assert trace_rates(params, 7, judged) == pytest.approx(expected)
    assert (trace_rates(params, 7) == 1.0).all()  # nothing has been judged yet


def test_plateau_watches_what_it_shall() -> None:
    nan = math.nan
    on_loss, on_accuracy = make_params(), make_params(plateau_on="accuracy")
    assert judge_epoch(on_loss, 0.5, 0.6, 0.9) == 0.6
    assert judge_epoch(on_accuracy, 0.5, 0.6, 0.9) == 0.9
    assert judge_epoch(on_loss, 0.5, nan, nan) == 0.5
    worse, better = (judge_epoch(on_accuracy, loss, nan, nan) for loss in (0.5, 0.4))
    assert 0 < worse < better


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_traced_schedule_is_what_the_optimiser_gets(schedule: str, layer_decay: float) -> None:
    """Also that every layer follows the schedule at its own share of the rate."""
    params = make_params(
        schedule=schedule, n_epochs=5, step_epochs=2, lr=0.3, layer_decay=layer_decay,
        plateau_patience=0, optimizer="adamw",
    )  # fmt: skip
    network = make_network()
    optimizer = build_optimizer(network, params)
    scheduler = build_schedule(optimizer, params, steps_per_epoch=6)
    judged = [0.5, 0.6, 0.6, 0.4, 0.5]
    rates = []
    for value in judged:
        for _ in range(6):
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            if schedule != "plateau":
                scheduler.step()
        if schedule == "plateau":
            scheduler.step(value)
    table = np.array(rates)
    assert (trace_rates(params, 6, judged) == table[:, 0]).all()
    shares = [layer_decay ** (index // 2) for index in range(table.shape[1])]
    # torch's one_cycle ends at a ten-thousandth of its start, for every group alike
    assert table == pytest.approx(table[:, :1] * np.array(shares), rel=1e-9)


@pytest.mark.parametrize(
    ("schedule", "warmup"),
    [one for one in product(SCHEDULES, (0.0, 0.2, 0.5, 0.99)) if one != ("cyclic", 0.0)],
)
def test_few_steps_are_enough(schedule: str, warmup: float) -> None:
    params = make_params(schedule=schedule, n_epochs=1, warmup_epochs=warmup)
    for n_steps in range(1, 9):
        rates = trace_rates(params, n_steps)
        assert len(rates) == n_steps
        assert ((rates >= 0) & (rates <= params.lr)).all()


@pytest.mark.parametrize(("schedule", "optimizer"), list(product(SCHEDULES, ["sgd", "adamw"])))
def test_a_schedule_goes_on_from_its_state(schedule: str, optimizer: str) -> None:
    params = make_params(schedule=schedule, optimizer=optimizer, layer_decay=0.7, step_epochs=1)

    def start() -> tuple[torch.optim.Optimizer, Any]:
        torch.manual_seed(0)
        built = build_optimizer(make_network(), params)
        return built, build_schedule(built, params, 4)

    def advance(built: torch.optim.Optimizer, scheduler: Any, n_steps: int) -> list[list[float]]:
        rates = []
        for _ in range(n_steps):
            rates.append([group["lr"] for group in built.param_groups])
            built.step()
            scheduler.step(1.0) if schedule == "plateau" else scheduler.step()
        return rates

    whole = advance(*start(), 10)
    first, resumed = start(), start()
    half = advance(*first, 5)
    resumed[0].load_state_dict(first[0].state_dict())
    resumed[1].load_state_dict(first[1].state_dict())
    assert half + advance(*resumed, 5) == whole
