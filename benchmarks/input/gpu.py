"""Training MobileNetV2 at 198x158 on a GPU, as the kkaryl reference system did at 336 images/s.

bf16, channels last, torch.compile, batches of 100, flip and affine with probability 0.5. Pictures
are made up, as their content changes no time. The limit beside it is the roofline: the operations
of three passes over the network, by the rate of a large product of matrices, or the bytes that
its convolutions move at least, by the rate of a large copy, whichever takes longer.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.input.sources import ROOT
from stages.common.networks import build_network, find_kind
from stages.common.params import TrainParams, load_params
from stages.common.shards import PixelSet
from stages.train.feed import Batch, Feed
from stages.train.launch import make_fabric
from stages.train.loop import batch_loss
from stages.train.optim import build_optimizer

HEIGHT, WIDTH, N_ATTRIBUTES = 198, 158, 40
REFERENCE = 336  # images per second
VARIANTS: dict[str, dict[str, float]] = {
    "flip": {"flip": 0.5},
    "flip and affine": {"flip": 0.5, "affine": 0.5},
}


class MadeUpReader:
    """Stands for the shards of a partition: row groups of 512 random pictures."""

    def __init__(self, n_groups: int, height: int = HEIGHT, width: int = WIDTH) -> None:
        self.height, self.width = height, width
        self.sizes = [512] * n_groups
        self.n_images = 512 * n_groups
        rng = np.random.default_rng(0)
        self._pixels = rng.integers(0, 256, (512, height, width, 3), dtype=np.uint8)

    def read(self, group: int) -> np.ndarray:
        """Pixels (512, H, W, 3) uint8."""
        return self._pixels


@dataclass(frozen=True)
class Step:
    """A training step, and what it needs."""

    fabric: Fabric
    model: nn.Module
    optimizer: Any
    params: TrainParams

    def __call__(self, batch: Batch) -> None:
        """Forward, backward, update; waits for nothing."""
        self.optimizer.zero_grad()
        logits = self.model(batch.images)
        self.fabric.backward(batch_loss(logits, batch, self.params, None, self.fabric))
        self.optimizer.step()


def measure_gpu() -> str:
    """The table; one line where there is no GPU."""
    if not torch.cuda.is_available():
        return "no GPU is there: nothing was measured"
    name = torch.cuda.get_device_name()
    rows = [
        f"{name}; MobileNetV2 at {HEIGHT}x{WIDTH}, bf16, channels last, compiled",
        "| augmentation | pixels | images/s | times the reference's | beyond the same steps on one "
        "batch | of the roofline |",
        "|---|---|---|---|---|---|",
    ]
    for variant, augment in VARIANTS.items():
        params = make_params(augment, "cuda", "bf16")
        step = make_step(params, is_compiled=True)
        limit = find_limit(step.params)
        for memory in ("device", "host", "stream"):
            feed = make_feed(params, memory, n_groups=32)
            fixed, fed = measure_step(step, feed, n_steps=200)
            rate = params.batch_size / fed
            rows.append(
                f"| {variant} | {memory} | {rate:,.0f} | {rate / REFERENCE:.1f} | "
                f"{max(0.0, 1 - fixed / fed):.1%} | {rate / limit:.0%} of {limit:,.0f} |"
            )
    return "\n".join(rows)


def make_params(augment: dict[str, float], device: str, precision: str) -> TrainParams:
    """The shipped parameters with the reference's network and batches."""
    values = load_params(ROOT / "params.yaml").train.model_dump()
    values |= {"network": "mobilenet_v2", "weights": "none", "optimizer": "sgd", "lr": 0.01}
    values |= {"batch_size": 100, "device": device, "precision": precision, "balance": []}
    values["augment"] |= augment
    return TrainParams.model_validate(values)


def make_step(params: TrainParams, is_compiled: bool) -> Step:
    """The network on the device, ready to be trained."""
    fabric = make_fabric(params)
    torch.use_deterministic_algorithms(False)  # as the reference; cuDNN picks by speed
    torch.backends.cudnn.benchmark = True
    network = build_network(params.network, N_ATTRIBUTES, HEIGHT, WIDTH, params.dropout, "none")
    bare = build_optimizer(network, params)
    if is_compiled:
        network.compile()
    model, optimizer = fabric.setup(network, bare)
    return Step(fabric, model.train(), optimizer, params)


def make_feed(params: TrainParams, memory: Any, n_groups: int) -> Feed:
    """A feed of made-up pictures."""
    reader: Any = MadeUpReader(n_groups)
    labels = np.random.default_rng(1).integers(0, 2, (reader.n_images, N_ATTRIBUTES), np.uint8)
    part = PixelSet([], [], np.empty((0, 0, 0, 3), np.uint8), labels, np.ones_like(labels, bool))
    names = [f"a{i}" for i in range(N_ATTRIBUTES)]
    kind = find_kind(params.network)
    device = torch.device(params.device)
    return Feed(reader, part, names, params, (kind.mean, kind.std), device, memory)


def measure_step(step: Step, feed: Feed, n_steps: int) -> tuple[float, float]:
    """Seconds per step on one batch that lies there, and on what the feed gives."""
    batch = next(feed.epoch(1))
    run_steps(step, [batch] * 20)  # compiles, and picks algorithms
    endless = chain.from_iterable(map(feed.epoch, count(1)))
    run_steps(step, islice(endless, 20))
    fixed, fed = [], []
    for _ in range(3):
        fixed.append(run_steps(step, [batch] * n_steps))
        fed.append(run_steps(step, islice(endless, n_steps)))
    return sorted(fixed)[1], sorted(fed)[1]


def run_steps(step: Step, batches: Iterable[Batch]) -> float:
    """Seconds per step, until the device has done the last one."""
    n = 0
    wait()
    started = time.monotonic()
    for batch in batches:
        step(batch)
        n += 1
    wait()
    return (time.monotonic() - started) / n


def wait() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def find_limit(params: TrainParams) -> float:
    """The roofline in images per second; both rates are measured on this GPU."""
    network = build_network(params.network, N_ATTRIBUTES, HEIGHT, WIDTH, 0.0, "none")
    n_flops, n_bytes = count_work(network)
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    flops = 2 * side**3 / time_call(lambda: torch.mm(a, b))
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.numel() / time_call(lambda: target.copy_(source))
    return 1 / max(n_flops / flops, n_bytes / copied)


def count_work(network: nn.Module) -> tuple[float, float]:
    """Operations and bytes of one image's training step.

    The operations are three times those of the forward pass. Of the bytes only those count that no
    fusion saves: input and output of every convolution, in bf16, forward and in both halves of
    the backward pass.
    """
    n_values = 0

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_values
        n_values += inputs[0].numel() + output.numel()

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, HEIGHT, WIDTH))
    for hook in hooks:
        hook.remove()
    return 3.0 * counter.get_total_flops(), 3.0 * 2 * n_values


def time_call(function: Any) -> float:
    """Seconds of one call on the GPU, mean of 20."""
    for _ in range(3):
        function()
    wait()
    started = time.monotonic()
    for _ in range(20):
        function()
    wait()
    return (time.monotonic() - started) / 20
