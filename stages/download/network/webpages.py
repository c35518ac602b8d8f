"""Web pages that arrive in place of a file: a quota notice, a login form, anything in HTML."""

import re
import zipfile
from pathlib import Path, PurePath

#: So many bytes of an answer are looked at.
HEAD_BYTES = 64 * 1024

_HTML = re.compile(
    rb"<!doctype html|<\?xml|<html|<head|<body|<script|<meta|<title|<!--", re.IGNORECASE
)
_NOT_FOUND = re.compile(r"<title[^>]*>[^<]*(not found|404|no such)", re.IGNORECASE)
_MAGIC = {".zip": b"PK", ".parquet": b"PAR1"}
_MARKUP_NAMES = (".html", ".htm", ".xml", ".svg")
_KINDS = (
    ("a page that says its download quota is used up (wait a day, as Google Drive asks)",
     re.compile(r"quota|too many users|download limit", re.IGNORECASE)),
    ("a page that warns of a file too large to be scanned for viruses",
     re.compile(r"can.t scan this file for viruses|virus scan warning", re.IGNORECASE)),
    ("a login page (the file is not public)",
     re.compile(r"type=.?password|<title>[^<]*(sign|log).?in", re.IGNORECASE)),
)  # fmt: skip


def recognise_page(head: bytes, name: str, content_type: str = "") -> str | None:
    """What stands where a file called `name` should: None for what may well be the file.

    Bytes decide; the content type counts only for a body that starts like markup, because
    servers label data as text/html too.

    Args:
        head: The first bytes of the body, up to HEAD_BYTES.
        name: The file's name; .zip and .parquet must start with their magic bytes.
        content_type: The answer's header, empty where there is none.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in _MARKUP_NAMES:
        return None
    magic = _MAGIC.get(suffix)
    if magic is not None and head.startswith(magic):
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:2048]
    says_html = "html" in content_type.lower()
    if start.startswith(b"<") and (says_html or _HTML.search(start)):
        return describe_page(head)
    if magic is not None:
        return f"a file that starts with {head[:16]!r}"
    return None


def is_not_found(head: bytes) -> bool:
    """True for a page that says in its title that there is no such file, though with status 200."""
    return _NOT_FOUND.search(head.decode("utf-8", "replace")) is not None


def find_damage(path: Path, name: str) -> str | None:
    """Why a file that came in whole, as far as the server said, is none: no end, nothing, JSON.

    Args:
        path: The file, under any name.
        name: The name that it will have, whose suffix tells what it should be.
    """
    size = path.stat().st_size
    suffix = PurePath(name).suffix.lower()
    with path.open("rb") as file:
        head = file.read(1)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if not size:
        return "an empty file"
    if suffix == ".zip" and not zipfile.is_zipfile(path):
        return f"{size} bytes without the end of a zip archive: the transfer was cut off"
    if suffix == ".parquet" and tail != b"PAR1":
        return f"{size} bytes without the end of a Parquet file: the transfer was cut off"
    if suffix in (".txt", ".csv") and head == b"{":
        return "an answer in JSON (an error or a login?)"
    return None


def describe_page(head: bytes) -> str:
    """Which kind of page this is, with its title."""
    text = head.decode("utf-8", "replace")
    found = re.search(r"<title[^>]*>([^<]{1,200})", text, re.IGNORECASE)
    title = f", titled '{' '.join(found[1].split())[:80]}'" if found else ""
    for kind, pattern in _KINDS:
        if pattern.search(text):
            return kind + title
    return f"a web page{title}"
