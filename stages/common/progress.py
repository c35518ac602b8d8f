"""Progress bars for what takes more than a few seconds; silent where nobody watches."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

Item = TypeVar("Item")


def make_progress(is_shown: bool = True) -> Progress:
    """A bar with count, elapsed and remaining time on standard error; disabled off a terminal.

    Where a line is too short for all, the bar gives way.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        disable=not (is_shown and sys.stderr.isatty()),
        transient=True,
    )


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield `items` while a bar named `description` advances to `total`."""
    with make_progress() as progress:
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)
