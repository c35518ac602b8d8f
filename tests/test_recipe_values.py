"""The recipes say what their sources say; see also the parts' own tests."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.common.networks import build_network, count_parameters, read_structure
from stages.common.params import PrepareParams, TrainParams
from stages.search import load_search, plan_search

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
#: The five reference systems, value by value, as their papers and code state them.
SOURCES: dict[str, dict[str, Any]] = {
    "celebmodel": {
        "loss": "bce",
        "optimizer": "sgd",
        "schedule": "cyclic",
    },
    "comp3419_cnn": {
        "prepare.crop_height_px": None,
        "prepare.crop_width_px": None,
        "prepare.height_px": 128,
        "prepare.width_px": 128,
        "channels": None,
        "loss": "bce",
        "optimizer": "adam",
        "lr": 5e-4,
        "augment.flip": 0.5,
        "batch_size": 64,
        "n_epochs": 5,
    },
    "uab_cnn": {
        "prepare.height_px": 64,
        "prepare.width_px": 64,
        "channels": [64, 128, 256, 512],
        "dropout": 0.5,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "loss": "bce",
        "batch_size": 32,
        "n_epochs": 7,
        "augment.flip": 0.0,
    },
    "devarashs_cnn_rnn": {
        "prepare.attributes": ["Male"],
        "prepare.crop_height_px": None,
        "prepare.crop_width_px": None,
        "prepare.height_px": 224,
        "prepare.width_px": 224,
        "weights": "imagenet",
        "freeze": ["conv1", "bn1", "layer1"],
        "dropout": 0.2,
        "loss": "bce",
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 1e-4,
        "schedule": "plateau",
        "plateau_on": "accuracy",
        "plateau_factor": 0.5,
        "plateau_patience": 2,
        "batch_size": 32,
        "n_epochs": 3,
        "augment.flip": 0.5,
        "augment.jitter": 1.0,
        "augment.brightness": 0.2,
        "augment.contrast": 0.2,
        "augment.saturation": 0.0,
        "augment.hue": 0.0,
    },
    "kkaryl_mobilenetv2": {
        "prepare.crop_height_px": 198,
        "prepare.crop_width_px": 158,
        "prepare.height_px": None,
        "network": "mobilenet_v2",
        "head": "separate",
        "head_input": "classes",
        "head_width": 500,
        "head_dropout": 0.15,
        "loss": "focal",
        "reduction": "sum",
        "focal_alpha": 0.25,
        "focal_gamma": 3.0,
        "augment.mixup_alpha": 0.2,
        "augment.flip": 0.5,
        "augment.affine": 0.5,
        "augment.shift": 0.05,
        "augment.scale": 0.05,
        "augment.rotate_deg": 15.0,
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
        "decay_norms": False,
        "schedule": "plateau",
        "plateau_on": "loss",
        "plateau_factor": 0.1,
        "plateau_patience": 5,
        "batch_size": 100,
        "n_epochs": 80,
        "patience": 10,
        "patience_on": "either",
        "patience_from_epoch": 31,
        "seed": 42,
    },
}


def read(path: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))


def list_keys(section: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in section.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += list_keys(value, f"{prefix}{key}.")
    return keys


def test_every_reference_system_has_its_recipe() -> None:
    assert {path.stem for path in RECIPES} >= SOURCES.keys()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_complete_and_valid(path: Path) -> None:
    recipe, params = read(path), read(ROOT / "params.yaml")
    assert list(recipe) == ["prepare", "train"]
    for section in recipe:
        assert list_keys(recipe[section]) == list_keys(params[section])
    PrepareParams.model_validate(recipe["prepare"])
    TrainParams.model_validate(recipe["train"])


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_recipes_say_what_their_sources_say(name: str) -> None:
    recipe = read(ROOT / "recipes" / f"{name}.yaml")
    for key, expected in SOURCES[name].items():
        value: Any = recipe if key.startswith("prepare.") else recipe["train"]
        for part in key.split("."):
            value = value[part]
        assert value == expected, key


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "uab_cnn",
            1_792
            + 73_856
            + 295_168
            + 1_180_160
            + 2 * 960
            + (4 * 4 * 512 + 1) * 1024
            + 1025 * 512
            + 513 * 40,
        ),
        ("comp3419_cnn", 16_891_496),
        ("kkaryl_mobilenetv2", 3_504_872 + 40 * (1001 * 500 + 2 * 500 + 501 * 2)),
    ],
)
def test_recipes_build_the_networks_of_their_sources(name: str, expected: int) -> None:
    recipe = read(ROOT / "recipes" / f"{name}.yaml")
    prepare, train = recipe["prepare"], recipe["train"]
    size = [prepare[f"{side}_px"] or prepare[f"crop_{side}_px"] for side in ("height", "width")]
    network = build_network(
        train["network"], 40, *size, train["dropout"], "none", **read_structure(train)
    )
    assert count_parameters(network) == expected


#: Experiments of the reference's searches as it states them, in order; what all of them share.
SEARCHES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "uab_channels": (
        [
            {"train.channels": channels}
            for channels in (
                [64, 64, 256, 256],
                [32, 64, 128, 256],
                [64, 256, 512, 512],
                [64, 128, 256, 512],
                [32, 64, 256, 256],
                [128, 256, 512, 1024],
                [32, 64, 512, 512],
            )
        ],
        {"train.n_epochs": 5},
    ),
    "uab_batch_lr": (
        [
            {"train.batch_size": size, "train.lr": lr}
            for size in (16, 32, 64)
            for lr in (1e-3, 1e-4)
        ],
        {"train.channels": [64, 256, 512, 512], "train.n_epochs": 5},
    ),
    "uab_longer": (
        [
            {
                "train.channels": [64, 256, 512, 512],
                "train.batch_size": 64,
                "train.lr": 1e-4,
                "train.n_epochs": 20,  # ours: how long is not published
            }
        ],
        {},
    ),
}


def test_every_search_of_the_reference_has_its_file() -> None:
    assert {path.stem for path in (ROOT / "search").glob("uab_*.yaml")} == SEARCHES.keys()


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_searches_say_what_their_source_says(name: str) -> None:
    points, settings = SEARCHES[name]
    search = load_search(ROOT / "search" / f"{name}.yaml")
    assert search.recipe == "uab_cnn"
    assert search.list_points() == points
    assert search.settings == settings


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_searches_can_be_queued_over_the_shipped_parameters(name: str) -> None:
    """All values are valid, on valid alone, and what the search leaves open is the recipe's."""
    points, settings = SEARCHES[name]
    planned = plan_search(ROOT / "search" / f"{name}.yaml", ROOT / "recipes", ROOT / "params.yaml")
    assert len(planned) == len(points)
    for point, strings in zip(points, planned.values(), strict=True):
        rows = dict(string.split("=", 1) for string in strings)
        assert rows["evaluate.partitions"] == "[valid]"
        assert rows["train.network"] == "uab_cnn"
        assert rows["prepare.height_px"] == "64"
        for key, value in {**settings, **point}.items():
            expected = read_shipped(key) if key not in rows else YAML(typ="safe").load(rows[key])
            assert value == expected, key


def read_shipped(key: str) -> Any:
    """A value of params.yaml: a search names what differs from it."""
    value: Any = read(ROOT / "params.yaml")
    for part in key.split("."):
        value = value[part]
    return value
