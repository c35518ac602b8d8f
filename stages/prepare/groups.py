"""All wanted pictures in row groups of shards: on all cores, in order, within bounded memory."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import FacetError
from stages.common.images import read_size
from stages.common.pixels import prepare_files, resize_alone
from stages.common.shards import count_group
from stages.common.tables import iter_images

#: What a worker is given at once: at most so many pictures, bytes of results and bytes of files.
TASK_IMAGES, TASK_PIXEL_BYTES, TASK_FILE_BYTES = 64, 1 << 23, 1 << 23

#: Tasks that may wait, beside two for each worker: work for the time that a row group's writing
#: takes.
N_WAITING = 16


@dataclass
class Group:
    """Pictures of one partition that make up a row group: rows (N,), pixels (N, H, W, 3) uint8."""

    partition: str
    pixels: NDArray[np.uint8]
    rows: list[int] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether all rows are known."""
        return len(self.rows) == len(self.pixels)


@dataclass
class Task:
    """Files to prepare into a group from row `start` on; `ends` says that the group is full."""

    group: Group
    start: int
    names: list[str] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    n_bytes: int = 0
    ends: bool = False


def find_size(
    download: Path,
    wanted: Mapping[str, int],
    crop: tuple[int, int] | None,
    size: tuple[int, int] | None,
) -> tuple[int, int]:
    """Height and width of every prepared picture, before anything is decoded.

    Raises:
        FacetError: neither a crop nor a size, and the pictures' headers say different sizes.
    """
    if size is not None:
        return size
    if crop is not None:
        return crop
    seen: dict[tuple[int, int], str] = {}
    for batch in iter_images(download):
        for image_id, data in zip(batch["image_id"].to_pylist(), batch["bytes"], strict=True):
            if image_id in wanted:
                seen.setdefault(read_size(data.as_py()), image_id)
    if len(seen) > 1:
        (first, a), (second, b) = list(seen.items())[:2]
        raise FacetError(
            "prepare.height_px, width_px: expected a size, as the images differ in theirs: "
            f"{first[0]}x{first[1]} (height x width) in {a}, {second[0]}x{second[1]} in {b}"
        )
    return next(iter(seen))


def prepare_groups(
    download: Path,
    wanted: Mapping[str, int],
    partitions: Sequence[str],
    crop: tuple[int, int] | None,
    size: tuple[int, int],
) -> Iterator[Group]:
    """Yield the row groups of each partition in order of image_id; each is valid until the next.

    Threads suffice: the decoder and the resize release Python's lock. Neither what is cut into
    tasks nor the order depends on their number, hence neither do the bytes written.

    Args:
        download: A data/download folder.
        wanted: Row of each wanted image.
        partitions: Partition of each row.
        crop: Height and width in pixels to cut from the centre, or None.
        size: Height and width of the results.

    Raises:
        FacetError: a wanted image is absent, or cannot be decoded.
    """

    def prepare(task: Task) -> Task:
        part = task.group.pixels[task.start : task.start + len(task.names)]
        prepare_files(task.names, task.blobs, crop, part)
        task.blobs = []
        return task

    spare: list[NDArray[np.uint8]] = []
    tasks = _cut_tasks(download, wanted, partitions, size, spare)
    with nullcontext() if crop == size else resize_alone():
        for task in _map_ordered(prepare, tasks):
            if task.ends:
                yield task.group
                spare.append(task.group.pixels)


def _cut_tasks(
    download: Path,
    wanted: Mapping[str, int],
    partitions: Sequence[str],
    size: tuple[int, int],
    spare: list[NDArray[np.uint8]],
) -> Iterator[Task]:
    """Collect the wanted files, each partition for itself; `spare` holds memory to use again."""
    n_group, n_bytes = count_group(*size), 3 * size[0] * size[1]
    n_task = min(TASK_IMAGES, max(1, TASK_PIXEL_BYTES // n_bytes))
    missing = dict(wanted)
    left = Counter(partitions[row] for row in wanted.values())
    tasks: dict[str, Task] = {}
    for batch in iter_images(download):
        for image_id, data in zip(batch["image_id"].to_pylist(), batch["bytes"], strict=True):
            row = missing.pop(image_id, None)
            if row is None:
                continue
            partition = partitions[row]
            task = tasks.get(partition)
            if task is None or task.group.is_full:
                n = min(n_group, left[partition])
                left[partition] -= n
                fits = spare and len(spare[-1]) >= n
                pixels = spare.pop() if fits else np.empty((n, *size, 3), np.uint8)
                task = tasks[partition] = Task(Group(partition, pixels[:n]), 0)
            blob = data.as_py()
            task.names.append(image_id)
            task.blobs.append(blob)
            task.n_bytes += len(blob)
            group = task.group
            group.rows.append(row)
            if group.is_full or len(task.names) == n_task or task.n_bytes >= TASK_FILE_BYTES:
                task.ends = group.is_full
                tasks[partition] = Task(group, len(group.rows))
                yield task
    if missing:
        raise FacetError(
            f"{download}: expected pictures of all images whose status is ok; images-*.parquet "
            f"lack {len(missing)}, as {min(missing)} (run `dvc repro -f download`)"
        )


def _map_ordered(function: Callable[[Task], Task], tasks: Iterable[Task]) -> Iterator[Task]:
    """Like `map` on all cores, with a bounded number of tasks waiting."""
    n_workers = os.cpu_count() or 1
    waiting: deque[Future[Task]] = deque()
    pool = ThreadPoolExecutor(n_workers)
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= 2 * n_workers + N_WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
