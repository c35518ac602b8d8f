import numpy as np
import pytest
from PIL import Image

from stages.audit.resize import shrink_each, shrink_pictures

METHODS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}


@pytest.mark.parametrize("size", [(218, 178), (40, 300), (20, 9), (1, 1), (32, 32)])
@pytest.mark.parametrize(("side", "method"), [(32, "lanczos"), (64, "box")])
def test_pictures_shrink_as_with_pillow(size: tuple[int, int], side: int, method: str) -> None:
    grays = np.random.default_rng(0).integers(0, 256, (30, *size), dtype=np.uint8)
    expected = np.stack(
        [np.asarray(Image.fromarray(gray).resize((side, side), METHODS[method])) for gray in grays]
    )
    found = shrink_pictures(grays, side, method)
    apart = np.abs(found.astype(int) - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 5e-4


def test_pictures_of_many_sizes_keep_their_order() -> None:
    rng = np.random.default_rng(1)
    sizes = [(50, 70), (90, 33), (50, 70), (64, 64)]
    grays = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    found = shrink_each(grays, 32, "lanczos")
    for gray, small in zip(grays, found, strict=True):
        np.testing.assert_array_equal(shrink_pictures(gray[None], 32, "lanczos")[0], small)
    assert shrink_each([], 32, "box").shape == (0, 32, 32)
