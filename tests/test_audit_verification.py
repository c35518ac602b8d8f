from collections.abc import Callable

import numpy as np
import pytest
import torch
from audit_fabric import draw_picture
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from stages.audit.pictures import THUMB_SIDE_PX
from stages.audit.resize import shrink_each
from stages.audit.verification import compare_pictures

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "half size": lambda image: image.resize((89, 109)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "cropped all around": lambda image: image.crop((13, 16, 166, 203)),
    "cropped at a corner": lambda image: image.crop((14, 17, 178, 218)),
    "cropped and resized": lambda image: image.crop((5, 0, 170, 210)).resize((178, 218)),
    "turned": lambda image: image.rotate(3).crop((8, 8, 170, 210)),
    "turned, black corners": lambda image: image.rotate(4),
    "framed": lambda image: ImageOps.expand(image, 9, "white"),
}


def shrink_all(images: list[Image.Image]) -> np.ndarray:
    return shrink_each([np.asarray(image.convert("L")) for image in images], THUMB_SIDE_PX, "box")


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


def test_a_covered_part_takes_no_part() -> None:
    image = draw_picture(4)
    covered = image.copy()
    covered.paste((255, 255, 255), (0, 180, 178, 218))
    thumbs = shrink_all([image, covered, draw_picture(6)])
    pairs = np.array([[0, 1], [1, 0], [1, 2]])
    similarity = compare_pictures(thumbs, pairs, False, is_in_place=True)
    assert similarity[:2].min() > 0.9
    assert similarity[2] < 0.5


def test_comparison_leaves_the_number_of_threads_alone() -> None:
    before = torch.get_num_threads()
    compare_pictures(shrink_all([draw_picture(0), draw_picture(1)]), np.array([[0, 1]]), False)
    assert torch.get_num_threads() == before
