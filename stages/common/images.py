"""Reading pictures: header first, then pixels, always within a limit of pixels."""

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image

#: A picture of more pixels is refused before it is decoded (a bomb, or no aligned face).
MAX_PIXELS = 32_000_000

#: What Pillow may open: other formats decode while they are opened, or call other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

#: EXIF orientation to the turns that set the picture upright: mirror left to right first?, then
#: quarter turns against the clock.
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3),
          8: (False, 1)}  # fmt: skip


class UnreadableImageError(Exception):
    """One picture cannot be read; the message says why, without the picture's name."""


def read_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of the upright picture, from the header alone.

    Raises:
        UnreadableImageError: no picture, of none of FORMATS, or more than MAX_PIXELS.
    """
    if not data:
        raise UnreadableImageError("empty file")
    is_turned = read_orientation(data) >= 5
    try:
        if data[:2] == b"\xff\xd8":
            height, width = simplejpeg.decode_jpeg_header(data)[:2]
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                    width, height = image.size
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise UnreadableImageError(_reason(error)) from None
    if height * width > MAX_PIXELS:
        raise UnreadableImageError(f"{width}x{height} pixels, more than {MAX_PIXELS}")
    if height * width == 0:
        raise UnreadableImageError(f"{width}x{height} pixels")
    return (width, height) if is_turned else (height, width)


def read_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 (upright) where it says none."""
    if data[:2] != b"\xff\xd8" or b"Exif\0\0" not in data[:64]:
        return 1
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            orientation = image.getexif().get(0x0112, 1)
    except Exception:  # a broken header is told by what decodes the picture
        return 1
    return int(orientation) if orientation in _TURNS else 1


def decode_rgb(data: bytes, buffer: np.ndarray | None = None) -> np.ndarray:
    """Decode a picture to (H, W, 3) uint8 RGB: libjpeg-turbo for JPEG, Pillow for anything else.

    A truncated file is an error, never a picture with a gray part. A JPEG is set upright as its
    EXIF orientation says; of 16 bits a channel the upper 8 are taken.

    Args:
        data: The file.
        buffer: uint8 memory that the result may lie in, if large enough: a fifth quicker.

    Raises:
        UnreadableImageError: the picture cannot be decoded whole, or holds no 8 or 16 bits.
    """
    height, width = read_size(data)
    if buffer is not None and buffer.size < 3 * height * width:
        buffer = None
    try:
        pixels = _decode_as_stored(data, buffer)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise UnreadableImageError(_reason(error)) from None
    if (orientation := read_orientation(data)) != 1:
        is_mirrored, n_turns = _TURNS[orientation]
        pixels = np.rot90(pixels[:, ::-1] if is_mirrored else pixels, n_turns)
    return np.ascontiguousarray(pixels)


def _decode_as_stored(data: bytes, buffer: np.ndarray | None) -> np.ndarray:
    if data[:2] == b"\xff\xd8":
        colorspace = simplejpeg.decode_jpeg_header(data)[2]
        if colorspace in ("YCbCr", "Gray", "RGB"):
            return simplejpeg.decode_jpeg(data, "RGB", strict=True, buffer=buffer)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.mode.startswith("I;16"):
            gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(gray[:, :, None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise UnreadableImageError(f"pixels of mode {image.mode}, neither 8 nor 16 bits")
        return np.asarray(image.convert("RGB"))


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
