"""Several processes train as one does; each training here is a command of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.common.files import read_json, write_manifest
from stages.patch import patch_text
from tests.shard_fabric import write_shards

ROOT = Path(__file__).resolve().parent.parent
N_ATTRIBUTES = 3
#: No batch norm, no dropout: then the processes' gradients add up to those of one. The rate is not
#: higher as Adam turns the rounding of gradients near its epsilon into a part of it, and of the
#: 65,536 weights of the hidden layer one or another has such.
PLAIN = {
    "network": "comp3419_cnn", "weights": "none", "dropout": "0.0", "batch_size": "16",
    "n_epochs": "2", "channels": "[4, 8, 8]", "device": "cpu", "lr": "1.0e-3",
}  # fmt: skip


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepare"
    folder.mkdir()
    rng = np.random.default_rng(5)
    sizes = {"train": 71, "valid": 20, "test": 4}
    for partition, n_images in sizes.items():
        rows = []
        for index in range(n_images):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            labels = (rng.random(N_ATTRIBUTES) < 0.5).astype(np.uint8)
            mask = rng.random(N_ATTRIBUTES) < 0.6  # halves of a batch know different numbers
            rows.append((f"{partition}{index:03d}.jpg", pixels, labels, mask))
        write_shards(folder, partition, (32, 32), N_ATTRIBUTES, rows)
    facts = {"attributes": ["a", "b", "c"], "height_px": 32, "width_px": 32, "crop_px": None}
    write_manifest(folder, {**facts, "n_by_partition": sizes})
    return folder


def start(prepare: Path, out: Path, launcher: list[str], **values: str) -> subprocess.Popen[str]:
    out.mkdir(exist_ok=True)
    keys = {("train", *key.split(".")): value for key, value in (PLAIN | values).items()}
    text = patch_text((ROOT / "params.yaml").read_text(), keys)
    (out / "params.yaml").write_text(text)
    command = [
        *launcher, "-m", "stages.train", "--params", str(out / "params.yaml"),
        "--prepare", str(prepare), "--out", str(out / "train"), "--reports", str(out / "reports"),
    ]  # fmt: skip
    environment = {
        **os.environ, "DVC_ROOT": str(out), "FACET_TRACKING": "off", "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        command, cwd=out, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def train(prepare: Path, out: Path, launcher: list[str] | None = None, **values: str) -> str:
    process = start(prepare, out, launcher or [sys.executable], **values)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    return output


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "train" / "model" / "weights.safetensors")


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, atol=1e-6, rtol=0)
    first, second = (read_json(out / "reports" / "summary.json") for out in (one, other))
    assert first["valid_accuracy"] == second["valid_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="as shipped"),
        pytest.param(
            {
                "augment.mixup_alpha": "0.4", "augment.affine": "0.5", "clip_norm": "0.05",
                "accumulate": "2", "ema_decay": "0.9", "reduction": "sum", "loss": "focal",
                "optimizer": "sgd", "schedule": "plateau", "lr": "0.1",
            },
            id="mixed, accumulated, clipped and averaged",
        ),
        pytest.param(
            {"sam_rho": "0.1", "optimizer": "sgd", "lr": "0.1"}, id="sharpness-aware"
        ),
    ],
)  # fmt: skip
def test_two_processes_give_the_weights_of_one(
    prepare: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    alone = train(prepare, tmp_path / "one", **values)
    together = train(prepare, tmp_path / "two", devices="2", **values)
    assert_same(tmp_path / "one", tmp_path / "two")
    train(prepare, tmp_path / "still", **{**values, "lr": "1.0e-30"})
    learned, start = weights_of(tmp_path / "one"), weights_of(tmp_path / "still")
    moved = [float((learned[name] - start[name]).abs().max()) for name in start]
    assert max(moved) > 1e-3  # a thousand times the tolerance
    # one process speaks for both, and the other leaves no output
    assert together.count("train: epoch 1/2") == alone.count("train: epoch 1/2") == 1
    assert together.count("best is") == 1


@pytest.mark.slow
def test_torchrun_starts_the_processes_of_a_node(prepare: Path, tmp_path: Path) -> None:
    train(prepare, tmp_path / "one")
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
    ]  # fmt: skip
    train(prepare, tmp_path / "two", torchrun, devices="2")
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_once(prepare: Path, tmp_path: Path) -> None:
    process = start(prepare, tmp_path, [sys.executable], devices="2", batch_size="15")
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "train.batch_size: expected a multiple of the 2 processes; got 15" in output
    assert "Traceback" not in output
    assert not (tmp_path / "train").exists()
