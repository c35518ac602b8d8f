"""Text files of labels: lines with numbers, values that say yes, no or unknown, safe names."""

import csv
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import FacetError
from stages.common.tables import FIXED_COLUMNS
from stages.download.layouts.collection import Member, is_safe

#: A line costs about 100 bytes of memory, however short it is.
MAX_LINES = 5_000_000

#: What stands for a label in a table, in lower case (capitals of two are there for speed); -1 and
#: 0 both mean no, but not in one file.
YES, NO, UNKNOWN = 1, 0, 255
WORDS = {
    **dict.fromkeys(("1", "1.0", "true", "True", "yes"), YES),
    **dict.fromkeys(("-1", "-1.0", "0", "0.0", "false", "False", "no"), NO),
    **dict.fromkeys(("", "nan", "na", "n/a", "null", "none"), UNKNOWN),
}
#: The values of CelebA's own text files.
OFFICIAL_WORDS = {"1": YES, "-1": NO}
_MINUS = {"-1", "-1.0"}
_ZERO = {"0", "0.0"}


def read_lines(member: Member) -> list[str]:
    """Lines of a UTF-8 text; a byte order mark and CRLF line ends are fine.

    Raises:
        FacetError: another encoding, or not readable.
    """
    return decode_lines(member, member.read())


def decode_lines(member: Member, data: bytes) -> list[str]:
    """Lines of a UTF-8 text that was read already."""
    n_lines = data.count(b"\n") + data.count(b"\r")
    if n_lines > MAX_LINES:
        raise FacetError(f"{member}: expected at most {MAX_LINES} lines; got {n_lines}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FacetError(
            f"{member}: expected UTF-8 text; got byte {data[error.start]:#x} at {error.start}"
        ) from None
    if not text.strip() or text[:1] == "{":
        got = "an empty one" if not text.strip() else "an answer in JSON (an error or a login?)"
        raise FacetError(f"{member}: expected a text file of labels; got {got}; download it again")
    if text[:200].lstrip().lower().startswith(("<!doctype", "<html")):
        raise FacetError(
            f"{member}: expected a text file of labels; got a web page (a quota or login page?); "
            "download it again"
        )
    # Not splitlines(): a form feed or a Unicode line separator is no end of a line.
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def split_csv(
    member: Member, lines: Iterable[str], first: int, delimiter: str = ","
) -> Iterator[list[str]]:
    """Rows of a CSV, one per line, as label tables hold no line ends within quotes.

    Raises:
        FacetError: quotes that do not end on their line, or a field of more than 128 KB.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FacetError(
                f"{member}:{first + number - 1}: expected a row of a CSV; got: {error}"
            ) from None
        if reader.line_num != number:
            raise FacetError(f"{member}:{first + number - 1}: expected quotes that end; got none")
        yield row


def check_attributes(names: Sequence[str], where: str) -> list[str]:
    """Distinct names of attributes that are no columns of ours.

    Raises:
        FacetError: none, an empty one, one twice or a reserved one.
    """
    if not names:
        raise FacetError(f"{where}: expected attribute names; got none")
    seen: set[str] = set()
    for name in names:
        if name in seen or name in FIXED_COLUMNS or not name.strip():
            raise FacetError(
                f"{where}: expected distinct names other than {', '.join(FIXED_COLUMNS)}; "
                f"got '{name}'"
            )
        seen.add(name)
    return list(names)


def check_file_name(name: str, where: str) -> str:
    """A plain file name: a label file may not lead out of its folder."""
    if "/" in name or not is_safe(name):
        raise FacetError(f"{where}: expected a plain file name; got '{name[:60]}'")
    return name


def check_path(name: str, where: str) -> str:
    """A relative path below the source, with forward slashes."""
    path = name.strip().replace("\\", "/").removeprefix("./")
    if not is_safe(path):
        raise FacetError(
            f"{where}: expected a path below the folder of the labels; got '{name[:60]}'"
        )
    return path


class ValueReader:
    """Turns texts into 1, 0 and 255 (unknown); remembers whether -1 or 0 means no in this file."""

    def __init__(
        self, member: Member, attributes: Sequence[str], words: dict[str, int] = WORDS
    ) -> None:
        self._member = member
        self._words = words
        self._attributes = attributes
        self._no: set[str] | None = None

    def read(self, texts: Sequence[str], number: int) -> bytes:
        """One byte per attribute.

        Raises:
            FacetError: a wrong number of values, a value that is no label, or -1 beside 0.
        """
        where = f"{self._member}:{number}"
        if len(texts) != len(self._attributes):
            raise FacetError(f"{where}: expected {len(self._attributes)} values; got {len(texts)}")
        try:
            row = bytes(map(self._words.__getitem__, texts))
        except KeyError:
            for name, text in zip(self._attributes, texts, strict=True):
                if text.strip().lower() in self._words:
                    continue
                expected = (
                    "-1 or 1"
                    if self._words is OFFICIAL_WORDS
                    else "a label (-1 or 1, 0 or 1, true or false; nothing where it is unknown) in "
                    "every column but those of images, partitions and identities"
                )
                raise FacetError(
                    f"{where}: {name}: expected {expected}; got '{text[:40]}'"
                ) from None
            row = bytes(self._words[text.strip().lower()] for text in texts)
        if NO in row:
            self._check_no(texts, where)
        return row

    def _check_no(self, texts: Sequence[str], where: str) -> None:
        """-1 and 0 in one file: 0 may well mean unknown there, so neither is guessed."""
        if self._no is None:
            stripped = {text.strip() for text in texts}
            self._no = _MINUS if stripped & _MINUS else _ZERO if stripped & _ZERO else None
        if self._no is not None:
            other = _ZERO if self._no is _MINUS else _MINUS
            for name, text in zip(self._attributes, texts, strict=True):
                if text.strip() in other:
                    raise FacetError(
                        f"{where}: {name}: expected -1 and 1, or 0 and 1, in the whole file; got "
                        "-1 and 0 (leave unknown labels empty)"
                    )


def decode_values(rows: Iterable[bytes], n_attributes: int) -> NDArray[np.int8]:
    """Rows of ValueReader as (N, A) int8: 1, 0, -1 for unknown."""
    return np.frombuffer(b"".join(rows), np.int8).reshape(-1, n_attributes).copy()
