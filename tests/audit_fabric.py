"""Drawn pictures and canonical tables for tests of audit and explore: no photograph, no face."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from stages.common.files import fresh_folder, write_manifest
from stages.common.params import load_params
from stages.common.tables import ANNOTATIONS, IMAGES_SCHEMA, annotations_schema, write_table

#: The defaults without features: quick, and nothing but copies, rules and conflicts.
AUDIT = load_params(Path(__file__).resolve().parent.parent / "params.yaml").audit.model_copy(
    update={"features": "none"}
)
ATTRIBUTES = ["Bald", "Black_Hair", "Blond_Hair", "Goatee", "Male", "No_Beard", "Smiling"]


def draw_picture(seed: int, height: int = 218, width: int = 178) -> Image.Image:
    """A portrait-like picture: a head before a soft background, details that only it has."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    fine = Image.fromarray(rng.integers(0, 256, (40, 34, 3), dtype=np.uint8))
    size = (width, height)
    image = Image.blend(
        soft.resize(size, Image.Resampling.BICUBIC),
        fine.resize(size, Image.Resampling.BICUBIC),
        0.4,
    )
    draw = ImageDraw.Draw(image)
    skin = tuple(int(value) for value in rng.integers(120, 230, 3))
    box = (0.27 * width, 0.22 * height, 0.73 * width, 0.85 * height)
    draw.ellipse(box, fill=skin)
    for x in (0.4, 0.6):
        radius = width * rng.uniform(0.02, 0.05)
        centre = (x * width, height * rng.uniform(0.45, 0.5))
        draw.ellipse(
            (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        )
    for _ in range(8):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.rectangle((x, y, x + 0.15 * width, y + 0.1 * height), fill=colour)
    return image


def encode(image: Image.Image, quality: int = 90, kind: str = "JPEG") -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return file.getvalue()


@dataclass
class Row:
    """One image of a fabricated data set; `labels` default to nothing but No_Beard."""

    image_id: str
    data: bytes | None
    partition: str = "train"
    identity: str | None = "1"
    labels: dict[str, bool | None] = field(default_factory=dict)
    status: str = "ok"
    error: str | None = None


def write_download(
    folder: Path, rows: Sequence[Row], attributes: Sequence[str] = ATTRIBUTES
) -> Path:
    """Write rows as a data/download folder; without any bytes there is no images file."""
    rows = sorted(rows, key=lambda row: row.image_id)
    table: dict[str, list] = {
        "image_id": [row.image_id for row in rows],
        "partition": [row.partition for row in rows],
        "identity": [row.identity for row in rows],
    }
    for name in attributes:
        table[name] = [row.labels.get(name, name == "No_Beard") for row in rows]
    table |= {"status": [row.status for row in rows], "error": [row.error for row in rows]}
    stored = [row for row in rows if row.data is not None]
    with fresh_folder(folder) as out:
        schema = annotations_schema(attributes)
        write_table(pa.table(table, schema=schema), out / ANNOTATIONS, schema)
        half = -(-len(stored) // 2)
        for part, start in enumerate(range(0, len(stored), half) if stored else ()):
            chosen = stored[start : start + half]
            images = pa.table(
                {
                    "image_id": [row.image_id for row in chosen],
                    "bytes": [row.data for row in chosen],
                    "sha1": [hashlib.sha1(row.data or b"").hexdigest() for row in chosen],
                },
                schema=IMAGES_SCHEMA,
            )
            n_parts = -(-len(stored) // half)
            name = f"images-{part:05d}-of-{n_parts:05d}.parquet"
            pq.write_table(images, out / name, row_group_size=256)
        write_manifest(out, {"attributes": list(attributes), "n_images": len(rows)})
    return folder


def draw_rows(n: int, seed: int = 0, **settings: object) -> list[Row]:
    """N different pictures named 000.jpg, 001.jpg, ..., each of an identity of its own."""
    return [
        Row(f"{k:03d}.jpg", encode(draw_picture(seed + k)), identity=str(k), **settings)  # type: ignore[arg-type]
        for k in range(n)
    ]


def read_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def list_findings(issues: pd.DataFrame, check: str, *columns: str) -> list[tuple]:
    """Chosen columns of one check's findings, sorted."""
    rows = issues.loc[issues["check"] == check, list(columns)]
    return sorted(rows.itertuples(index=False, name=None))
