"""Addresses of files to fetch: their name, their digest, and how they are shown without secrets."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from stages.common.errors import FacetError

_DIGEST = re.compile(r"(md5=[0-9a-f]{32}|sha256=[0-9a-f]{64})", re.IGNORECASE)

#: A file's name on disk: no folder, not hidden, no control characters.
_NAME = re.compile(r"[^\s./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*")


@dataclass(frozen=True)
class Digest:
    """A known hash of a file: `algorithm` is md5 or sha256, `value` lower-case hex digits."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class Address:
    """Where a file is fetched from, under which name it is kept, and its hash where known."""

    url: str
    name: str
    digest: Digest | None


def split_address(text: str) -> SplitResult:
    """The parts of an address.

    Raises:
        FacetError: it has none, such as one with half an IPv6 address in it.
    """
    try:
        return urlsplit(text)
    except ValueError as error:
        raise FacetError(f"download.url: expected an address; got: {error}") from None


def parse_address(text: str) -> Address:
    """Split an address of `download.url` into the parts that matter.

    The name comes from the address' path alone; what the server calls the file does not count.

    Raises:
        FacetError: the digest behind `#` is none, or the path ends in no plain file name.
    """
    parts = split_address(text)
    digest = None
    if parts.fragment:
        if not _DIGEST.fullmatch(parts.fragment):
            raise FacetError(
                f"download.url: {show_address(text)}: expected #md5= with 32 or #sha256= with 64 "
                f"hex digits behind the address; got #{parts.fragment[:80]}"
            )
        algorithm, _, value = parts.fragment.lower().partition("=")
        digest = Digest(algorithm, value)
    name = unquote(parts.path.rpartition("/")[2])
    if not _NAME.fullmatch(name) or len(name.encode()) > 200:
        raise FacetError(
            f"download.url: {show_address(text)}: expected a plain file name at the end; "
            f"got '{name[:60]}'"
        )
    return Address(urlunsplit(parts._replace(fragment="")), name, digest)


def add_name(folder: str, name: str) -> str:
    """The address of file `name` in the folder that `folder` is the address of."""
    parts = split_address(folder)
    return urlunsplit(parts._replace(path=parts.path + name, fragment=""))


def is_folder(text: str) -> bool:
    """True where an address' path ends in a slash."""
    return split_address(text).path.endswith("/")


def show_address(text: str) -> str:
    """An address for messages: without user, password, query and fragment, which may be secret."""
    parts = split_address(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
