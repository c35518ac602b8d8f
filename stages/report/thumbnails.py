"""Pictures of data/download as small data URIs."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from stages.common.images import UnreadableImageError, decode_rgb
from stages.common.tables import image_files

#: Pictures are at most this high; with many of them, lower: (up to so many pictures, so high).
HEIGHTS_PX = ((500, 144), (700, 128), (10**9, 96))
#: WebP of this quality takes 60 % of the bytes of a JPEG that looks the same.
QUALITY = 72


@dataclass(frozen=True)
class Thumbnail:
    """A small data URI, and the size of the picture it was made from in pixels and bytes."""

    uri: str
    width_px: int
    height_px: int
    n_bytes: int


def encode_thumbnails(download: Path, ids: Iterable[str]) -> dict[str, Thumbnail | None]:
    """Each picture made small; None where it is unreadable, no entry where it is not there."""
    wanted = set(ids)
    height_px = next(height for most, height in HEIGHTS_PX if len(wanted) <= most)
    thumbnails: dict[str, Thumbnail | None] = {}
    for data, image_id in read_pictures(download, wanted):
        try:
            image = Image.fromarray(decode_rgb(data))
        except UnreadableImageError:
            thumbnails[image_id] = None
            continue
        width_px = max(1, min(3 * height_px, round(image.width * height_px / image.height)))
        buffer = io.BytesIO()
        image.resize((width_px, height_px), Image.Resampling.LANCZOS).save(
            buffer, "WEBP", quality=QUALITY, method=4
        )
        uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        thumbnails[image_id] = Thumbnail(uri, image.width, image.height, len(data))
    return thumbnails


def read_pictures(download: Path, wanted: set[str]) -> Iterable[tuple[bytes, str]]:
    """Yield (bytes, image_id) of the wanted pictures; row groups without any are not read."""
    for path in image_files(download):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["image_id"])["image_id"]
                if wanted.isdisjoint(ids.to_pylist()):
                    continue
                table = file.read_row_group(group, columns=["image_id", "bytes"])
                table = table.filter(pc.is_in(ids, value_set=ids.filter(_among(ids, wanted))))
                yield from zip(
                    table["bytes"].to_pylist(), table["image_id"].to_pylist(), strict=True
                )


def _among(ids: Any, wanted: set[str]) -> list[bool]:
    return [image_id in wanted for image_id in ids.to_pylist()]
