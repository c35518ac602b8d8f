import contextlib
import io
from typing import Any

import pytest
import torch
from torch import nn

from stages.train.averaging import WeightAverage


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))


def run_steps(network: nn.Module, n_steps: int, seed: int = 1) -> Any:
    """Steps of training; yields the state after each."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    for _ in range(n_steps):
        optimizer.zero_grad()
        network(torch.randn(5, 3, 6, 6, generator=generator)).square().mean().backward()
        optimizer.step()
        yield {key: value.clone() for key, value in network.state_dict().items()}


@pytest.fixture
def network() -> nn.Module:
    network = make_network()
    network(torch.zeros(2, 3, 6, 6))
    return network


@pytest.mark.parametrize("decay", [0.2, 0.9, 0.999])
def test_the_average_follows_its_formula(network: nn.Module, decay: float) -> None:
    average = WeightAverage(network, decay)
    expected = {key: value.double() for key, value in network.state_dict().items()}
    for step, state in enumerate(run_steps(network, 30), start=1):
        average.update(network)
        kept = min(decay, (1 + step) / (10 + step))
        for key, value in state.items():
            expected[key] = kept * expected[key] + (1 - kept) * value.double()
            if key.endswith("num_batches_tracked"):
                expected[key] = value.double()
    with average.applied(network):
        for key, value in network.state_dict().items():
            assert torch.allclose(value.double(), expected[key], rtol=1e-5, atol=1e-7), key


def test_the_networks_own_weights_come_back_bit_for_bit(network: nn.Module) -> None:
    average = WeightAverage(network, 0.9)
    own: dict[str, torch.Tensor] = {}
    for state in run_steps(network, 5):
        average.update(network)
        own = state
    before = average.state_dict()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with contextlib.suppress(ValueError), average.applied(network):
        assert not torch.equal(network[0].weight, own["0.weight"])
        raise ValueError("an error in the block")
    assert all(torch.equal(value, own[key]) for key, value in network.state_dict().items())
    after = average.state_dict()
    assert all(
        torch.equal(torch.as_tensor(v), torch.as_tensor(after[k])) for k, v in before.items()
    )
    assert optimizer.param_groups[0]["params"][0] is network[0].weight  # still the same tensors


def test_an_average_goes_on_from_a_checkpoint(network: nn.Module) -> None:
    average = WeightAverage(network, 0.95)
    saved: Any = None
    resumed = WeightAverage(network, 0.95)
    for step, _ in enumerate(run_steps(network, 8), start=1):
        average.update(network)
        if step == 4:
            file = io.BytesIO()
            torch.save(average.state_dict(), file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
            resumed.load_state_dict(saved)
        elif step > 4:
            resumed.update(network)
    ours, theirs = average.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(torch.as_tensor(ours[k]), torch.as_tensor(theirs[k])) for k in ours)
    assert int(saved["n_steps"]) == 4


def test_channels_last_and_frozen_weights_are_averaged_too(network: nn.Module) -> None:
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network[1].requires_grad_(False)
    average = WeightAverage(network, 0.5)
    with torch.no_grad():
        network[0].weight.zero_()
        network[1].weight.fill_(3.0)
    average.update(network)
    with average.applied(network):
        assert network[0].weight.abs().sum() > 0
        assert (network[1].weight < 3).all()
    assert (network[1].weight == 3).all()
