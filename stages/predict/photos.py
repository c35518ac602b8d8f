"""What a trained model sees in photos of aligned faces: attributes, never who somebody is."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.errors import FacetError
from stages.common.files import read_json
from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.pixels import prepare_files

#: Height and width in pixels of CelebA's aligned faces.
ALIGNED_PX = (218, 178)
BATCH_IMAGES = 64


@dataclass(frozen=True)
class Answer:
    """A photo's probabilities by attribute in the model's order, or why there are none."""

    photo: Path
    probs: dict[str, float]
    error: str | None = None


def answer_photos(photos: Iterable[Path], folder: Path, any_size: bool = False) -> Iterator[Answer]:
    """Yield an answer per photo, in order; the model is read before the first.

    A photo is decoded, cropped and resized exactly as `prepare` did with the pictures that the
    model learned from, so it must show a face placed as in those.

    Args:
        photos: Files.
        folder: A model's folder with model.json and weights.safetensors.
        any_size: Accept other sizes than ALIGNED_PX, for models of differently aligned pictures.

    Raises:
        FacetError: no such model.
    """
    check_model(folder)
    from stages.common.inference import load_model, predict  # torch takes seconds

    network, model = load_model(folder)
    attributes: Sequence[str] = model["attributes"]
    remaining = iter(photos)
    while group := list(islice(remaining, BATCH_IMAGES)):
        read = [read_photo(photo, model, any_size) for photo in group]
        pictures = [pixels for pixels in read if isinstance(pixels, np.ndarray)]
        rows: Iterator[np.ndarray] = iter(())
        if pictures:
            rows = iter(predict(network, model["network"], np.stack(pictures), BATCH_IMAGES))
        for photo, pixels in zip(group, read, strict=True):
            if isinstance(pixels, str):
                yield Answer(photo, {}, pixels)
            else:
                probs = (float(prob) for prob in next(rows))
                yield Answer(photo, dict(zip(attributes, probs, strict=True)))


def read_photo(photo: Path, model: dict[str, Any], any_size: bool) -> np.ndarray | str:
    """Pixels (H, W, 3) uint8 RGB as the model expects them, or what is wrong with the photo."""
    try:
        data = photo.read_bytes()
        height, width = decode_rgb(data).shape[:2]
    except FileNotFoundError:
        return "expected a picture; there is no such file"
    except IsADirectoryError:
        return "expected a picture; got a folder"
    except OSError as error:
        return f"expected a picture; {error.strerror or error}"
    except UnreadableImageError as error:
        return f"expected a picture (JPEG, PNG, WebP, GIF, BMP or TIFF); {error}"
    if (height, width) != ALIGNED_PX and not any_size:
        return (
            f"expected a face aligned as in CelebA, {ALIGNED_PX[1]}x{ALIGNED_PX[0]} pixels (width "
            f"x height); got {width}x{height} (--any-size, where the training pictures were framed "
            "like this one)"
        )
    crop = tuple(model["crop_px"]) if model["crop_px"] else None
    pixels = np.empty((1, model["height_px"], model["width_px"], 3), np.uint8)
    prepare_files([str(photo)], [data], crop, pixels)
    return pixels[0]


def print_answers(
    photos: Sequence[Path],
    folder: Path,
    threshold: float | None,
    show_all: bool,
    as_json: bool,
    any_size: bool,
) -> bool:
    """Print what `facet predict` says; what is wrong with a photo goes to standard error.

    Returns:
        Whether every photo could be used.

    Raises:
        FacetError: no such model.
    """
    check_model(folder)
    limit = float(read_json(folder / "model.json")["threshold"]) if threshold is None else threshold
    is_fine, records = True, []
    for answer in answer_photos(photos, folder, any_size):
        is_fine = is_fine and answer.error is None
        if as_json:
            records.append(to_record(answer, limit))
        elif answer.error is None:
            print(describe_answer(answer, limit, show_all), flush=True)
        else:
            print(f"facet: {answer.photo}: {answer.error}", file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps(records, indent=2, ensure_ascii=False))
    return is_fine


def check_model(folder: Path) -> None:
    """Refuse a folder without a model.

    Raises:
        FacetError: there is none.
    """
    if not (folder / "model.json").is_file():
        raise FacetError(
            f"{folder}: expected a trained model (model.json, weights.safetensors); there is none: "
            "run `dvc repro train`, or name another folder with --model"
        )


def describe_answer(answer: Answer, threshold: float, show_all: bool = False) -> str:
    """An answer as text: the photo, then a line per attribute, the most probable first.

    Args:
        answer: One without an error.
        threshold: Attributes of a probability above it are shown.
        show_all: Show the others as well.
    """
    ranked = sorted(answer.probs.items(), key=lambda entry: -entry[1])
    shown = [(name, prob) for name, prob in ranked if show_all or prob > threshold]
    lines = [f"  {prob:6.1%}  {name}" for name, prob in shown]
    return "\n".join([str(answer.photo), *(lines or [f"  no attribute above {threshold:g}"])])


def to_record(answer: Answer, threshold: float) -> dict[str, Any]:
    """An answer as a JSON object: photo; error, or probabilities and the attributes above."""
    if answer.error is not None:
        return {"photo": str(answer.photo), "error": answer.error}
    return {
        "photo": str(answer.photo),
        "threshold": threshold,
        "above": [name for name, prob in answer.probs.items() if prob > threshold],
        "probabilities": {name: round(prob, 6) for name, prob in answer.probs.items()},
    }
