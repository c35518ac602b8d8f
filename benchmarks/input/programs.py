"""One program that feeds a training, in a process of its own; prints its figures as JSON.

python -m benchmarks.input.programs facet-host FOLDER --variant flip --batch_size 32
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as every stage does

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets
from torchvision.transforms import v2

from benchmarks.input.sources import CROP_PX, read_list
from stages.common.networks import IMAGENET_MEAN, IMAGENET_STD
from stages.common.params import TrainParams, load_params
from stages.common.shards import GroupReader, read_partition
from stages.train.feed import Feed

ROOT = Path(__file__).resolve().parent.parent.parent
N_WORKERS = 2
WARM_UP_S = 1.0

#: What both sides do to a picture, as our parameters; see `make_transform` for theirs.
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"flip": 0.0},
    "flip": {"flip": 0.5},
    "affine and jitter": {"flip": 0.5, "affine": 0.5, "jitter": 1.0},
}

Epochs = Iterator[Iterator[torch.Tensor]]


def make_transform(variant: str, size_px: int) -> Callable[[Image.Image], torch.Tensor]:
    """Torchvision's transforms on Pillow's pictures, the fast way round: resized first."""
    ours = load_params(ROOT / "params.yaml").train.augment
    steps: list[Any] = [v2.CenterCrop(CROP_PX), v2.Resize((size_px, size_px))]
    if variant != "none":
        steps.append(v2.RandomHorizontalFlip(0.5))
    if variant == "affine and jitter":
        affine = v2.RandomAffine(
            ours.rotate_deg,
            translate=(ours.shift, ours.shift),
            scale=(1 - ours.scale, 1 + ours.scale),
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        steps += [
            v2.RandomApply([affine], 0.5),
            v2.ColorJitter(ours.brightness, ours.contrast),
        ]
    mean, std = ([x / 255 for x in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
    steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    transform: Callable[[Image.Image], torch.Tensor] = v2.Compose(steps)
    return transform


class UncheckedCelebA(datasets.CelebA):
    """torchvision's own, which otherwise wants all 202,599 images' hashes."""

    def _check_integrity(self) -> bool:
        return True


class PictureFolder(Dataset):
    """A folder of JPEGs and a list of labels, as most write it themselves."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        _, labels = read_list(folder / "list_attr_celeba.txt", 2)
        self.paths = [folder / "img_align_celeba" / name for name in labels]
        self.labels = torch.tensor([[int(x) for x in row] for row in labels.values()]) > 0
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture.convert("RGB")), self.labels[index]


def load_dataset(dataset: Dataset, batch_size: int) -> Epochs:
    """Epochs of a DataLoader whose workers stay."""
    loader = DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=N_WORKERS,
        persistent_workers=True,
    )
    while True:
        yield (images for images, _ in loader)


def load_webdataset(folder: Path, transform: Any, batch_size: int) -> Epochs:
    """Epochs of webdataset over tars, with its shuffle of 1,000."""
    import webdataset

    tars = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = (
        webdataset.WebDataset(tars, shardshuffle=len(tars), seed=7)
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "npy")
        .map_tuple(transform, torch.from_numpy)
        .batched(batch_size, partial=False)
    )
    loader = webdataset.WebLoader(
        dataset, batch_size=None, num_workers=N_WORKERS, persistent_workers=True
    )
    while True:
        yield (images for images, _ in loader)


def load_facet(
    prepare: Path, variant: str, batch_size: int, memory: Any, device: torch.device
) -> Epochs:
    """Epochs of our Feed."""
    shipped = load_params(ROOT / "params.yaml").train
    values = {**shipped.model_dump(), "batch_size": batch_size, "balance": []}
    values["augment"] |= VARIANTS[variant]
    params = TrainParams.model_validate(values)
    part = read_partition(prepare, "train", pixels=False)
    names = [f"a{i}" for i in range(part.labels.shape[1])]
    scale = (IMAGENET_MEAN, IMAGENET_STD)
    feed = Feed(GroupReader(prepare, "train"), part, names, params, scale, device, memory)
    epoch = 0
    while True:
        epoch += 1
        yield (batch.images for batch in feed.epoch(epoch))


def open_program(program: str, folder: Path, variant: str, batch_size: int, size_px: int) -> Epochs:
    """Endless epochs of batches (B, 3, H, W) float32, normalised, of one program."""
    if program.startswith("facet"):
        memory = program.removeprefix("facet-")
        return load_facet(folder / "prepare", variant, batch_size, memory, torch.device("cpu"))
    transform = make_transform(variant, size_px)
    if program == "torchvision":
        return load_dataset(UncheckedCelebA(str(folder), "train", transform=transform), batch_size)
    if program == "folder":
        return load_dataset(PictureFolder(folder / "celeba", transform), batch_size)
    return load_webdataset(folder / "tars", transform, batch_size)


def cpu_seconds() -> float:
    """Processor time of this process and of its workers, in seconds."""
    ticks = 0
    for pid in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(epochs: Epochs, seconds: float, is_whole: bool) -> dict[str, float]:
    """Images per second, and per second of processor time, after a warm-up.

    With `is_whole` whole epochs count, with what it takes to begin one; otherwise a stretch of
    the running epochs, which leaves that out and so is in the other programs' favour.
    """
    batches = chain.from_iterable(epochs)
    ready = time.monotonic()
    while not is_whole and time.monotonic() - ready < WARM_UP_S:
        next(batches)
    n_images, started, cpu = 0, time.monotonic(), cpu_seconds()
    while time.monotonic() - started < seconds:
        n_images += sum(map(len, next(epochs) if is_whole else [next(batches)]))
    return {
        "images_per_s": n_images / (time.monotonic() - started),
        "images_per_cpu_s": n_images / (cpu_seconds() - cpu),
    }


def main() -> None:
    """Print start-up (seconds from the process's start to the first batch) and rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="none")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--size_px", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--started", type=float, default=time.monotonic())
    options = parser.parse_args()
    epochs = open_program(
        options.program, options.folder, options.variant, options.batch_size, options.size_px
    )
    next(next(epochs))
    start_s = time.monotonic() - options.started
    figures = measure(epochs, options.seconds, options.program.startswith("facet"))
    print(json.dumps({"start_s": start_s, **figures}))


if __name__ == "__main__":
    main()
