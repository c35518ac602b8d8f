"""A file that is not complete yet: its bytes so far, and what is needed to go on with it."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages.common.files import write_json

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Facts:
    """What a server said about a file: validators for If-Range, and its size in bytes."""

    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """A strong ETag, else the date; a weak ETag does not promise the same bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def is_changed(self, now: "Facts") -> bool:
        """True where an answer contradicts this."""
        pairs = ((self.etag, now.etag), (self.modified, now.modified), (self.total, now.total))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def join(self, now: "Facts") -> "Facts":
        """An answer, with what it left out."""
        total = self.total if now.total is None else now.total
        return Facts(now.etag or self.etag, now.modified or self.modified, total)


class Part:
    """`<name>.part` beside the file, and `<name>.part.json` with the facts it was fetched under."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    def size(self) -> int:
        """Bytes there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def remember(self, facts: Facts) -> None:
        """Note what is needed to resume."""
        write_json(self._note, vars(facts))

    def recall(self, has_digest: bool) -> Facts:
        """The facts of an earlier try; a part that nothing vouches for is dropped.

        Without a validator only a digest would tell two versions spliced into one file.
        """
        with suppress(OSError, ValueError, TypeError):
            facts = Facts(**json.loads(self._note.read_text(encoding="utf-8")))
            if facts.validator or has_digest:
                return facts
        self.drop()
        return Facts()

    def drop(self) -> None:
        """Start over."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def publish(self, path: Path) -> None:
        """The part is the file."""
        self.path.replace(path)
        self._note.unlink(missing_ok=True)


def read_facts(status: int, headers: Mapping[str, str]) -> tuple[int, Facts]:
    """At which byte the body of a 200 or 206 starts (-1: useless), and the facts in its headers.

    Sizes and ranges of an answer that is compressed on its way count other bytes than the file's:
    it is taken from the start only, and never resumed.
    """
    is_plain = headers.get("Content-Encoding", "").strip().lower() in ("", "identity")
    start, total = 0, None
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if match is None or not is_plain:
            return -1, Facts()
        start = int(match[1])
        total = None if match[3] == "*" else int(match[3])
    elif headers.get("Content-Length", "").isdecimal():
        total = int(headers["Content-Length"])
    if not is_plain:
        return start, Facts()
    return start, Facts(headers.get("ETag"), headers.get("Last-Modified"), total)
