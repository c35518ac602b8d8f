import imagehash
import numpy as np
import pytest
from audit_fabric import draw_picture
from PIL import Image, ImageOps

from stages.audit import hashes
from stages.audit.hashes import find_pairs, hash_pictures
from stages.audit.pictures import shrink


def as_bits(values: np.ndarray) -> np.ndarray:
    return np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1).astype(bool)


@pytest.mark.parametrize("mirrored", [False, True], ids=["upright", "mirrored"])
def test_hashes_are_those_of_imagehash(mirrored: bool) -> None:
    images = [draw_picture(k, height=60 + 9 * k, width=200 - 5 * k) for k in range(24)]
    images += [Image.new("RGB", (178, 218), colour) for colour in ("black", "white", "#123456")]
    images.append(Image.linear_gradient("L").convert("RGB"))
    if mirrored:
        images = [ImageOps.mirror(image) for image in images]
    small = np.stack([shrink(image.convert("L")) for image in images])
    expected = np.stack([imagehash.phash(image).hash.ravel() for image in images])
    np.testing.assert_array_equal(as_bits(hash_pictures(small)), expected)


def test_hashes_of_nothing() -> None:
    assert hash_pictures(np.zeros((0, 32, 32), np.uint8)).shape == (0,)


@pytest.mark.parametrize("radius", [0, 7, 20])
@pytest.mark.parametrize("itself", [True, False], ids=["hashes", "other queries"])
def test_search_equals_brute_force(
    radius: int, itself: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "CELLS", 1000)  # many blocks, the last one not full
    rng = np.random.default_rng(3)
    bits = rng.random((12, 64)) < 0.5
    near = np.repeat(bits, 11, axis=0) ^ (rng.random((132, 64)) < 0.1)
    near[40] = near[90]
    codes = np.packbits(near, axis=1).view(np.uint64)[:, 0]
    queries = codes if itself else rng.permutation(codes)
    found = find_pairs(queries, codes, radius)
    expected = [
        (i, j)
        for i in range(132)
        for j in range(i + 1, 132)
        if min(
            int(queries[i] ^ codes[j]).bit_count(), int(queries[j] ^ codes[i]).bit_count()
        ) <= radius
    ]  # fmt: skip
    assert len(expected) > 0
    assert found.tolist() == [list(pair) for pair in expected]


def test_search_among_none_finds_none() -> None:
    nothing = np.zeros(0, np.uint64)
    assert find_pairs(nothing, nothing, 10).shape == (0, 2)
