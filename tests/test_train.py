import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.common.errors import FacetError
from stages.common.files import read_json, write_manifest
from stages.common.inference import load_model, predict
from stages.common.metrics import count_confusion, mean_defined, score_confusion
from stages.common.networks import build_network, normalise, read_weights
from stages.common.params import TrainParams, load_params
from stages.common.shards import read_partition
from stages.train.checkpoint import Checkpoint, training_key
from stages.train.feed import Batch, Feed, Held
from stages.train.run import run
from tests.official_files import draw_pixels, folder_bytes
from tests.shard_fabric import write_shards

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train
N_ATTRIBUTES = 4
N_BY_PARTITION = {"train": 96, "valid": 32, "test": 16}


def make_params(**changes: Any) -> TrainParams:
    small = {"network": "uab_cnn", "weights": "none", "batch_size": 16, "n_epochs": 3}
    values = {**SHIPPED.model_dump(), **small, **changes}
    values["augment"] = {**SHIPPED.augment.model_dump(), **changes.get("augment", {})}
    return TrainParams.model_validate(values)


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepare"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for partition, n_images in N_BY_PARTITION.items():
        rows = []
        for index in range(n_images):
            labels = rng.random(N_ATTRIBUTES) < 0.4
            mask = rng.random(N_ATTRIBUTES) < 0.95
            pixels = draw_pixels(rng, labels.tolist(), 16, 16)
            image_id = f"{partition}{index:03d}.jpg"
            rows.append((image_id, pixels, labels, mask))
        write_shards(folder, partition, (16, 16), N_ATTRIBUTES, rows)
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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"balance": ["Smile"]}, r"train\.balance: .* got Smile", id="attribute"),
        pytest.param({"augment": {"erase": 0.1}}, r"erase_max_px: expected at most 16", id="box"),
    ],
)
def test_what_does_not_fit_the_set_is_refused_before_training(
    prepare: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(FacetError, match=expected):
        train(prepare, tmp_path, make_params(**changes))
    assert not (tmp_path / ".facet").exists()  # no checkpoint was opened


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


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"channels": [8, 12], "class_weights": "effective"}, id="free channels"),
        pytest.param({"network": "timm:test_resnet", "loss": "asymmetric"}, id="timm"),
        pytest.param(
            {
                "network": "timm:test_resnet",
                "head": "separate",
                "head_input": "classes",
                "head_width": 7,
                "loss": "focal",
                "reduction": "sum",
                "optimizer": "sgd",
                "schedule": "plateau",
            },
            id="separate heads on kept classes",
        ),
        pytest.param(
            {"head": "trunk", "head_width": 5, "trunk_width": 9, "layer_decay": 0.7}, id="trunk"
        ),
        pytest.param(
            {"network": "devarashs_cnn_rnn", "schedule": "plateau", "plateau_on": "accuracy"},
            id="recurrent",
        ),
    ],
)
def test_a_model_is_built_again_from_its_folder(
    prepare: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """And predicts what it predicted in training: the accuracy of its best epoch."""
    train(prepare, tmp_path, make_params(n_epochs=2, **changes))
    network, model = load_model(tmp_path / "train" / "model")
    valid = read_partition(prepare, "valid")
    probs = predict(network, model["network"], valid.pixels, 64)
    confusion = count_confusion(probs > 0.5, valid.labels, valid.mask)
    accuracy = mean_defined(score_confusion(confusion)["accuracy"])
    summary = read_json(tmp_path / "reports" / "summary.json")
    assert accuracy == pytest.approx(summary["valid_accuracy"], abs=1e-6)


def test_frozen_parts_leave_training_as_they_came(prepare: Path, tmp_path: Path) -> None:
    changes = {"network": "efficientnet_lite0", "weights": "imagenet"}
    train(prepare, tmp_path, make_params(n_epochs=1, freeze=["conv_stem", "bn1"], **changes))
    ours = read_weights(tmp_path / "train" / "model" / "weights.safetensors")
    theirs = build_network("efficientnet_lite0", 4, 16, 16, 0.2, "imagenet").state_dict()
    same = {name for name in ours if ours[name].equal(theirs[name])}
    assert {name for name in ours if name.startswith(("conv_stem.", "bn1."))} <= same
    assert "blocks.0.0.conv_dw.weight" not in same
    assert "blocks.0.0.bn1.running_mean" not in same


def test_a_sharpness_aware_step_is_clipped_and_taken_from_where_it_began(
    prepare: Path, tmp_path: Path
) -> None:
    """One step over all images beside the same step by hand."""
    values = {
        "network": "comp3419_cnn", "dropout": 0.0, "batch_size": 96, "n_epochs": 1,
        "warmup_epochs": 0.0, "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0,
        "schedule": "constant", "ema_decay": 0.0, "augment": {"flip": 0.0}, "clip_norm": 0.05,
    }  # fmt: skip
    rho, rate = 0.5, 0.2
    runs = {"start": (rho, 1e-30), "sharp": (rho, rate), "plain": (0.0, rate)}
    weights, losses = {}, {}
    for name, (sam_rho, lr) in runs.items():
        train(prepare, tmp_path / name, make_params(**values, sam_rho=sam_rho, lr=lr))
        weights[name] = read_weights(tmp_path / name / "train" / "model" / "weights.safetensors")
        (row,) = csv.DictReader((tmp_path / name / "reports" / "history.csv").open())
        losses[name] = row["train_loss"]
    assert losses["sharp"] == losses["plain"]  # the loss at the weights themselves

    network, _ = load_model(tmp_path / "start" / "train" / "model")
    network.train()
    images = read_partition(prepare, "train")
    mask = torch.from_numpy(images.mask).float()
    pixels = normalise(torch.from_numpy(images.pixels), "comp3419_cnn")

    def find_gradient(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        learning = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
        p = torch.func.functional_call(network, learning, pixels).sigmoid()
        right = torch.where(torch.from_numpy(images.labels) > 0, p, 1 - p)
        loss = -(right.log() * mask).sum() / mask.sum()
        return dict(zip(learning, torch.autograd.grad(loss, list(learning.values())), strict=True))

    def measure(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.flatten() for tensor in tensors.values()]).norm()

    start = weights["start"]
    first = find_gradient(start)
    uphill = {name: start[name] + rho / measure(first) * first[name] for name in start}
    second = find_gradient(uphill)
    assert measure(second) > 0.05
    for name, tensor in start.items():
        expected = tensor - rate * 0.05 / measure(second) * second[name]
        torch.testing.assert_close(weights["sharp"][name], expected, atol=1e-6, rtol=0)
    moved = max(float((weights["sharp"][n] - weights["plain"][n]).abs().max()) for n in start)
    assert moved > 1e-4  # a hundred times the tolerance


def test_two_runs_give_the_same_bytes(prepare: Path, tmp_path: Path) -> None:
    params = make_params()
    first = train(prepare, tmp_path / "a", params)
    assert set(first) == {
        "reports/history.csv",
        "reports/schedule.csv",
        "reports/summary.json",
        "train/model/model.json",
        "train/model/weights.safetensors",
        "train/preview.parquet",
    }
    assert train(prepare, tmp_path / "b", params) == first
    assert train(prepare, tmp_path / "c", make_params(seed=8)) != first


class Killed(BaseException):
    """Stands for a signal: no `except Exception` may catch it."""


#: Everything that chance decides, on pictures of 16 pixels.
EVERYTHING = {
    "crop_padding_px": 2,
    "affine": 0.5,
    "jitter": 0.5,
    "saturation": 0.2,
    "hue": 0.1,
    "fancy_pca": 0.1,
    "noise": 4.0,
    "erase": 0.3,
    "erase_min_px": 2,
    "erase_max_px": 6,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"schedule": "one_cycle"}, id="one cycle"),
        pytest.param({"schedule": "plateau"}, id="plateau"),
        pytest.param({"schedule": "cosine"}, id="cosine"),
        pytest.param({"ema_decay": 0.9, "accumulate": 2}, id="averaged and accumulated"),
        pytest.param({"augment": EVERYTHING}, id="every augmentation"),
        pytest.param({"balance": ["quadrant_1"]}, id="balanced"),
        pytest.param({"memory": "stream", "stream_images": 40}, id="streamed"),
    ],
)
def test_a_killed_run_resumes_to_the_same_bytes(
    prepare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    params = make_params(dropout=0.3, **changes)
    shown: dict[str, list[tuple[int, bytes]]] = {"a": [], "b": []}
    run_name, feed_epoch = "a", Feed.epoch

    def note_and_die(self: Feed, epoch: int) -> Iterator[Batch]:
        for step, batch in enumerate(feed_epoch(self, epoch)):
            if run_name == "killed" and (epoch, step) == (3, 2):
                raise Killed
            if run_name in shown:
                shown[run_name].append((epoch, batch.images.numpy().tobytes()))
            yield batch

    monkeypatch.setattr(Feed, "epoch", note_and_die)
    undisturbed = train(prepare, tmp_path / "a", params)
    run_name = "killed"
    with pytest.raises(Killed):
        train(prepare, tmp_path / "b", params)
    assert folder_bytes(tmp_path / "b") == {}
    run_name = "b"
    assert train(prepare, tmp_path / "b", params) == undisturbed
    third = [(epoch, images) for epoch, images in shown["a"] if epoch == 3]
    assert len(third) == 6
    assert shown["b"] == third  # the same pictures, bit for bit, and no others
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


def test_a_file_of_weights_counts_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    keys = []
    for content in (b"a", b"b", b"a"):
        path.write_bytes(content)
        keys.append(training_key(make_params(weights=str(path)), "0" * 64))
    assert keys[0] == keys[2] != keys[1]


def test_without_known_labels_in_valid_training_neither_stops_nor_slows_down(
    prepare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = Held.__init__

    def hide(self: Held, *arguments: Any) -> None:
        init(self, *arguments)
        self.mask = torch.zeros_like(self.mask)

    monkeypatch.setattr(Held, "__init__", hide)
    params = {"n_epochs": 6, "patience": 2, "patience_on": "loss", "ema_decay": 0.0}
    train(prepare, tmp_path, make_params(**params, schedule="plateau", plateau_patience=1, lr=1e-4))
    rows = (tmp_path / "reports" / "history.csv").read_text().splitlines()[1:]
    assert len(rows) == 6
    assert {row.split(",")[1] for row in rows} == {"0.0001"}  # the training's loss falls
    assert {row.split(",")[3] for row in rows} == {""}


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
