"""The page about how the model was trained."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from stages.report.charts_training import draw_accuracy, draw_learning_rate, draw_loss
from stages.report.inputs import Inputs
from stages.report.sentences_training import (
    describe_augmentation,
    describe_data,
    describe_generations,
    describe_mixing,
    describe_start,
    describe_stop,
)
from stages.report.settings import list_parameters, list_settings
from stages.report.words import percent, records

#: Previews are small pictures in which noise shall be seen: WebP of high quality.
QUALITY = 88
KINDS = {"mixup": "MixUp", "cutmix": "CutMix"}


@dataclass(frozen=True)
class Shot:
    """A picture of the preview as a data URI, its caption and the text read out in its place."""

    uri: str
    width_px: int
    height_px: int
    caption: str
    alt: str


def build_training(inputs: Inputs) -> dict[str, Any]:
    """What the training page's template needs."""
    trained = inputs.trained
    history, summary, train = trained.history, trained.summary, trained.model["train"]
    best = int(summary["best_epoch"])
    known = len(history) > 0
    augment = train.get("augment", {})
    return {
        "loss_chart": draw_loss(history, best) if known else None,
        "accuracy_chart": draw_accuracy(history, best) if known else None,
        "rate_chart": draw_learning_rate(trained.schedule, history, best) if known else None,
        "epochs": records(history),
        "best": best,
        "start": describe_start(str(summary["weights"])),
        "generations": describe_generations(summary),
        "stop": describe_stop(train, summary),
        "data": describe_data(inputs.prepared),
        "n_steps": count_steps(trained.schedule),
        "augmentation": describe_augmentation(augment),
        "mixing": describe_mixing(augment),
        "shots": build_shots(trained.preview),
        "mixes": build_mixes(trained.preview),
        "settings": list_settings(train),
        "parameters": list_parameters(train),
    }


def count_steps(schedule: pd.DataFrame) -> int:
    """Steps of the optimiser that were taken."""
    return int(schedule["step"].max()) + 1 if len(schedule) else 0


def build_shots(preview: pd.DataFrame) -> list[tuple[str, list[Shot]]]:
    """Per picture of the preview its id, and itself followed by its augmented draws."""
    single = preview[preview["kind"].isin(["original", "augmented"])]
    found = []
    for place, rows in single.groupby("place"):
        name = str(rows["image_id"].iloc[0])
        shots = []
        for row in records(rows.sort_values("number")):
            if row["kind"] == "original":
                caption = "as it is"
                alt = f"Picture {place + 1}, {name}, as it is"
            else:
                caption = row["note"] or "unchanged"
                alt = f"Picture {place + 1} in epoch {row['number']}: {caption}"
            shots.append(encode_shot(row, caption, alt))
        found.append((name, shots))
    return found


def build_mixes(preview: pd.DataFrame) -> list[Shot]:
    """The mixed pictures, by batch; pictures are called by their places in the preview, from 1."""
    places = preview[preview["kind"] == "original"].set_index("image_id")["place"]
    shots = []
    for row in records(preview[preview["kind"].isin(KINDS)].sort_values("number")):
        own, other = places[row["image_id"]] + 1, places[row["partner_id"]] + 1
        weight = float(row["weight"])
        caption = (
            f"{KINDS[row['kind']]}: {percent(weight, 0)} picture {own}, "
            f"{percent(1 - weight, 0)} picture {other}"
        )
        shots.append(encode_shot(row, caption, f"Mixed as batch {row['number']} is, {caption}"))
    return shots


def encode_shot(row: dict[str, Any], caption: str, alt: str) -> Shot:
    """A row of the preview as WebP."""
    pixels = np.frombuffer(row["pixels"], np.uint8).reshape(row["height"], row["width"], 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Shot(uri, row["width"], row["height"], caption, alt)
