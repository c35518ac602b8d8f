"""A few training pictures as the network saw them, for the report: data/train/preview.parquet.

They can show faces, so they stay in data/. Nothing here draws from the training's random state:
what becomes of a picture is a function of seed, epoch and image (draws.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from stages.common.params import AugmentParams, TrainParams
from stages.common.tables import PREVIEW_SCHEMA
from stages.train.draws import Chosen
from stages.train.feed import Feed
from stages.train.mix import Mix, draw_mixes, mix_images
from stages.train.sampler import shuffle

#: Pictures, an even number of them; their epochs; and mixed ones, of the first batches.
N_IMAGES, N_EPOCHS, N_MIXES = 4, 5, 6
#: Larger pictures are made smaller.
MAX_PX = 256
#: A narrow space at which no line is broken.
THIN = "\u202f"


def draw_preview(feed: Feed, image_ids: Sequence[str], params: TrainParams) -> pa.Table:
    """Pictures as they are, in the first epochs, and mixed as the first batches are mixed.

    Drawn by chance from `seed`; with `balance` they are what an epoch can show rather than what it
    showed. A mixed picture takes another picture of the preview as partner.

    Args:
        feed: The training images.
        image_ids: Theirs.
        params: The whole section.

    Returns:
        Rows of PREVIEW_SCHEMA: originals, then epoch by epoch, then mixed ones.
    """
    n = min(N_IMAGES, feed.n_images) // 2 * 2
    rows = shuffle(feed.n_images, params.seed, 1)[:n]
    ids = [image_ids[row] for row in rows]
    table = [
        make_row("original", place, 0, ids[place], picture)
        for place, picture in enumerate(feed.read(rows).cpu().numpy())
    ]
    if is_augmented(params.augment):
        for epoch in range(1, N_EPOCHS + 1):
            images, chosen = show_epoch(feed, rows, epoch)
            table += [
                make_row(
                    "augmented",
                    place,
                    epoch,
                    ids[place],
                    picture,
                    note=describe_draws(chosen, place, params.augment),
                )
                for place, picture in enumerate(feed.augmenter.restore(images))
            ]
    images, _ = show_epoch(feed, rows, 1)
    n_mixes = min(N_MIXES, feed.n_steps)
    size = (feed.height, feed.width)
    for step, mix in enumerate(draw_mixes(params.augment, *size, n_mixes, params.seed, 1)):
        if mix is not None:
            table.append(mix_row(feed, images, ids, step, mix))
    return pa.Table.from_pylist(table, schema=PREVIEW_SCHEMA)


def is_augmented(params: AugmentParams) -> bool:
    """Whether anything but mixing changes the pictures."""
    return any(
        getattr(params, name) > 0
        for name in ("flip", "crop_padding_px", "affine", "jitter", "fancy_pca", "noise", "erase")
    )


def show_epoch(feed: Feed, rows: np.ndarray, epoch: int) -> tuple[Tensor, Mapping[str, Chosen]]:
    """Normalised pictures (n, H, W, 3) of some images in an epoch, and what was drawn for them.

    The draws' places are those of `rows` (n,), then those of all other images.
    """
    others = np.setdiff1d(np.arange(feed.n_images), rows)
    draws = feed.augmenter.draw(epoch, np.concatenate([rows, others]))
    return feed.augmenter.apply(feed.read(rows), draws, 0, len(rows)), draws.chosen


def mix_row(feed: Feed, images: Tensor, ids: Sequence[str], step: int, mix: Mix) -> dict[str, Any]:
    """A picture mixed with the one from the other end, as batch `step` (from 0) is mixed."""
    place = step % len(ids)
    other = len(ids) - 1 - place
    mixed = mix_images(images[place : place + 1], images[other : other + 1], mix)
    row = make_row(
        "mixup" if mix.box is None else "cutmix",
        place,
        step + 1,
        ids[place],
        feed.augmenter.restore(mixed)[0],
    )
    return row | {"partner_id": ids[other], "weight": mix.weight}


def make_row(
    kind: str, place: int, number: int, image_id: str, pixels: np.ndarray, note: str = ""
) -> dict[str, Any]:
    """A row of PREVIEW_SCHEMA without a partner; pixels (H, W, 3) uint8."""
    small = shrink(pixels)
    return {
        "kind": kind,
        "place": place,
        "number": number,
        "image_id": image_id,
        "partner_id": None,
        "weight": None,
        "note": note,
        "height": small.shape[0],
        "width": small.shape[1],
        "pixels": small.tobytes(),
    }


def shrink(pixels: np.ndarray) -> np.ndarray:
    """Means of square blocks of an (H, W, 3) uint8 picture, so that no side exceeds MAX_PX."""
    height, width = pixels.shape[:2]
    step = -(-max(height, width) // MAX_PX)
    if step == 1:
        return pixels
    height, width = height // step, width // step
    blocks = pixels[: height * step, : width * step].reshape(height, step, width, step, 3)
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)


def describe_draws(chosen: Mapping[str, Chosen], place: int, params: AugmentParams) -> str:
    """What chance did to the image at `place`, in words; '' for nothing."""
    drawn = {
        name: values[0].tolist()
        for name, values in ((name, c.between(place, place + 1)[1]) for name, c in chosen.items())
        if len(values)
    }
    words = ["mirrored"] if "flip" in drawn else []
    if "crop" in drawn:
        down, right = (params.crop_padding_px - offset for offset in drawn["crop"])
        words.append(describe_shift("moved", right, down))
    if "affine" in drawn:
        cos, sin, right, down = drawn["affine"]
        words.append(name_angle("turned", np.degrees(np.arctan2(sin, cos))))
        words.append(name_factor("size", 1 / np.hypot(cos, sin)))
        words.append(describe_shift("shifted", round(right), round(down)))
    if "jitter" in drawn:
        names = ("brightness", "contrast", "saturation")
        words += [
            name_factor(name, factor) if getattr(params, name) > 0 else ""
            for name, factor in zip(names, drawn["jitter"], strict=False)
        ]
        words.append(name_angle("hue", 360 * drawn["jitter"][3]))
    words += [name for name, key in (("lighting", "light"), ("noise", "noise")) if key in drawn]
    if "erase" in drawn:
        top, bottom, left, right = drawn["erase"]
        words.append(f"{bottom - top}{THIN}×{THIN}{right - left}{THIN}px erased")
    return ", ".join(filter(None, words))


def describe_shift(verb: str, right: int, down: int) -> str:
    """A shift in pixels in words; '' for none."""
    ways = ((right, "right", "left"), (down, "down", "up"))
    parts = [f"{abs(n)}{THIN}px {there if n > 0 else back}" for n, there, back in ways if n]
    return f"{verb} {' and '.join(parts)}" if parts else ""


def name_angle(name: str, angle_deg: float) -> str:
    """'turned +7°'; '' for less than half a degree."""
    whole = round(angle_deg)
    return f"{name} {whole:+d}°".replace("-", "\u2212") if whole else ""


def name_factor(name: str, factor: float) -> str:
    """'contrast × 1.05'; '' for a factor that rounds to 1."""
    return f"{name} ×{THIN}{factor:.2f}" if f"{factor:.2f}" != "1.00" else ""
