import numpy as np
import pytest
from audit_fabric import draw_picture

from stages.audit.frames import cut_frame, find_framed
from stages.audit.pictures import THUMB_SIDE_PX, shrink_contents
from stages.audit.resize import shrink_each

GRAY = np.asarray(draw_picture(4).convert("L"))  # 218 x 178


def frame(top: int, bottom: int, left: int, right: int, value: int = 0) -> np.ndarray:
    """The picture with plain strips put over its sides."""
    framed = np.full_like(GRAY, value)
    inside = slice(top, 218 - bottom), slice(left, 178 - right)
    framed[inside] = GRAY[inside]
    return framed


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        pytest.param((30, 30, 25, 25), (31, 187, 26, 152), id="black frame"),
        pytest.param((30, 50, 0, 0), (31, 167, 0, 178), id="bars above and below"),
        pytest.param((0, 0, 10, 20), (0, 218, 11, 157), id="bars left and right"),
        pytest.param((30, 0, 0, 0), (0, 218, 0, 178), id="a plain background on one side"),
        pytest.param((3, 3, 2, 2), (0, 218, 0, 178), id="a thin line"),
        pytest.param((90, 90, 0, 0), (0, 218, 0, 178), id="hardly anything left"),
        pytest.param((0, 0, 0, 0), (0, 218, 0, 178), id="no frame"),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_frames_are_cut_and_nothing_else(sides, expected, noise: float) -> None:
    framed = frame(*sides, value=40) + np.random.default_rng(0).normal(0, noise, GRAY.shape)
    framed = framed.clip(0, 255).astype(np.uint8)
    top, bottom, left, right = expected
    assert np.array_equal(cut_frame(framed), framed[top:bottom, left:right])


def test_a_plain_picture_stays_whole() -> None:
    plain = np.full((20, 30), 7, np.uint8)
    assert np.array_equal(cut_frame(plain), plain)
    assert np.array_equal(cut_frame(plain[:1, :1]), plain[:1, :1])


def test_thumbs_show_what_lies_in_the_frame() -> None:
    framed = frame(30, 30, 25, 25)
    grays = [GRAY, framed, np.full((9, 9), 3, np.uint8)]
    whole = shrink_each([GRAY, framed[31:187, 26:152], grays[2]], THUMB_SIDE_PX, "box")
    assert np.array_equal(shrink_contents(grays), whole)
    assert find_framed(shrink_each(grays, THUMB_SIDE_PX, "box")).tolist() == [1, 2]
