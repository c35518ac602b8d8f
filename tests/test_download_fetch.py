import dataclasses
import gzip
import hashlib
import io
import logging
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests

from stages.common.errors import FacetError
from stages.download.network.addresses import Digest, parse_address, show_address
from stages.download.network.fetch import fetch_file
from stages.download.network.patience import (
    MissingFileError,
    SourceError,
    Timings,
    explain_network,
    read_retry_after,
)
from stages.download.network.webpages import recognise_page
from tests.loopback import LOGIN_PAGE, QUOTA_PAGE, Loopback, Reply, run_loopback, zip_bytes

BODY = zip_bytes()
MD5 = Digest("md5", hashlib.md5(BODY, usedforsecurity=False).hexdigest())
SHA256 = Digest("sha256", hashlib.sha256(BODY).hexdigest())


class Waits(list[float]):
    """A Timings whose waits are noted rather than waited for."""

    def timings(self, **changes: float) -> Timings:
        plain = Timings(connect_timeout_s=2.0, read_timeout_s=2.0, sleep=self.append)
        return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with run_loopback() as loopback:
        yield loopback


@pytest.fixture
def waits() -> Waits:
    return Waits()


def names(folder: Path) -> list[str]:
    """Visible files; the lock is hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_and_nothing_else(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY)
    path = tmp_path / "new" / "a.zip"
    assert fetch_file(f"{server.address}/a.zip", path, SHA256, timings=waits.timings()) == path
    assert path.read_bytes() == BODY
    assert names(path.parent) == ["a.zip"]
    fetch_file(f"{server.address}/a.zip", path)
    assert len(server.requests) == 1
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert waits == []


@pytest.mark.parametrize(
    ("replies", "ranges"),
    [
        pytest.param([Reply(cut=100_000)], [None, "bytes=100000-"], id="ends early"),
        pytest.param([Reply(cut=100_000, reset=True)], None, id="is reset"),
        pytest.param(
            [Reply(cut=100_000), Reply(cut=50_000), Reply(cut=1)],
            [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"],
            id="ends early three times",
        ),
        pytest.param(
            [Reply(cut=100_000, is_chunked=True)], [None, "bytes=100000-"], id="chunks end early"
        ),
        pytest.param([Reply(cut=0)], [None, None], id="ends before the first byte"),
        pytest.param(
            [Reply(cut=90_000), Reply(ignores_range=True)],
            [None, "bytes=90000-"],
            id="ignores Range",
        ),
        pytest.param(
            [Reply(cut=90_000), Reply(206, BODY[7:], {"Content-Range": f"bytes 7-9/{len(BODY)}"})],
            [None, "bytes=90000-", None],
            id="another range than asked for",
        ),
        pytest.param(
            [Reply(cut=90_000), Reply(206, BODY[90_000:])],
            [None, "bytes=90000-", None],
            id="206 without Content-Range",
        ),
        pytest.param(
            [Reply(cut=90_000), Reply(416, b"")],
            [None, "bytes=90000-", None],
            id="416",
        ),
        pytest.param(
            [
                Reply(cut=90_000),
                Reply(
                    206,
                    BODY[90_000:100_000],
                    {"Content-Range": f"bytes 90000-99999/{len(BODY)}"},
                ),
            ],
            [None, "bytes=90000-", "bytes=100000-"],
            id="a smaller range than asked for",
        ),
        pytest.param(
            [
                Reply(cut=90_000),
                Reply(206, BODY[90_000:], {"Content-Range": f"bytes 90000-{10**6 - 1}/{10**6}"}),
            ],
            [None, "bytes=90000-", None],
            id="another size in the second answer",
        ),
        pytest.param(
            [
                Reply(cut=90_000),
                Reply(
                    206,
                    BODY[90_000:],
                    {
                        "Content-Range": f"bytes 90000-{len(BODY) - 1}/{len(BODY)}",
                        "ETag": '"other"',
                    },
                ),
            ],
            [None, "bytes=90000-", None],
            id="another ETag in spite of If-Range",
        ),
    ],
)
def test_a_break_is_mended(
    server: Loopback,
    tmp_path: Path,
    waits: Waits,
    replies: list[Reply],
    ranges: list[str | None] | None,
) -> None:
    server.serve("/a.zip", BODY, *replies)
    path = fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings())
    assert path.read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]
    if ranges is not None:
        assert server.ranges() == ranges
    assert len(server.requests) > 1


def test_a_resumed_request_names_the_version(
    server: Loopback, tmp_path: Path, waits: Waits
) -> None:
    resource = server.serve("/a.zip", BODY, Reply(cut=1000))
    fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings())
    assert server.requests[1].headers["if-range"] == resource.validators()["ETag"]


@pytest.mark.parametrize(
    ("facts", "condition"),
    [
        pytest.param({"etag": 'W/"1"'}, "Last-Modified", id="weak ETag"),
        pytest.param({"etag": None}, "Last-Modified", id="date only"),
        pytest.param({"etag": None, "modified": None}, None, id="neither"),
    ],
)
def test_validators(
    server: Loopback, tmp_path: Path, waits: Waits, facts: dict[str, str], condition: str | None
) -> None:
    resource = server.serve("/a.zip", BODY, Reply(cut=1000), **facts)
    path = fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings())
    assert path.read_bytes() == BODY
    second = server.requests[1]
    assert second.range == ("bytes=1000-" if condition else None)
    assert second.headers.get("if-range") == resource.validators().get(condition or "")


def test_a_digest_allows_to_resume_without_validators(
    server: Loopback, tmp_path: Path, waits: Waits
) -> None:
    server.serve("/a.zip", BODY, Reply(cut=1000), etag=None, modified=None)
    fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", MD5, timings=waits.timings())
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_new_version_between_tries(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    old = zip_bytes(seed=1)
    server.serve("/a.zip", old, Reply(cut=100_000))
    path = tmp_path / "a.zip"
    with pytest.raises(SourceError):
        fetch_file(f"{server.address}/a.zip", path, timings=waits.timings(n_tries=1))
    assert (tmp_path / "a.zip.part").read_bytes() == old[:100_000]
    server.serve("/a.zip", BODY)
    fetch_file(f"{server.address}/a.zip", path, timings=waits.timings())
    assert path.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-"]


def test_compressed_on_its_way(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    packed = gzip.compress(b"000001.jpg 0\n" * 5000)
    plain = {"Content-Encoding": "gzip", "ETag": '"z"'}
    server.serve(
        "/a.txt",
        packed,
        Reply(200, packed, plain, cut=len(packed) // 2),
        Reply(200, packed, plain),
    )
    path = fetch_file(f"{server.address}/a.txt", tmp_path / "a.txt", timings=waits.timings())
    assert path.read_bytes() == b"000001.jpg 0\n" * 5000
    assert server.ranges() == [None, None]


def test_a_chunked_file_without_length(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY, Reply(is_chunked=True))
    path = fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", MD5, timings=waits.timings())
    assert path.read_bytes() == BODY


def test_a_stalled_server_is_a_break(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY, Reply(cut=100_000, stall=True))
    path = tmp_path / "a.zip"
    fetch_file(f"{server.address}/a.zip", path, timings=waits.timings(read_timeout_s=0.3))
    assert path.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-"]


def test_a_throttled_server_just_takes_long(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY, Reply(block=30_000, pause_s=0.08))
    path = tmp_path / "a.zip"
    began = time.monotonic()
    fetch_file(f"{server.address}/a.zip", path, timings=waits.timings(read_timeout_s=0.4))
    assert time.monotonic() - began > 0.6  # longer than the timeout, and yet no break
    assert path.read_bytes() == BODY
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        pytest.param([Reply(429, headers={"Retry-After": "7"})], [7.0], id="429 with seconds"),
        pytest.param([Reply(429, headers={"Retry-After": "86400"})], [300.0], id="429 for a day"),
        pytest.param([Reply(429, headers={"Retry-After": "soon"})], [1.0], id="429 with a word"),
        pytest.param([Reply(429)], [1.0], id="429 without"),
        pytest.param([Reply(503)] * 4, [1.0, 2.0, 4.0, 8.0], id="503 four times"),
        pytest.param([Reply(502), Reply(504), Reply(500)], [1.0, 2.0, 4.0], id="502, 504, 500"),
        pytest.param(
            [Reply(503), Reply(503), Reply(cut=1000), Reply(503), Reply(503)],
            [1.0, 2.0, 1.0, 2.0, 4.0],
            id="progress starts the count anew",
        ),
    ],
)
def test_waits(
    server: Loopback, tmp_path: Path, waits: Waits, replies: list[Reply], expected: list[float]
) -> None:
    server.serve("/a.zip", BODY, *replies)
    path = fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings())
    assert path.read_bytes() == BODY
    assert waits == expected


def test_retry_after_as_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = format_datetime(now.replace(minute=2), usegmt=True)
    assert read_retry_after(later, now) == 120.0
    assert read_retry_after(format_datetime(now, usegmt=True), now.replace(hour=3)) == 0.0
    assert read_retry_after("yesterday", now) is None


def test_many_breaks_with_progress_are_no_reason_to_give_up(
    server: Loopback, tmp_path: Path, waits: Waits
) -> None:
    server.serve("/a.zip", BODY, *[Reply(cut=10_000)] * 20)
    path = tmp_path / "a.zip"
    fetch_file(f"{server.address}/a.zip", path, MD5, timings=waits.timings(n_tries=2))
    assert path.read_bytes() == BODY
    assert waits == [1.0] * 20


def test_gives_up_without_progress(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    replies = [Reply(cut=1000), *[Reply(cut=1000, ignores_range=True)] * 9]
    server.serve("/a.zip", BODY, *replies)
    with pytest.raises(SourceError, match="gave up after 3 tries in a row without progress"):
        fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings(n_tries=3))
    assert len(server.requests) == 3
    assert "a.zip" not in names(tmp_path)


def test_redirects_are_followed(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY, Reply(cut=1000))
    where = {"Location": "/a.zip?signature=SECRET"}
    server.route("/old.zip", lambda _: Reply(302, headers=where))
    path = fetch_file(f"{server.address}/old.zip", tmp_path / "b.zip", timings=waits.timings())
    assert path.read_bytes() == BODY
    assert server.ranges("/a.zip") == [None, "bytes=1000-"]


@pytest.mark.parametrize(
    ("reply", "error", "expected"),
    [
        pytest.param(Reply(404), MissingFileError, "got 404", id="404"),
        pytest.param(Reply(410), MissingFileError, "got 410", id="410"),
        pytest.param(Reply(401), SourceError, "asks for a login", id="401"),
        pytest.param(Reply(403), SourceError, "access is refused", id="403"),
        pytest.param(
            Reply(403, QUOTA_PAGE), SourceError, "403 and a page .* quota", id="quota 403"
        ),
        pytest.param(Reply(400), SourceError, "got the answer 400", id="400"),
        pytest.param(
            Reply(302, headers={"Location": "/a.zip"}), SourceError, "TooManyRedirects", id="circle"
        ),
        pytest.param(
            Reply(302, headers={"Location": "ftp://elsewhere/a.zip"}),
            SourceError,
            "InvalidSchema",
            id="redirect to ftp",
        ),
    ],
)
def test_refusals(
    server: Loopback, tmp_path: Path, waits: Waits, reply: Reply, error: type, expected: str
) -> None:
    server.route("/a.zip", lambda _: reply)
    with pytest.raises(error, match=expected) as caught:
        fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings())
    assert str(caught.value).startswith(f"{server.address}/a.zip: expected a file; got")
    assert names(tmp_path) == []
    assert waits == []


@pytest.mark.parametrize(
    ("name", "body", "content_type", "expected"),
    [
        pytest.param("a.zip", QUOTA_PAGE, "text/html", "quota is used up", id="quota page"),
        pytest.param("a.zip", LOGIN_PAGE, "text/html", "login page", id="login page"),
        pytest.param("a.zip", LOGIN_PAGE, "application/zip", "login page", id="called a zip"),
        pytest.param("a.txt", LOGIN_PAGE, "text/plain", "login page", id="called a text"),
        pytest.param("a.csv", b"<p>Welcome</p>", "text/html", "a web page", id="a bit of HTML"),
        pytest.param("a.parquet", b"<html></html>", "", "a web page", id="no type"),
        pytest.param("a.txt", b"<?xml version='1.0'?><Error/>", "", "a web page", id="XML error"),
        pytest.param("a.txt", b"\xef\xbb\xbf <!doctype HTML>", "", "a web page", id="with a mark"),
        pytest.param("a.zip", b'{"error": 1}', "", 'starts with b\'{"error"', id="JSON"),
        pytest.param("a.zip", b"", "", "starts with b''", id="nothing"),
        pytest.param("a.parquet", b"PK\3\4", "", "starts with b'PK", id="a zip, no Parquet"),
    ],
)
def test_a_page_in_a_files_place(
    server: Loopback,
    tmp_path: Path,
    waits: Waits,
    name: str,
    body: bytes,
    content_type: str,
    expected: str,
) -> None:
    server.serve(f"/{name}", body, content_type=content_type)
    with pytest.raises(SourceError, match=re.escape(expected)) as caught:
        fetch_file(f"{server.address}/{name}", tmp_path / name, timings=waits.timings())
    assert f"expected {name}; got" in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("head", "name", "content_type"),
    [
        pytest.param(BODY[:99], "a.zip", "text/html", id="zip that is called a page"),
        pytest.param(b"000001.jpg 0\n", "a.txt", "text/html", id="text that is called a page"),
        pytest.param(b"<5_o_Clock_Shadow> 1\n", "a.txt", "text/plain", id="text with a bracket"),
        pytest.param(b"<html>", "a.html", "text/html", id="a page under its own name"),
        pytest.param(b"", "a.txt", "", id="empty text"),
    ],
)
def test_what_is_no_page(head: bytes, name: str, content_type: str) -> None:
    assert recognise_page(head, name, content_type) is None


def test_a_page_does_not_cost_the_part(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    resource = server.serve("/a.zip", BODY, Reply(cut=100_000), Reply(200, QUOTA_PAGE))
    path = tmp_path / "a.zip"
    with pytest.raises(SourceError, match="quota"):
        fetch_file(f"{server.address}/a.zip", path, timings=waits.timings())
    assert names(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    fetch_file(f"{server.address}/a.zip", path, timings=waits.timings())
    assert path.read_bytes() == resource.body
    assert server.ranges()[-1] == "bytes=100000-"


@pytest.mark.parametrize("digest", [MD5, SHA256], ids=["MD5", "SHA-256"])
def test_a_wrong_hash(server: Loopback, tmp_path: Path, waits: Waits, digest: Digest) -> None:
    other = zip_bytes(seed=2)
    server.serve("/a.zip", other)
    with pytest.raises(SourceError) as caught:
        fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", digest, timings=waits.timings())
    got = hashlib.new(digest.algorithm, other).hexdigest()
    assert f"expected {digest.algorithm} {digest.value}; got {got}" in str(caught.value)
    assert names(tmp_path) == []
    assert len(server.requests) == 1


def test_a_wrong_hash_after_a_break_is_tried_once_more(
    server: Loopback, tmp_path: Path, waits: Waits
) -> None:
    path = tmp_path / "a.zip"
    damaged = bytes(1000) + BODY[1000:]
    server.serve("/a.zip", BODY, Reply(cut=100_000, body=b"PK" + damaged[2:]))
    fetch_file(f"{server.address}/a.zip", path, MD5, timings=waits.timings())
    assert path.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-", None]
    path.unlink()
    server.requests.clear()
    server.serve("/a.zip", zip_bytes(seed=3), Reply(cut=100_000), Reply(), Reply(cut=100_000))
    with pytest.raises(SourceError, match="expected md5"):
        fetch_file(f"{server.address}/a.zip", path, MD5, timings=waits.timings())
    assert server.ranges() == [None, "bytes=100000-", None, "bytes=100000-"]
    assert names(tmp_path) == []


def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("http://127.0.0.1:{port}/a.zip", "connection refused", id="refused"),
        pytest.param(
            "http://no-such-host.invalid/a.zip",
            "the name of its host is not known",
            id="unknown name",
        ),
        pytest.param("https://127.0.0.1:{server}/a.zip", "TLS failed", id="no TLS there"),
    ],
)
def test_unreachable_hosts(
    server: Loopback, tmp_path: Path, waits: Waits, address: str, expected: str
) -> None:
    url = address.format(port=closed_port(), server=server.port)
    with pytest.raises(SourceError, match=expected) as caught:
        fetch_file(url, tmp_path / "a.zip", timings=waits.timings())
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert waits == [1.0, 2.0]


def test_an_untrusted_certificate_is_final() -> None:
    import ssl

    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    found = explain_network(requests.exceptions.SSLError(cause))
    assert isinstance(found, SourceError)
    assert str(found) == "expected a trusted TLS certificate; got: self-signed certificate"


def test_too_little_space(
    server: Loopback, tmp_path: Path, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/a.zip", BODY)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FacetError, match=r"free disk space; got 1\.0 MB"):
        fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", timings=waits.timings())
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY)
    (tmp_path / "file").write_text("")
    with pytest.raises(FacetError, match="expected to write this file; got: "):
        fetch_file(f"{server.address}/a.zip", tmp_path / "file" / "a.zip", timings=waits.timings())


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403),
        Reply(429),
        Reply(200, BODY, cut=5000),
        Reply(200, LOGIN_PAGE),
        Reply(200, b"PK other"),
    ],
    ids=["403", "429", "break", "login page", "wrong hash"],
)
def test_secrets_stay_secret(
    server: Loopback,
    tmp_path: Path,
    waits: Waits,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    reply: Reply,
) -> None:
    server.route("/a.zip", lambda _: reply)
    url = f"http://anna:SECRET@127.0.0.1:{server.port}/a.zip?token=SECRET#x"
    with caplog.at_level(logging.INFO), pytest.raises(SourceError) as caught:
        fetch_file(url, tmp_path / "a.zip", MD5, timings=waits.timings())
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert server.requests[0].query == {"token": ["SECRET"]}
    captured = capfd.readouterr()
    said = [*traceback.format_exception(caught.value), caplog.text, captured.out, captured.err]
    kept = [path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in said + kept if "SECRET" in text or "anna" in text]


def test_log_lines_off_a_terminal(
    server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve("/a.zip", BODY)
    with caplog.at_level(logging.INFO):
        fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip")
    first, last = caplog.messages
    assert first == f"download: fetching a.zip from {server.address}/a.zip (300.2 kB)"
    assert re.fullmatch(
        r"download: a\.zip is here, 300\.2 kB; 300\.2 kB in \d+\.\d s \(.*B/s\)", last
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/a.zip", BODY, Reply(block=60_000, pause_s=0.06))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert re.search(r"a\.zip .*/300\.2 kB .*B/s \d:\d\d:\d\d", shown)


RUN = """
import sys
from pathlib import Path
from stages.download.network.fetch import fetch_file
fetch_file(sys.argv[1], Path(sys.argv[2]))
"""


def wait_for(path: Path, n_bytes: int) -> None:
    end = time.monotonic() + 20
    while not path.is_file() or path.stat().st_size < n_bytes:
        assert time.monotonic() < end, f"{path} did not grow to {n_bytes} bytes"
        time.sleep(0.01)


def test_killed_half_way_and_resumed(server: Loopback, tmp_path: Path, waits: Waits) -> None:
    server.serve("/a.zip", BODY, Reply(cut=100_000, stall=True))
    path = tmp_path / "a.zip"
    process = subprocess.Popen([sys.executable, "-c", RUN, f"{server.address}/a.zip", str(path)])
    wait_for(tmp_path / "a.zip.part", 100_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    fetch_file(f"{server.address}/a.zip", path, SHA256, timings=waits.timings())
    assert path.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-"]


def test_killed_before_the_file_got_its_name(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/a.zip", BODY)
    with monkeypatch.context() as context:
        context.setattr("stages.download.network.parts.Part.publish", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip")
    assert names(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip", MD5)
    assert names(tmp_path) == ["a.zip"]
    assert len(server.requests) == 1


def test_two_at_once_fetch_it_once(
    server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve("/a.zip", BODY, Reply(block=30_000, pause_s=0.03))
    path = tmp_path / "a.zip"
    with caplog.at_level(logging.INFO):
        url = f"{server.address}/a.zip"
        threads = [threading.Thread(target=fetch_file, args=(url, path, MD5)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert path.read_bytes() == BODY
    assert len(server.requests) == 1
    assert "waiting for another process" in caplog.text


def test_memory_does_not_grow_with_the_file(server: Loopback, tmp_path: Path) -> None:
    body = zip_bytes(30 * 2**20)
    server.serve("/a.zip", body, Reply(block=2**20))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        fetch_file(f"{server.address}/a.zip", tmp_path / "a.zip")
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a.zip").stat().st_size == len(body)
    assert peak < 8 * 2**20  # the server's own blocks of 1 MiB included


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        pytest.param("a.zip", BODY[:5000], "without the end of a zip archive", id="half a zip"),
        pytest.param("a.parquet", b"PAR1" + bytes(99), "without the end of a Par", id="Parquet"),
        pytest.param("a.txt", b"", "an empty file", id="empty"),
        pytest.param("a.txt", b'{"error": "log in"}', "an answer in JSON", id="JSON"),
    ],
)
def test_what_ends_too_early_without_a_length_is_not_kept(
    name: str, body: bytes, expected: str, server: Loopback, tmp_path: Path
) -> None:
    server.serve(f"/{name}", body, Reply(is_chunked=True))
    with pytest.raises(FacetError, match=expected):
        fetch_file(f"{server.address}/{name}", tmp_path / name)
    assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("https://host/a/img_align_celeba.zip", "img_align_celeba.zip", id="plain"),
        pytest.param("https://host/my%20files.zip?x=/../y", "my files.zip", id="percent-encoded"),
        pytest.param("https://host/%E4%BA%BA.zip", "人.zip", id="beyond ASCII"),
    ],
)
def test_names_come_from_the_path(text: str, name: str) -> None:
    assert parse_address(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        "https://host/a/..%2F..%2Fetc%2Fpasswd",
        "https://host/..",
        "https://host/%2e%2e",
        "https://host/a%5Cb.zip",
        "https://host/a%00.zip",
        "https://host/.bashrc",
        "https://host/a%0Ab",
        "https://host",
        "https://host/?file=a.zip",
        "https://host/" + "a" * 300,
    ],
    ids=lambda text: text[12:40],
)
def test_no_path_escape_from_an_address(text: str) -> None:
    with pytest.raises(FacetError, match="expected a plain file name"):
        parse_address(text)


def test_digests_at_the_end_of_an_address() -> None:
    address = parse_address(f"https://host/a.zip#MD5={MD5.value.upper()}")
    assert address.digest == MD5
    assert address.url == "https://host/a.zip"
    assert parse_address(f"https://host/a.zip#sha256={SHA256.value}").digest == SHA256
    for wrong in ("#md5=12", "#sha1=" + "0" * 40, "#top", "#sha256=" + "g" * 64):
        with pytest.raises(FacetError, match="hex digits"):
            parse_address(f"https://host/a.zip{wrong}")


def test_shown_addresses_have_no_secrets() -> None:
    assert show_address("https://me:pw@host:81/a/b?token=x#md5=1") == "https://host:81/a/b"
