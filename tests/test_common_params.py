import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.common.errors import FacetError
from stages.common.params import Params, TrainParams, load_params, resolve_path

SHIPPED = Path(__file__).parents[1] / "params.yaml"


def write_changed(folder: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in params.yaml"
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_shipped_file_is_valid() -> None:
    assert isinstance(load_params(SHIPPED), Params)


@pytest.mark.parametrize("written", ["1e-4", "1e-04", "0.0001", "1.0E-4", "1.0e-4"])
def test_floats_in_any_notation(tmp_path: Path, written: str) -> None:
    path = write_changed(tmp_path, "lr: 1.5e-3 ", f"lr: {written} ")
    assert load_params(path).train.lr == 1e-4


def test_whole_number_for_a_float(tmp_path: Path) -> None:
    path = write_changed(tmp_path, "weight_decay: 1.0e-2", "weight_decay: 0")
    assert load_params(path).train.weight_decay == 0


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "  n_epochs: 3", "  epochs: 3", "train.epochs: unknown key", id="typo in a key"
        ),
        pytest.param("lr: 1.5e-3", "lr: fast", "train.lr: expected a number; got", id="text"),
        pytest.param("lr: 1.5e-3", "lr: '1e-3'", "train.lr: expected", id="number in quotes"),
        pytest.param("lr: 1.5e-3", "lr: .nan", "train.lr: expected", id="not a number"),
        pytest.param("lr: 1.5e-3", "lr: -1", "train.lr: expected", id="out of range"),
        pytest.param("n_epochs: 3", "n_epochs: 2.5", "train.n_epochs", id="fraction of an epoch"),
        pytest.param("n_epochs: 3", "n_epochs: true", "train.n_epochs", id="bool for a number"),
        pytest.param(
            "source: demo ", "source: dmo ", "'demo', 'files', 'kagg", id="unknown source"
        ),
        pytest.param("source: demo ", "source: files ", "download.path", id="source without path"),
        pytest.param("audit:", "audits:", "audit", id="unknown section"),
        pytest.param("  title: Facet", "  title:", "report.title", id="null for a text"),
        pytest.param("  title: Facet", "  title: [", "no valid YAML", id="broken YAML"),
        pytest.param("    leak: drop", "    leak: mask", "prepare.policy.leak", id="policy"),
        pytest.param("height_px: 112 ", "height_px: null ", "both or neither", id="one side"),
        pytest.param(
            "weights: imagenet         # none",
            "weights: no.pt",
            "train.weights",
            id="weights missing",
        ),
        pytest.param(
            "weights: imagenet         # imagenet",
            "weights: no.pt",
            "audit.weights",
            id="audit's weights missing",
        ),
        pytest.param("n_folds: 5 ", "n_folds: 1 ", "audit.n_folds", id="one fold"),
        pytest.param(
            "partitions: [valid, test]", "partitions: []", "evaluate.partitions", id="none"
        ),
        pytest.param(
            "  seed: 7                   # of subset", "  #", "prepare.seed", id="missing"
        ),
        pytest.param("source: demo ", "source: url ", "download.url: expected an add", id="no URL"),
        pytest.param("url: null ", "url: ftp://a/b ", "download.url", id="no HTTP address"),
        pytest.param(
            "jessicali9530/celeba-dataset", "celeba", "download.kaggle", id="Kaggle's name"
        ),
        pytest.param("flwrlabs/celeba ", "flwrlabs ", "download.huggingface", id="the hub's name"),
        pytest.param("img_align_celeba.zip:", "../x.zip:", "google_drive", id="file name"),
        pytest.param("    valid: 0.1 ", "    valid: 0.5 ", "download.split.valid", id="split"),
        pytest.param("valid: null             # null", "valid: 1 # null", "resplit", id="resplit"),
        pytest.param("attributes: all ", "attributes: [Male, Male] ", "once", id="twice"),
        pytest.param("balance: [] ", "balance: [a, a] ", "train.balance", id="balanced twice"),
        pytest.param("    flip: 0.5", "    flip: 1.5", "train.augment.flip", id="probability"),
        pytest.param("erase_min_px: 49", "erase_min_px: 80", "at most", id="boxes' sizes"),
        pytest.param(
            "jitter: 0.0             # probability of a colour jitter\n    brightness: 0.2         "
            "# jitter: largest change of the factor from 1; contrast, saturation too\n    "
            "contrast: 0.2",
            "jitter: 0.5\n    brightness: 0.0\n    contrast: 0.0",
            "train.augment.jitter: expected 0, as brightness",
            id="a jitter of nothing",
        ),
        pytest.param("warmup_epochs: 0.1", "warmup_epochs: 3", "warmup", id="warm-up too long"),
        pytest.param("network: efficientnet_lite0", "network: a b", "train.network", id="no name"),
        pytest.param(
            "channels: null ", "channels: [8] ", "train.channels: expected null", id="not free"
        ),
        pytest.param("channels: null ", "channels: [] ", "train.channels", id="no channels"),
        pytest.param("channels: null ", "channels: [0] ", "train.channels.0", id="channel of 0"),
        pytest.param(
            "network: efficientnet_lite0",
            "network: uab_cnn",
            "train.weights: expected none or a file, as uab_cnn has no ImageNet",
            id="CNN without ImageNet weights",
        ),
        pytest.param(
            "head_input: features", "head_input: classes", "as train.head is linear", id="classes"
        ),
        pytest.param("freeze: [] ", "freeze: ['a b'] ", "train.freeze.0", id="frozen name"),
        pytest.param(
            "nesterov: false ", "nesterov: true ", "train.nesterov: expected false", id="nesterov"
        ),
        pytest.param("ema_decay: 0.98 ", "ema_decay: 1.0 ", "train.ema_decay", id="ema for ever"),
        pytest.param("clip_norm: null ", "clip_norm: 0 ", "train.clip_norm", id="clipped to 0"),
        pytest.param("layer_decay: 1.0 ", "layer_decay: 1.1 ", "layer_decay", id="rates rise"),
        pytest.param("accumulate: 1 ", "accumulate: 0 ", "train.accumulate", id="no batch"),
        pytest.param("step_factor: 0.1 ", "step_factor: 1 ", "train.step_factor", id="no step"),
        pytest.param(
            "label_smoothing: 0.0 ", "label_smoothing: 1 ", "label_smoothing", id="all smoothed"
        ),
        pytest.param(
            "    train: null", "    train: 1.5", "prepare.subset.train", id="share over 1"
        ),
        pytest.param("    train: null", "    train: null\n    train: 5", "YAML", id="key twice"),
        pytest.param(
            "    valid: null\n    test: null\n  resplit:                  # validation images out "
            "of train, in place of the source's valid\n    valid: null ",
            "    valid: 5\n    test: null\n  resplit:\n    valid: 0.2 ",
            "prepare.subset.valid",
            id="subset of a valid that is made",
        ),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = write_changed(tmp_path, old, new)
    with pytest.raises(FacetError) as caught:
        load_params(path)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    assert len(message) < 300 + len(str(path))


TRAIN = load_params(SHIPPED).train


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"network": "devarashs_cnn_rnn", "head": "separate", "head_input": "classes"},
            "train.head_input: expected features, as devarashs_cnn_rnn",
            id="network without classes",
        ),
        pytest.param(
            {"network": "comp3419_cnn", "weights": "imagenet_v1"},
            "expected none or a file, as comp3419_cnn has no ImageNet weights; got imagenet_v1",
            id="CNN without the first ImageNet weights",
        ),
        pytest.param(
            {"weights": "imagenet_v1"},
            "expected another than imagenet_v1, which mobilenet_v2, resnet18, resnet50",
            id="EfficientNet-Lite with torchvision's first weights",
        ),
        pytest.param(
            {"network": "timm:resnet18", "weights": "imagenet_v1"},
            "alone have; got it for timm:resnet18",
            id="timm's network with torchvision's first weights",
        ),
        pytest.param(
            {"weights": "none", "freeze": ["conv_stem"]},
            "train.freeze: expected [], as train.weights is none",
            id="frozen at random",
        ),
        pytest.param(
            {"loss": "sigmoid_focal", "focal_alpha": 1.0},
            "train.focal_alpha: expected less than 1",
            id="label 0 without a loss",
        ),
        pytest.param(
            {"schedule": "cyclic", "warmup_epochs": 0.0},
            "train.warmup_epochs: expected above 0, as train.schedule is cyclic",
            id="a cycle without a length",
        ),
        pytest.param(
            {"sam_rho": 0.05, "accumulate": 2},
            "train.sam_rho: expected 0.0, as train.accumulate is 2",
            id="sharpness over several batches",
        ),
        pytest.param(
            {"optimizer": "sgd", "momentum": 0.0, "nesterov": True},
            "train.nesterov: expected false",
            id="nesterov without momentum",
        ),
    ],
)
def test_values_that_do_not_go_together(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(expected)):
        TrainParams.model_validate({**TRAIN.model_dump(), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"network": "uab_cnn", "weights": "none", "channels": [64, 256]}, id="free"),
        pytest.param({"network": "timm:vit_tiny_patch16_224.augreg_in21k"}, id="timm's name"),
        pytest.param({"head": "separate", "head_input": "classes"}, id="classes kept"),
        pytest.param({"loss": "focal", "focal_alpha": 1.0}, id="alpha of one"),
        pytest.param({"optimizer": "sgd", "nesterov": True}, id="nesterov"),
    ],
)
def test_values_that_go_together(changes: dict[str, Any]) -> None:
    TrainParams.model_validate({**TRAIN.model_dump(), **changes})


def test_line_number_is_that_of_the_key(tmp_path: Path) -> None:
    path = write_changed(tmp_path, "lr: 1.5e-3", "lr: fast")
    line = (
        path.read_text(encoding="utf-8")
        .splitlines()
        .index(next(x for x in path.read_text(encoding="utf-8").splitlines() if "lr: fast" in x))
    )
    with pytest.raises(FacetError, match=rf":{line + 1}: train\.lr"):
        load_params(path)


def test_typo_gets_a_suggestion(tmp_path: Path) -> None:
    path = write_changed(tmp_path, "  momentum: 0.9", "  momentum: 0.9\n  momentums: 0.9")
    with pytest.raises(FacetError, match=r"train\.momentums: unknown key; did you mean momentum\?"):
        load_params(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FacetError, match="no such file"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["", "5", "- a", "download:"])
def test_no_sections(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(FacetError):
        load_params(tmp_path / "params.yaml")


def test_relative_paths_count_from_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert resolve_path("a/b") == tmp_path / "a/b"
    assert resolve_path("/a/b") == Path("/a/b")
