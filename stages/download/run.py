"""Any source in, canonical tables out: from here on nobody knows where the data came from."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.common.errors import FacetError
from stages.common.files import fresh_folder, write_manifest
from stages.common.params import DownloadParams, resolve_path
from stages.common.tables import PARTITIONS, TRUTH
from stages.download.canonical import Counts, write_canonical
from stages.download.celeba import recognise
from stages.download.demo import write_demo
from stages.download.layouts.recognise import open_source
from stages.download.source import Source
from stages.download.split import describe_split, make_partitions

log = logging.getLogger(__name__)


def run(params: DownloadParams, out: Path) -> str:
    """Write annotations, images and manifest of the source that `params` names to `out`.

    The demo is drawn as a folder in CelebA's official layout and then read like any other.

    Raises:
        FacetError: the source is not what it should be.
    """
    if params.source == "files":
        assert params.path is not None  # validated with the parameters
        path = resolve_path(params.path)
    elif params.source != "demo":
        from stages.download.network.services import fetch_source  # its libraries take a while

        path = fetch_source(params)
    with fresh_folder(out) as folder:
        if params.source == "demo":
            path = folder / "drawn"
            path.mkdir()
            write_demo(
                path, params.demo.n_images, params.demo.seed, params.demo.faults.model_dump()
            )
            shutil.move(path / TRUTH, folder / TRUTH)
        with explain_cache(params, path), open_source(path) as source:
            if params.source != "demo":
                log.info("download: %s", source.description)
            facts, counts = write_source(source, params, folder)
        if params.source == "demo":
            shutil.rmtree(path)
        write_manifest(folder, facts)
    return f"download: {counts.describe()}"


@contextmanager
def explain_cache(params: DownloadParams, path: Path) -> Iterator[None]:
    """What was fetched is not fetched again: say how to, where it cannot be read."""
    try:
        yield
    except FacetError as error:
        if params.source in ("demo", "files"):
            raise
        raise FacetError(f"{error}; to fetch it again, delete {path}") from None


def write_source(
    source: Source, params: DownloadParams, folder: Path
) -> tuple[dict[str, Any], Counts]:
    """Write the tables of an open source; what the manifest says of them, and the counts."""
    labels = source.labels
    split = None
    if labels.partitions is None:
        labels = make_partitions(labels, params.split)
        log.warning("download: %s", describe_split(labels, params.split))
        split = {
            **params.split.model_dump(),
            "method": "iterative stratification",
            "by_identity": any(labels.identities),
        }
    counts = write_canonical(source, labels, folder)
    is_demo = params.source == "demo"
    n_present = counts.n_images - counts.n_missing
    celeba = None if is_demo else recognise(source, labels, n_present)
    if celeba is not None and celeba.extent != "none":
        log.info("download: this is %s", celeba.describe())
    warn(counts)
    facts = {
        "source": params.source,
        "source_state": None if is_demo else source.digest_state(),
        "celeba": celeba.as_dict() if celeba else None,
        "split": split,
        "attributes": labels.attributes,
        **asdict(counts),
    }
    del facts["n_attributes"]
    return facts, counts


def warn(counts: Counts) -> None:
    """Say what a user of this data should know."""
    present = [name for name in PARTITIONS if counts.n_by_partition[name]]
    if len(present) == 1:
        log.warning(
            "download: all images are in '%s'; a set with one partition can be explored, audited "
            "and evaluated, but not trained on",
            present[0],
        )
    elif "valid" not in present and "train" in present:
        log.warning(
            "download: there are no validation images; prepare.resplit.valid takes a share of "
            "train for them"
        )
    if counts.n_shared_identities:
        log.warning(
            "download: %d of %d identities have images in more than one partition, so figures of "
            "valid and test flatter a model",
            counts.n_shared_identities,
            counts.n_identities,
        )
    if counts.n_missing == counts.n_images:
        log.warning(
            "download: labels only, no picture was found: they can be explored (dvc repro "
            "explore), not trained on"
        )
