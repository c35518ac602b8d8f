"""Fabricated data sets in CelebA's official file formats, small enough for every test."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ATTRIBUTES = ("Bald", "Eyeglasses", "Male", "Smiling")


def encode_jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def draw_pixels(
    rng: np.random.Generator, labels: Sequence[bool], height: int, width: int
) -> np.ndarray:
    """A picture whose quadrants are bright where a label is 1: learnable within an epoch or two."""
    pixels = rng.integers(60, 110, (height, width, 3))
    half_h, half_w = height // 2, width // 2
    for index, label in enumerate(labels[:4]):
        row, column = divmod(index, 2)
        block = pixels[row * half_h : (row + 1) * half_h, column * half_w : (column + 1) * half_w]
        block += 90 if label else 0
    return pixels.astype(np.uint8)


class OfficialFolder:
    """Writes img_align_celeba.zip and the text files; `lines` may be changed before `write`."""

    def __init__(
        self,
        n_images: int = 30,
        seed: int = 0,
        height: int = 48,
        width: int = 40,
        attributes: Sequence[str] = ATTRIBUTES,
    ) -> None:
        rng = np.random.default_rng(seed)
        names = [f"{index + 1:06d}.jpg" for index in range(n_images)]
        self.values = rng.random((n_images, len(attributes))) < 0.4
        self.images = {
            name: encode_jpeg(draw_pixels(rng, row, height, width))
            for name, row in zip(names, self.values, strict=True)
        }
        bounds = (round(n_images * 0.6), round(n_images * 0.8))
        self.attr = [str(n_images), " ".join(attributes)]
        self.attr += [
            f"{name}  " + " ".join("1" if value else "-1" for value in row)
            for name, row in zip(names, self.values, strict=True)
        ]
        self.partition = [
            f"{name} {0 if index < bounds[0] else 1 if index < bounds[1] else 2}"
            for index, name in enumerate(names)
        ]
        self.identity: list[str] | None = [
            f"{name} {100 + index // 3}" for index, name in enumerate(names)
        ]

    def write(
        self,
        folder: Path,
        newline: str = "\n",
        unpacked: bool = False,
        compression: int = zipfile.ZIP_STORED,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        self.write_texts(folder, newline)
        if unpacked:
            self.write_pictures(folder / "img_align_celeba")
        else:
            with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", compression) as archive:
                for name, data in self.images.items():
                    archive.writestr(f"img_align_celeba/{name}", data)
        return folder

    def write_texts(self, folder: Path, newline: str = "\n") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"list_attr_celeba.txt": self.attr, "list_eval_partition.txt": self.partition}
        if self.identity is not None:
            texts["identity_CelebA.txt"] = self.identity
        for name, lines in texts.items():
            (folder / name).write_bytes((newline.join(lines) + newline).encode())

    def write_pictures(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.images.items():
            (folder / name).write_bytes(data)

    def kaggle_files(self) -> dict[str, bytes]:
        """Kaggle's files by path: CSV with header rows, pictures in a folder within a folder."""
        attributes = self.attr[1].split()
        rows = [",".join(["image_id", *attributes])]
        rows += [",".join(line.split()) for line in self.attr[2:]]
        partitions = ["image_id,partition", *(",".join(p.split()) for p in self.partition)]
        files = {
            "list_attr_celeba.csv": "\n".join(rows).encode() + b"\n",
            "list_eval_partition.csv": "\n".join(partitions).encode() + b"\n",
            "list_bbox_celeba.csv": b"image_id,x_1,y_1,width,height\n000001.jpg,1,2,3,4\n",
        }
        for name, data in self.images.items():
            files[f"img_align_celeba/img_align_celeba/{name}"] = data
        return files

    def write_kaggle(self, folder: Path, zipped: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if zipped:
            with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in self.kaggle_files().items():
                    archive.writestr(name, data)
        else:
            for name, data in self.kaggle_files().items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        return folder

    def shard_rows(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of Hugging Face's shards by split; neither file names nor paths."""
        attributes = self.attr[1].split()
        splits: dict[str, list[dict[str, Any]]] = {"train": [], "valid": [], "test": []}
        for number, line in enumerate(self.attr[2:]):
            name, *values = line.split()
            row: dict[str, Any] = {"image": {"bytes": self.images[name], "path": None}}
            if self.identity is not None:
                row["celeb_id"] = int(self.identity[number].split()[1])
            row |= {a: value == "1" for a, value in zip(attributes, values, strict=True)}
            code = int(self.partition[number].split()[1])
            splits[("train", "valid", "test")[code]].append(row)
        return splits

    def write_shards(
        self,
        folder: Path,
        n_shards: int = 2,
        paths: bool = False,
        rows: dict[str, list[dict[str, Any]]] | None = None,
    ) -> Path:
        """Hugging Face's Parquet shards; with `paths` the official names stand in image.path."""
        folder = folder / "img_align+identity+attr"
        folder.mkdir(parents=True, exist_ok=True)
        names = iter(self.images)
        for split, of_split in (rows or self.shard_rows()).items():
            if paths:
                for row in of_split:
                    row["image"]["path"] = next(names)
            size = -(-len(of_split) // n_shards)
            for k in range(n_shards):
                table = pa.Table.from_pylist(of_split[k * size : (k + 1) * size])
                pq.write_table(table, folder / f"{split}-{k:05d}-of-{n_shards:05d}.parquet")
        return folder.parent


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """All files below a folder by relative name, to compare two runs byte by byte."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
