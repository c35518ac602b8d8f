import hashlib
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.common.errors import FacetError
from stages.common.files import read_json, write_manifest
from stages.common.losses import bce, focal
from stages.common.networks import NETWORKS, build_network, count_parameters, normalise
from stages.common.params import TrainParams, load_params
from stages.common.shards import ShardWriter, read_partition, shard_schema
from stages.train import loop
from stages.train.checkpoint import Checkpoint, training_key
from stages.train.loop import draw_epoch, flip_images
from stages.train.optim import build_optimizer, build_schedule
from stages.train.run import run
from tests.official_files import draw_pixels, folder_bytes

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train
N_ATTRIBUTES = 4
N_BY_PARTITION = {"train": 96, "valid": 32, "test": 16}


def make_params(**changes: Any) -> TrainParams:
    small = {"network": "uab_cnn", "weights": "none", "batch_size": 16, "n_epochs": 3}
    return TrainParams.model_validate({**SHIPPED.model_dump(), **small, **changes})


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepare"
    folder.mkdir()
    rng = np.random.default_rng(3)
    schema = shard_schema(16, 16, N_ATTRIBUTES)
    for partition, n_images in N_BY_PARTITION.items():
        writer = ShardWriter(folder, partition, n_images, schema)
        for index in range(n_images):
            labels = rng.random(N_ATTRIBUTES) < 0.4
            mask = rng.random(N_ATTRIBUTES) < 0.95
            pixels = draw_pixels(rng, labels.tolist(), 16, 16)
            image_id = f"{partition}{index:03d}.jpg"
            writer.add(image_id, None, pixels, labels.astype(np.uint8), mask)
        writer.close()
    names = [f"quadrant_{index}" for index in range(N_ATTRIBUTES)]
    facts = {"attributes": names, "height_px": 16, "width_px": 16, "crop_px": None}
    write_manifest(folder, {**facts, "n_by_partition": N_BY_PARTITION})
    return folder


@pytest.fixture(autouse=True)
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of a test stay in its own folder."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def train(prepare: Path, folder: Path, params: TrainParams) -> dict[str, bytes]:
    run(params, prepare, folder / "train", folder / "reports")
    return folder_bytes(folder)


def test_learns_what_can_be_seen(prepare: Path, tmp_path: Path) -> None:
    train(prepare, tmp_path, make_params(n_epochs=8))
    summary = read_json(tmp_path / "reports" / "summary.json")
    assert summary["valid_accuracy"] > summary["valid_majority"] + 0.15


@pytest.mark.parametrize(
    ("n_by_partition", "expected"),
    [
        pytest.param((0, 0, 9), "no training images: this set can be evaluated, not", id="test"),
        pytest.param(
            (0, 5, 9), "no training images: this set can be evaluated, not", id="no train"
        ),
        pytest.param((1, 5, 9), "expected at least 2 training images; got 1", id="one image"),
        pytest.param(
            (9, 0, 9), r"no validation images: set prepare\.resplit\.valid", id="no valid"
        ),
    ],
)
def test_sets_without_a_partition_are_refused_before_anything_is_read(
    tmp_path: Path, n_by_partition: tuple[int, ...], expected: str
) -> None:
    prepare = tmp_path / "prepare"
    prepare.mkdir()
    counts = dict(zip(("train", "valid", "test"), n_by_partition, strict=True))
    write_manifest(prepare, {"n_by_partition": counts})  # no shards, not even attributes
    with pytest.raises(FacetError, match=expected):
        train(prepare, tmp_path, make_params())


def test_model_json_names_the_data_and_its_majority(prepare: Path, tmp_path: Path) -> None:
    train(prepare, tmp_path, make_params(n_epochs=1))
    model = read_json(tmp_path / "train" / "model" / "model.json")
    digest = hashlib.sha256((prepare / "manifest.json").read_bytes()).hexdigest()
    assert model["data_sha256"] == digest
    learned = read_partition(prepare, "train")
    expected = [
        int(learned.labels[known, column].mean() > 0.5)
        for column, known in enumerate(learned.mask.T)
    ]
    assert model["majority_class"] == expected


def test_two_runs_give_the_same_bytes(prepare: Path, tmp_path: Path) -> None:
    params = make_params()
    first = train(prepare, tmp_path / "a", params)
    assert set(first) == {
        "reports/history.csv",
        "reports/summary.json",
        "train/model/model.json",
        "train/model/weights.safetensors",
    }
    assert train(prepare, tmp_path / "b", params) == first
    assert train(prepare, tmp_path / "c", make_params(seed=8)) != first


class Killed(BaseException):
    """Stands for a signal: no `except Exception` may catch it."""


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau", "cosine"])
def test_a_killed_run_resumes_to_the_same_bytes(
    prepare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    params = make_params(schedule=schedule, dropout=0.3)
    undisturbed = train(prepare, tmp_path / "a", params)
    seen: list[int] = []

    def draw_and_die(n_images: int, params: TrainParams, epoch: int) -> Any:
        if epoch == 3:
            raise Killed
        return draw_epoch(n_images, params, epoch)

    def draw_and_note(n_images: int, params: TrainParams, epoch: int) -> Any:
        seen.append(epoch)
        return draw_epoch(n_images, params, epoch)

    monkeypatch.setattr(loop, "draw_epoch", draw_and_die)
    with pytest.raises(Killed):
        train(prepare, tmp_path / "b", params)
    assert folder_bytes(tmp_path / "b") == {}
    monkeypatch.setattr(loop, "draw_epoch", draw_and_note)
    assert train(prepare, tmp_path / "b", params) == undisturbed
    assert seen == [3]
    assert not list((tmp_path / ".facet").rglob("*.pt"))


def test_other_parameters_never_resume(prepare: Path, tmp_path: Path) -> None:
    data = "0" * 64
    first = training_key(make_params(), data)
    with Checkpoint(first) as checkpoint:
        checkpoint.save({"a": 1})
        with Checkpoint(first) as second:  # a second worker with the same key
            assert second.load() is None
            second.save({"a": 2})
        assert checkpoint.load() == {"a": 1}
        for other in (
            training_key(make_params(lr=0.5), data),
            training_key(make_params(), "1" * 64),
        ):
            with Checkpoint(other) as stranger:
                assert stranger.load() is None
    with Checkpoint(first) as later:
        assert later.load() is None  # deleted on success


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def save_and_damage() -> None:
        with Checkpoint("k") as checkpoint:
            checkpoint.save({"a": 1})
            next((tmp_path / ".facet").rglob("last.pt")).write_bytes(b"PK")
            raise StopError

    with pytest.raises(StopError):
        save_and_damage()
    with Checkpoint("k") as checkpoint:
        assert checkpoint.load() is None


def test_stops_when_nothing_gets_better(prepare: Path, tmp_path: Path) -> None:
    train(prepare, tmp_path, make_params(n_epochs=40, patience=2, lr=1e-6, optimizer="sgd"))
    summary = read_json(tmp_path / "reports" / "summary.json")
    assert summary["n_epochs_run"] == summary["best_epoch"] + 2
    assert summary["n_epochs_run"] < 40


def test_a_loss_that_is_not_finite_stops(prepare: Path, tmp_path: Path) -> None:
    with pytest.raises(FacetError, match=r"train\.lr: expected a finite loss in epoch \d"):
        train(prepare, tmp_path, make_params(optimizer="sgd", lr=10.0, n_epochs=20, momentum=0.99))
    assert not (tmp_path / "train").exists()


def test_the_best_epoch_is_kept(prepare: Path, tmp_path: Path) -> None:
    train(prepare, tmp_path, make_params(n_epochs=6, lr=3e-3))
    lines = (tmp_path / "reports" / "history.csv").read_text().splitlines()
    accuracies = [float(line.split(",")[4]) for line in lines[1:]]
    best = read_json(tmp_path / "reports" / "summary.json")["best_epoch"]
    assert best == 1 + accuracies.index(max(accuracies))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_biases_and_norms_do_not_decay(optimizer: str) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    params = make_params(optimizer=optimizer, weight_decay=0.5)
    groups = build_optimizer(network, params).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    expected = {id(p): 0.5 if p.ndim > 1 else 0.0 for p in network.parameters()}
    assert decays == expected


def trace_lr(schedule: str, n_epochs: int = 4, warmup: float = 1.0) -> list[float]:
    params = make_params(schedule=schedule, n_epochs=n_epochs, warmup_epochs=warmup, lr=1.0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_schedule(optimizer, params, steps_per_epoch=10)
    rates = []
    for _ in range(10 * n_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(1.0) if schedule == "plateau" else scheduler.step()
    return rates


def test_schedules_follow_their_definitions() -> None:
    assert trace_lr("constant") == [1.0] * 40
    cyclic = trace_lr("cyclic")
    expected = [0.1 + 0.9 * (1 - abs(step % 20 - 10) / 10) for step in range(40)]
    assert cyclic == pytest.approx(expected)
    cosine = trace_lr("cosine")
    assert cosine[:10] == pytest.approx([(1 + 10 * step / 10) / 11 for step in range(10)])
    falling = [(1 + math.cos(math.pi * step / 30)) / 2 for step in range(30)]
    assert cosine[10:] == pytest.approx(falling)
    one_cycle = trace_lr("one_cycle")
    assert max(one_cycle) == pytest.approx(1.0, abs=0.02)
    assert one_cycle.index(max(one_cycle)) in (9, 10)
    assert one_cycle[-1] < 1e-3
    plateau = trace_lr("plateau")
    assert plateau[6] == 1.0  # the first value is the best; five more are waited for
    assert plateau[7] == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("schedule", ["cyclic", "one_cycle", "cosine"])
def test_few_steps_are_enough(schedule: str, warmup: float) -> None:
    params = make_params(schedule=schedule, n_epochs=1, warmup_epochs=warmup)
    for n_steps in range(1, 9):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=params.lr)
        scheduler = build_schedule(optimizer, params, steps_per_epoch=n_steps)
        for _ in range(n_steps):
            assert 0 <= optimizer.param_groups[0]["lr"] <= params.lr
            optimizer.step()
            scheduler.step()


def test_losses_follow_their_formulas_in_float64() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (7, 5))
    labels = (rng.random((7, 5)) < 0.5).astype(float)
    mask = (rng.random((7, 5)) < 0.7).astype(float)
    p = 1 / (1 + np.exp(-logits))
    p_t = np.where(labels == 1, p, 1 - p)
    tensors = [torch.tensor(x) for x in (logits, labels, mask)]
    expected = (-np.log(p_t) * mask).sum() / mask.sum()
    assert bce(*tensors).item() == pytest.approx(expected, rel=1e-12)
    expected = (-0.25 * (1 - p_t) ** 3 * np.log(p_t) * mask).sum() / mask.sum()
    assert focal(*tensors, gamma=3.0, alpha=0.25).item() == pytest.approx(expected, rel=1e-10)
    assert focal(*tensors, gamma=0.0, alpha=1.0).item() == pytest.approx(bce(*tensors).item())
    assert bce(tensors[0], tensors[1], torch.zeros(7, 5)).item() == 0.0


def test_masked_labels_give_no_gradient() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    bce(logits, torch.ones(2, 3), mask).backward()
    assert ((logits.grad != 0) == (mask == 1)).all()


def test_uab_cnn_has_the_parameters_of_its_description() -> None:
    channels, expected = (3, 64, 128, 256, 512), 0
    for n_in, n_out in pairwise(channels):
        expected += n_in * n_out * 9 + n_out + 2 * n_out  # convolution, batch norm
    expected += (4 * 4 * 512 + 1) * 1024 + (1024 + 1) * 512 + (512 + 1) * 40
    network = build_network("uab_cnn", 40, 64, 64, 0.5, "none")
    assert count_parameters(network) == expected
    with pytest.raises(FacetError, match="at least 16 pixels"):
        build_network("uab_cnn", 40, 15, 64, 0.5, "none")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_give_a_logit_per_attribute(name: str) -> None:
    network = build_network(name, 5, 64, 48, 0.2, "none").eval()
    images = torch.randint(0, 256, (2, 64, 48, 3), dtype=torch.uint8)
    assert network(normalise(images, name)).shape == (2, 5)


def test_imagenet_weights_come_from_the_package() -> None:
    network = build_network("efficientnet_lite0", 40, 112, 112, 0.2, "imagenet")
    stem = network.state_dict()["conv_stem.weight"]
    torch.manual_seed(0)
    plain = build_network("efficientnet_lite0", 40, 112, 112, 0.2, "none")
    assert not torch.equal(stem, plain.state_dict()["conv_stem.weight"])
    assert network.state_dict()["bn1.running_var"].std() > 0.01  # statistics of a trained network


def test_imagenet_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "nowhere")
    with pytest.raises(FacetError, match=r"put that file into .*checkpoints"):
        build_network("mobilenet_v2", 40, 64, 64, 0.2, "imagenet")


def test_weights_of_another_shape(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = build_network("uab_cnn", 4, 16, 16, 0.5, "none").state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "w.safetensors")
    network = build_network("uab_cnn", 6, 16, 16, 0.5, tmp_path / "w.safetensors")
    assert torch.equal(network.state_dict()["dense.0.bias"], state["dense.0.bias"])
    with pytest.raises(FacetError, match=r"dense\.0\.weight: expected"):
        build_network("uab_cnn", 4, 32, 32, 0.5, tmp_path / "w.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(FacetError, match=r"expected a \.safetensors file"):
        build_network("uab_cnn", 4, 16, 16, 0.5, tmp_path / "bad.safetensors")


def test_order_and_flips_are_functions_of_seed_and_epoch() -> None:
    params = make_params(flip=0.5)
    order, flips = draw_epoch(1000, params, 2)
    again = draw_epoch(1000, params, 2)
    assert torch.equal(order, again[0])
    assert torch.equal(flips, again[1])
    assert not torch.equal(order, draw_epoch(1000, params, 3)[0])
    assert sorted(order.tolist()) == list(range(1000))
    assert 420 < int(flips.sum()) < 580
    assert not draw_epoch(1000, make_params(flip=0.0), 1)[1].any()
    assert draw_epoch(1000, make_params(flip=1.0), 1)[1].all()


def test_flip_mirrors_single_images() -> None:
    images = torch.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4).float()
    flipped = flip_images(images, torch.tensor([False, True]))
    assert torch.equal(flipped[0], images[0])
    assert np.array_equal(flipped[1].numpy(), images[1].numpy()[:, :, ::-1])


def test_pixels_are_normalised_per_channel() -> None:
    images = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    lite = normalise(images, "efficientnet_lite0").flatten()
    assert lite.tolist() == pytest.approx([-127 / 128, 0, 1])
    imagenet = normalise(images, "mobilenet_v2").flatten()
    expected = [(0 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert imagenet.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"device": "cuda"}, r"train\.device: expected auto or cpu", id="cuda"),
        pytest.param({"precision": "bf16"}, r"train\.precision: expected fp32", id="bf16 on CPU"),
    ],
)
def test_devices_that_are_not_there(
    prepare: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(FacetError, match=expected):
        train(prepare, tmp_path, make_params(**changes))


@pytest.mark.gpu
def test_gpu_in_bf16(prepare: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    train(prepare, tmp_path, make_params(n_epochs=8, device="cuda", precision="bf16"))
    summary = read_json(tmp_path / "reports" / "summary.json")
    assert summary["valid_accuracy"] > summary["valid_majority"] + 0.1
