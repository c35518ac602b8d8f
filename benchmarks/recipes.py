"""How soon facet_fast is as good on valid as uab_cnn at its best, both on this machine.

    python -m benchmarks.recipes                      # half an hour on 2 cores
    python -m benchmarks.recipes --n_train 600        # to see it work

Both learn from the same pictures, prepared as each recipe says, at the smallest batch size at which
they are as fast as at any, within 5 %, which is noise here. uab_cnn runs all its epochs; facet_fast
is judged several times an epoch until it is as good. Time is that of training: input, both passes,
update. Validation and start-up are left out on both sides. Of test nothing is read.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from ruamel.yaml import YAML
from torch import nn

from stages.common.files import read_manifest
from stages.common.losses import weigh_classes
from stages.common.networks import build_network, read_structure
from stages.common.params import TrainParams, load_params
from stages.common.shards import read_partition
from stages.common.tables import ISSUES, ISSUES_SCHEMA, write_table
from stages.recipes import load_recipe
from stages.train.feed import Batch, Feed, Held
from stages.train.launch import make_fabric
from stages.train.loop import Epoch, batch_loss, fit
from stages.train.optim import build_optimizer
from stages.train.run import open_pixels

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (16, 32, 64, 128, 256)
N_TIMED = 1536  # images of a timed run
SLOW, FAST = "uab_cnn", "facet_fast"


class Parts:
    """A feed whose epochs are parts of another's epochs, in their order."""

    def __init__(self, feed: Feed, n_parts: int) -> None:
        self._feed, self._n_parts = feed, n_parts
        self.n_steps, self.batch_size = feed.n_steps // n_parts, feed.batch_size

    def epoch(self, part: int) -> Iterator[Batch]:
        """Batches of a part, counted from 1; parts must be asked for in turn."""
        epoch, place = divmod(part - 1, self._n_parts)
        if place == 0:
            self._batches = self._feed.epoch(epoch + 1)
        return islice(self._batches, self.n_steps)


@dataclass(frozen=True)
class Point:
    """Seconds of training so far, and mean accuracy on valid."""

    seconds: float
    accuracy: float


class EnoughError(Exception):
    """The wanted accuracy is reached."""


def main() -> None:
    """Prepare, time, train both, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--celeba", type=Path, default=ROOT.parent / "shared" / "celeba-16k")
    parser.add_argument("--n_train", type=int, help="training images; default: all")
    parser.add_argument("--n_parts", type=int, default=12, help="looks at valid per epoch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DVC_ROOT"] = name
        params = {recipe: prepare(folder, recipe, options) for recipe in (SLOW, FAST)}
        print(f"\n{os.cpu_count()} cores\n\n| recipe | batch | images/s |\n|---|---|---|")
        for recipe, train in params.items():
            rates = {size: measure_rate(folder / recipe, train, size) for size in BATCHES}
            for size, rate in rates.items():
                print(f"| {recipe} | {size} | {rate:.0f} |", flush=True)
            params[recipe] = train.model_copy(update={"batch_size": choose_batch(rates)})
        slow = train_recipe(folder / SLOW, params[SLOW], 1, None)
        best_point = max(slow, key=lambda point: point.accuracy)
        fast = train_recipe(folder / FAST, params[FAST], options.n_parts, best_point.accuracy)
    print("\n| recipe | batch | seconds of training | accuracy on valid |\n|---|---|---|---|")
    for recipe, points in ((SLOW, slow), (FAST, fast)):
        for point in points:
            print(
                f"| {recipe} | {params[recipe].batch_size} | {point.seconds:.0f} "
                f"| {point.accuracy:.2%} |"
            )
    if fast[-1].accuracy < best_point.accuracy:
        sys.exit(f"{FAST} never reached {best_point.accuracy:.2%}")
    total, taken = slow[-1].seconds, fast[-1].seconds
    print(
        f"\n{SLOW}: {best_point.accuracy:.2%} at its best, {total:.0f} s in all. {FAST} is there "
        f"after {taken:.0f} s: {taken / total:.2f} of that time."
    )


def prepare(folder: Path, recipe: str, options: argparse.Namespace) -> TrainParams:
    """folder/<recipe>/prepare, made by our own stages; returns the recipe's train section."""
    load_recipe(recipe, ROOT / "recipes")  # validates it
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["download"] |= {"source": "files", "path": str(options.celeba.absolute())}
    sections = yaml.load((ROOT / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8"))
    values |= sections
    values["prepare"]["subset"] |= {"train": options.n_train, "test": 1}
    here = folder / recipe
    here.mkdir()
    with (here / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    (here / "audit").mkdir()
    write_table(ISSUES_SCHEMA.empty_table(), here / "audit" / ISSUES, ISSUES_SCHEMA)
    if not (folder / "download").exists():
        run_stage(here, "download", "--out", "../download")
    run_stage(
        here, "prepare", "--download", "../download", "--audit", "audit", "--out", "prepare"
    )  # fmt: skip
    return load_params(here / "params.yaml").train


def run_stage(folder: Path, stage: str, *words: str) -> None:
    """Run a stage in a process of its own."""
    command = [sys.executable, "-m", f"stages.{stage}", "--params", "params.yaml", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, check=True, env=environment)


def open_training(folder: Path, params: TrainParams) -> tuple[Fabric, nn.Module, Feed, Held, Any]:
    """What stages.train.run hands to the loop."""
    prepared = folder / "prepare"
    manifest = read_manifest(prepared)
    train, valid = (read_partition(prepared, name, pixels=False) for name in ("train", "valid"))
    fabric = make_fabric(params)
    fabric.launch()
    feed, held = open_pixels(prepared, train, valid, manifest["attributes"], params, fabric)
    network = build_network(
        params.network,
        len(manifest["attributes"]),
        manifest["height_px"],
        manifest["width_px"],
        params.dropout,
        params.weights,
        **read_structure(params.model_dump()),
    )
    factors = weigh_classes(torch.from_numpy(train.labels), torch.from_numpy(train.mask), params)
    return fabric, network, feed, held, factors


def measure_rate(folder: Path, params: TrainParams, batch_size: int) -> float:
    """Images per second of training; the better of two runs, after one that is not counted."""
    params = params.model_copy(update={"batch_size": batch_size})
    fabric, network, feed, _, factors = open_training(folder, params)
    model, optimizer = fabric.setup(network, build_optimizer(network, params))
    n_steps = min(feed.n_steps, max(2, N_TIMED // batch_size))
    seconds = []
    for epoch in (1, 2, 3):
        started = time.perf_counter()
        for batch in islice(feed.epoch(epoch), n_steps):
            fabric.backward(batch_loss(model(batch.images), batch, params, factors, fabric))
            optimizer.step()
            optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return n_steps * feed.batch_size / min(seconds[1:])


def choose_batch(rates: dict[int, float]) -> int:
    """The smallest batch size whose rate is within 5 % of the best."""
    fastest = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= 0.95 * fastest)


def train_recipe(
    folder: Path, params: TrainParams, n_parts: int, wanted: float | None
) -> list[Point]:
    """Train until `wanted` is reached or the epochs are over; a point per look at valid."""
    fabric, network, feed, held, factors = open_training(folder, params)
    parts: Any = Parts(feed, n_parts)
    stretched = params.model_copy(
        update={
            "n_epochs": params.n_epochs * n_parts,
            "warmup_epochs": params.warmup_epochs * n_parts,
            "step_epochs": params.step_epochs * n_parts,
        }
    )
    points: list[Point] = []

    def look(epoch: Epoch) -> None:
        before = points[-1].seconds if points else 0.0
        seconds = parts.n_steps * parts.batch_size / epoch.images_per_s
        points.append(Point(before + seconds, epoch.valid_accuracy))
        if wanted is not None and epoch.valid_accuracy >= wanted:
            raise EnoughError

    with suppress(EnoughError):
        fit(fabric, network, parts, held, stretched, factors, None, None, look)
    return points


if __name__ == "__main__":
    main()
