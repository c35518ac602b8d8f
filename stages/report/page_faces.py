"""The page of faces: the mean face and sample faces with and without each attribute."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.report.faces import FaceSample, draw_faces
from stages.report.inputs import Inputs

#: Value of the label -> what a reader calls it.
WORDS = {True: "with", False: "without"}
#: Pictures are drawn at the first of these heights with which all data URIs together stay within
#: the budget, so that the page stays below 3 MB; where none does, the last attributes go without.
HEIGHTS_PX = (112, 96, 80, 64, 48, 36)
BUDGET_CHARS = 2_300_000
QUALITY = 80
#: More attributes than this are not shown: nobody would look at them, and drawing takes time.
MAX_ATTRIBUTES = 120


@dataclass(frozen=True)
class Strip:
    """Pictures side by side in one JPEG; n counts the images behind it."""

    uri: str
    width_px: int
    height_px: int
    n: int
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttributeFaces:
    """Mean face and samples of one attribute, by 'with' and 'without'; None without any image."""

    attribute: str
    means: dict[str, Strip | None]
    samples: dict[str, Strip | None]

    @property
    def n_chars(self) -> int:
        """Length of all data URIs."""
        strips = (*self.means.values(), *self.samples.values())
        return sum(len(strip.uri) for strip in strips if strip)


def build_faces(inputs: Inputs) -> dict[str, Any]:
    """What the template needs; `faces` is empty where no picture can be read."""
    attributes = inputs.attributes[:MAX_ATTRIBUTES]
    size = usual_size(inputs)
    sample = draw_faces(inputs.folder, inputs.annotations, attributes, size) if size else None
    faces = encode_faces(sample, attributes) if sample and sample.pictures else []
    return {
        "faces": faces,
        "n_mean": sample.n_images if sample else 0,
        "n_attributes": len(inputs.attributes),
    }


def usual_size(inputs: Inputs) -> tuple[int, int] | None:
    """Median height and width of the pictures in pixels; None where none was measured."""
    medians = inputs.explored.images.set_index("statistic")["p50"]
    if "height_px" not in medians or "width_px" not in medians:
        return None
    return max(1, round(medians["height_px"])), max(1, round(medians["width_px"]))


def encode_faces(sample: FaceSample, attributes: Sequence[str]) -> list[AttributeFaces]:
    """Strips of every attribute, as high as the budget allows; the last ones go if need be."""
    for height_px in HEIGHTS_PX:
        faces = [
            _encode_attribute(sample, column, name, height_px)
            for column, name in enumerate(attributes)
        ]
        total = np.cumsum([entry.n_chars for entry in faces])
        if total[-1] <= BUDGET_CHARS:
            break
    return [entry for entry, n_chars in zip(faces, total, strict=True) if n_chars <= BUDGET_CHARS]


def _encode_attribute(sample: FaceSample, column: int, name: str, height_px: int) -> AttributeFaces:
    means: dict[str, Strip | None] = {}
    samples: dict[str, Strip | None] = {}
    for value, word in WORDS.items():
        mean = sample.means.get((column, value))
        means[word] = encode_strip([mean[0]], height_px, mean[1]) if mean else None
        ids = tuple(sample.chosen[column, value])
        pictures = [sample.pictures[image] for image in ids]
        samples[word] = encode_strip(pictures, height_px, len(ids), ids) if ids else None
    return AttributeFaces(name, means, samples)


def encode_strip(
    pictures: Sequence[NDArray[np.uint8]],
    height_px: int,
    n: int,
    image_ids: tuple[str, ...] = (),
) -> Strip:
    """Pictures (H, W, 3) uint8 of one size side by side, at most `height_px` high, as JPEG."""
    height, width = pictures[0].shape[:2]
    if height > height_px:
        height, width = height_px, max(1, round(width * height_px / height))
    small = [
        np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
        for pixels in pictures
    ]
    buffer = io.BytesIO()
    strip = Image.fromarray(np.concatenate(small, axis=1))
    strip.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Strip(uri, strip.width, strip.height, n, image_ids)
