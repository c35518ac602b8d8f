import io
import zipfile
from pathlib import Path

import imagehash
import numpy as np
import pytest
from audit_fabric import draw_picture, encode
from PIL import Image, ImageOps

from stages.audit.hashes import hash_pictures
from stages.audit.pictures import decode_grays, hash_grays


def as_bits(values: np.ndarray) -> np.ndarray:
    return np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1).astype(bool)


def hash_files(blobs: list[bytes], mirrored: bool = False) -> np.ndarray:
    grays = [gray for _, gray in decode_grays(blobs, with_digest=False)]
    assert not any(isinstance(gray, str) for gray in grays)
    return hash_grays(blobs, grays, mirrored)


def make_files() -> list[bytes]:
    images = [draw_picture(k, height=60 + 9 * k, width=200 - 5 * k) for k in range(24)]
    images += [Image.new("RGB", (178, 218), colour) for colour in ("black", "white", "#123456")]
    images.append(Image.linear_gradient("L").convert("RGB"))
    files = [encode(image, kind=kind) for image in images for kind in ("JPEG", "PNG")]
    return [*files, encode(draw_picture(3).convert("L")), encode(draw_picture(3).convert("CMYK"))]


def test_hashes_are_those_of_imagehash() -> None:
    files = make_files()
    expected = [imagehash.phash(Image.open(io.BytesIO(blob))).hash.ravel() for blob in files]
    np.testing.assert_array_equal(as_bits(hash_files(files)), np.stack(expected))


def test_mirrored_hashes_are_those_of_mirrored_pictures() -> None:
    files = [encode(draw_picture(k)) for k in range(40)]
    images = [ImageOps.mirror(Image.open(io.BytesIO(blob))) for blob in files]
    expected = [imagehash.phash(image).hash.ravel() for image in images]
    apart = (as_bits(hash_files(files, mirrored=True)) != np.stack(expected)).sum(1)
    assert apart.max() <= 2  # Pillow's filter is not quite symmetric
    assert (apart == 0).mean() > 0.9


@pytest.mark.real_data
def test_hashes_of_photographs_are_those_of_imagehash(real_data: Path) -> None:
    with zipfile.ZipFile(real_data / "img_align_celeba.zip") as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))[:2000]
        files = [file.read(name) for name in names]
    expected = [imagehash.phash(Image.open(io.BytesIO(blob))).hash.ravel() for blob in files]
    np.testing.assert_array_equal(as_bits(hash_files(files)), np.stack(expected))


def test_margin_is_what_separates_the_bits_from_change() -> None:
    small = np.random.default_rng(0).integers(0, 256, (5000, 32, 32), dtype=np.uint8)
    hashes, margins = hash_pictures(small)
    other = small.copy()
    other[:, 4, 7] ^= 1  # one level up or down, at one place
    changed = hash_pictures(other).hashes != hashes
    assert changed.any()
    assert margins[changed].max() < 8
    assert not changed[margins >= 8].any()


def test_hashes_of_nothing() -> None:
    assert hash_pictures(np.zeros((0, 32, 32), np.uint8)).hashes.shape == (0,)
    assert hash_grays([], []).shape == (0,)
