"""What the loop is fed with: batches of normalised, augmented pictures on the device."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import FacetError
from stages.common.params import TrainParams
from stages.common.shards import GroupReader, PixelSet
from stages.train.augment import Augmenter
from stages.train.colour import find_light
from stages.train.memory import Memory
from stages.train.mix import draw_mixes, mix_images
from stages.train.sampler import balance_weights, sample_images, shuffle, shuffle_stream
from stages.train.stream import ahead, stream_batches

log = logging.getLogger(__name__)

#: Row groups and every how many-th pixel FancyPCA's axes are found from.
LIGHT_GROUPS, LIGHT_STEP = 8, 17


@dataclass(frozen=True)
class Batch:
    """One step's input.

    images (B, 3, H, W) float32, normalised, channels last; labels and mask (B, A) float32. Where
    images are mixed, other_labels and other_mask (B, A) belong to the partners, and the loss is
    weight times that of labels plus 1 - weight times that of other_labels, each over its own known
    labels.
    """

    images: Tensor
    labels: Tensor
    mask: Tensor
    other_labels: Tensor | None = None
    other_mask: Tensor | None = None
    weight: float = 1.0


class Feed:
    """The training images, batch by batch, as one process of `n_ranks` sees them.

    An epoch is a function of seed and epoch. Order and batches are those of one process with
    `train.batch_size`, of which each process gets an equal share, in order. A last batch that is
    not full is left out.

    Args:
        reader: The training partition's pixels.
        part: Its labels and masks; without pixels.
        attributes: Names of its A labels.
        params: The whole section.
        scale: Mean and standard deviation per RGB channel, 0 to 255, that the network expects.
        device: Where batches shall lie.
        memory: Where the pixels lie.
        rank: This process's number.
        n_ranks: Processes that share the batches.

    Raises:
        FacetError: attributes that cannot be balanced, augmentations that do not fit the pictures,
            or batches that do not fit the processes.
    """

    def __init__(
        self,
        reader: GroupReader,
        part: PixelSet,
        attributes: Sequence[str],
        params: TrainParams,
        scale: tuple[tuple[float, float, float], tuple[float, float, float]],
        device: torch.device,
        memory: Memory,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self._reader, self._params, self._device = reader, params, device
        self._rank, self._n_ranks = rank, n_ranks
        self.n_images, self.height, self.width = reader.n_images, reader.height, reader.width
        self.batch_size = min(params.batch_size, self.n_images)
        self.n_steps = self.n_images // self.batch_size
        if self.batch_size % n_ranks:
            raise FacetError(
                f"train.batch_size: expected a multiple of the {n_ranks} processes; got "
                f"{self.batch_size}"
            )
        self._weights = balance_weights(part.labels, part.mask, attributes, params.balance)
        if self._weights is not None:
            n_effective = 1 / float(np.square(self._weights).sum())
            log.info(
                "train: balanced by %s, which is worth %.0f of %d images",
                ", ".join(params.balance),
                n_effective,
                self.n_images,
            )
        axes = find_light(sample_pixels(reader)) if params.augment.fancy_pca > 0 else None
        self.augmenter = Augmenter(
            params.augment, reader.height, reader.width, *scale, axes, params.seed, device
        )
        self._given = self._labels = torch.from_numpy(part.labels)
        self._mask = torch.from_numpy(part.mask)
        self._pixels = None if memory == "stream" else load_pixels(reader, memory, device)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield this process's batches of an epoch, counted from 1."""
        params, size = self._params, (self.height, self.width)
        images = sample_images(self.n_images, self._weights, params.seed, epoch)
        if self._pixels is None:
            plan = shuffle_stream(
                images, self._reader.sizes, params.stream_images, params.seed, epoch
            )
            order = plan.order
            whole = stream_batches(self._reader, images, plan, self.batch_size)
            pixels = self._send(
                [torch.from_numpy(batch)[start:stop] for start, stop in self._spans(0)]
                for batch in whole
            )
        else:
            order = shuffle(self.n_images, params.seed, epoch)
            pixels = self._gather(torch.from_numpy(images[order]))
        draws = self.augmenter.draw(epoch, order)
        mixes = draw_mixes(params.augment, *size, self.n_steps, params.seed, epoch)
        rows = torch.from_numpy(images[order])  # of the whole epoch: no copy waits in a step
        labels, mask = self._labels[rows].to(self._device), self._mask[rows].to(self._device)
        for step, (mix, parts) in enumerate(zip(mixes, pixels, strict=True)):
            spans = self._spans(step)
            ready = [
                self.augmenter.apply(part, draws, start, stop)
                for part, (start, stop) in zip(parts, spans, strict=True)
            ]
            (start, stop), (first, last) = spans[0], spans[-1]
            shown, own = ready[0], (labels[start:stop].float(), mask[start:stop].float())
            if mix is None:
                yield Batch(shown.permute(0, 3, 1, 2), *own)
                continue
            shown = mix_images(shown, ready[-1].flip(0), mix)
            others = (labels[first:last].flip(0).float(), mask[first:last].flip(0).float())
            yield Batch(shown.permute(0, 3, 1, 2), *own, *others, mix.weight)

    def learn(self, answers: Tensor) -> None:
        """From now on labels are mixed with `distill` of these probabilities (N, A) in [0, 1]."""
        share = self._params.distill
        self._labels = (1 - share) * self._given + share * answers

    def read(self, rows: np.ndarray) -> Tensor:
        """Pictures (n, H, W, 3) uint8 of some images, by their rows (n,) int64, on the device."""
        if self._pixels is not None:
            places = torch.from_numpy(rows).to(self._pixels.device)
            return self._pixels.index_select(0, places).to(self._device)
        ends = np.cumsum(self._reader.sizes)
        groups = np.searchsorted(ends, rows, side="right")
        pictures = np.empty((len(rows), self.height, self.width, 3), np.uint8)
        for group in np.unique(groups):
            mine = groups == group
            first = ends[group] - self._reader.sizes[group]
            pictures[mine] = self._reader.read(int(group))[rows[mine] - first]
        return torch.from_numpy(pictures).to(self._device)

    def _spans(self, step: int) -> list[tuple[int, int]]:
        """Places of this process's images; then those of their partners, if they are others."""
        begin, share = step * self.batch_size, self.batch_size // self._n_ranks
        ranks = [self._rank]
        augment = self._params.augment
        if augment.mixup_alpha > 0 or augment.cutmix_alpha > 0:
            ranks = list(dict.fromkeys([self._rank, self._n_ranks - 1 - self._rank]))
        return [(begin + rank * share, begin + (rank + 1) * share) for rank in ranks]

    def _gather(self, rows: Tensor) -> Iterator[list[Tensor]]:
        """Yield every step's pictures out of the tensor that holds all."""
        assert self._pixels is not None
        pixels, rows = self._pixels, rows.to(self._pixels.device)
        parts = (
            [pixels.index_select(0, rows[start:stop]) for start, stop in self._spans(step)]
            for step in range(self.n_steps)
        )
        return parts if pixels.is_cuda else self._send(parts)

    def _send(self, batches: Iterator[list[Tensor]]) -> Iterator[list[Tensor]]:
        """Copy batches of host memory to a GPU, two ahead of use, beside what it computes."""
        if self._device.type != "cuda":
            yield from batches
            return
        side = torch.cuda.Stream(self._device)

        def copy(parts: list[Tensor]) -> tuple[list[Tensor], Any]:
            with torch.cuda.stream(side):
                moved = [part.pin_memory().to(self._device, non_blocking=True) for part in parts]
                return moved, side.record_event()

        for moved, event in ahead(map(copy, batches), 2):
            current = torch.cuda.current_stream(self._device)
            current.wait_event(event)
            for part in moved:
                part.record_stream(current)  # its memory is not given away before this is done
            yield moved


class Held:
    """A partition to be looked at in order: labels and mask (N, A) float32 on the device."""

    def __init__(
        self, reader: GroupReader, part: PixelSet, device: torch.device, memory: Memory
    ) -> None:
        self._reader, self._device = reader, device
        self.labels = torch.from_numpy(part.labels).to(device).float()
        self.mask = torch.from_numpy(part.mask).to(device).float()
        self._pixels = None if memory == "stream" else load_pixels(reader, memory, device)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield (B, H, W, 3) uint8 on the device; streamed, a row group ends a batch."""
        pieces: Iterator[Tensor] = iter([self._pixels] if self._pixels is not None else [])
        if self._pixels is None:
            groups = ahead(map(self._reader.read, range(len(self._reader.sizes))), 1)
            pieces = (torch.from_numpy(group.copy()) for group in groups)
        for piece in pieces:
            for batch in piece.split(batch_size):
                yield batch.to(self._device)


def load_pixels(reader: GroupReader, memory: Memory, device: torch.device) -> Tensor:
    """One tensor (N, H, W, 3) uint8 of a partition, on `device` or in host memory."""
    shape = (reader.n_images, reader.height, reader.width, 3)
    if memory == "device" and device.type == "cuda":
        pixels = torch.empty(shape, dtype=torch.uint8, device=device)
    else:
        pixels = torch.from_numpy(np.empty(shape, np.uint8))
    row = 0
    for group in ahead(map(reader.read, range(len(reader.sizes))), 1):
        rows = pixels[row : row + len(group)]
        if pixels.is_cuda:
            rows.copy_(torch.from_numpy(group.copy()))
        else:
            np.copyto(rows.numpy(), group)
        row += len(group)
    return pixels


def sample_pixels(reader: GroupReader) -> np.ndarray:
    """Some pixels (M, 3) uint8 of up to LIGHT_GROUPS row groups, evenly spread."""
    groups = np.unique(np.linspace(0, len(reader.sizes) - 1, LIGHT_GROUPS).round().astype(int))
    return np.concatenate([reader.read(group).reshape(-1, 3)[::LIGHT_STEP] for group in groups])
