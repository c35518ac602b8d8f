"""A small HTTP server on 127.0.0.1 that serves bytes and, where told, misbehaves."""

import contextlib
import hashlib
import io
import random
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

FIRST_DATE = formatdate(1_500_000_000, usegmt=True)


QUOTA_PAGE = (
    b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>"
    b'<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.'
    b"</p></body></html>"
)
LOGIN_PAGE = (
    b"\n<html lang=en><head><title>Sign in</title></head><body><form action=/login method=post>"
    b"<input name=user><input type=password name=password></form></body></html>"
)


@dataclass(frozen=True)
class Request:
    """One request as it came in; header names are lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass(frozen=True)
class Reply:
    """How one request is answered; whatever is None follows from the resource.

    Attributes:
        body: Other bytes than the resource's.
        cut: So many bytes of the body are sent, then the connection is closed.
        reset: The close is a reset (RST) rather than an end (FIN).
        stall: After `cut` bytes the connection stays open, silent.
        block: Bytes per write, with `pause_s` after each: a throttled server.
        ignores_range: A Range header is answered with 200 and everything.
        is_chunked: No Content-Length.
    """

    status: int | None = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False
    stall: bool = False
    block: int = 1 << 16
    pause_s: float = 0.0
    ignores_range: bool = False
    is_chunked: bool = False


@dataclass
class Resource:
    """Bytes under a path, and replies used up one per request before it is served as it is."""

    body: bytes
    content_type: str = "application/octet-stream"
    etag: str | None = ""
    modified: str | None = FIRST_DATE
    replies: list[Reply] = field(default_factory=list)

    def validators(self) -> dict[str, str]:
        etag = self.etag
        if etag == "":
            etag = f'"{hashlib.sha1(self.body, usedforsecurity=False).hexdigest()}"'
        pairs = {"ETag": etag, "Last-Modified": self.modified}
        return {name: value for name, value in pairs.items() if value is not None}


Route = Resource | Callable[[Request], Reply]


class Loopback:
    """The server; `resources` maps paths to bytes or to functions that answer."""

    def __init__(self) -> None:
        self.resources: dict[str, Route] = {}
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def serve(self, path: str, body: bytes, *replies: Reply, **facts: str | None) -> Resource:
        """Put bytes under a path, behind `replies`."""
        resource = Resource(body, replies=list(replies), **facts)  # type: ignore[arg-type]
        self.resources[path] = resource
        return resource

    def route(self, path: str, answer: Callable[[Request], Reply]) -> None:
        """Let a function answer under a path; one that ends in * takes all that begin so."""
        self.resources[path] = answer

    def ranges(self, path: str | None = None) -> list[str | None]:
        """The Range headers in order."""
        return [r.range for r in self.requests if path is None or r.path == path]

    def paths(self) -> list[str]:
        """The requested paths in order."""
        return [request.path for request in self.requests]

    def find(self, path: str) -> Route | None:
        if path in self.resources:
            return self.resources[path]
        for name, route in self.resources.items():
            if name.endswith("*") and path.startswith(name[:-1]):
                return route
        return None

    def take(self, request: Request) -> tuple[Resource | None, Reply]:
        """Note a request; the resource and how it is answered this time."""
        with self._lock:
            self.requests.append(request)
            route = self.find(request.path)
            if isinstance(route, Resource):
                return route, route.replies.pop(0) if route.replies else Reply()
        return None, Reply(404, b"no such file") if route is None else route(request)

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    self._answer()

            do_HEAD = do_POST = do_GET  # noqa: N815

            def _answer(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.command,
                    unquote(parts.path),
                    parse_qs(parts.query),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                resource, reply = loopback.take(request)
                self._send(request, resource, reply)

            def _send(self, request: Request, resource: Resource | None, reply: Reply) -> None:
                body = reply.body if reply.body is not None else resource.body if resource else b""
                headers = {"Content-Type": "application/octet-stream"}
                status = reply.status or 200
                if resource is not None and reply.status is None:
                    headers = {"Content-Type": resource.content_type, "Accept-Ranges": "bytes"}
                    headers |= resource.validators()
                    if not reply.ignores_range:
                        status, body, extra = cut_range(request, body, resource.validators())
                        headers |= extra
                self.send_response(status)
                if reply.is_chunked:
                    headers["Transfer-Encoding"] = "chunked"
                else:
                    headers["Content-Length"] = str(len(body))
                for name, value in (headers | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if request.method == "HEAD":
                    return
                sent = body if reply.cut is None else body[: reply.cut]
                for start in range(0, len(sent), reply.block):
                    self._write(sent[start : start + reply.block], reply.is_chunked)
                    if reply.pause_s:
                        time.sleep(reply.pause_s)
                if reply.stall:
                    loopback.released.wait(20)
                if reply.cut is not None:
                    self.close_connection = True
                    if reply.reset:
                        # Lingering for no time at all turns the close into a reset.
                        linger = struct.pack("ii", 1, 0)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        self.connection.close()
                elif reply.is_chunked:
                    self.wfile.write(b"0\r\n\r\n")

            def _write(self, data: bytes, is_chunked: bool) -> None:
                if is_chunked:
                    data = f"{len(data):x}\r\n".encode() + data + b"\r\n"
                self.wfile.write(data)
                self.wfile.flush()

        return Handler


def cut_range(
    request: Request, body: bytes, validators: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer to an open-ended Range (RFC 9110, 14)."""
    wanted = request.range
    condition = request.headers.get("if-range")
    if wanted is None or (condition is not None and condition not in validators.values()):
        return 200, body, {}
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    if start >= len(body):
        return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
    return 206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}


@contextlib.contextmanager
def run_loopback() -> Iterator[Loopback]:
    """A server for the time of a `with` block."""
    loopback = Loopback()
    loopback.start()
    try:
        yield loopback
    finally:
        loopback.stop()


def zip_bytes(n_bytes: int = 300_000, seed: int = 0) -> bytes:
    """An archive with one entry in CelebA's layout."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", random.Random(seed).randbytes(n_bytes))
    return buffer.getvalue()
