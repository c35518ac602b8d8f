"""Files to pixels of one size: decode, crop, resize.

The resize is torch's on uint8, whose rounding moves one value in several hundred by one gray level
from Pillow's; Pillow itself, the reference, takes seven times as long.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import FacetError
from stages.common.images import (
    UnreadableImageError,
    crop_centre,
    decode_rgb,
    find_centre,
    is_reducible,
    read_size,
)

#: A picture may be decoded at a fraction of its size that is still so many times the result's
#: height and width. On CelebA the mean absolute error is below 0.5 gray levels then, of the worst
#: picture below 0.8; with 3 in place of 4 the worst came to 1.
REDUCED_MARGIN = 4

BUFFER_BYTES = 1 << 20  # decoded pixels of all but large pictures
RUN_BYTES = 1 << 20  # pictures resized at once: they stay in a core's own cache

Bytes = NDArray[np.uint8]


def prepare_files(
    names: Sequence[str], blobs: Sequence[bytes], crop: tuple[int, int] | None, out: Bytes
) -> None:
    """Decode files, crop them at their centre and resize them (antialiased bilinear).

    Each result depends on its own file alone.

    Args:
        names: Ids, for messages.
        blobs: The files.
        crop: Height and width in pixels, or None for the whole picture. A smaller picture is
            padded with black.
        out: (N, H, W, 3) uint8 RGB, where the results go.

    Raises:
        FacetError: a file that cannot be decoded.
    """
    start = 0
    for run in _crop_files(names, blobs, crop, out.shape[1:3]):
        stop = start + len(run)
        if run.shape[1:3] == out.shape[1:3]:
            out[start:stop] = run
        else:
            out[start:stop] = resize_pictures(run, out.shape[1:3])
        start = stop


def resize_pictures(pictures: Bytes, size: tuple[int, int]) -> Bytes:
    """Resize pictures of one size, antialiased, bilinear; (N, H, W, 3) uint8 both."""
    # torch takes a second to import, which a run that does not resize need not wait for.
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    resized: Bytes = (
        interpolate(planes, size=size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()
    )
    return resized


@contextmanager
def resize_alone() -> Iterator[None]:
    """Each call of `resize_pictures` keeps to its own thread: for callers that are many threads.

    Else each of them would start threads of its own, which wait for each other (7 us a picture).
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def choose_divisor(
    picture: tuple[int, int], crop: tuple[int, int] | None, size: tuple[int, int]
) -> int:
    """By how much a JPEG may be reduced while it is decoded: 8, 4, 2, or 1.

    The crop must begin and end between pixels of the reduced picture, which must keep
    REDUCED_MARGIN times the result's height and width. (libjpeg's other fractions, such as 3/4,
    take longer than the whole.)

    Args:
        picture: Height and width in pixels.
        crop: The same of the crop, or None.
        size: The same of the result.
    """
    crop = crop or picture
    edges = [find_centre(*lengths) for lengths in zip(picture, crop, strict=True)] + list(crop)
    for divisor in (8, 4, 2):
        keeps = all(
            part >= divisor * REDUCED_MARGIN * side for part, side in zip(crop, size, strict=True)
        )
        if keeps and min(edges) >= 0 and not any(edge % divisor for edge in edges):
            return divisor
    return 1


def _crop_files(
    names: Sequence[str],
    blobs: Sequence[bytes],
    crop: tuple[int, int] | None,
    size: tuple[int, int],
) -> Iterator[Bytes]:
    """Yield (n, H, W, 3) decoded and cropped pictures, in order; each yield reuses the memory."""
    buffer = np.empty(BUFFER_BYTES, np.uint8)
    run, n = np.empty((0, 0, 0, 3), np.uint8), 0
    for name, blob in zip(names, blobs, strict=True):
        try:
            pixels, shape = _decode_part(blob, crop, size, buffer)
        except UnreadableImageError as error:
            raise FacetError(
                f"{name}: expected a picture that the audit could decode; {error}"
            ) from None
        if n == len(run) or shape != run.shape[1:3]:
            if n:
                yield run[:n]
            if shape != run.shape[1:3]:
                n_run = max(1, RUN_BYTES // (3 * shape[0] * shape[1]))
                run = np.empty((n_run, *shape, 3), np.uint8)
            n = 0
        crop_centre(pixels, run[n])
        n += 1
    if n:
        yield run[:n]


def _decode_part(
    blob: bytes, crop: tuple[int, int] | None, size: tuple[int, int], buffer: Bytes
) -> tuple[Bytes, tuple[int, int]]:
    """A picture, and the height and width that are yet to be cropped from its centre."""
    if crop and any(c < 2 * REDUCED_MARGIN * s for c, s in zip(crop, size, strict=True)):
        return decode_rgb(blob, buffer), crop  # never reduced, and a header's reading saved
    picture = read_size(blob)
    divisor = choose_divisor(picture, crop, size) if is_reducible(blob) else 1
    pixels: Bytes = decode_rgb(blob, buffer, divisor)
    if divisor == 1 or crop is None:
        return pixels, crop or (pixels.shape[0], pixels.shape[1])
    top, left = (find_centre(n, c) // divisor for n, c in zip(picture, crop, strict=True))
    height, width = (c // divisor for c in crop)
    return pixels[top : top + height, left : left + width], (height, width)
