"""Hugging Face, with huggingface_hub: the Parquet files of a dataset at one commit, verified."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from stages.common.errors import FacetError
from stages.common.files import hash_file
from stages.download.network.cache import Shelf
from stages.download.network.patience import (
    BreakError,
    MissingFileError,
    SourceError,
    Timings,
    explain_network,
    explain_status,
    keep_trying,
    place_error,
)
from stages.download.network.transfers import check_space, watch_transfer
from stages.download.network.webpages import HEAD_BYTES, recognise_page

log = logging.getLogger(__name__)

TOKEN_HELP = "log in with `hf auth login`, or set HF_TOKEN"


def hub_shelf(name: str) -> Shelf:
    """The place in the cache of owner/name or owner/name@revision."""
    return Shelf("huggingface", name.replace("/", "--"))


def fetch_huggingface(name: str, timings: Timings) -> Path:
    """Fetch the Parquet files of owner/name, or of owner/name@revision.

    A complete copy is used as it is: a branch that has moved since is not asked for. The token is
    huggingface_hub's own business ($HF_TOKEN, or the file that `hf auth login` writes).

    Raises:
        SourceError: no such dataset or revision, no access, no answer, or wrong bytes.
    """
    shelf = hub_shelf(name)
    return shelf.fill(
        f"huggingface dataset {name}", lambda folder: _fetch(name, shelf, folder, timings)
    )


def _fetch(name: str, shelf: Shelf, folder: Path, timings: Timings) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported
    os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()
    subject = f"huggingface dataset {name}"
    repo, _, revision = name.partition("@")

    def measure() -> int:
        # Parts are overwritten and moved meanwhile.
        return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())

    def ask() -> Any:
        with _explained(subject):
            return HfApi().dataset_info(
                repo,
                revision=revision or None,
                files_metadata=True,
                timeout=timings.read_timeout_s,
            )

    info = keep_trying(ask, lambda: 0, subject, timings)
    files = {
        file.rfilename: file
        for file in info.siblings
        if PurePosixPath(file.rfilename).suffix == ".parquet"
    }
    if not files:
        raise SourceError(f"{subject}: expected Parquet files; got none")
    commit = shelf.path / "commit"
    if not commit.is_file() or commit.read_text() != info.sha:
        shutil.rmtree(folder)  # parts of another commit
        folder.mkdir()
        commit.write_text(info.sha)
    n_bytes = sum(file.size or 0 for file in files.values())
    check_space(folder, n_bytes - measure())

    def fetch() -> None:
        with _explained(subject):
            snapshot_download(
                repo,
                repo_type="dataset",
                revision=info.sha,
                allow_patterns=["*.parquet"],
                local_dir=folder,
            )
        # Without an answer the library hands back a folder that holds only some of the files.
        if not all((folder / file_name).is_file() for file_name in files):
            raise BreakError("the hub did not say which files there are")

    with watch_transfer(f"{repo} at commit {info.sha[:12]}", has_bar=False) as watch:
        before = measure()
        watch.announce(f"Hugging Face, {len(files)} files", before, n_bytes)
        keep_trying(fetch, measure, subject, timings)
        for file_name, file in files.items():
            _verify(folder / file_name, file, subject)
        watch.advance(max(0, n_bytes - before))
        watch.finish(n_bytes)


def _verify(path: Path, file: Any, subject: str) -> None:
    """Compare a file with the size and SHA-256 that the hub states; damaged ones are removed."""
    expected = file.lfs.sha256 if file.lfs else None
    got = hash_file(path) if expected else None
    wrong = None
    if got != expected:
        wrong = f"sha256 {got} instead of {expected}"
    elif file.size is not None and path.stat().st_size != file.size:
        wrong = f"{path.stat().st_size} bytes instead of {file.size}"
    else:
        with path.open("rb") as opened:
            wrong = recognise_page(opened.read(HEAD_BYTES), path.name)
    if wrong:
        path.unlink()
        raise SourceError(f"{subject}: expected {file.rfilename}; got {wrong}; it was removed")


@contextmanager
def _explained(subject: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into SourceError or BreakError, in words of ours."""
    from httpx2 import HTTPError

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename:
            raise FacetError(
                f"{error.filename}: expected to write; got: {error.strerror}"
            ) from None
        raise place_error(_explain(error), subject) from None


def _explain(error: Exception) -> Exception:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return SourceError(
            "expected access; got 'gated': accept the terms on the dataset's page, then "
            f"{TOKEN_HELP}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return MissingFileError(
            f"expected a public dataset; got none of that name, or a private one; then {TOKEN_HELP}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingFileError("expected the revision behind the @; got none of that name")
    if isinstance(error, errors.HFValidationError):
        return SourceError("expected owner/name as Hugging Face spells it; got another form")
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return SourceError(
            "expected facts as JSON; got another answer (the login page of a proxy?)"
        )
    cause = error.__cause__
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(cause, Exception):
        return _explain(cause)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return SourceError("expected to ask the network; got HF_HUB_OFFLINE, which forbids it")
    response = getattr(error, "response", None)
    if response is None:
        return explain_network(error)
    found = explain_status(response.status_code, response.headers.get("Retry-After"))
    return SourceError(f"{found}; {TOKEN_HELP}") if response.status_code in (401, 403) else found
