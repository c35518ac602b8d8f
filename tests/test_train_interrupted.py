"""Killed, out of memory, not finite, without a compiler: what a training leaves, and says."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import stages.train.run as training
from stages.common.errors import FacetError
from stages.patch import patch_text
from stages.train import checkpoint as checkpoints
from stages.train import generations, loop
from tests.official_files import folder_bytes
from tests.test_train import Killed, make_params, own_root, prepare, train  # noqa: F401  fixtures

ROOT = Path(__file__).parents[1]
EVERYTHING = {"ema_decay": 0.9, "accumulate": 2, "dropout": 0.3, "augment": {"mixup_alpha": 0.3}}


def find_state(folder: Path) -> dict[str, Any]:
    """What the one checkpoint under a folder holds."""
    (path,) = (folder / ".facet").rglob("last.pt")
    return dict(torch.load(path, weights_only=True))


def test_killed_while_a_checkpoint_is_written(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of the second epoch's file is there: the first epoch's is what counts."""
    params = make_params(**EVERYTHING)
    undisturbed = train(prepare, tmp_path / "a", params)
    saved, save = [], torch.save

    def save_half(state: Any, path: Path) -> None:
        saved.append(len(state["history"]))
        save(state, path)
        if len(saved) == 2:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise Killed

    monkeypatch.setattr(checkpoints.torch, "save", save_half)
    with pytest.raises(Killed):
        train(prepare, tmp_path / "b", params)
    assert len(find_state(tmp_path)["history"]) == 1
    assert train(prepare, tmp_path / "b", params) == undisturbed
    assert saved == [1, 2, 2, 3]


def test_killed_while_results_are_written(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing half-written looks complete, and no epoch is trained again."""
    params = make_params(n_epochs=2)
    undisturbed = train(prepare, tmp_path / "a", params)
    write_table = training.write_table

    def die(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(training, "write_table", die)
    with pytest.raises(Killed):
        train(prepare, tmp_path / "b", params)
    assert folder_bytes(tmp_path / "b") == {}
    monkeypatch.setattr(training, "write_table", write_table)
    monkeypatch.setattr(loop, "batch_loss", die)
    assert train(prepare, tmp_path / "b", params) == undisturbed


def start(
    prepare: Path,  # noqa: F811
    out: Path,
    launcher: list[str],
    variables: dict[str, str],
    **values: str,
) -> subprocess.Popen[str]:
    """`python -m stages.train` in a folder of its own."""
    out.mkdir(exist_ok=True)
    small = {"network": "uab_cnn", "weights": "none", "device": "cpu", "batch_size": "16"}
    keys = {("train", *key.split(".")): value for key, value in (small | values).items()}
    (out / "params.yaml").write_text(patch_text((ROOT / "params.yaml").read_text(), keys))
    environment = {
        **os.environ,
        "DVC_ROOT": str(out),
        "FACET_TRACKING": "off",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    return subprocess.Popen(
        [*launcher, "--prepare", str(prepare), "--out", "train", "--reports", "reports"],
        cwd=out,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


STAGE = [sys.executable, "-m", "stages.train"]


@pytest.mark.slow
def test_a_killed_process_is_resumed_by_the_next(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """SIGKILL, which nothing can catch, in the middle of an epoch."""
    values = {"n_epochs": "40", "ema_decay": "0.9"}
    whole = start(prepare, tmp_path / "whole", STAGE, {}, **values)
    assert whole.wait(timeout=240) == 0
    victim = start(prepare, tmp_path / "killed", STAGE, {}, **values)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("killed/.facet/checkpoints/*/last.pt")):
        assert victim.poll() is None, victim.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(timeout=60) == -signal.SIGKILL
    n_done = len(find_state(tmp_path / "killed")["history"])
    assert 1 <= n_done < 40
    assert not (tmp_path / "killed" / "train").exists()
    again = start(prepare, tmp_path / "killed", STAGE, {}, **values)
    _, spoken = again.communicate(timeout=240)
    assert again.returncode == 0, spoken
    assert f"resuming after epoch {n_done}" in spoken
    for name in ("train", "reports"):
        assert folder_bytes(tmp_path / "killed" / name) == folder_bytes(tmp_path / "whole" / name)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = make_params(n_epochs=5)
    loss, seen = loop.batch_loss, []

    def spoil(*arguments: Any) -> torch.Tensor:
        seen.append(1)
        value = loss(*arguments)
        return value * float("nan") if len(seen) == 15 else value  # 6 batches per epoch

    monkeypatch.setattr(loop, "batch_loss", spoil)
    with pytest.raises(FacetError) as caught:
        train(prepare, tmp_path, params)
    message = str(caught.value)
    for words in ("train.lr:", "in epoch 3; got nan", "lower rate than 0.001", "keeps epoch 2"):
        assert words in message
    assert len(seen) == 18  # the loss is looked at once per epoch: no step waits for the device
    state = find_state(tmp_path)
    assert len(state["history"]) == 2
    assert all(value.isfinite().all() for value in state["network"].values())
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize("n_epochs", [1, 2])
def test_weights_that_the_last_step_ruins_are_neither_kept_nor_published(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_epochs: int,
) -> None:
    """Each step's loss is taken before the step: that of the last one tells nothing of it."""
    step, n_steps = torch.optim.AdamW.step, 6 * n_epochs
    taken: list[int] = []

    def spoil(self: torch.optim.AdamW, *arguments: Any, **named: Any) -> Any:
        told = step(self, *arguments, **named)
        taken.append(1)
        if len(taken) == n_steps:
            with torch.no_grad():
                self.param_groups[0]["params"][0].mul_(float("nan"))
        return told

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    with pytest.raises(FacetError) as caught:
        train(prepare, tmp_path, make_params(n_epochs=n_epochs, optimizer="adamw"))
    kept = "epoch 1" if n_epochs == 2 else "no epoch"
    words = f"expected a finite loss in epoch {n_epochs}; got weights that are not"
    assert words in str(caught.value)
    assert str(caught.value).endswith(f"the checkpoint keeps {kept}")
    assert len(taken) == n_steps
    if n_epochs == 2:
        assert all(value.isfinite().all() for value in find_state(tmp_path)["network"].values())
    assert not (tmp_path / "train").exists()


OUT_OF_MEMORY = pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to"), id="GPU"),
        pytest.param(
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 1099511627776 bytes. Error code 12 (Cannot "
                "allocate memory)"
            ),
            id="CPU",
        ),
    ],
)


@OUT_OF_MEMORY
def test_too_large_a_batch_is_named(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: RuntimeError,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(loop, "batch_loss", fail)
    with pytest.raises(FacetError) as caught:
        train(prepare, tmp_path, make_params(batch_size=48))
    assert str(caught.value).startswith(
        "train.batch_size: expected a batch that fits into memory; got 48."
    )
    assert "train.accumulate 2" in str(caught.value)
    assert caught.value.__suppress_context__  # one line for the user


@OUT_OF_MEMORY
@pytest.mark.parametrize("place", [(loop, "normalise"), (generations, "normalise")])
def test_too_little_memory_for_answers_is_explained(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: RuntimeError,
    place: tuple[Any, str],
) -> None:
    """In validation, and where a generation answers for the next."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(*place, fail)
    with pytest.raises(FacetError, match=r"64 images at a time .* got uab_cnn\. Smaller pictures"):
        train(prepare, tmp_path, make_params(n_epochs=1, generations=2))


def test_the_allocators_own_words_are_known() -> None:
    """What torch says of memory that no machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    explained = loop.explain_step(caught.value, 64, make_params())
    assert isinstance(explained, FacetError)
    assert "got 64" in str(explained)
    sharp = loop.explain_step(caught.value, 64, make_params(sam_rho=0.05))
    assert "accumulate" not in str(sharp)  # which sam_rho refuses


def test_other_errors_stay_what_they_are(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(loop, "batch_loss", fail)
    with pytest.raises(RuntimeError, match="a defect of ours"):
        train(prepare, tmp_path, make_params())


def test_neither_dvc_nor_mlflow_is_needed(prepare: Path, tmp_path: Path) -> None:  # noqa: F811
    """As on a machine that only trains."""
    code = (
        "import runpy, sys\n"
        "sys.modules |= dict.fromkeys(['dvc', 'dvclive', 'mlflow'])\n"  # importing them fails
        "runpy.run_module('stages.train', run_name='__main__')"
    )
    launcher = [sys.executable, "-c", code]
    process = start(prepare, tmp_path / "bare", launcher, {}, n_epochs="1")
    told, spoken = process.communicate(timeout=240)
    assert process.returncode == 0, spoken
    assert told.startswith("train: 1 epochs")
    assert (tmp_path / "bare" / "train" / "model" / "weights.safetensors").is_file()


# --- torch.compile ---

PLAIN = {"n_epochs": "1", "dropout": "0.0", "optimizer": "sgd", "channels": "[4, 6]"}


@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "c++", "clang++")),
    reason="no C++ compiler, which torch.compile needs",
)
def test_a_compiled_network_learns_the_same_under_plain_names(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    weights = {}
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        process = start(prepare, tmp_path / name, STAGE, cache, compile=compiled, **PLAIN)
        _, spoken = process.communicate(timeout=500)
        assert process.returncode == 0, spoken[-3000:]
        weights[name] = load_file(tmp_path / name / "train" / "model" / "weights.safetensors")
    assert (tmp_path / "cache").is_dir()  # something was compiled
    assert weights["compiled"].keys() == weights["plain"].keys()
    for name, tensor in weights["plain"].items():
        torch.testing.assert_close(weights["compiled"][name], tensor, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_missing_compiler_is_one_line_that_says_what_to_do(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    variables = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    process = start(prepare, tmp_path / "a", STAGE, variables, compile="true", **PLAIN)
    _, spoken = process.communicate(timeout=300)
    assert process.returncode == 1
    (line,) = [line for line in spoken.splitlines() if line.startswith("facet:")]
    assert line.startswith("facet: train.compile: expected a network that torch can compile")
    assert "Install a C++ compiler" in line
    assert "Traceback" not in spoken
    assert not (tmp_path / "a" / "train").exists()
