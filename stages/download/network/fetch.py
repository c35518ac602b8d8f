"""One file over HTTP: resumed after a break, tried again, verified, never half there."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import requests
import urllib3

from stages.common.errors import FacetError
from stages.common.files import hash_file
from stages.download.network.addresses import Digest, show_address
from stages.download.network.parts import Facts, Part, read_facts
from stages.download.network.patience import (
    BreakError,
    ForbiddenError,
    MissingFileError,
    SourceError,
    Timings,
    explain_network,
    explain_status,
    keep_trying,
    place_error,
)
from stages.download.network.transfers import Watch, check_space, hold_lock, watch_transfer
from stages.download.network.webpages import (
    HEAD_BYTES,
    describe_page,
    find_damage,
    is_not_found,
    recognise_page,
)

log = logging.getLogger(__name__)

BLOCK_BYTES = 256 * 1024


def fetch_file(
    url: str,
    path: Path,
    digest: Digest | None = None,
    *,
    session: requests.Session | None = None,
    timings: Timings | None = None,
) -> Path:
    """Fetch `url` to `path`, going on where an earlier run was cut off; a file there is kept.

    Bytes go to `<name>.part` first, which gets the file's name when it is complete and verified.
    Memory does not grow with the file. A second process waits until the first is done.

    Args:
        url: An http or https address; messages show it without user, password and query.
        path: The file to write.
        digest: Its hash, where known.
        session: Sends the requests; one of its own without.
        timings: Limits and waits.

    Returns:
        `path`.

    Raises:
        MissingFileError: the server has no such file.
        SourceError: no answer, no access, a web page in the file's place, or the wrong bytes.
        FacetError: no room on the disk, or not writable.
    """
    if path.is_file():
        return path
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings hold whole addresses
    try:
        with hold_lock(path.with_name(f".{path.name}.lock")):
            if not path.is_file():
                with nullcontext(session) if session else requests.Session() as opened:
                    _Fetch(url, path, digest, opened, timings or Timings()).run()
    except OSError as error:
        raise FacetError(
            f"{path}: expected to write this file; got: {error.strerror or type(error).__name__}"
        ) from None
    return path


class _Fetch:
    """One call of fetch_file: `_attempt` is repeated until the part is complete."""

    def __init__(
        self,
        url: str,
        path: Path,
        digest: Digest | None,
        session: requests.Session,
        timings: Timings,
    ) -> None:
        self._url, self._path, self._digest = url, path, digest
        self._session, self._timings = session, timings
        self._part = Part(path)
        self._shown = show_address(url)
        self._is_resumed = False

    def run(self) -> None:
        """Fetch, verify and rename."""
        with watch_transfer(self._path.name) as watch:
            self._complete(watch)
            if self._is_resumed and self._find_wrong_hash():
                name = self._path.name
                log.warning("download: %s: wrong bytes after a break; starting over", name)
                self._part.drop()
                self._complete(watch)
            if got := self._find_wrong_hash():
                assert self._digest is not None
                self._part.drop()
                raise SourceError(
                    f"{self._shown}: expected {self._digest.algorithm} {self._digest.value}; "
                    f"got {got} (another file or a damaged one; it was removed)"
                )
            if what := find_damage(self._part.path, self._path.name):
                self._part.drop()
                raise SourceError(f"{self._shown}: expected {self._path.name}; got {what}")
            self._part.publish(self._path)
            watch.finish(self._path.stat().st_size)

    def _complete(self, watch: Watch) -> None:
        keep_trying(lambda: self._attempt(watch), self._part.size, self._shown, self._timings)

    def _find_wrong_hash(self) -> str | None:
        """The part's hash where it is not the expected one."""
        if self._digest is None:
            return None
        got = hash_file(self._part.path, self._digest.algorithm)
        return None if got == self._digest.value else got

    def _attempt(self, watch: Watch) -> None:
        """Ask for what is missing and append it.

        Raises:
            BreakError: the rest did not come; another try may bring it.
        """
        known, offset = self._part.recall(self._digest is not None), self._part.size()
        if offset and offset == known.total:
            self._is_resumed = True  # complete, but killed before it got its name
            return
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if known.validator:
                headers["If-Range"] = known.validator
        limits = (self._timings.connect_timeout_s, self._timings.read_timeout_s)
        try:
            response = self._session.get(self._url, headers=headers, stream=True, timeout=limits)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise place_error(explain_network(error), self._shown) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            what = type(error).__name__  # its text may hold the whole address
            raise SourceError(f"{self._shown}: expected a file; got the error {what}") from None
        with response:
            if response.status_code in (200, 206):
                self._receive(response, offset, known, watch)
            else:
                raise place_error(self._explain_answer(response, offset), self._shown)

    def _explain_answer(self, response: requests.Response, offset: int) -> Exception:
        """The exception for an answer without the file; a page in it may say more."""
        status = response.status_code
        if status == 416 and offset:
            return self._start_over("the part is none of this file any more")
        if status in (401, 403):
            head = _read_head(response, HEAD_BYTES)
            if head.lstrip().startswith(b"<"):
                kind = ForbiddenError if status == 403 else SourceError
                return kind(f"expected a file; got {status} and {describe_page(head)}")
        return explain_status(status, response.headers.get("Retry-After"))

    def _start_over(self, why: str) -> BreakError:
        self._part.drop()
        return BreakError(f"{why}; starting over")

    def _receive(
        self, response: requests.Response, offset: int, known: Facts, watch: Watch
    ) -> None:
        """Append the body of a 200 or 206."""
        start, facts = read_facts(response.status_code, response.headers)
        if start not in (0, offset):
            raise self._start_over("the server sent another range than asked for")
        if start:
            if known.is_changed(facts):
                raise self._start_over("the file changed in between")
            facts = known.join(facts)
        block = _read_block(response) if start else _read_head(response, 512)
        if not start:  # before the part is overwritten: a page is no reason to lose it
            kind = response.headers.get("Content-Type", "")
            if page := recognise_page(block, self._path.name, kind):
                kind_of_error = MissingFileError if is_not_found(block) else SourceError
                raise kind_of_error(f"{self._shown}: expected {self._path.name}; got {page}")
        if facts.total is not None:
            check_space(self._path.parent, facts.total - start)
        self._is_resumed = start > 0
        watch.announce(show_address(response.url), start, facts.total)
        with self._part.path.open("ab" if start else "wb", buffering=0) as file:
            self._part.remember(facts)
            while block:
                file.write(block)
                watch.advance(len(block))
                block = _read_block(response)
        size = self._part.size()
        if facts.total is not None and size > facts.total:
            raise self._start_over(f"expected {facts.total} bytes; got {size}")
        if facts.total is not None and size < facts.total:
            raise BreakError(f"the connection ended after {size} of {facts.total} bytes")
        self._part.remember(replace(facts, total=size))


def _read_head(response: requests.Response, n_bytes: int) -> bytes:
    """At least `n_bytes` of a body where it has as many."""
    head = b""
    while len(head) < n_bytes and (block := _read_block(response)):
        head += block
    return head


def _read_block(response: requests.Response) -> bytes:
    """What has arrived, at most BLOCK_BYTES; empty at the end.

    Raises:
        BreakError: the connection broke, or the server fell silent.
    """
    try:
        return response.raw.read1(BLOCK_BYTES, decode_content=True) or b""
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise explain_network(error) from None
