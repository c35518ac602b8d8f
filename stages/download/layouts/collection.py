"""A folder and the zip archives in it as one collection of files, read in place, never unpacked."""

import logging
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stages.common.errors import FacetError
from stages.common.images import UnreadableImageError

log = logging.getLogger(__name__)

#: One picture's file may be this large, one label file this; a larger one is not read.
MAX_IMAGE_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 128 * 2**20

#: Folders below the one that is named are looked into this deep.
MAX_DEPTH = 6


class Folder:
    """Regular files below a folder by relative name; links are not followed.

    One kind of link is: huggingface_hub keeps every file as a link from a snapshot to a blob of the
    same repository's cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self.links: list[str] = []
        for name, entry in sorted(_walk(path, "", 0)):
            if entry.is_symlink() and not _is_hub_link(Path(entry.path)):
                self.links.append(name)
            elif entry.is_file():
                self.sizes[name] = entry.stat().st_size

    def read(self, name: str, limit: int = MAX_IMAGE_BYTES) -> bytes:
        """Bytes of one file.

        Raises:
            UnreadableImageError: no regular file any more, too large or not readable.
        """
        path = self.path / name
        try:
            facts = path.stat() if _is_hub_link(path) else path.lstat()
            if not stat.S_ISREG(facts.st_mode):
                raise UnreadableImageError("a link or no regular file, which is not followed")
            if facts.st_size > limit:
                raise UnreadableImageError(f"{facts.st_size} bytes, more than {limit}")
            return path.read_bytes()
        except OSError as error:
            raise UnreadableImageError(str(error.strerror)) from None

    def close(self) -> None:
        """Nothing to close."""


class Archive:
    """Entries of a zip archive by name, read in place with their checksums verified.

    Entries that are links, or whose names lead out of the archive, are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = open_zip(path)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self.links: list[str] = []
        for entry in self._archive.infolist():
            # Older programs of Windows write backslashes, some others a leading ./
            name = entry.filename.replace("\\", "/").removeprefix("./")
            if entry.is_dir() or name.endswith("/") or _is_mac_metadata(name):
                continue
            if stat.S_ISLNK(entry.external_attr >> 16) or not is_safe(name):
                self.links.append(name)
            elif name in self._entries:
                raise FacetError(f"{path}: expected one entry named {name}; got two")
            else:
                self._entries[name] = entry
        self.sizes = {name: entry.file_size for name, entry in self._entries.items()}

    def read(self, name: str, limit: int = MAX_IMAGE_BYTES) -> bytes:
        """Bytes of one entry, its size and checksum verified.

        Raises:
            UnreadableImageError: encrypted, damaged or too large.
        """
        entry = self._entries[name]
        if entry.file_size > limit:
            raise UnreadableImageError(f"{entry.file_size} bytes, more than {limit}")
        try:
            with self._archive.open(entry) as file:
                # A bounded read: an entry that holds more than it says is not inflated whole.
                data = file.read(entry.file_size + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            struct.error,
            EOFError,
            OSError,
            RuntimeError,  # encrypted
            NotImplementedError,
            ValueError,  # a name that is no UTF-8, among others
        ) as error:
            raise UnreadableImageError(f"damaged in its archive: {error}"[:160]) from None
        if len(data) != entry.file_size:
            raise UnreadableImageError(
                f"damaged in its archive: expected {entry.file_size} bytes; got {len(data)}"
            )
        return data

    def checksums(self) -> dict[str, tuple[int, int]]:
        """Size and CRC-32 of every entry, as its directory says."""
        return {name: (entry.file_size, entry.CRC) for name, entry in self._entries.items()}

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


@dataclass(frozen=True)
class Member:
    """One file of a collection."""

    container: Folder | Archive
    name: str

    def __str__(self) -> str:
        return str(self.container.path / self.name)

    def read(self, limit: int = MAX_TEXT_BYTES) -> bytes:
        """All bytes.

        Raises:
            FacetError: it cannot be read.
        """
        try:
            return self.container.read(self.name, limit)
        except UnreadableImageError as error:
            raise FacetError(f"{self}: expected a readable file; {error}") from None


@dataclass(frozen=True)
class Collection:
    """All files of a source: those of its folder, then those of the archives in it.

    `broken` says what is wrong with archives that could not be opened: an error where something
    is missing without them.
    """

    path: Path
    containers: tuple[Folder | Archive, ...]
    broken: tuple[FacetError, ...] = ()

    def members(self) -> Iterator[Member]:
        """All files, archives themselves excepted."""
        for container in self.containers:
            for name in container.sizes:
                if isinstance(container, Archive) or not name.lower().endswith(".zip"):
                    yield Member(container, name)

    def find(self, file_name: str) -> Member | None:
        """The file of that name, wherever it lies; one in a folder goes before one in an archive.

        Raises:
            FacetError: two in one place.
        """
        for container in self.containers:
            found = [name for name in container.sizes if name.rpartition("/")[2] == file_name]
            if len(found) > 1:
                raise FacetError(
                    f"{container.path}: expected one {file_name}; got {found[0]} and {found[1]}"
                )
            if found:
                return Member(container, found[0])
        return None

    def links(self) -> list[str]:
        """Links, and entries whose names lead out of their archive: none of them is read."""
        return [name for container in self.containers for name in container.links]


@contextmanager
def open_collection(path: Path) -> Iterator[Collection]:
    """Open a folder with the archives in it, one archive, or the folder of a single file.

    Raises:
        FacetError: nothing there, or a file under a zip's name that is no zip archive.
    """
    containers: list[Folder | Archive] = []
    broken: list[FacetError] = []
    folder = None
    try:
        if path.is_dir():
            folder = Folder(path)
            containers.append(folder)
        elif path.suffix.lower() == ".zip" and path.is_file():
            containers.append(Archive(path))
        elif path.is_file():
            folder = Folder(path.parent)
            containers.append(folder)
        else:
            raise FacetError(f"{path}: expected a folder, an archive or a file; got nothing")
        if folder is not None and path.suffix.lower() != ".parquet":
            zips = [name for name in folder.sizes if name.lower().endswith(".zip")]
            for name in zips:
                try:
                    containers.append(Archive(folder.path / name))
                except FacetError as error:
                    broken.append(error)
        yield Collection(path, tuple(containers), tuple(broken))
    finally:
        for container in containers:
            container.close()


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open an archive, or say what stands under its name instead (a web page, a part of a zip).

    Raises:
        FacetError: no zip archive.
    """
    try:
        return zipfile.ZipFile(path)
    except PermissionError:
        raise FacetError(f"{path}: expected a readable file; permission denied") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        with path.open("rb") as file:
            head = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            got = "a web page (a quota or login page?); download the archive again"
        elif head.startswith(b"{"):
            got = "an answer in JSON (an error or a login?); download the archive again"
        elif head.startswith(b"pk"):
            size = path.stat().st_size
            got = f"an incomplete or damaged one of {size} bytes ({error}); download it again"
        else:
            got = f"a file of {path.stat().st_size} bytes that starts with {head[:16]!r}"
        raise FacetError(f"{path}: expected a zip archive; got {got}") from None


def is_safe(name: str) -> bool:
    """True for a relative path that stays below its root on every system."""
    parts = name.split("/")
    return not (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in name
        or any(ord(letter) < 32 or ord(letter) == 127 for letter in name)
        or (len(parts[0]) == 2 and parts[0][1] == ":")
        or PurePosixPath(name).is_absolute()
    )


def _walk(path: Path, prefix: str, depth: int) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files and links below a folder; hidden ones are left out."""
    try:
        entries = os.scandir(path)
    except PermissionError:
        if not depth:
            raise FacetError(f"{path}: expected a readable folder; permission denied") from None
        log.warning("%s: left out, as it may not be read", path)
        return
    with entries:
        for entry in entries:
            if entry.name.startswith(".") or _is_mac_metadata(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth + 1)
            else:
                yield prefix + entry.name, entry


def _is_mac_metadata(name: str) -> bool:
    *folders, file_name = name.split("/")
    return "__MACOSX" in (*folders, file_name) or file_name.startswith("._")


def _is_hub_link(path: Path) -> bool:
    """True for a link of huggingface_hub's cache: .../snapshots/REVISION/... to .../blobs/HASH."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    return any(
        parent.name == "snapshots" and target.parent == (parent.parent / "blobs").resolve()
        for parent in path.absolute().parents
    )
