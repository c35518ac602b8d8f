"""Generations: a network that learns from its predecessor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.progress import Progress
from torch import nn

from stages.common.inference import load_model, predict
from stages.common.progress import make_progress
from stages.common.shards import read_partition
from stages.train import generations, loop
from stages.train.feed import Batch, Feed
from stages.train.generations import answer, fit_generations
from stages.train.launch import make_fabric
from stages.train.loop import Epoch, Fitted
from tests.test_train import Killed, make_params, own_root, prepare, train  # noqa: F401
from tests.train_fabric import draw_pictures, make_feed
from tests.train_fabric import make_params as make_feed_params


def read_summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "reports" / "summary.json").read_text())
    return summary


class Sides(nn.Module):
    """Two logits: the mean of the picture's left half, and of its right half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[3] // 2
        return torch.stack([x[..., :half].mean((1, 2, 3)), x[..., half:].mean((1, 2, 3))], 1)


@pytest.mark.parametrize("flip", [0.0, 0.5])
@pytest.mark.parametrize("memory", ["host", "stream"])
def test_answers_are_of_all_pictures_in_order_and_of_their_mirror_images(
    flip: float, memory: str
) -> None:
    pixels = draw_pictures(70, 8, 8)
    params = make_feed_params(memory=memory)
    params = params.model_copy(update={"augment": params.augment.model_copy(update={"flip": flip})})
    given = answer(Sides(), make_feed(pixels, params), params, make_fabric(params))
    shown = generations.normalise(torch.from_numpy(pixels), params.network)
    scaled = shown.permute(0, 2, 3, 1).numpy()
    logits = np.stack([scaled[:, :, :4].mean((1, 2, 3)), scaled[:, :, 4:].mean((1, 2, 3))], 1)
    if flip:
        logits = (logits + logits[:, ::-1]) / 2
    np.testing.assert_allclose(given.numpy(), 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_labels_are_mixed_anew_with_each_answer() -> None:
    params = make_feed_params(batch_size=4, distill=0.25)
    feed = make_feed(np.zeros((8, 4, 4, 3), np.uint8), params)
    for value in (0.8, 0.4):
        feed.learn(torch.full((8, 2), value))
        seen = np.concatenate([batch.labels.numpy() for batch in feed.epoch(1)])
        bits = np.array([0, 1] * 8) * 0.75 + 0.25 * value
        np.testing.assert_allclose(np.sort(seen.ravel()), np.sort(bits), atol=1e-6)


def test_the_second_generation_learns_from_the_first(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[np.ndarray] = []
    monkeypatch.setattr(Feed, "learn", lambda self, answers: learned.append(answers.numpy()))
    train(prepare, tmp_path / "one", make_params())
    assert not learned
    train(prepare, tmp_path / "two", make_params(generations=2))
    (answers,) = learned
    network, _ = load_model(tmp_path / "one" / "train" / "model")
    pixels = read_partition(prepare, "train").pixels
    plain, mirrored = (
        predict(network, "uab_cnn", view, 32) for view in (pixels, pixels[:, :, ::-1].copy())
    )
    logits = (np.log(plain / (1 - plain)) + np.log(mirrored / (1 - mirrored))) / 2
    np.testing.assert_allclose(answers, 1 / (1 + np.exp(-logits)), atol=1e-4)
    first, second = read_summary(tmp_path / "one"), read_summary(tmp_path / "two")
    assert second["generations"][0] == first["generations"][0]
    assert len(second["generations"]) == 2
    assert second["generations"][1]["valid_accuracy"] == second["valid_accuracy"]
    assert second["n_epochs_run"] == 3


class Second:
    """Fabric as the second of two processes sees it."""

    def __init__(self, fabric: Any, told: torch.Tensor) -> None:
        self._fabric, self._told = fabric, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fabric, name)

    is_global_zero = False

    def broadcast(self, value: Any) -> Any:
        return self._told if value is None else value


def test_every_process_learns_what_the_first_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norms of the others have statistics of their own, which no checkpoint keeps."""
    told = torch.full((8, 2), 0.75)
    params = make_feed_params(generations=2)
    feed = make_feed(np.zeros((8, 4, 4, 3), np.uint8), params)
    learned: list[torch.Tensor] = []
    monkeypatch.setattr(feed, "learn", learned.append)
    fitted = Fitted({}, 1, [Epoch(1, 0.1, 0.5, 0.5, 0.9, 1.0)])
    monkeypatch.setattr(generations, "fit", lambda *_: fitted)
    fabric: Any = Second(make_fabric(params), told)
    held: Any = None
    fit_generations(fabric, Sides, feed, held, params, None, None, None, lambda *_: None)
    assert len(learned) == 1
    assert learned[0] is told


def test_whoever_watches_is_told_the_generation(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bars: list[Progress] = []

    def remember(is_shown: bool) -> Progress:
        bars.append(make_progress(is_shown))
        return bars[-1]

    monkeypatch.setattr(loop, "make_progress", remember)
    with caplog.at_level("INFO", "stages"):
        train(prepare, tmp_path, make_params(n_epochs=2, generations=2))
    said = [line.partition(":")[2].partition(":")[0] for line in caplog.messages if "loss" in line]
    assert said == [f" generation {g}/2, epoch {e}/2" for g in (1, 2) for e in (1, 2)]
    tasks = [bar.tasks[0] for bar in bars]
    assert [(task.completed, task.total) for task in tasks] == [(12, 24), (24, 24)]


@pytest.mark.parametrize(("generation", "epoch"), [(1, 3), (2, 1), (2, 3)])
def test_a_killed_generation_resumes_to_the_same_bytes(
    prepare: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generation: int,
    epoch: int,
) -> None:
    params = make_params(dropout=0.3, generations=2)
    undisturbed = train(prepare, tmp_path / "a", params)
    feed_epoch, is_killed, n_learned = Feed.epoch, True, 0
    feed_learn = Feed.learn

    def learn(self: Feed, answers: torch.Tensor) -> None:
        nonlocal n_learned
        n_learned += 1
        feed_learn(self, answers)

    def die(self: Feed, number: int) -> Iterator[Batch]:
        for step, batch in enumerate(feed_epoch(self, number)):
            if is_killed and (n_learned + 1, number, step) == (generation, epoch, 2):
                raise Killed
            yield batch

    monkeypatch.setattr(Feed, "epoch", die)
    monkeypatch.setattr(Feed, "learn", learn)
    with pytest.raises(Killed):
        train(prepare, tmp_path / "b", params)
    is_killed = False
    assert train(prepare, tmp_path / "b", params) == undisturbed
