"""Networks fine-tuned out of fold, with drawn pictures and a tiny network."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from audit_fabric import AUDIT, read_bytes
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from stages.audit.run import run
from stages.audit.tune import SIZE_PX, SPREAD, ask_tuned, join_answers, load_small
from stages.common.images import decode_rgb
from stages.common.params import AuditParams, load_params
from stages.common.tables import iter_images, read_annotations
from stages.download.run import run as download

N_IMAGES, N_FOLDS = 340, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    params = load_params(Path(__file__).parents[1] / "params.yaml").download
    demo = params.demo.model_copy(update={"n_images": N_IMAGES})
    download(params.model_copy(update={"demo": demo}), folder / "download")
    torch.manual_seed(0)
    save_file(
        timm.create_model("test_resnet", pretrained=False).state_dict(), folder / "w.safetensors"
    )
    return folder


def settings(folder: Path, fine_tune: int) -> AuditParams:
    weights = str(folder / "w.safetensors")
    update = {"features": "test_resnet", "weights": weights, "fine_tune": fine_tune}
    return AUDIT.model_copy(update=update | {"n_folds": N_FOLDS, "n_suspects": 5})


def ask(folder: Path, labels: np.ndarray, folds: np.ndarray, n_epochs: int = 1) -> np.ndarray:
    image_ids = np.sort(read_annotations(folder / "download")[0]["image_id"].to_numpy(object))
    rows = np.arange(len(image_ids))
    known = np.ones(labels.shape, bool)
    params = settings(folder, n_epochs)
    return ask_tuned(params, folder / "download", image_ids, rows, labels, known, folds)


def test_no_picture_teaches_the_network_that_judges_it(folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((N_IMAGES, 3)) < 0.5).astype(np.uint8)
    folds = np.arange(N_IMAGES) % (N_FOLDS + 1) - 1  # -1 = outside train
    before = ask(folder, labels, folds)
    changed = labels.copy()
    changed[folds <= 0] ^= 1
    after = ask(folder, changed, folds)
    assert np.array_equal(before[folds == 0], after[folds == 0])
    assert not np.array_equal(before[folds == 1], after[folds == 1])
    changed = labels.copy()
    changed[folds < 0] ^= 1
    assert np.array_equal(before, ask(folder, changed, folds))


def test_networks_learn_what_can_be_seen(folder: Path) -> None:
    """Whether a picture is bright is learned; a coin that was tossed for each picture is not."""
    bright = {}
    for batch in iter_images(folder / "download"):
        for image_id, data in zip(batch["image_id"].to_pylist(), batch["bytes"], strict=True):
            bright[image_id] = decode_rgb(data.as_py()).mean()
    values = np.array([bright[image_id] for image_id in sorted(bright)])
    coin = np.random.default_rng(0).random(N_IMAGES) < 0.5
    labels = np.stack([values > np.median(values), coin], 1).astype(np.uint8)
    answers = ask(folder, labels, np.arange(N_IMAGES) % N_FOLDS, n_epochs=6)
    assert roc_auc_score(labels[:, 0], answers[:, 0]) > 0.9
    assert 0.4 < roc_auc_score(labels[:, 1], answers[:, 1]) < 0.6


def test_a_network_that_takes_one_size_only_gets_it(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), weights)
    params = settings(folder, 1).model_copy(
        update={"features": "test_vit", "weights": str(weights)}
    )
    backbone = load_small(params)
    assert (backbone.height, backbone.width) == (160, 160)
    image_ids = np.sort(read_annotations(folder / "download")[0]["image_id"].to_numpy(object))
    labels = np.ones((N_IMAGES, 2), np.uint8)
    answers = ask_tuned(
        params, folder / "download", image_ids, np.arange(N_IMAGES), labels, labels.astype(bool),
        np.arange(N_IMAGES) % 2,
    )  # fmt: skip
    assert np.isfinite(answers).all()
    small = load_small(settings(folder, 1))
    assert (small.height, small.width) == SIZE_PX


def test_a_run_that_dies_leaves_no_pictures_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Path] = []

    def die(*_: object) -> None:
        left.extend(tmp_path.rglob("*"))  # what a kill would leave
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("stages.audit.tune.fit_fold", die)
    with pytest.raises(KeyboardInterrupt):
        ask(folder, np.ones((N_IMAGES, 2), np.uint8), np.arange(N_IMAGES) % 2)
    assert left == []


def test_answers_weigh_more_than_features() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 4)).astype(np.float16)
    answers = rng.normal(3, 0.2, size=(500, 2)).astype(np.float32)
    joined = join_answers(features, answers)
    assert joined.shape == (500, 6)
    assert torch.equal(joined[:, :4], torch.from_numpy(features))
    np.testing.assert_allclose(joined[:, 4:].float().std(0).numpy(), SPREAD, rtol=0.01)
    np.testing.assert_allclose(joined[:, 4:].float().mean(0).numpy(), 0, atol=0.05)


def test_a_fine_tuned_audit_gives_the_same_bytes_twice(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        run(settings(folder, 1), folder / "download", tmp_path / name, tmp_path / f"reports_{name}")
    run(settings(folder, 0), folder / "download", tmp_path / "frozen", tmp_path / "reports_frozen")
    assert read_bytes(tmp_path / "a") == read_bytes(tmp_path / "b")
    assert read_bytes(tmp_path / "reports_a") == read_bytes(tmp_path / "reports_b")
    assert read_bytes(tmp_path / "a") != read_bytes(tmp_path / "frozen")
