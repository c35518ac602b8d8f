"""Reading pictures: header first, within limits, upright, whatever their bits."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from stages.common.images import (
    UnreadableImageError,
    crop_centre,
    decode_rgb,
    is_reducible,
    read_size,
)

RNG = np.random.default_rng(0)
#: A picture with nothing symmetric: 32 high, 48 wide, smooth enough for JPEG.
PIXELS = np.kron(RNG.integers(0, 255, (4, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def save(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_formats(kind: str) -> None:
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = save(PIXELS, kind, **options)
    assert read_size(data) == (32, 48)
    assert np.abs(decode_rgb(data).astype(int) - PIXELS).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_set_upright_as_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(PIXELS, "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(image))
    pixels = decode_rgb(data)
    assert pixels.shape == expected.shape
    assert read_size(data) == pixels.shape[:2]
    assert np.abs(pixels.astype(int) - expected).mean() < 2
    assert pixels.flags["C_CONTIGUOUS"]


def test_sixteen_bits_become_eight() -> None:
    gray = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    pixels = decode_rgb(save(gray, "PNG"))
    assert (pixels == (gray >> 8)[:, :, None]).all()


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(UnreadableImageError, match="mode F"):
        decode_rgb(save(np.ones((8, 8), np.float32), "TIFF"))


def test_formats_that_decode_while_they_are_opened_are_refused() -> None:
    """An icon holds a picture of any size; Pillow decodes it before its size is known."""
    large = Image.new("RGB", (6000, 6000))
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    png = buffer.getvalue()
    header = b"\0\0\1\0\1\0" + bytes([0, 0, 0, 0, 1, 0, 32, 0])
    icon = header + len(png).to_bytes(4, "little") + (22).to_bytes(4, "little") + png
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImageError):
            read_size(icon)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "ICO", "PPM", "TGA"])
def test_other_formats_are_unreadable(kind: str) -> None:
    try:
        data = save(PIXELS, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow cannot write {kind}")
    with pytest.raises(UnreadableImageError):
        read_size(data)


def test_broken_pictures_raise_one_error_only() -> None:
    """Bytes changed at random places: a picture or an UnreadableImageError, nothing else."""
    rng = np.random.default_rng(1)
    n_read = 0
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = save(PIXELS, kind)
        for _ in range(60):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(0, 256)
            try:
                pixels = decode_rgb(bytes(data))
            except UnreadableImageError:
                continue
            n_read += 1
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
    assert n_read > 30


@pytest.mark.parametrize("divisor", [2, 4, 8])
@pytest.mark.parametrize("shape", [(64, 48), (65, 47), (17, 200)])
def test_a_reduced_jpeg_is_as_pillows_draft_makes_it(shape: tuple[int, int], divisor: int) -> None:
    large = np.kron(RNG.integers(0, 255, (30, 30, 3)), np.ones((8, 8, 1)))
    data = save(large[: shape[0], : shape[1]].astype(np.uint8), "JPEG", quality=95, subsampling=0)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (image.width // divisor, image.height // divisor))
        expected = np.asarray(image)
    pixels = decode_rgb(data, divisor=divisor)
    assert pixels.shape == (-(-shape[0] // divisor), -(-shape[1] // divisor), 3)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 0.5


def save_turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(PIXELS, "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(save(PIXELS, "JPEG"), True, id="JPEG"),
        pytest.param(save(PIXELS, "JPEG", progressive=True), True, id="progressive"),
        pytest.param(save(PIXELS[:, :, 0], "JPEG"), True, id="gray"),
        pytest.param(save(np.zeros((8, 8, 4), np.uint8), "PNG"), False, id="PNG"),
        pytest.param(save_turned(1), True, id="upright"),
        pytest.param(save_turned(2), False, id="mirrored"),
        pytest.param(save_turned(6), False, id="turned"),
    ],
)
def test_what_may_be_reduced(data: bytes, expected: bool) -> None:
    assert is_reducible(data) == expected


@pytest.mark.parametrize("crop", [(9, 8), (3, 9), (8, 3), (7, 5), (1, 1), (6, 4), (2, 3)])
@pytest.mark.parametrize("shape", [(6, 4), (5, 7), (1, 1)])
def test_the_centre_is_torchvisions(shape: tuple[int, int], crop: tuple[int, int]) -> None:
    import torch
    from torchvision.transforms.v2.functional import center_crop

    pixels = RNG.integers(1, 256, (*shape, 3), dtype=np.uint8)
    theirs = center_crop(torch.from_numpy(pixels).permute(2, 0, 1), list(crop))
    ours = np.full((*crop, 3), 99, np.uint8)
    crop_centre(pixels, ours)
    assert (ours == theirs.permute(1, 2, 0).numpy()).all()
