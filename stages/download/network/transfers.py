"""What every transfer needs: a bar and two log lines, a lock, room on the disk."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stages.common.errors import FacetError

log = logging.getLogger(__name__)

#: Left free on the disk beside the file itself.
SPARE_BYTES = 64 * 2**20


class Watch:
    """Shows a transfer: a bar on a terminal, and log lines with size and rate everywhere.

    Attributes:
        n_bytes: So many came in.
    """

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._task = progress.add_task(name, total=None)
        self._began_s = time.monotonic()
        self.n_bytes = 0
        self._is_announced = False

    def announce(self, source: str, done: int, total: int | None) -> None:
        """Log once where the file comes from and how large it is; show how much is there."""
        if not self._is_announced:
            size = "of unknown size" if total is None else decimal(total)
            rest = f", {decimal(done)} of it are here already" if done else ""
            log.info("download: fetching %s from %s (%s%s)", self._name, source, size, rest)
            self._is_announced = True
        self._progress.update(self._task, completed=done, total=total)

    def advance(self, n_bytes: int) -> None:
        """So many bytes came in."""
        self.n_bytes += n_bytes
        self._progress.advance(self._task, n_bytes)

    def finish(self, n_bytes: int) -> None:
        """Log size, time and rate."""
        spent_s = max(time.monotonic() - self._began_s, 1e-3)
        log.info(
            "download: %s is here, %s; %s in %.1f s (%s/s)",
            self._name,
            decimal(n_bytes),
            decimal(self.n_bytes),
            spent_s,
            decimal(round(self.n_bytes / spent_s)),
        )


@contextmanager
def watch_transfer(name: str, has_bar: bool = True) -> Iterator[Watch]:
    """A bar with rate and remaining time on standard error; only log lines off a terminal.

    Args:
        name: What comes in.
        has_bar: False where a library draws a bar of its own.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not (has_bar and sys.stderr.isatty()),
        transient=True,
    ) as progress:
        yield Watch(name, progress)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; a second process waits here until the first is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("download: waiting for another process that fetches the same (%s)", path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_space(folder: Path, n_bytes: int) -> None:
    """Refuse a transfer that cannot fit.

    Raises:
        FacetError: fewer than `n_bytes` and a little more are free in `folder`.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes + SPARE_BYTES:
        raise FacetError(
            f"{folder}: expected {decimal(n_bytes + SPARE_BYTES)} of free disk space; got "
            f"{decimal(free)}; make room, or let FACET_CACHE name a folder elsewhere"
        )
