"""An exponential moving average of a network's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of a network's weights over the steps, with which it is validated and kept.

    After step t the average keeps min(decay, (1 + t) / (10 + t)) of itself and takes the rest from
    the network, so that it forgets the start soon (as TensorFlow's ExponentialMovingAverage does).
    The running means and variances of batch norms are averaged alike, since they describe what
    the weights of the same steps put out; counts are copied. Without it (decay 0) nothing here is
    needed.

    Args:
        network: The bare network, on its device.
        decay: `train.ema_decay`, above 0.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_steps = 0
        self.tensors = {name: tensor.clone() for name, tensor in _list_tensors(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's weights; call after each step of the optimiser."""
        self.n_steps += 1
        share = 1 - min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
        ours, theirs = [], []
        for name, tensor in _list_tensors(network):
            if tensor.is_floating_point():
                ours.append(self.tensors[name])
                theirs.append(tensor)
            else:
                self.tensors[name].copy_(tensor)
        torch._foreach_lerp_(ours, theirs, share)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """The network holds the average inside the block, and its own weights after it.

        Both are moved as they are, so that the network's own come back bit for bit.
        """
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    @torch.no_grad()
    def _swap(self, network: nn.Module) -> None:
        for name, tensor in _list_tensors(network):
            own = tensor.clone()
            tensor.copy_(self.tensors[name])
            self.tensors[name].copy_(own)

    def state_dict(self) -> dict[str, Tensor | int]:
        """What a checkpoint keeps: copies of the tensors on the CPU, and the count of steps."""
        tensors = {name: tensor.cpu().clone() for name, tensor in self.tensors.items()}
        return {**tensors, "n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Go on from what state_dict gave.

        Raises:
            KeyError: a tensor is missing.
        """
        self.n_steps = int(state["n_steps"])
        for name, tensor in self.tensors.items():
            tensor.copy_(torch.as_tensor(state[name]))


def _list_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and saved buffers by name, themselves and not copies."""
    return list(network.state_dict(keep_vars=True).items())
