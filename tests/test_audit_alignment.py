from collections.abc import Callable

import numpy as np
import pytest
from audit_fabric import draw_picture
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from stages.audit.alignment import align, choose_start, compare_pictures
from stages.audit.lookalikes import MAX_NEIGHBOURS, find_look_alikes
from stages.audit.pictures import THUMB_SIDE_PX, shrink

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "half size": lambda image: image.resize((89, 109)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "cropped all around": lambda image: image.crop((13, 16, 166, 203)),
    "cropped at a corner": lambda image: image.crop((14, 17, 178, 218)),
    "cropped and resized": lambda image: image.crop((5, 0, 170, 210)).resize((178, 218)),
    "turned": lambda image: image.rotate(3).crop((8, 8, 170, 210)),
}


def shrink_all(images: list[Image.Image]) -> np.ndarray:
    box = Image.Resampling.BOX
    return np.stack([shrink(image.convert("L"), THUMB_SIDE_PX, box) for image in images])


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("mirrored", [False, True], ids=["upright", "mirrored"])
def test_copy_is_recognised_either_way_round(name: str, mirrored: bool) -> None:
    image = draw_picture(5)
    copy = COPIES[name](image)
    thumbs = shrink_all([image, ImageOps.mirror(copy) if mirrored else copy])
    pairs = np.array([[0, 1], [1, 0]])
    assert compare_pictures(thumbs, pairs, mirrored).min() > 0.9
    assert compare_pictures(thumbs, pairs, not mirrored).max() < 0.8


def test_strangers_are_no_copies() -> None:
    thumbs = shrink_all([draw_picture(k) for k in range(20)])
    pairs = np.stack(np.triu_indices(20, k=1), axis=1)
    assert compare_pictures(thumbs, pairs, False).max() < 0.7


def test_flat_pictures_are_no_copies_of_anything() -> None:
    flat = [Image.new("L", (178, 218), gray) for gray in (0, 90, 255)]
    thumbs = shrink_all([*flat, draw_picture(1)])
    pairs = np.stack(np.triu_indices(4, k=1), axis=1)
    assert compare_pictures(thumbs, pairs, False).tolist() == [0.0] * 6


def test_no_pairs_give_no_similarities() -> None:
    thumbs = np.zeros((3, 64, 64), np.uint8)
    assert compare_pictures(thumbs, np.zeros((0, 2), np.int64), False).shape == (0,)


def test_alignment_finds_the_map_brightness_aside() -> None:
    rng = np.random.default_rng(0)
    waves = [(rng.uniform(1, 4, 2), rng.uniform(0, 6)) for _ in range(6)]
    centres = (np.arange(64) + 0.5) / 32 - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")

    def paint(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return sum(np.sin(a * y + b * x + c) for (a, b), c in waves)[None].astype(np.float32)

    truth = np.array([[[0.95, 0.02, 0.03], [-0.01, 0.93, -0.04]]])
    moved = paint(*(truth[0, k, 0] * y + truth[0, k, 1] * x + truth[0, k, 2] for k in (0, 1)))
    start = np.eye(2, 3, dtype=np.float32)[None]
    found, reached = align(3 * moved + 20, paint(y, x), start, 12)
    np.testing.assert_allclose(found, truth, atol=0.005)
    assert reached[0] > 0.999


def test_cropped_copies_are_candidates_among_many() -> None:
    images = [draw_picture(k) for k in range(80)]
    images += [COPIES["cropped all around"](images[7]), ImageOps.mirror(images[9])]
    thumbs = shrink_all(images)
    upright = find_look_alikes(thumbs, mirrored=False).tolist()
    assert [7, 80] in upright
    assert [9, 81] not in upright
    assert [9, 81] in find_look_alikes(thumbs, mirrored=True).tolist()
    assert len(upright) < 60  # of 3,321 pairs


def test_candidates_of_few_pictures_are_all_pairs() -> None:
    assert len(find_look_alikes(np.zeros((10, 64, 64), np.uint8), False)) == 45
    assert find_look_alikes(np.zeros((0, 64, 64), np.uint8), False).shape == (0, 2)


def test_a_crowd_of_look_alikes_stays_bounded() -> None:
    rng = np.random.default_rng(0)
    thumbs = shrink_all([draw_picture(k) for k in range(60)])
    crowd = np.repeat(shrink_all([draw_picture(99)]), 300, axis=0) // 2
    crowd += rng.integers(0, 9, crowd.shape, dtype=np.uint8)
    found = find_look_alikes(np.concatenate([thumbs, crowd]), False)
    assert 300 < len(found) <= 360 * MAX_NEIGHBOURS


@pytest.mark.parametrize("swap", [False, True], ids=["whole first", "crop first"])
def test_alignment_of_a_tight_crop_starts_zoomed(swap: bool) -> None:
    image = draw_picture(2)
    thumbs = shrink_all([image, image.crop((14, 17, 164, 201))]).astype(np.float32)
    fixed, moving = (thumbs[k : k + 1] for k in ((1, 0) if swap else (0, 1)))
    zoom = choose_start(fixed, moving)[0, 0, 0]
    assert zoom == pytest.approx(0.84 if swap else 1.19, abs=0.001)
