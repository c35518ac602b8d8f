"""Web pages that arrive in place of a file: a quota notice, a login form, anything in HTML."""

import re
from pathlib import PurePath

#: So many bytes of an answer are looked at.
HEAD_BYTES = 64 * 1024

_HTML = re.compile(
    rb"<!doctype html|<\?xml|<html|<head|<body|<script|<meta|<title|<!--", re.IGNORECASE
)
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


def describe_page(head: bytes) -> str:
    """Which kind of page this is, with its title."""
    text = head.decode("utf-8", "replace")
    found = re.search(r"<title[^>]*>([^<]{1,200})", text, re.IGNORECASE)
    title = f", titled '{' '.join(found[1].split())[:80]}'" if found else ""
    for kind, pattern in _KINDS:
        if pattern.search(text):
            return kind + title
    return f"a web page{title}"
