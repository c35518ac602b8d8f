"""Sources in the network: kaggle, huggingface, google_drive and url; each ends as local files."""

import hashlib
import logging
from pathlib import Path
from urllib.parse import urlunsplit

from stages.common.errors import FacetError
from stages.common.params import DownloadParams
from stages.download.network.addresses import (
    Address,
    add_name,
    is_folder,
    parse_address,
    show_address,
    split_address,
)
from stages.download.network.cache import Shelf, cache_folder
from stages.download.network.drive import drive_shelf, fetch_drive
from stages.download.network.fetch import fetch_file
from stages.download.network.hub import fetch_huggingface, hub_shelf
from stages.download.network.kaggle import fetch_kaggle, find_kaggle
from stages.download.network.patience import (
    ForbiddenError,
    MissingFileError,
    SourceError,
    Timings,
)

log = logging.getLogger(__name__)

__all__ = ["OTHER_WAYS", "cache_folder", "describe_source", "fetch_source", "other_ways"]

#: The ways to CelebA, by download.source.
OTHER_WAYS = {
    "kaggle": "download.source=kaggle",
    "huggingface": "download.source=huggingface",
    "google_drive": "download.source=google_drive",
    "files": "download.source=files with files of the project page, "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
}

#: Files of an address that ends in a slash, small ones first; True for those that must be there.
OFFICIAL_FILES = {
    "list_attr_celeba.txt": True,
    "list_eval_partition.txt": False,
    "identity_CelebA.txt": False,
    "img_align_celeba.zip": True,
}


def other_ways(failed: str) -> str:
    """Where else CelebA is to be had, without the source that failed."""
    ways = [text for source, text in OTHER_WAYS.items() if source != failed]
    return f"other ways to CelebA: {', '.join(ways[:-1])}, or {ways[-1]}"


def fetch_source(params: DownloadParams, timings: Timings | None = None) -> Path:
    """Fetch what `params` names, unless the cache holds it already.

    Args:
        params: source is kaggle, huggingface, google_drive or url.
        timings: Limits and waits.

    Returns:
        A folder with the raw files.

    Raises:
        FacetError: the source gives no files: why, and the other ways to CelebA.
    """
    timings = timings or Timings()
    try:
        if params.source == "kaggle":
            return fetch_kaggle(params.kaggle, timings)
        if params.source == "huggingface":
            return fetch_huggingface(params.huggingface, timings)
        if params.source == "google_drive":
            return fetch_drive(params.google_drive, timings)
        return fetch_url(params.url, timings)
    except SourceError as error:
        failed = params.source
        raise FacetError(f"download.source={failed}: {error}; {other_ways(failed)}") from None
    except OSError as error:
        raise FacetError(
            f"{cache_folder()}: expected a folder to write to; got: {error.strerror} (FACET_CACHE "
            "names another one)"
        ) from None


def describe_source(params: DownloadParams) -> str:
    """One line about a source in the network, without asking it."""
    if params.source == "kaggle":
        subject, is_there = (
            f"kaggle dataset {params.kaggle}",
            find_kaggle(params.kaggle) is not None,
        )
    elif params.source == "huggingface":
        subject = f"huggingface dataset {params.huggingface}"
        is_there = hub_shelf(params.huggingface).is_complete()
    elif params.source == "google_drive":
        subject = f"{len(params.google_drive)} files of Google Drive"
        is_there = drive_shelf(params.google_drive).is_complete()
    else:
        subject = f"url {show_addresses(params.url)}"
        is_there = url_shelf(params.url).is_complete()
    return f"{subject}, {'in the cache' if is_there else 'not downloaded yet'}"


def fetch_url(url: str | list[str] | None, timings: Timings) -> Path:
    """Fetch one address, several, or the official files of a folder."""
    wanted = list_addresses(url)

    def fetch(folder: Path) -> None:
        for address, is_needed in wanted:
            try:
                fetch_file(address.url, folder / address.name, address.digest, timings=timings)
            except (MissingFileError, ForbiddenError) as error:
                if is_needed:
                    raise
                log.warning("download: going on without %s: %s", address.name, error)

    return url_shelf(url).fill(f"url {show_addresses(url)}", fetch)


def list_addresses(url: str | list[str] | None) -> list[tuple[Address, bool]]:
    """Every file of `download.url`, and whether it must be there.

    Raises:
        FacetError: no file's address, or two files of one name.
    """
    if isinstance(url, str) and is_folder(url):
        return [
            (parse_address(add_name(url, name)), needed) for name, needed in OFFICIAL_FILES.items()
        ]
    addresses = [parse_address(text) for text in _listed(url)]
    names = [address.name for address in addresses]
    for address in addresses:
        if names.count(address.name) > 1:
            raise FacetError(
                f"download.url: expected a name of its own for every file; got {address.name} twice"
            )
    return [(address, True) for address in addresses]


def show_addresses(url: str | list[str] | None) -> str:
    """The address, or the first of several, without secrets."""
    texts = _listed(url)
    more = f" and {len(texts) - 1} more" if len(texts) > 1 else ""
    return show_address(texts[0]) + more


def url_shelf(url: str | list[str] | None) -> Shelf:
    """The place in the cache of one address or several; user and password do not change it."""
    digest = hashlib.sha256()
    for text in _listed(url):
        parts = split_address(text)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        digest.update(urlunsplit(bare).encode() + b"\n")
    return Shelf("url", digest.hexdigest()[:16])


def _listed(url: str | list[str] | None) -> list[str]:
    assert url is not None  # validated with the parameters
    return [url] if isinstance(url, str) else url
