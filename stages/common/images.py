"""Reading pictures: header first, then pixels, always within a limit of pixels."""

import functools
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

#: Colours of JPEG that libjpeg-turbo turns into RGB; Pillow knows the others.
_PLAIN = ("YCbCr", "Gray", "RGB")


class UnreadableImageError(Exception):
    """One picture cannot be read; the message says why, without the picture's name."""


def read_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of the upright picture, from the header alone.

    Raises:
        UnreadableImageError: no picture, of none of FORMATS, or more than MAX_PIXELS.
    """
    height, width, _ = _read_header(data)
    return (width, height) if read_orientation(data) >= 5 else (height, width)


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


def decode_rgb(data: bytes, buffer: np.ndarray | None = None, divisor: int = 1) -> np.ndarray:
    """Decode a picture to (H, W, 3) uint8 RGB: libjpeg-turbo for JPEG, Pillow for anything else.

    A truncated file is an error, never a picture with a gray part. A JPEG is set upright as its
    EXIF orientation says; of 16 bits a channel the upper 8 are taken.

    Args:
        data: The file.
        buffer: uint8 memory that the result may lie in, if large enough: a fifth quicker.
        divisor: 2, 4 or 8 for a JPEG that `is_reducible`: it is decoded at that fraction of its
            size, rounded up, from fewer coefficients.

    Raises:
        UnreadableImageError: the picture cannot be decoded whole, or holds no 8 or 16 bits.
    """
    height, width, colorspace = _read_header(data)
    least = (-(-height // divisor), -(-width // divisor)) if divisor > 1 else (0, 0)
    if buffer is not None and buffer.size < 3 * height * width:
        buffer = None
    try:
        if colorspace in _PLAIN:
            pixels = simplejpeg.decode_jpeg(
                data, "RGB", min_height=least[0], min_width=least[1], buffer=buffer, strict=True
            )
        else:
            pixels = _decode_with_pillow(data)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them meet
        raise UnreadableImageError(_reason(error)) from None
    if (orientation := read_orientation(data)) != 1:
        is_mirrored, n_turns = _TURNS[orientation]
        pixels = np.rot90(pixels[:, ::-1] if is_mirrored else pixels, n_turns)
    return np.ascontiguousarray(pixels)


def is_reducible(data: bytes) -> bool:
    """Whether `decode_rgb` can take a divisor: an upright JPEG, neither CMYK nor YCCK.

    A turned one is not: the part of a pixel at its end would come first.

    Raises:
        UnreadableImageError: as `read_size`.
    """
    return _read_header(data)[2] in _PLAIN and read_orientation(data) == 1


def _read_header(data: bytes) -> tuple[int, int, str | None]:
    """Height and width as stored, and a JPEG's colours; for what raises see `read_size`."""
    if not data:
        raise UnreadableImageError("empty file")
    colorspace = None
    try:
        if data[:2] == b"\xff\xd8":
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
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
    return height, width, colorspace


def _decode_with_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.mode.startswith("I;16"):
            gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(gray[:, :, None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise UnreadableImageError(f"pixels of mode {image.mode}, neither 8 nor 16 bits")
        return np.asarray(image.convert("RGB"))


def find_centre(length: int, crop: int) -> int:
    """Where a centred crop of `crop` pixels starts in `length`; below 0 where it is larger.

    As torchvision's CenterCrop: what is over of padding goes to the end, and a half is rounded to
    the even number.
    """
    return -((crop - length) // 2) if crop > length else round((length - crop) / 2)


def crop_centre(pixels: np.ndarray, out: np.ndarray) -> None:
    """Copy the centre of a picture to `out`, with black around a smaller one.

    Args:
        pixels: (H, W, 3) uint8.
        out: (height, width, 3) uint8 of the crop.
    """
    place, inside = _find_crop(pixels.shape[:2], out.shape[:2])
    if out.shape[0] > pixels.shape[0] or out.shape[1] > pixels.shape[1]:
        out[...] = 0
    out[place] = pixels[inside]


@functools.lru_cache(64)
def _find_crop(
    size: tuple[int, int], crop: tuple[int, int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Which part of the crop a picture fills, and with which of its own parts."""
    starts = [find_centre(*lengths) for lengths in zip(size, crop, strict=True)]
    place = [slice(max(0, -s), max(0, -s) + n) for s, n in zip(starts, size, strict=True)]
    inside = [slice(max(0, s), max(0, s) + n) for s, n in zip(starts, crop, strict=True)]
    return tuple(place), tuple(inside)


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
        cropped = np.empty((*crop, 3), np.uint8)
        crop_centre(pixels, cropped)
        pixels = cropped
    if size is not None and size != pixels.shape[:2]:
        image = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return np.ascontiguousarray(pixels)


def _reason(error: Exception) -> str:
    """The error's own words on one line, without addresses of buffers."""
    text = " ".join(str(error).split()).split("<_io")[0].strip()
    return text[:120] or type(error).__name__
