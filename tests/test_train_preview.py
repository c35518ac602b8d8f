"""The preview shows what the network saw, the schedule what it learned at; neither changes it."""

import csv
import io
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import stages.train.run as training
from stages.common.tables import PREVIEW, PREVIEW_SCHEMA, read_table
from stages.train.draws import Chosen
from stages.train.mix import draw_mixes
from stages.train.optim import trace_rates
from stages.train.preview import MAX_PX, N_EPOCHS, N_IMAGES, describe_draws, draw_preview, shrink
from stages.train.schedule import MAX_ROWS, TOLERANCE, format_schedule, thin_curve
from tests.test_train import make_params as make_small_params
from tests.test_train import own_root, prepare, train  # noqa: F401  fixtures
from tests.train_fabric import EVERYTHING, draw_pictures, make_augment, make_feed, make_params

#: Every augmentation whose result is known in advance: bytes that are moved.
MOVES = {"flip": 0.5, "crop_padding_px": 3}


def preview(augment: dict[str, Any], n: int = 40, **changes: Any) -> tuple[pd.DataFrame, Any]:
    pixels = draw_pictures(n, 24, 20)
    params = make_params(make_augment(**augment), batch_size=8, **changes)
    feed = make_feed(pixels, params)
    table = draw_preview(feed, [f"{i:03d}.jpg" for i in range(n)], params)
    return table.to_pandas(), (feed, params, pixels)


def picture(row: Any) -> np.ndarray:
    return np.frombuffer(row["pixels"], np.uint8).reshape(row["height"], row["width"], 3)


def test_originals_are_the_images_they_name() -> None:
    table, (_, _, pixels) = preview({})
    assert set(table["kind"]) == {"original"}  # nothing is changed and nothing is mixed
    assert len(table) == N_IMAGES
    assert table["image_id"].is_unique
    for row in table.to_dict("records"):
        assert np.array_equal(picture(row), pixels[int(row["image_id"][:3])])


def find_in_epoch(feed: Any, params: Any, epoch: int) -> np.ndarray:
    """All pictures (N, H, W, 3) uint8 of an epoch, as its batches show them."""
    shown = [batch.images.permute(0, 2, 3, 1) for batch in feed.epoch(epoch)]
    return np.asarray(feed.augmenter.restore(torch.cat(shown)))


@pytest.mark.parametrize("memory", ["host", "stream"])
@pytest.mark.parametrize("augment", [MOVES, EVERYTHING], ids=["moved", "everything"])
def test_augmented_pictures_are_those_of_the_epochs(augment: dict[str, Any], memory: str) -> None:
    """Each of them comes out of the loop's own batches, bit for bit."""
    table, (feed, params, _) = preview(augment, memory=memory, stream_images=16)
    rows = table[table["kind"] == "augmented"]
    assert len(rows) == N_IMAGES * N_EPOCHS
    for epoch in (1, N_EPOCHS):
        shown = {image.tobytes() for image in find_in_epoch(feed, params, epoch)}
        mine = [row["pixels"] for row in rows[rows["number"] == epoch].to_dict("records")]
        assert len(mine) == N_IMAGES
        assert all(pixels in shown for pixels in mine)


def test_notes_say_what_was_done() -> None:
    """Done again by the note alone, the original is the augmented picture, apart from its edge."""
    table, (_, _, pixels) = preview(MOVES)
    seen = set()
    ways = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
    for row in table[table["kind"] == "augmented"].to_dict("records"):
        image = pixels[int(row["image_id"][:3])]
        if "mirrored" in row["note"]:
            image = image[:, ::-1]
        for n, way in re.findall(r"(\d)\u202fpx (\w+)", row["note"]):
            image = np.roll(image, [int(n) * axis for axis in ways[way]], (0, 1))
            seen.add(way)
        assert np.array_equal(picture(row)[3:-3, 3:-3], image[3:-3, 3:-3])
    assert seen == set(ways)
    assert "mirrored" in " ".join(table["note"])


def test_notes_name_every_augmentation_that_is_on() -> None:
    table, (feed, params, _) = preview(EVERYTHING)
    text = " ".join(table["note"])
    for word in ("mirrored", "moved", "turned", "size", "shifted", "brightness", "contrast",
                 "saturation", "hue", "lighting", "noise", "px erased"):  # fmt: skip
        assert word in text, word
    assert not re.search(r"[+\u2212]0°|×\u202f1\.00|\b0\u202fpx", text)
    draws = feed.augmenter.draw(1, np.arange(40))
    less = params.augment.model_copy(update={"contrast": 0.0})
    notes = " ".join(describe_draws(draws.chosen, place, less) for place in range(40))
    assert "contrast" not in notes
    assert "brightness" in notes


def test_angles_and_factors_are_those_that_were_drawn() -> None:
    """Against the numbers themselves: cosine and sine over the scale, shifts, factors."""
    values = [np.cos(0.3) / 1.25, np.sin(0.3) / 1.25, -2.0, 4.0]

    def choose(numbers: list[float]) -> Chosen:
        return Chosen(np.array([0]), torch.zeros(1, dtype=torch.int64), torch.tensor([numbers]))

    chosen = {"affine": choose(values), "jitter": choose([1.1, 0.9, 1.0, -0.05])}
    params = make_augment(**EVERYTHING)
    assert describe_draws(chosen, 0, params).replace("\u202f", " ") == (
        "turned +17°, size × 1.25, shifted 2 px left and 4 px down, brightness × 1.10, "
        "contrast × 0.90, hue \u221218°"
    )
    assert describe_draws(chosen, 1, params) == ""


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)], ids=["up", "cut", "both"])
def test_mixed_pictures_are_mixed_as_the_first_batches_are(alphas: tuple[float, float]) -> None:
    table, (_, params, _) = preview({"mixup_alpha": alphas[0], "cutmix_alpha": alphas[1]}, n=64)
    pixels = {row["image_id"]: picture(row) for row in table[:N_IMAGES].to_dict("records")}
    mixes = draw_mixes(params.augment, 24, 20, 8, params.seed, 1)
    rows = table[table["kind"].isin(["mixup", "cutmix"])].to_dict("records")
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, mix in zip(rows, mixes, strict=False):
        assert mix is not None
        assert row["weight"] == pytest.approx(mix.weight)
        assert row["partner_id"] != row["image_id"]
        own, other = (pixels[row[key]].astype(float) for key in ("image_id", "partner_id"))
        if mix.box is None:
            assert row["kind"] == "mixup"
            expected = mix.weight * own + (1 - mix.weight) * other
        else:
            top, bottom, left, right = mix.box
            assert row["kind"] == "cutmix"
            own[top:bottom, left:right] = other[top:bottom, left:right]
            expected = own
        assert np.abs(picture(row) - expected).max() <= 0.51


def test_few_and_large_pictures() -> None:
    table, _ = preview({"flip": 0.5}, n=3)
    assert table["image_id"].nunique() == 2
    big = np.random.default_rng(0).integers(0, 256, (600, 513, 3), dtype=np.uint8)
    small = shrink(big)
    assert small.shape == (200, 171, 3)
    assert max(small.shape) <= MAX_PX
    assert np.array_equal(small[7, 5], np.rint(big[21:24, 15:18].mean((0, 1))).astype(np.uint8))
    assert shrink(big[:256, :256]).shape == (256, 256, 3)


def test_the_training_does_not_notice(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = make_small_params(augment=EVERYTHING | {"mixup_alpha": 0.2}, dropout=0.3, n_epochs=2)
    states = []

    def draw_watched(*arguments: Any) -> pa.Table:
        before = torch.get_rng_state(), np.random.get_state()[1].tobytes()
        table = draw_preview(*arguments)
        after = torch.get_rng_state(), np.random.get_state()[1].tobytes()
        states.append(bool(before[0].equal(after[0])) and before[1] == after[1])
        return table

    monkeypatch.setattr(training, "draw_preview", draw_watched)
    first = train(prepare, tmp_path / "a", params)
    assert states == [True]
    monkeypatch.setattr(training, "draw_preview", lambda *_: PREVIEW_SCHEMA.empty_table())
    monkeypatch.setattr(training, "format_schedule", lambda *_: "")
    second = train(prepare, tmp_path / "b", params)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"train/preview.parquet", "reports/schedule.csv"}
    table = read_table(tmp_path / "a" / "train" / PREVIEW, PREVIEW_SCHEMA)
    assert set(table["kind"]) == {"original", "augmented", "mixup"}


@dataclass(frozen=True)
class Row:
    train_loss: float
    valid_loss: float
    valid_accuracy: float


def read_rates(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = list(csv.DictReader(io.StringIO(text)))
    return tuple(np.array([float(row[key]) for row in rows]) for key in ("step", "epoch", "lr"))


@pytest.mark.parametrize("schedule", ["constant", "cyclic", "one_cycle", "cosine", "step"])
def test_the_rows_draw_the_schedule(schedule: str) -> None:
    params = make_params(schedule=schedule, n_epochs=9, warmup_epochs=1.5, step_epochs=2)
    history = [Row(1.0, 1.0, 0.5)] * 9
    steps, epochs, rates = read_rates(format_schedule(params, 700, history))
    assert (steps[0], steps[-1]) == (0, 9 * 700 - 1)
    assert np.allclose(epochs, steps / 700, atol=1e-4)
    whole = trace_rates(params, 700)
    drawn = np.interp(np.arange(9 * 700), steps, rates)
    assert np.abs(drawn - whole).max() <= 1.01 * TOLERANCE * whole.max()
    assert len(steps) < 100
    if schedule == "constant":
        assert len(steps) == 2


def test_plateaus_rates_are_those_that_its_epochs_led_to() -> None:
    params = make_params(
        lr=1e-3, schedule="plateau", plateau_patience=1, plateau_factor=0.1, n_epochs=8
    )
    losses = [1.0, 0.9, 0.95, 0.95, 0.96, 0.97, 0.98, 0.99]
    text = format_schedule(params, 50, [Row(9.9, loss, 0.5) for loss in losses])
    steps, _, rates = read_rates(text)
    assert sorted(set(rates), reverse=True) == pytest.approx([1e-3, 1e-4, 1e-5], rel=1e-5)
    falls = [after for before, after in pairwise(range(len(steps))) if rates[after] < rates[before]]
    assert [steps[place] for place in falls] == [4 * 50, 6 * 50]


def test_only_what_was_trained_is_listed() -> None:
    """After an early stop the rest of the plan is no rate that was taken."""
    params = make_params(schedule="one_cycle", n_epochs=20)
    steps, epochs, _ = read_rates(format_schedule(params, 10, [Row(1.0, 1.0, 0.5)] * 3))
    assert steps[-1] == 29
    assert epochs[-1] < 3


def test_many_turns_stay_some_hundreds_of_rows() -> None:
    zigzag = np.arange(100_000) % 2.0
    places = thin_curve(zigzag)
    assert len(places) == MAX_ROWS
    assert (places[0], places[-1]) == (0, 99_999)
    assert places == sorted(set(places))
    assert thin_curve(zigzag[:1]) == [0]
    assert thin_curve(zigzag[:0]) == []
