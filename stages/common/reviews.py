"""reviews/verdicts.csv: what a person decided about the audit's findings."""

import csv
import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import FacetError

VERDICTS = "verdicts.csv"
COLUMNS = ("image_id", "attribute", "verdict")

#: Verdicts on one label: its attribute is named.
LABEL_VERDICTS = {
    "wrong": "the label is wrong: it is masked",
    "flip": "the label is wrong, the other one is right: it is corrected",
    "fine": "the label is right: the audit's findings about it do nothing",
}
#: Verdicts on a whole image: the attribute is empty.
IMAGE_VERDICTS = {
    "drop": "the image is left out",
    "fine": "findings about the picture (copies, leaks, faces, identities) do nothing",
    "keep": "no finding does anything to the image or its labels",
}


@dataclass(frozen=True)
class Verdict:
    """One line of the file; attribute is None where it is about the whole image.

    where is file:line, for messages.
    """

    where: str
    image_id: str
    attribute: str | None
    verdict: str


def read_verdicts(
    path: Path | None, image_ids: Collection[str], attributes: Collection[str]
) -> list[Verdict]:
    """Read and check verdicts.csv, or the one in a folder; in the order of the file.

    No path, no such file and an empty one are no verdicts. Byte order mark, CRLF, empty lines
    and spaces around a value do no harm.

    Args:
        path: verdicts.csv or the folder that holds it.
        image_ids: All images of the data, whatever their partition.
        attributes: All attributes of the data, learned or not.

    Raises:
        FacetError: with file and line: no UTF-8, other columns, an unknown image, attribute or
            verdict, a verdict that needs an attribute or must not have one, a repeated line.
    """
    if path is not None and path.is_dir():
        path /= VERDICTS
    if path is None or not path.exists():
        return []
    seen: dict[tuple[str, str | None], str] = {}
    verdicts = []
    for verdict in _parse(path):
        where = verdict.where
        if verdict.image_id not in image_ids:
            raise FacetError(
                f"{where}: expected an image of the data; got '{verdict.image_id[:60]}', which it "
                "does not have (were these verdicts made on other data?)"
            )
        if verdict.attribute is not None and verdict.attribute not in attributes:
            near = difflib.get_close_matches(verdict.attribute, list(attributes), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise FacetError(
                f"{where}: expected an attribute of the data; got '{verdict.attribute[:60]}'{hint}"
            )
        _check_kind(verdict)
        key = verdict.image_id, verdict.attribute
        if key in seen:
            about = verdict.attribute or "the whole image"
            raise FacetError(
                f"{where}: expected one verdict on {verdict.image_id}, {about}; got another "
                f"in line {seen[key].rpartition(':')[2]}"
            )
        seen[key] = where
        verdicts.append(verdict)
    return verdicts


def _parse(path: Path) -> Iterator[Verdict]:
    """The lines of the file below its header."""
    expected = ",".join(COLUMNS)
    header: list[str] | None = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            for row in reader:
                values = [value.strip() for value in row]
                where = f"{path}:{reader.line_num}"
                if not any(values):
                    continue
                if header is None:
                    header = values
                    if sorted(values) != sorted(COLUMNS):
                        got = ",".join(values)[:80]
                        raise FacetError(f"{where}: expected the columns {expected}; got {got}")
                    continue
                if len(values) != len(header):
                    raise FacetError(
                        f"{where}: expected {len(header)} values ({expected}); got {len(values)}"
                    )
                entry = dict(zip(header, values, strict=True))
                if not entry["image_id"]:
                    raise FacetError(f"{where}: expected an image_id; it is empty")
                attribute = entry["attribute"] or None
                yield Verdict(where, entry["image_id"], attribute, entry["verdict"])
    except UnicodeDecodeError as error:
        raise FacetError(f"{path}: expected UTF-8; {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise FacetError(f"{path}:{reader.line_num}: no valid CSV: {error}") from None
    except OSError as error:
        raise FacetError(f"{path}: cannot be read: {error.strerror}") from None


def _check_kind(verdict: Verdict) -> None:
    """Some verdicts are about a label, some about an image.

    Raises:
        FacetError: the verdict is unknown, or its attribute is missing or too much.
    """
    known = [*LABEL_VERDICTS, *(name for name in IMAGE_VERDICTS if name not in LABEL_VERDICTS)]
    where, name, attribute = verdict.where, verdict.verdict, verdict.attribute
    if name not in known:
        got = f"'{name[:60]}'" if name else "nothing"
        raise FacetError(f"{where}: expected a verdict ({', '.join(known)}); got {got}")
    if attribute is None and name not in IMAGE_VERDICTS:
        raise FacetError(
            f"{where}: expected an attribute, as '{name}' is about a label; it is empty "
            "('drop' leaves the whole image out)"
        )
    if attribute is not None and name not in LABEL_VERDICTS:
        raise FacetError(
            f"{where}: expected no attribute, as '{name}' is about the whole image; got "
            f"'{attribute}'"
        )
