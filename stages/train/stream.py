"""Pixels of an epoch from shards that are read row group by row group, in bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from stages.common.shards import GroupReader
from stages.train.sampler import StreamOrder

Item = TypeVar("Item")


def stream_batches(
    reader: GroupReader, images: np.ndarray, plan: StreamOrder, batch_size: int
) -> Iterator[np.ndarray]:
    """Yield an epoch's pictures (batch_size, H, W, 3) uint8 in the plan's order.

    The last few, which fill no batch, are left out. Held are the buffer's n_slots pictures, at
    most three row groups, one of them read ahead by a thread, and two blocks or batches: never
    more, however many images there are.

    Args:
        reader: The partition.
        images: (n,) image of each draw, ascending, as `plan` was made for.
        plan: See `shuffle_stream`.
        batch_size: Images.
    """
    arrivals = Arrivals(ahead(read_draws(reader, images, plan.groups), 1))
    buffer = np.empty((plan.n_slots, reader.height, reader.width, 3), np.uint8)
    arrivals.move(buffer, np.arange(plan.n_slots))
    n_coming = len(images) - plan.n_slots
    batch, n_filled = np.empty((batch_size, *buffer.shape[1:]), np.uint8), 0
    for slots in plan.slots:
        taken = 0
        while taken < len(slots):
            n = min(len(slots) - taken, batch_size - n_filled)
            batch[n_filled : n_filled + n] = buffer[slots[taken : taken + n]]
            taken, n_filled = taken + n, n_filled + n
            if n_filled == batch_size:
                yield batch
                batch, n_filled = np.empty_like(batch), 0
        if n_coming > 0:
            arrivals.move(buffer, slots)
            n_coming -= len(slots)


def read_draws(
    reader: GroupReader, images: np.ndarray, groups: Iterable[int]
) -> Iterator[np.ndarray]:
    """Yield the pixels of each row group's draws, a picture as often as it was drawn.

    A copy of many draws of a few pictures is made in pieces no larger than the row group.
    """
    firsts = np.concatenate([[0], np.cumsum(reader.sizes)])
    bounds = np.searchsorted(images, firsts)
    for group in groups:
        rows = images[bounds[group] : bounds[group + 1]] - firsts[group]
        if len(rows):
            pixels, size = reader.read(group), reader.sizes[group]
            if len(rows) == size and (np.diff(rows) == 1).all():
                yield pixels
            else:
                for start in range(0, len(rows), size):
                    yield pixels[rows[start : start + size]]


class Arrivals:
    """Pictures in order of reading, moved on in numbers other than they come in."""

    def __init__(self, pieces: Iterator[np.ndarray]) -> None:
        self._pieces = pieces
        self._piece = np.empty((0, 0, 0, 3), np.uint8)
        self._n_used = 0

    def move(self, buffer: np.ndarray, slots: np.ndarray) -> None:
        """Copy the next len(slots) pictures to buffer[slots]."""
        n_moved = 0
        while n_moved < len(slots):
            if self._n_used == len(self._piece):
                self._piece, self._n_used = next(self._pieces), 0
            n = min(len(slots) - n_moved, len(self._piece) - self._n_used)
            buffer[slots[n_moved : n_moved + n]] = self._piece[self._n_used : self._n_used + n]
            n_moved, self._n_used = n_moved + n, self._n_used + n


def ahead(items: Iterable[Item], n: int) -> Iterator[Item]:
    """Yield `items`, which a thread makes up to `n` ahead of use; its errors are raised here."""
    end: Any = object()
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, iterator, end) for _ in range(n))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, iterator, end))
            yield item
