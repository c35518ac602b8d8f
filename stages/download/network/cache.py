"""Where fetched files are kept: outside the stage's outputs, so that nothing is fetched twice."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from stages.common.files import write_json
from stages.download.network.transfers import hold_lock

log = logging.getLogger(__name__)

LICENCE = (
    "download: CelebA is for non-commercial research only and may not be redistributed; by going "
    "on you accept its terms: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (other data sets "
    "have terms of their own)"
)


def cache_folder() -> Path:
    """$FACET_CACHE, else facet below $XDG_CACHE_HOME, else ~/.cache/facet."""
    if named := os.environ.get("FACET_CACHE"):
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "facet"


class Shelf:
    """One source's place in the cache: `files/`, and `complete.json` once all of them are there."""

    def __init__(self, service: str, key: str) -> None:
        self.path = cache_folder() / service / key
        self.files = self.path / "files"
        self._note = self.path / "complete.json"

    def is_complete(self) -> bool:
        """True where every file that was noted is there in its size."""
        try:
            sizes = json.loads(self._note.read_text(encoding="utf-8"))
            return bool(sizes) and all(
                (self.files / name).stat().st_size == size for name, size in sizes.items()
            )
        except (OSError, ValueError, AttributeError):
            return False

    def fill(self, subject: str, fetch: Callable[[Path], None]) -> Path:
        """The folder of files; `fetch` fills it unless it is complete.

        Args:
            subject: The source, for messages.
            fetch: Gets the folder, and leaves there what is to be kept.
        """
        if not self.is_complete():
            with hold_lock(self.path / ".lock"):
                if not self.is_complete():
                    log.warning(LICENCE)
                    self.files.mkdir(parents=True, exist_ok=True)
                    fetch(self.files)
                    write_json(self._note, self._sizes())
        log.info("download: %s, in the cache (%s)", subject, self.files)
        return self.files

    def _sizes(self) -> dict[str, int]:
        return {
            path.relative_to(self.files).as_posix(): path.stat().st_size
            for path in sorted(self.files.rglob("*"))
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(self.files).parts)
        }
