"""Reading pictures: header first, then pixels, always within a limit of pixels."""

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

#: A picture of more pixels is refused before it is decoded (a bomb, or no aligned face).
MAX_PIXELS = 32_000_000


class UnreadableImageError(Exception):
    """One picture cannot be read; the message says why, without the picture's name."""


def read_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels from the header alone.

    Raises:
        UnreadableImageError: no picture, or more than MAX_PIXELS.
    """
    if not data:
        raise UnreadableImageError("empty file")
    try:
        if data[:2] == b"\xff\xd8":
            height, width = simplejpeg.decode_jpeg_header(data)[:2]
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data)) as image:
                    width, height = image.size
    except (
        ValueError,
        OSError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as error:
        raise UnreadableImageError(_reason(error)) from None
    if height * width > MAX_PIXELS:
        raise UnreadableImageError(f"{width}x{height} pixels, more than {MAX_PIXELS}")
    if height * width == 0:
        raise UnreadableImageError(f"{width}x{height} pixels")
    return height, width


def decode_rgb(data: bytes) -> np.ndarray:
    """Decode a picture to (H, W, 3) uint8 RGB: libjpeg-turbo for JPEG, Pillow for anything else.

    A truncated file is an error, never a picture with a gray part.

    Raises:
        UnreadableImageError: the picture cannot be decoded whole.
    """
    read_size(data)
    try:
        if data[:2] == b"\xff\xd8":
            colorspace = simplejpeg.decode_jpeg_header(data)[2]
            if colorspace in ("YCbCr", "Gray", "RGB"):
                return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(_reason(error)) from None


def crop_resize(
    pixels: np.ndarray, crop: tuple[int, int] | None, size: tuple[int, int] | None
) -> np.ndarray:
    """Centred crop, then antialiased bilinear resize (Pillow), of one (H, W, 3) uint8 picture.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        crop: Height and width of the crop, or None. A smaller picture is padded with black, as
            torchvision's CenterCrop does.
        size: Height and width of the result, or None.
    """
    if crop is not None:
        height, width = pixels.shape[:2]
        down, right = max(0, crop[0] - height), max(0, crop[1] - width)
        if down or right:
            around = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
            pixels = np.pad(pixels, around)
        top, left = (round((pixels.shape[k] - crop[k]) / 2) for k in (0, 1))
        pixels = pixels[top : top + crop[0], left : left + crop[1]]
    if size is not None and size != pixels.shape[:2]:
        image = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return np.ascontiguousarray(pixels)


def _reason(error: Exception) -> str:
    """The error's own words on one line, without addresses of buffers."""
    text = " ".join(str(error).split()).split("<_io")[0].strip()
    return text[:120] or type(error).__name__
