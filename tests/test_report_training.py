"""The page about the training says what was done, and shows it."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_fabric import Recipe, fabricate

from stages.common.errors import FacetError
from stages.common.files import read_json, write_json
from stages.common.params import ReportParams, load_params
from stages.common.tables import PREVIEW, PREVIEW_SCHEMA, read_table, write_table
from stages.report.charts_training import MAX_ENDS, draw_learning_rate
from stages.report.run import run
from stages.report.sentences_training import (
    describe_augmentation,
    describe_data,
    describe_generations,
    describe_mixing,
    describe_start,
    describe_stop,
)
from stages.report.settings import RULES, list_parameters, list_settings

SMALL = Recipe(n_images=60, n_planted=2, n_epochs=5)
TRAIN = load_params(Path(__file__).parents[1] / "params.yaml").train.model_dump(mode="json")


def build(root: Path, recipe: Recipe = SMALL, **changes: Any) -> str:
    """training.html of a fabricated training with some of its parameters changed."""
    paths = fabricate(root, recipe)
    path = paths["train"] / "model" / "model.json"
    model = read_json(path)
    write_json(path, model | {"train": {**model["train"], **changes}})
    run(ReportParams(title="Facet", n_gallery=2), **paths)
    return (paths["out"] / "training.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("page"))


def read_text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main")[1]).split())


def find_pictures(page: str) -> dict[str, np.ndarray]:
    """Alternative text -> pixels."""
    found = re.findall(r'<img src="data:image/webp;base64,([^"]+)"[^>]* alt="([^"]+)">', page)
    return {alt: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, alt in found}


def test_the_preview_is_shown_with_what_was_drawn(page: str) -> None:
    pictures = find_pictures(page)
    assert set(pictures) == {
        "Picture 1, 000001.jpg, as it is",
        "Picture 1 in epoch 1: mirrored",
        "Picture 1 in epoch 2: unchanged",
        "Picture 2, 000002.jpg, as it is",
        "Picture 2 in epoch 1: mirrored",
        "Picture 2 in epoch 2: unchanged",
        "Mixed as batch 1 is, MixUp: 75\u202f% picture 1, 25\u202f% picture 2",
    }
    original, flipped = (
        pictures[name].astype(int)
        for name in ("Picture 1, 000001.jpg, as it is", "Picture 1 in epoch 1: mirrored")
    )
    assert np.abs(original[:, ::-1] - flipped).mean() < 3  # as near as WebP is
    assert np.abs(original - flipped).mean() > 20


def test_a_training_without_augmentation_shows_originals_alone(tmp_path: Path) -> None:
    paths = fabricate(tmp_path, SMALL)
    preview = read_table(paths["train"] / PREVIEW, PREVIEW_SCHEMA)
    only = preview[preview["kind"] == "original"]
    write_table(only, paths["train"] / PREVIEW, PREVIEW_SCHEMA)
    model = read_json(paths["train"] / "model" / "model.json")
    model["train"]["augment"] = {"flip": 0.0, "border": "reflect", "mixup_alpha": 0.0}
    write_json(paths["train"] / "model" / "model.json", model)
    run(ReportParams(title="Facet", n_gallery=2), **paths)
    page = (paths["out"] / "training.html").read_text(encoding="utf-8")
    assert "nothing is drawn" in page
    assert len(find_pictures(page)) == 2
    assert "MixUp" not in page


def test_a_name_is_text_and_no_markup(tmp_path: Path) -> None:
    paths = fabricate(tmp_path, SMALL)
    preview = read_table(paths["train"] / PREVIEW, PREVIEW_SCHEMA)
    preview["image_id"] = preview["image_id"].replace("000001.jpg", '<b>"1".jpg')
    write_table(preview, paths["train"] / PREVIEW, PREVIEW_SCHEMA)
    run(ReportParams(title="Facet", n_gallery=2), **paths)
    page = (paths["out"] / "training.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "&lt;b&gt;&#34;1&#34;.jpg" in page


def test_photographs_carry_a_warning_and_drawings_do_not(page: str, tmp_path: Path) -> None:
    assert "photographs" not in read_text(page)
    assert "mind their licence" in build(tmp_path, replace(SMALL, source="files"))


@pytest.mark.parametrize("name", ["schedule.csv", PREVIEW])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    paths = fabricate(tmp_path, SMALL)
    folder = paths["train"] if name == PREVIEW else paths["train_reports"]
    (folder / name).unlink()
    with pytest.raises(FacetError, match=re.escape(name)):
        run(ReportParams(title="Facet", n_gallery=2), **paths)


def test_the_page_says_how_it_was_trained(page: str) -> None:
    text = read_text(page)
    for words in (
        "started from ImageNet weights",
        "mirrored left to right with probability 0.5.",
        "Every batch is mixed by MixUp (weights from Beta(0.2, 0.2))",
        "left out of train: identical files (2) and leaks (2)",
        "labels masked: conflicting labels (4)",
        "steps 50",
        "facet recipe --list",
        "All 18 parameters of train",
        "augment.flip 0.5",
    ):
        assert words in text, words
    assert "stopped early" not in text


def test_an_early_stop_is_said(tmp_path: Path) -> None:
    page = build(tmp_path, n_epochs=9, patience=2, patience_on="accuracy")
    assert "It stopped early, after 5 of 9 epochs" in read_text(page)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"n_epochs": 4}, ""),
        ({"n_epochs": 9}, "on valid the accuracy got no better for 2 epochs."),
        ({"n_epochs": 9, "patience_on": "loss"}, "on valid the loss got no better for 2 epochs."),
        (
            {"n_epochs": 9, "patience_on": "either", "patience": 1},
            "on valid neither accuracy nor loss got better for 1 epoch.",
        ),
    ],
)
def test_early_stops_in_words(changes: dict[str, Any], expected: str) -> None:
    train = {**TRAIN, "n_epochs": 4, "patience": 2, "patience_on": "accuracy", **changes}
    sentence = describe_stop(train, {"n_epochs_run": 4})
    assert sentence.endswith(expected)
    assert bool(sentence) == bool(expected)


def test_augmentation_in_words() -> None:
    off = {**TRAIN["augment"], "flip": 0.0}
    assert describe_augmentation(off) == ""
    assert describe_mixing(off) == ""
    everything = {**off, "flip": 1.0, "crop_padding_px": 4, "affine": 0.5, "jitter": 0.8}
    everything |= {"brightness": 0.25, "hue": 0.1, "noise": 2.5, "fancy_pca": 0.1, "erase": 0.3}
    assert describe_augmentation(everything) == (
        "mirrored left to right always; moved by up to 4 pixels each way (mirrored at the edge); "
        "shifted by up to 5 %, scaled by up to 5 % and turned by up to 15° with probability 0.5 "
        "(mirrored at the edge); changed in brightness by up to 25 %, contrast by up to 20 % and "
        "hue by up to 36° with probability 0.8; lit along the main directions of the colours "
        "(standard deviation 0.1); given noise with a standard deviation of 2.5 grey levels; "
        "erased in a box of 49 to 74 pixels a side with probability 0.3"
    )
    both = {**off, "mixup_alpha": 0.2, "cutmix_alpha": 1.0}
    assert describe_mixing(both).startswith("Half of the batches each are mixed by MixUp (weigh")


def test_every_augmentation_has_its_words() -> None:
    """A new parameter of augment must not be left out of the sentence unnoticed."""
    strengths = {"shift", "scale", "rotate_deg", "brightness", "contrast", "saturation", "hue"}
    silent = strengths | {"border", "erase_min_px", "erase_max_px"}
    off = {key: 0.0 for key in TRAIN["augment"] if key not in silent}
    detail = {key: TRAIN["augment"][key] or 0.1 for key in silent}
    for key in off:
        alone = {**off, **detail, key: 0.4}
        assert describe_augmentation(alone) or describe_mixing(alone), key


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("none", "random weights"), ("imagenet_v1", "first ImageNet"), ("a.safetensors", "a.safe")],
)
def test_starts_in_words(weights: str, expected: str) -> None:
    assert expected in describe_start(weights)


def test_what_prepare_did_not_do_is_not_said() -> None:
    assert describe_data({"dropped": {"leak": {"train": 0}, "subset": {}}, "masked": {}}) == []


def keys(**changes: Any) -> list[str]:
    return [setting.key for setting in list_settings({**TRAIN, **changes})]


def test_parameters_without_an_effect_are_left_out() -> None:
    shipped = keys()
    assert {"network", "weights", "lr", "schedule", "warmup_epochs", "batch_size"} <= set(shipped)
    assert "ema_decay" in shipped
    assert not {"focal_gamma", "momentum", "head_width", "balance", "freeze", "patience_on",
                "layer_decay", "accumulate", "reduction"} & set(shipped)  # fmt: skip
    assert {"focal_gamma", "focal_alpha"} <= set(keys(loss="focal"))
    assert "momentum" in keys(optimizer="sgd")
    assert "ema_decay" not in keys(ema_decay=0.0)
    assert "seed" in keys(seed=0)
    assert "weights" in keys(weights="none")
    assert {"patience", "patience_on"} <= set(keys(patience=3))
    assert {"head_width", "trunk_width"} <= set(keys(head="trunk"))
    plateau = keys(schedule="plateau", plateau_patience=0)
    assert "plateau_patience" in plateau
    assert "warmup_epochs" not in plateau


def test_every_parameter_that_can_matter_has_a_rule() -> None:
    """Where the pixels lie and what computes change no result, and stand in the full list."""
    elsewhere = {"augment", "head_input", "memory", "stream_images", "device", "devices",
                 "n_nodes", "compile"}  # fmt: skip
    assert {rule.key for rule in RULES} == TRAIN.keys() - elsewhere
    assert len(list_parameters(TRAIN)) == len(TRAIN) - 1 + len(TRAIN["augment"])


def test_the_schedule_is_drawn_with_the_ends_of_epochs() -> None:
    def draw(n_epochs: int) -> tuple[int, str]:
        schedule = pd.DataFrame({"epoch": [0.0, n_epochs / 4, n_epochs - 0.1]})
        schedule["lr"] = [1e-4, 1e-3, 1e-5]
        history = pd.DataFrame({"epoch": range(1, n_epochs + 1)})
        chart = draw_learning_rate(schedule, history, 2)
        return len(re.findall(r"<path[^>]*var\(--grid\)", chart.svg)), chart.alt

    few, alt = draw(8)
    more, _ = draw(12)
    many, _ = draw(MAX_ENDS + 1)
    assert more > few > many
    for words in ("over 8 epochs", "0.0001 at the start", "0.001 after 2 epochs", "at the end"):
        assert words in alt, alt


def test_predecessors_are_named() -> None:
    one = {"best_epoch": 3, "valid_accuracy": 0.9031}
    assert describe_generations({"generations": [one]}) == ""
    assert describe_generations({}) == ""
    two = describe_generations({"generations": [one, {**one, "valid_accuracy": 0.91}]})
    assert "1 predecessor" in two
    assert "90.31%" in two
    assert "91" not in two
