"""`facet check`: parameters, environment, source and store, one line each."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from stages.common.errors import FacetError
from stages.common.files import read_json
from stages.common.params import DownloadParams, load_params, read_yaml, resolve_path

LOCK = "requirements.lock"


@dataclass(frozen=True)
class CheckResult:
    """One line of `facet check`."""

    subject: str
    is_fine: bool
    text: str


def run_checks(params: Path = Path("params.yaml")) -> Iterator[CheckResult]:
    """Yield one result per subject; wrong parameters come first and end the check.

    Args:
        params: The file of parameters.
    """
    try:
        values = load_params(params)
    except FacetError as error:
        yield CheckResult("parameters", False, str(error))
        return
    yield CheckResult("parameters", True, f"{params} is valid")
    yield check_source(values.download)
    yield check_environment(Path(LOCK))
    yield check_network(values.train.network)
    yield check_torch(values.train.device)
    yield check_store()


def check_source(download: DownloadParams) -> CheckResult:
    """Is the source there and readable, and is it still what data/download was made from?"""
    if download.source == "demo":
        return CheckResult("source", True, f"demo, {download.demo.n_images} drawn images")
    if download.source != "files":
        from stages.download.network.services import describe_source

        return CheckResult("source", True, describe_source(download))
    from stages.download.layouts.recognise import open_source

    path = resolve_path(download.path or ".")
    try:
        with open_source(path) as source:
            text, state = source.description, source.digest_state()
    except (FacetError, OSError) as error:
        return CheckResult("source", False, str(error))
    before = read_downloaded_state(download)
    if before is not None and before != state:
        return CheckResult(
            "source", False, f"{text}: changed since it was downloaded; run `dvc repro -f download`"
        )
    return CheckResult("source", True, text)


def read_downloaded_state(download: DownloadParams) -> str | None:
    """The digest of the source that data/download was made from, with these parameters.

    None where it was made with others (then `dvc repro` makes it anew anyway), or not at all.
    """
    manifest, lock = Path("data/download/manifest.json"), Path("dvc.lock")
    try:
        made = read_yaml(lock)["stages"]["download"]["params"]["params.yaml"]["download"]
        if made != download.model_dump():
            return None
        return str(read_json(manifest)["source_state"])
    except (FacetError, KeyError, TypeError):
        return None


def check_environment(lock: Path) -> CheckResult:
    """Are the versions of the lock file installed, and is this a Python that Facet supports?"""
    python = f"Python {platform.python_version()}"
    if not ("3", "11") <= tuple(platform.python_version_tuple()[:2]) <= ("3", "12"):
        return CheckResult("environment", False, f"expected Python 3.11 or 3.12; got {python}")
    if not lock.is_file():
        return CheckResult("environment", False, f"expected {lock}; run from the repository's root")
    wrong = list(find_differences(lock.read_text(encoding="utf-8")))
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return CheckResult("environment", False, f"{lock}: {wrong[0]}{more}; run `make venv`")
    return CheckResult("environment", True, f"{python}, packages as in {lock}")


def find_differences(lock: str) -> Iterator[str]:
    """Yield what is installed otherwise than a lock file's text says.

    Lines for other platforms do not count; a local version such as 2.15.0+cpu counts as 2.15.0.
    """
    from packaging.requirements import Requirement
    from packaging.version import Version

    for line in lock.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            installed = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"expected {wanted.name}{wanted.specifier}; it is not installed"
            continue
        if not wanted.specifier.contains(Version(installed).public, prereleases=True):
            yield f"expected {wanted.name}{wanted.specifier}; got {installed}"


def check_network(name: str) -> CheckResult:
    """Is there such a network? Names of timm are not looked up when parameters are validated."""
    from stages.common.networks import find_kind

    try:
        find_kind(name)
    except FacetError as error:
        return CheckResult("network", False, str(error))
    return CheckResult("network", True, name)


def check_torch(device: str) -> CheckResult:
    """Which torch, and does it have the device that train.device asks for?"""
    import torch

    text = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = ", ".join(
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        )
        return CheckResult("device", True, f"{text}, {names}")
    if device == "cuda":
        return CheckResult(
            "device", False, f"train.device: expected a CUDA device; got none ({text})"
        )
    return CheckResult("device", True, f"{text}, CPU")


def check_store() -> CheckResult:
    """Does the MLflow store open? One that does not exist yet is not created."""
    from stages.common.store import is_off, open_store, shown_uri, store_uri
    from stages.common.tracking import describe_error

    uri = store_uri()
    if is_off():
        return CheckResult("store", True, "tracking is switched off (FACET_TRACKING=off)")
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.exists():
        if os.access(database.parent, os.W_OK):
            return CheckResult("store", True, f"{shown_uri()}, created by the first training")
        return CheckResult("store", False, f"{shown_uri()}: expected a folder that is writable")
    try:
        n_runs = len(open_store().find_runs())
    except Exception as error:
        return CheckResult("store", False, f"{shown_uri()}: {describe_error(error)}")
    return CheckResult("store", True, f"{shown_uri()}, {n_runs} runs")
