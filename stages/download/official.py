"""CelebA's official files: a zip or a folder of JPEGs, and text files of labels beside it."""

import logging
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.common.errors import FacetError
from stages.common.images import UnreadableImageError
from stages.common.tables import FIXED_COLUMNS, PARTITIONS

log = logging.getLogger(__name__)

IMAGES = "img_align_celeba"
LABELS = "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
IDENTITY = "identity_CelebA.txt"

#: One picture's file may be this large; a larger entry of an archive is not unpacked.
MAX_BYTES = 64 * 2**20

_LABEL_VALUES = {"1": True, "-1": False}


@dataclass(frozen=True)
class Labels:
    """What the text files say, sorted by image_id.

    `values` is (N, A) bool; `partitions` holds train, valid or test; `identities` text or None.
    """

    image_ids: list[str]
    attributes: list[str]
    values: np.ndarray
    partitions: list[str]
    identities: list[str | None]


class ZippedImages:
    """Pictures inside a zip archive, read in place by file name; nothing is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        self._archive = open_zip(path)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            name = entry.filename.rpartition("/")[2]
            if not name or "__MACOSX" in entry.filename:
                continue
            if name in self._entries:
                first = self._entries[name].filename
                raise FacetError(
                    f"{path}: expected one entry named {name}; got {first} and {entry.filename}"
                )
            self._entries[name] = entry

    def names(self) -> set[str]:
        """File names of all entries, without folders."""
        return set(self._entries)

    def read(self, name: str) -> bytes:
        """Bytes of one picture, its checksum verified.

        Raises:
            UnreadableImageError: encrypted, damaged or too large.
        """
        entry = self._entries[name]
        if entry.file_size > MAX_BYTES:
            raise UnreadableImageError(f"{entry.file_size} bytes, more than {MAX_BYTES}")
        try:
            return self._archive.read(entry)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise UnreadableImageError(f"damaged in its archive: {error}"[:160]) from None

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class FolderImages:
    """Pictures as files of one folder; links are not followed."""

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._names = {entry.name for entry in path.iterdir()}

    def names(self) -> set[str]:
        """File names in the folder."""
        return self._names

    def read(self, name: str) -> bytes:
        """Bytes of one picture.

        Raises:
            UnreadableImageError: a link, no file, too large or not readable.
        """
        path = self._folder / name
        try:
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode):
                raise UnreadableImageError("a link or no regular file, which is not followed")
            if facts.st_size > MAX_BYTES:
                raise UnreadableImageError(f"{facts.st_size} bytes, more than {MAX_BYTES}")
            return path.read_bytes()
        except OSError as error:
            raise UnreadableImageError(str(error.strerror)) from None

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Source:
    """Labels and pictures of one data set, whatever its layout."""

    layout: str
    description: str
    labels: Labels
    images: ZippedImages | FolderImages
    path: Path = field(default_factory=Path)


@contextmanager
def open_official(folder: Path) -> Iterator[Source]:
    """Open a folder in CelebA's official layout.

    Raises:
        FacetError: a file is missing, damaged or disagrees with another.
    """
    if not folder.is_dir():
        raise FacetError(f"{folder}: expected a folder with CelebA's official files; got a file")
    missing = [name for name in (LABELS, PARTITION) if not (folder / name).is_file()]
    if missing:
        raise FacetError(
            f"{folder}: expected {' and '.join(missing)} (CelebA's official layout); missing"
        )
    labels = read_labels(folder)
    images = open_images(folder)
    try:
        description = (
            f"CelebA's official layout in {folder}, {len(labels.image_ids)} labelled images"
        )
        yield Source("official", description, labels, images, folder)
    finally:
        images.close()


def open_images(folder: Path) -> ZippedImages | FolderImages:
    """The pictures of an official folder: the zip if it is there, else the unpacked folder."""
    archive, unpacked = folder / f"{IMAGES}.zip", folder / IMAGES
    if archive.is_file():
        return ZippedImages(archive)
    if unpacked.is_dir():
        nested = unpacked / IMAGES
        return FolderImages(nested if nested.is_dir() else unpacked)
    raise FacetError(f"{folder}: expected {IMAGES}.zip or the folder {IMAGES}; got neither")


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open an archive, or say what stands under its name instead (a web page, a part of a zip).

    Raises:
        FacetError: no zip archive.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        with path.open("rb") as file:
            head = file.read(512).lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            got = "a web page (a quota or login page?); download the archive again"
        elif head.startswith(b"pk"):
            size = path.stat().st_size
            got = f"an incomplete or damaged one of {size} bytes ({error}); download it again"
        else:
            got = f"a file of {path.stat().st_size} bytes that starts with {head[:16]!r}"
        raise FacetError(f"{path}: expected a zip archive; got {got}") from None


def read_labels(folder: Path) -> Labels:
    """Read and cross-check the text files of labels, partitions and (where present) identities.

    Line ends may be LF or CRLF, a byte order mark is skipped.

    Raises:
        FacetError: with file and line, what was expected and what was got.
    """
    attributes, values = _read_attributes(folder / LABELS)
    partitions = _read_pairs(folder / PARTITION, {str(i): p for i, p in enumerate(PARTITIONS)})
    identities = _read_pairs(folder / IDENTITY, None) if (folder / IDENTITY).is_file() else {}
    without = sorted(values.keys() - partitions.keys())
    if without:
        raise FacetError(
            f"{folder / PARTITION}: expected a partition for every image of {LABELS}; "
            f"{len(without)} have none, such as {without[0]}"
        )
    surplus = sorted(partitions.keys() - values.keys())
    if surplus:
        log.warning(
            "%s: %d images without labels are left out, such as %s",
            PARTITION,
            len(surplus),
            surplus[0],
        )
    if identities and (unknown := len(values.keys() - identities.keys())):
        log.warning("%s: %d images have no identity", IDENTITY, unknown)
    image_ids = sorted(values)
    return Labels(
        image_ids=image_ids,
        attributes=attributes,
        values=np.array([values[image_id] for image_id in image_ids], dtype=bool),
        partitions=[partitions[image_id] for image_id in image_ids],
        identities=[identities.get(image_id) for image_id in image_ids],
    )


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FacetError(
            f"{path}: expected UTF-8 text; got byte {error.object[error.start]:#x} at {error.start}"
        ) from None


def _read_attributes(path: Path) -> tuple[list[str], dict[str, list[bool]]]:
    """Line 1: count; line 2: names; then file name and one -1 or 1 per attribute."""
    lines = _read_lines(path)
    if len(lines) < 3 or not lines[0].strip().isdigit():
        first = lines[0][:40] if lines else ""
        raise FacetError(
            f"{path}:1: expected the number of images, then names, then rows; got '{first}'"
        )
    attributes = lines[1].split()
    if not attributes:
        raise FacetError(f"{path}:2: expected attribute names; got an empty line")
    for name in attributes:
        if attributes.count(name) > 1 or name in FIXED_COLUMNS:
            raise FacetError(
                f"{path}:2: expected distinct names other than {FIXED_COLUMNS}; got {name}"
            )
    values: dict[str, list[bool]] = {}
    for number, line in enumerate(lines[2:], start=3):
        parts = line.split()
        if not parts:
            continue
        name = _check_name(parts[0], path, number)
        if len(parts) != len(attributes) + 1:
            raise FacetError(
                f"{path}:{number}: expected {len(attributes)} values; got {len(parts) - 1}"
            )
        if name in values:
            raise FacetError(f"{path}:{number}: expected every image once; got {name} again")
        try:
            values[name] = [_LABEL_VALUES[value] for value in parts[1:]]
        except KeyError as error:
            attribute = attributes[parts[1:].index(error.args[0])]
            raise FacetError(
                f"{path}:{number}: {attribute}: expected -1 or 1; got '{error.args[0]}'"
            ) from None
    if len(values) != int(lines[0]):
        raise FacetError(
            f"{path}:1: expected {int(lines[0])} rows, as line 1 says; got {len(values)}"
        )
    if not values:
        raise FacetError(f"{path}: expected at least one image; got none")
    return attributes, values


def _read_pairs(path: Path, allowed: dict[str, str] | None) -> dict[str, str]:
    """Lines of a file name and one value; `allowed` maps the values that may stand there."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2:
            raise FacetError(
                f"{path}:{number}: expected a file name and one value; got '{line.strip()[:60]}'"
            )
        name, value = _check_name(parts[0], path, number), parts[1]
        if name in pairs:
            raise FacetError(f"{path}:{number}: expected every image once; got {name} again")
        if allowed is not None and value not in allowed:
            raise FacetError(
                f"{path}:{number}: expected one of {', '.join(allowed)}; got '{value[:40]}'"
            )
        pairs[name] = value if allowed is None else allowed[value]
    return pairs


def _check_name(name: str, path: Path, number: int) -> str:
    """A plain file name: a label file may not lead out of its folder."""
    if "/" in name or "\\" in name or name in (".", "..") or "\0" in name:
        raise FacetError(f"{path}:{number}: expected a plain file name; got '{name[:60]}'")
    return name
