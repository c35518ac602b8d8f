"""Kaggle, with kagglehub: a dataset at one version, unpacked by that library."""

import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import requests

from stages.common.errors import FacetError
from stages.common.files import write_text
from stages.download.network.cache import LICENCE, cache_folder
from stages.download.network.patience import (
    BreakError,
    SourceError,
    Timings,
    explain_network,
    explain_status,
    keep_trying,
    place_error,
)
from stages.download.network.transfers import Watch, check_space, hold_lock, watch_transfer
from stages.download.network.webpages import HEAD_BYTES, recognise_page

log = logging.getLogger(__name__)

#: Beside kagglehub's own files: which version owner/name stands for.
CURRENT = ".current"

CREDENTIALS_HELP = (
    "make a token on https://www.kaggle.com/settings and put it into ~/.kaggle/access_token or "
    "KAGGLE_API_TOKEN, or put a kaggle.json into ~/.kaggle"
)


def find_kaggle(handle: str) -> Path | None:
    """The complete copy of owner/name or owner/name/versions/N in the cache.

    Without a version it is the one that was current when owner/name was fetched.
    """
    base, version = _base(handle), handle.rpartition("/versions/")[2]
    if "/versions/" not in handle:
        current = base / CURRENT
        version = current.read_text(encoding="utf-8") if current.is_file() else ""
    folder = base / "versions" / version
    return folder if version and (base / f"{version}.complete").exists() else None


def fetch_kaggle(handle: str, timings: Timings) -> Path:
    """Fetch owner/name (its current version) or owner/name/versions/N.

    A complete copy is used as it is: a newer version is not asked for. Credentials are kagglehub's
    own business (its files and environment variables); public datasets need none.

    Raises:
        SourceError: no such dataset, no access, no answer, or a damaged archive.
    """
    subject = f"kaggle dataset {handle}"
    if find_kaggle(handle) is None:
        with hold_lock(_base(handle) / ".lock"):
            if find_kaggle(handle) is None:
                log.warning(LICENCE)
                _Kaggle(handle, subject, timings).run()
    folder = find_kaggle(handle)
    assert folder is not None
    log.info("download: %s, version %s, in the cache (%s)", subject, folder.name, folder)
    return folder


def _cache() -> str:
    """The folder of KAGGLEHUB_CACHE, where that is set, else one in the cache of Facet."""
    return os.environ.get("KAGGLEHUB_CACHE") or str(cache_folder() / "kaggle")


def _base(handle: str) -> Path:
    owner, name = handle.split("/")[:2]
    return Path(_cache()) / "datasets" / owner / name


class _Kaggle:
    """One dataset on its way."""

    def __init__(self, handle: str, subject: str, timings: Timings) -> None:
        self._handle, self._subject, self._timings = handle, subject, timings
        self._n_damaged = 0

    def run(self) -> None:
        """Fetch and unpack it."""
        with watch_transfer(self._subject) as watch:
            keep_trying(lambda: self._attempt(watch), self._size, self._subject, self._timings)
            watch.finish(watch.n_bytes)

    def _archives(self) -> list[Path]:
        return list(_base(self._handle).glob("*.archive"))

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._archives())

    def _attempt(self, watch: Watch) -> None:
        try:
            with _tamed(watch, self._timings):
                import kagglehub

                folder = kagglehub.dataset_download(self._handle)
            if "/versions/" not in self._handle:
                write_text(_base(self._handle) / CURRENT, Path(folder).name)
        except FacetError:
            raise
        except requests.RequestException as error:
            raise place_error(self._explain_answer(error), self._subject) from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise FacetError(f"{_base(self._handle)}: expected to write here; got: {why}") from None
        except Exception as error:
            from kagglehub.exceptions import DataCorruptionError

            if isinstance(error, (DataCorruptionError, zipfile.BadZipFile, ValueError)):
                raise self._explain_damage(error) from None
            raise

    def _explain_answer(self, error: requests.RequestException) -> Exception:
        """What a refusal or a broken connection means."""
        if error.response is None:
            return explain_network(error)
        status = error.response.status_code
        if status == 200:
            return SourceError("expected its facts; got another answer")
        found = explain_status(status, error.response.headers.get("Retry-After"))
        if status in (401, 403):
            return SourceError(f"{found}; {CREDENTIALS_HELP}")
        if status == 404:
            return type(found)(f"{found}; a private one needs credentials: {CREDENTIALS_HELP}")
        return found

    def _explain_damage(self, error: Exception) -> Exception:
        """An archive that is none is removed, and fetched once more unless it is a web page."""
        if isinstance(error, json.JSONDecodeError):
            return SourceError(
                f"{self._subject}: expected facts as JSON; got another answer (the login page of a "
                "proxy?)"
            )
        if "credentials" in str(error).lower():
            return SourceError(
                f"{self._subject}: expected a username and a key in kaggle.json; got neither; "
                f"{CREDENTIALS_HELP}"
            )
        page = None
        for archive in self._archives():
            with archive.open("rb") as file:
                page = recognise_page(file.read(HEAD_BYTES), "dataset.zip")
            archive.unlink()
        self._n_damaged += 1
        if page or self._n_damaged > 1:
            return SourceError(
                f"{self._subject}: expected a zip archive; got {page or 'a damaged one'}; it was "
                f"removed"
            )
        return BreakError("the archive is damaged; starting over")


@contextmanager
def _tamed(watch: Watch, timings: Timings) -> Iterator[None]:
    """Let kagglehub run in our cache, with time limits, our bar, and nothing on standard output."""
    from kagglehub import clients

    send = requests.adapters.HTTPAdapter.send

    def send_in_time(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        # kagglesdk sets no limits: a silent server would hold the stage for ever.
        limits = (timings.connect_timeout_s, timings.read_timeout_s)
        options["timeout"] = options.get("timeout") or limits
        return send(self, request, *args, **options)

    class Bar:
        """Stands in for tqdm, which kagglehub draws even where nobody watches."""

        def __init__(self, total: int, initial: int = 0, **_: Any) -> None:
            Path(_cache()).mkdir(parents=True, exist_ok=True)
            check_space(Path(_cache()), 2 * total - initial)  # the archive, and what is in it
            watch.announce("Kaggle", initial, total)

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, n_bytes: int) -> None:
            watch.advance(n_bytes)

    logging.getLogger("kagglehub").setLevel(logging.ERROR)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(_swapped(requests.adapters.HTTPAdapter, "send", send_in_time))
        stack.enter_context(_swapped(clients, "tqdm", Bar))
        stack.enter_context(_environment("KAGGLEHUB_CACHE", _cache()))
        yield


@contextmanager
def _swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
