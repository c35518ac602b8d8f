"""How long a source is tried: what is worth another try, how long to wait, when to give up."""

import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from stages.common.errors import FacetError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Answers that mean "later": timeout, too many requests, and servers in trouble.
BUSY = (408, 425, 429, 500, 502, 503, 504)


class SourceError(FacetError):
    """The source does not give its files; another way to the data may."""


class MissingFileError(SourceError):
    """The source is there and has no such file."""


class ForbiddenError(SourceError):
    """The source refuses the file; some hosts say so of files that they do not have."""


class BreakError(Exception):
    """A try failed in a way that another one may mend.

    Attributes:
        is_reached: The other side answered, so its name and address are right.
        wait_s: How long it asked to be left alone, None where it did not.
    """

    def __init__(self, text: str, is_reached: bool = True, wait_s: float | None = None) -> None:
        super().__init__(text)
        self.is_reached = is_reached
        self.wait_s = wait_s


@dataclass(frozen=True)
class Timings:
    """Limits of a transfer; the waits between tries are 1, 2, 4, ... times `first_wait_s`."""

    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0  # silence of the server that counts as a break
    n_tries: int = 6  # in a row without a new byte
    n_tries_unreached: int = 3  # the same for a host that never answered
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0  # whatever the server asks for
    sleep: Callable[[float], None] = time.sleep


def keep_trying(
    attempt: Callable[[], Result],
    measure: Callable[[], int],
    subject: str,
    timings: Timings,
) -> Result:
    """Call `attempt` until it returns; wait after every BreakError, longer each time.

    Args:
        attempt: Goes on where the last try ended.
        measure: Bytes there; more than ever before starts the count of tries anew.
        subject: What is fetched, for messages.
        timings: Number of tries and waits.

    Raises:
        SourceError: too many tries in a row brought nothing new.
    """
    n_failed, most, is_reached = 0, measure(), False
    while True:
        try:
            return attempt()
        except BreakError as error:
            size = measure()
            n_failed = 1 if size > most else n_failed + 1
            is_reached = is_reached or error.is_reached or size > most
            most = max(most, size)
            n_tries = timings.n_tries if is_reached else timings.n_tries_unreached
            if n_failed >= n_tries:
                raise SourceError(
                    f"{subject}: {error}; gave up after {n_failed} tries in a row without progress"
                ) from None
            wait_s = timings.first_wait_s * 2 ** (n_failed - 1)
            if error.wait_s is not None:
                wait_s = max(error.wait_s, 0.0)
            wait_s = min(wait_s, timings.longest_wait_s)
            log.warning("download: %s: %s; trying again in %.0f s", subject, error, wait_s)
            timings.sleep(wait_s)


def read_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date (RFC 9110)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def explain_status(status: int, retry_after: str | None = None) -> Exception:
    """The exception for an answer that is no file: BreakError where waiting helps."""
    if status in BUSY:
        text = "too many requests" if status == 429 else "the server is busy or in trouble"
        return BreakError(f"answer {status} ({text})", wait_s=read_retry_after(retry_after))
    if status in (404, 410):
        return MissingFileError(f"expected a file; got {status} (there is none of that name)")
    if status in (401, 407):
        return SourceError(f"expected a file; got {status} (it asks for a login)")
    if status == 403:
        return ForbiddenError(f"expected a file; got {status} (access is refused)")
    return SourceError(f"expected a file; got the answer {status}")


def place_error(error: Exception, subject: str) -> Exception:
    """Put the subject before a final error's text; keep_trying does so for a break."""
    return error if isinstance(error, BreakError) else type(error)(f"{subject}: {error}")


def explain_network(error: BaseException) -> Exception:
    """The exception for a network failure, in words of ours: libraries' texts hold addresses.

    Only an untrusted certificate is not worth another try.
    """
    chain = list(_walk(error))
    names = " ".join(type(link).__name__ for link in chain)
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            reason = link.verify_message or "certificate not trusted"
            return SourceError(f"expected a trusted TLS certificate; got: {reason}")
        if isinstance(link, ssl.SSLError):
            return BreakError(f"TLS failed ({link.reason or 'no reason given'})", is_reached=False)
        if isinstance(link, socket.gaierror):
            return BreakError(
                "the name of its host is not known (no network, or a typing error)", False
            )
        if isinstance(link, ConnectionRefusedError):
            return BreakError("connection refused", is_reached=False)
        if isinstance(link, OSError) and link.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return BreakError("no way to it (no network?)", is_reached=False)
    if "NameResolution" in names:
        return BreakError(
            "the name of its host is not known (no network, or a typing error)", False
        )
    if "ProxyError" in names:
        return BreakError("the proxy gives no connection", is_reached=False)
    if "ConnectTimeout" in names:
        return BreakError("no connection in time", is_reached=False)
    if "Timeout" in names or "timeout" in names:
        return BreakError("the server fell silent")
    return BreakError("the connection broke")


def _walk(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that led to it, each once; requests hides causes in `args`."""
    queue, seen = [error], set()
    while queue:
        link = queue.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        linked = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        queue += [item for item in linked if isinstance(item, BaseException)]
