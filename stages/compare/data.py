"""Which data a run is about: figures of different data are never ranked against each other."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.files import hash_file, read_json
from stages.common.results import Results, cache_file, read_lock
from stages.common.tables import ANNOTATIONS, TRUTH

#: Images of CelebA's official test partition (Liu et al., ICCV 2015; list_eval_partition.txt).
N_TEST = 19_962
#: Files of data/download that say nothing about images and labels.
ASIDE = ("manifest.json", TRUTH)


@dataclass(frozen=True)
class Data:
    """One source's images and labels.

    digest: Of annotations and images; the same digest, the same data.
    title: What a reader calls it.
    extent: CelebA's as download recognised it (complete, changed, part), '' for other data, None
        where that is not known.
    """

    digest: str
    title: str
    extent: str | None

    @property
    def has_official_test(self) -> bool:
        """True where labels and partitions are CelebA's official ones."""
        return self.extent == "complete"


def identify_data(root: Path, results: Results) -> Data:
    """The data of a result, from dvc.lock and the listing in DVC's cache."""
    manifest = results.fetch("data/download/manifest.json")
    extent = None
    if manifest is not None:
        celeba = read_json(manifest).get("celeba")
        extent = celeba["extent"] if celeba else ""
    return Data(digest_data(root, results), name_source(results.params), extent)


def digest_data(root: Path, results: Results) -> str:
    """A digest of annotations and images.

    Where the cache lacks the listing of files it is one of the whole folder, which differs for
    equal data of other versions of this program: such runs stand apart rather than together.
    """
    lock = read_lock(results.folder)
    outs = [out for stage in lock.get("stages", {}).values() for out in stage.get("outs", ())]
    md5 = next((out.get("md5") for out in outs if out["path"] == "data/download"), None)
    if md5 is None:
        annotations = results.fetch(f"data/download/{ANNOTATIONS}")
        return "unknown" if annotations is None else hash_file(annotations, "md5")[:12]
    listing = cache_file(root, md5)
    if not listing.is_file():
        return f"{md5[:12]}"
    entries = json.loads(listing.read_text(encoding="utf-8"))
    files = sorted((one["relpath"], one["md5"]) for one in entries if one["relpath"] not in ASIDE)
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]


def name_source(params: dict[str, Any]) -> str:
    """A short name of `download`'s source, without the folder it lies in."""
    section = params.get("download", {})
    source = section.get("source", "unknown data")
    if source == "files":
        return Path(str(section.get("path"))).name or "files"
    if source == "demo":
        return f"demo, {section.get('demo', {}).get('n_images', '?')} drawn faces"
    if source in ("kaggle", "huggingface"):
        return str(section.get(source))
    return str(source)


def describe_set(params: dict[str, Any], partition: str) -> tuple[Any, ...]:
    """What decides which images of a partition are evaluated, so that equal means the same ones."""
    prepare = params.get("prepare", {})
    subset = prepare.get("subset", {}).get(partition)
    resplit = prepare.get("resplit", {}) if partition == "valid" else {}
    taken = (resplit.get("valid"), resplit.get("by_identity")) if resplit.get("valid") else None
    seed = prepare.get("seed") if subset is not None or taken is not None else None
    return subset, taken, seed
