"""Pixels of prepare beside Pillow: whole decode, centred crop, antialiased bilinear resize."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from stages.common import pixels as module
from stages.common.errors import FacetError
from stages.common.pixels import choose_divisor, prepare_files, resize_pictures

Size = tuple[int, int]


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with an edge and nothing symmetric, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    phase, pitch = rng.uniform(0, 6, 3), rng.uniform(3, 9, 3)
    waves = np.sin(pitch * x[..., None] + phase) * np.cos(pitch[::-1] * y[..., None])
    return (120 + 70 * waves + 40 * (x + 2 * y > 0.8)[..., None]).astype(np.uint8)


def encode(pixels: np.ndarray, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    if kind == "JPEG":
        options = {"quality": 95, **options}
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def turn(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(pixels, exif=exif)


def reference(data: bytes, crop: Size | None, size: Size) -> np.ndarray:
    """Pillow and numpy's pad alone; (H, W, 3) uint8."""
    with Image.open(io.BytesIO(data)) as image:
        whole = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if crop is not None:
        missing = [max(0, c - n) for c, n in zip(crop, whole.shape, strict=False)]
        whole = np.pad(whole, [(m // 2, m - m // 2) for m in missing] + [(0, 0)])
        top, left = (round((n - c) / 2) for c, n in zip(crop, whole.shape, strict=False))
        whole = whole[top : top + crop[0], left : left + crop[1]]
    return np.asarray(Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR))


def prepare(blobs: list[bytes], crop: Size | None, size: Size) -> np.ndarray:
    out = np.full((len(blobs), *size, 3), 77, np.uint8)
    prepare_files([f"{k}.jpg" for k in range(len(blobs))], blobs, crop, out)
    return out


PICTURES: dict[str, Callable[[], bytes]] = {
    "as CelebA": lambda: encode(draw(218, 178)),
    "odd sizes": lambda: encode(draw(217, 179)),
    "one pixel": lambda: encode(draw(1, 1)),
    "one row": lambda: encode(draw(1, 90)),
    "smaller than the crop": lambda: encode(draw(30, 41)),
    "lower than the crop": lambda: encode(draw(33, 300)),
    "narrower than the crop": lambda: encode(draw(300, 37)),
    "as the crop": lambda: encode(draw(90, 70)),
    "gray": lambda: encode(draw(100, 80), mode="L"),
    "CMYK": lambda: encode(draw(100, 80), mode="CMYK"),
    "progressive": lambda: encode(draw(120, 110), progressive=True),
    "chroma whole": lambda: encode(draw(120, 110), subsampling=0),
    "chroma halved in rows": lambda: encode(draw(121, 111), subsampling=1),
    "PNG": lambda: encode(draw(101, 99), "PNG"),
    "PNG with a palette": lambda: encode(draw(101, 99), "PNG", mode="P"),
    "PNG that is transparent": lambda: encode(draw(101, 99), "PNG", mode="RGBA"),
    "turned upside down": lambda: turn(draw(120, 91), 3),
    "turned to the side": lambda: turn(draw(121, 90), 6),
    "mirrored and turned": lambda: turn(draw(121, 91), 7),
    "large": lambda: encode(draw(800, 700)),
    "larger than the buffer": lambda: encode(draw(1003, 901)),
}
GEOMETRIES: dict[str, tuple[Size | None, Size]] = {
    "crop and shrink": ((90, 70), (45, 40)),
    "crop and enlarge": ((90, 70), (128, 100)),
    "crop alone": ((90, 70), (90, 70)),
    "odd crop": ((91, 71), (32, 64)),
    "whole picture": (None, (40, 30)),
    "whole picture to one pixel": (None, (1, 1)),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("picture", PICTURES)
def test_each_picture_is_as_pillow_makes_it(picture: str, geometry: str) -> None:
    crop, size = GEOMETRIES[geometry]
    data = PICTURES[picture]()
    error = np.abs(prepare([data], crop, size)[0].astype(int) - reference(data, crop, size))
    assert error.mean() <= 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_result_depends_on_its_own_file_alone(geometry: str) -> None:
    crop, size = GEOMETRIES[geometry]
    blobs = [make() for make in PICTURES.values()] * 2
    alone = np.concatenate([prepare([blob], crop, size) for blob in blobs])
    assert (prepare(blobs, crop, size) == alone).all()
    order = np.random.default_rng(0).permutation(len(blobs))
    assert (prepare([blobs[k] for k in order], crop, size) == alone[order]).all()


SIZES = [(178, 178), (218, 178), (50, 31), (1, 40), (40, 1), (2, 3), (600, 500)]


@pytest.mark.parametrize("size", [(128, 128), (112, 96), (7, 5), (1, 1), (218, 178), (300, 290)])
@pytest.mark.parametrize("shape", SIZES)
def test_resize_is_pillows_within_one_level(shape: Size, size: Size) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    pictures = np.stack([draw(*shape), draw(*shape, seed=1), *noise])
    expected = [
        np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
        for picture in pictures
    ]
    error = np.abs(resize_pictures(pictures, size).astype(int) - np.stack(expected))
    assert error.max() <= 1
    if min(shape) > 3 and error.size > 1000:
        assert error.mean() < 0.05


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_of_torch_change_nothing(n_threads: int) -> None:
    import torch

    pictures = np.random.default_rng(0).integers(0, 256, (9, 178, 178, 3), dtype=np.uint8)
    before, first = torch.get_num_threads(), resize_pictures(pictures, (128, 128))
    torch.set_num_threads(n_threads)
    try:
        assert (resize_pictures(pictures, (128, 128)) == first).all()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("picture", "crop", "size", "divisor"),
    [
        pytest.param((218, 178), (178, 178), (128, 128), 1, id="CelebA"),
        pytest.param((218, 178), (178, 178), (64, 64), 1, id="too little would be left"),
        pytest.param((218, 178), (178, 178), (22, 22), 2, id="CelebA to a thumbnail"),
        pytest.param((218, 178), (178, 178), (22, 23), 1, id="too little in one direction"),
        pytest.param((1024, 1024), None, (128, 128), 2, id="half"),
        pytest.param((1024, 1024), None, (64, 64), 4, id="a quarter"),
        pytest.param((2048, 2048), None, (64, 64), 8, id="an eighth"),
        pytest.param((2048, 2048), None, (65, 64), 4, id="too little of an eighth"),
        pytest.param((1023, 1024), None, (128, 128), 1, id="odd height"),
        pytest.param((1024, 1026), None, (64, 64), 2, id="not by 4 but by 2"),
        pytest.param((1020, 1024), (1000, 1000), (64, 64), 2, id="top not divisible by 4"),
        pytest.param((1018, 1024), (1000, 1000), (64, 64), 1, id="odd top"),
        pytest.param((900, 1024), (1000, 1000), (64, 64), 1, id="padded"),
    ],
)
def test_divisor(picture: Size, crop: Size | None, size: Size, divisor: int) -> None:
    assert choose_divisor(picture, crop, size) == divisor


@pytest.mark.parametrize(
    ("shape", "crop", "size", "divisor"),
    [
        pytest.param((640, 480), None, (80, 60), 2, id="half"),
        pytest.param((640, 484), (400, 480), (40, 50), 2, id="half of a crop"),
        pytest.param((647, 485), (399, 481), (40, 60), 1, id="crop between blocks"),
        pytest.param((1000, 808), (1000, 800), (60, 50), 4, id="a quarter of a crop"),
    ],
)
def test_a_reduced_picture_is_cropped_where_the_whole_one_is(
    shape: Size,
    crop: Size | None,
    size: Size,
    divisor: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crop that is one pixel of the reduced picture off would be 5 levels off."""
    taken = []
    decode = module.decode_rgb

    def spy(data: bytes, buffer: np.ndarray | None = None, divisor: int = 1) -> np.ndarray:
        taken.append(divisor)
        return decode(data, buffer, divisor)

    monkeypatch.setattr(module, "decode_rgb", spy)
    colours = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
    blocks = np.kron(colours, np.ones((30, 30, 1)))[: shape[0], : shape[1]].astype(np.uint8)
    data = encode(blocks, subsampling=0)
    error = np.abs(prepare([data], crop, size)[0].astype(int) - reference(data, crop, size))
    assert taken == [divisor]
    assert error.mean() < 1


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_a_turned_picture_is_never_reduced(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = turn(draw(640, 480), orientation)
    expected = prepare([data], None, (60, 60))
    monkeypatch.setattr(module, "choose_divisor", lambda *lengths: 1)
    assert (prepare([data], None, (60, 60)) == expected).all()


@pytest.mark.parametrize(
    "data", [b"", b"no picture", encode(draw(90, 70))[:900]], ids=["empty", "text", "truncated"]
)
def test_a_file_that_cannot_be_read_is_named(data: bytes) -> None:
    with pytest.raises(FacetError, match=r"^1\.jpg: expected a picture that the audit could deco"):
        prepare([encode(draw(90, 70)), data], (40, 40), (20, 20))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("side", "mean", "worst"),
    [
        pytest.param(128, 0.01, 0.02, id="whole decode"),
        pytest.param(64, 0.01, 0.02, id="whole decode, small result"),
        pytest.param(22, 0.5, 0.8, id="half decode"),
        pytest.param(14, 0.5, 0.8, id="half decode, smaller result"),
    ],
)
def test_real_pictures_are_as_pillow_makes_them(
    side: int, mean: float, worst: float, real_data: Path
) -> None:
    """Mean absolute error in gray levels, of all pictures and of the worst."""
    with zipfile.ZipFile(real_data / "img_align_celeba.zip") as archive:
        blobs = [archive.read(name) for name in archive.namelist()[::40]]
    crop, size = (178, 178), (side, side)
    expected = np.stack([reference(blob, crop, size) for blob in blobs])
    errors = np.abs(prepare(blobs, crop, size).astype(int) - expected).mean((1, 2, 3))
    assert errors.mean() < mean
    assert errors.max() < worst
