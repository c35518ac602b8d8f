"""Benchmarks are run by hand; what they take from the stages must still be there."""

import importlib
import pkgutil

import pytest
import torch

import benchmarks
from benchmarks.input.gpu import make_feed, make_params, make_step, run_steps

MODULES = [
    module.name
    for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_the_steps_timed_on_a_gpu_are_those_of_training() -> None:
    params = make_params({"flip": 0.5}, "cpu", "fp32").model_copy(update={"batch_size": 4})
    step = make_step(params, is_compiled=False)
    before = [p.detach().clone() for p in step.model.parameters()]
    feed = make_feed(params, "host", n_groups=1)
    assert run_steps(step, [next(feed.epoch(1))]) > 0
    changed = [not torch.equal(a, b) for a, b in zip(before, step.model.parameters(), strict=True)]
    assert sum(changed) > 100
