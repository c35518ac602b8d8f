from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from stages.train.sharpness import moved_uphill


@pytest.mark.parametrize("rho", [0.05, 0.7])
def test_the_gradient_is_that_of_equation_2(rho: float) -> None:
    """Of least squares with numpy, over a weight and a bias together."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 1))
    layer = nn.Linear(4, 1).double()

    def loss() -> torch.Tensor:
        return (layer(torch.from_numpy(x)) - torch.from_numpy(y)).square().mean()

    def gradient(weights: np.ndarray) -> np.ndarray:
        residual = x @ weights[:4] + weights[4] - y[:, 0]
        return 2 * np.append(x.T @ residual, residual.sum()) / len(x)

    def flat() -> np.ndarray:
        return np.append(layer.weight.detach().numpy()[0], layer.bias.detach().numpy())

    loss().backward()
    start = flat()
    uphill = start + rho * gradient(start) / np.linalg.norm(gradient(start))
    with moved_uphill(layer, rho):
        np.testing.assert_allclose(flat(), uphill, rtol=1e-9)
        loss().backward()
    assert np.array_equal(flat(), start)
    found = np.concatenate(
        [p.grad.numpy().ravel() for p in layer.parameters() if p.grad is not None]
    )
    np.testing.assert_allclose(found, gradient(uphill), rtol=1e-9)
    assert not np.allclose(found, gradient(start), rtol=1e-3)


def test_weights_and_statistics_come_back_bit_for_bit_after_an_error() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    network[2].requires_grad_(False)
    network(torch.randn(5, 3, 9, 9)).square().mean().backward()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with contextlib.suppress(ValueError), moved_uphill(network, 0.1):
        network(torch.randn(5, 3, 9, 9)).square().mean().backward()
        inside = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        raise ValueError
    after = network.state_dict()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
        assert torch.equal(inside[name], tensor) == name.startswith("2."), name


def test_a_gradient_of_0_moves_nothing() -> None:
    layer = nn.Linear(2, 1)
    (layer(torch.ones(1, 2)) * 0).sum().backward()
    start = layer.weight.detach().clone()
    with moved_uphill(layer, 0.5):
        assert torch.equal(layer.weight, start)
