"""Google Drive, with gdown: files by id, resumed, verified where they are CelebA's own."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import requests

from stages.common.files import hash_file
from stages.download.network.cache import Shelf
from stages.download.network.patience import (
    BreakError,
    SourceError,
    Timings,
    explain_network,
    explain_status,
    keep_trying,
    place_error,
)
from stages.download.network.transfers import Watch, check_space, watch_transfer
from stages.download.network.webpages import HEAD_BYTES, recognise_page

log = logging.getLogger(__name__)

#: The id under which CelebA's authors publish img_align_celeba.zip.
OFFICIAL_ZIP = "0B7EVK8r0v71pZjFTYXZWM3FlRnM"


def drive_shelf(files: Mapping[str, str]) -> Shelf:
    """The place in the cache of these names and ids."""
    text = "\n".join(f"{name} {file_id}" for name, file_id in sorted(files.items()))
    return Shelf("google_drive", hashlib.sha256(text.encode()).hexdigest()[:16])


def fetch_drive(files: Mapping[str, str], timings: Timings) -> Path:
    """Fetch files by name and id, the small ones (not zips) first.

    Raises:
        SourceError: Drive gives a file's quota notice, no access, no answer or other bytes.
    """

    def fetch(folder: Path) -> None:
        for name in sorted(files, key=lambda name: (name.endswith(".zip"), name)):
            _fetch_one(name, files[name], folder / name, timings)

    return drive_shelf(files).fill(f"{len(files)} files of Google Drive", fetch)


def _fetch_one(name: str, file_id: str, path: Path, timings: Timings) -> None:
    if path.is_file():
        return
    subject = f"{name} of Google Drive (id {file_id})"
    is_resumed = False
    raw = path.with_name(f"{name}.raw")
    raw.unlink(missing_ok=True)

    def measure() -> int:
        return sum(part.stat().st_size for part in _parts(raw))

    with watch_transfer(name) as watch:

        def attempt() -> None:
            nonlocal is_resumed
            is_resumed = is_resumed or bool(_parts(raw))
            _attempt(file_id, raw, subject, watch, timings)

        keep_trying(attempt, measure, subject, timings)
        if (wrong := _find_wrong_hash(raw, name, file_id)) and is_resumed:
            log.warning("download: %s: wrong bytes after a break; starting over", name)
            raw.unlink()
            keep_trying(attempt, measure, subject, timings)
            wrong = _find_wrong_hash(raw, name, file_id)
        with raw.open("rb") as file:
            wrong = wrong or recognise_page(file.read(HEAD_BYTES), name)
        if wrong:
            raw.unlink()
            raise SourceError(f"{subject}: expected {name}; got {wrong}; it was removed")
        raw.replace(path)
        watch.finish(path.stat().st_size)


def _parts(raw: Path) -> list[Path]:
    """What gdown left of an earlier try."""
    return list(raw.parent.glob(f"{raw.name}????????.part"))


def _attempt(file_id: str, raw: Path, subject: str, watch: Watch, timings: Timings) -> None:
    import gdown
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    before = seen = sum(part.stat().st_size for part in _parts(raw))

    def show(done: int, total: int | None) -> None:
        nonlocal seen
        if seen == before:
            check_space(raw.parent, (total or done) - done)
            watch.announce("Google Drive", before, total)
        watch.advance(done - seen)
        seen = done

    try:
        gdown.download(
            id=file_id,
            output=str(raw),
            quiet=True,
            resume=True,
            # Its cookie file is read where the user has one, and never made.
            use_cookies=Path("~/.cache/gdown/cookies.txt").expanduser().is_file(),
            timeout=(timings.connect_timeout_s, timings.read_timeout_s),
            progress=show,
        )
    except FileURLRetrievalError as error:
        raise SourceError(
            f"{subject}: expected a file; got {explain_refusal(str(error))}"
        ) from None
    except DownloadError as error:
        if "incomplete" not in str(error):  # the rest does not fit what is there
            for part in _parts(raw):
                part.unlink()
        raise BreakError("the transfer ended before the file did") from None
    except requests.HTTPError as error:
        raise place_error(explain_answer(error), subject) from None
    except (requests.RequestException, KeyError) as error:
        raise place_error(explain_network(error), subject) from None


def explain_answer(error: requests.HTTPError) -> Exception:
    """The exception for an answer that gdown raised as one of requests'."""
    assert error.response is not None
    return explain_status(error.response.status_code, error.response.headers.get("Retry-After"))


def explain_refusal(text: str) -> str:
    """What gdown found in the page that Drive served in the file's place."""
    if "too many users" in text.lower() or "quota" in text.lower():
        return "its page that says the download quota is used up (try again in a day)"
    return (
        "a web page (not shared with everybody, no such file, or the download quota is used up: a "
        "browser that opens https://drive.google.com/ with this id shows which)"
    )


def _find_wrong_hash(raw: Path, name: str, file_id: str) -> str | None:
    """What is wrong with a file of CelebA's own; None for what is right or cannot be known.

    Text files may differ by their line ends: there the reader checks the content.
    """
    from stages.download.celeba import MD5

    expected = MD5.get(name)
    if expected is None or (got := hash_file(raw, "md5")) == expected:
        return None
    if file_id == OFFICIAL_ZIP:
        return f"MD5 {got} instead of {expected} (damaged, or another file)"
    log.info("download: %s is not CelebA's own byte for byte (MD5 %s)", name, got)
    return None
