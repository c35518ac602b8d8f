"""Fabricated data sets in CelebA's official file formats, small enough for every test."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
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

    def write(self, folder: Path, newline: str = "\n", unpacked: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"list_attr_celeba.txt": self.attr, "list_eval_partition.txt": self.partition}
        if self.identity is not None:
            texts["identity_CelebA.txt"] = self.identity
        for name, lines in texts.items():
            (folder / name).write_bytes((newline.join(lines) + newline).encode())
        if unpacked:
            (folder / "img_align_celeba").mkdir()
            for name, data in self.images.items():
                (folder / "img_align_celeba" / name).write_bytes(data)
        else:
            with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
                for name, data in self.images.items():
                    archive.writestr(f"img_align_celeba/{name}", data)
        return folder


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """All files below a folder by relative name, to compare two runs byte by byte."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
