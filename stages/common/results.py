"""Finished results outside of MLflow: in the workspace, and in DVC's experiments and cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from stages.common.files import read_json
from stages.common.params import read_yaml

TEXT_FILES = ("params.yaml", "dvc.lock", "reports")


@dataclass(frozen=True)
class Results:
    """A training's results and what was made of them.

    Attributes:
        folder: Holds params.yaml, dvc.lock and reports/.
        key: The training's key.
        weights_sha256: Hash of its weights.
        network: Name of its network.
        params: Parameters, nested: those that dvc.lock says were used, else those of params.yaml.
        names: DVC experiments that hold these results.
        fetch: Gives the path of a heavy output such as data/train/model, or None.
        has_evaluation: reports/evaluate belongs to this training.
        has_report: reports/site belongs to this evaluation.
    """

    folder: Path
    key: str
    weights_sha256: str
    network: str
    params: dict[str, Any]
    names: tuple[str, ...]
    fetch: Callable[[str], Path | None]
    has_evaluation: bool
    has_report: bool


def read_results(
    folder: Path, names: tuple[str, ...], fetch: Callable[[str], Path | None], stage: str = ""
) -> Results | None:
    """The results in a folder, or None where no training is complete.

    Args:
        folder: Holds params.yaml, dvc.lock and reports/.
        names: DVC experiments that hold these results.
        fetch: Gives the path of a heavy output, or None.
        stage: The DVC stage that runs at the moment; dvc.lock does not know its outputs yet.
    """
    if not (folder / "reports/train/summary.json").is_file():
        return None
    summary = read_json(folder / "reports/train/summary.json")
    if not {"key", "weights_sha256", "network"} <= summary.keys():
        return None
    lock = read_lock(folder)
    evaluation = folder / "reports/evaluate/metrics.json"
    evaluated = evaluation.is_file() and is_current(lock, "evaluate", "train")
    return Results(
        folder=folder,
        key=summary["key"],
        weights_sha256=summary["weights_sha256"],
        network=summary["network"],
        params=used_params(folder / "params.yaml", lock),
        names=names,
        fetch=fetch,
        has_evaluation=evaluated,
        has_report=evaluated and (stage == "report" or is_current(lock, "report", "evaluate")),
    )


def read_workspace() -> Results | None:
    """The results in the current folder, which may be that of a temporary experiment."""
    name = os.environ.get("DVC_EXP_NAME")

    def fetch(path: str) -> Path | None:
        return Path(path) if Path(path).exists() else None

    return read_results(Path(), (name,) if name else (), fetch, os.environ.get("DVC_STAGE", ""))


@dataclass(frozen=True)
class Experiment:
    """A DVC experiment: a commit under refs/exps whose name and baseline stand in the ref."""

    name: str
    commit: str
    baseline: str


def list_experiments(root: Path) -> list[Experiment]:
    """DVC's experiments of the repository at `root`; none outside of git."""
    try:
        text = _git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode()
    except (OSError, subprocess.CalledProcessError):
        return []
    experiments = []
    for line in text.splitlines():
        commit, ref = line.split(" ", 1)
        parts = ref.split("/", 4)
        if len(parts) == 5 and len(parts[2]) == 2 and len(parts[3]) == 38:
            experiments.append(Experiment(parts[4], commit, parts[2] + parts[3]))
    return experiments


@contextmanager
def unpack_experiment(
    root: Path, experiment: Experiment, link: bool = False
) -> Iterator[Results | None]:
    """The results of a DVC experiment: text from git, heavy files from DVC's cache on demand.

    Args:
        root: The repository.
        experiment: The experiment.
        link: Heavy files are links into the cache, for those who only read: nothing is copied.
    """
    with tempfile.TemporaryDirectory(prefix="facet-") as temporary:
        folder = Path(temporary)
        present = _git(root, "ls-tree", "--name-only", experiment.commit, *TEXT_FILES).decode()
        data = _git(root, "archive", "--format=tar", experiment.commit, *present.split())
        unpack_files(data, folder)
        lock = read_lock(folder)

        def fetch(path: str) -> Path | None:
            return restore_output(root, lock, path, folder, link)

        yield read_results(folder, (experiment.name,), fetch)


def unpack_files(data: bytes, folder: Path) -> None:
    """Write the plain files of a tar archive by `git archive`; links are left out."""
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def restore_output(
    root: Path, lock: dict[str, Any], path: str, folder: Path, link: bool = False
) -> Path | None:
    """Copy an output, or a part of one, from DVC's cache into `folder`, or link to it there.

    Returns:
        Where it lies now, or None where dvc.lock does not name it or the cache lacks a file of it.
    """
    for stage in lock.get("stages", {}).values():
        for out in stage.get("outs", ()):
            inside = path.removeprefix(out["path"]).lstrip("/")
            if not f"{path}/".startswith(f"{out['path']}/") or "md5" not in out:
                continue
            listing = cache_file(root, out["md5"])
            if not listing.is_file() or not out["md5"].endswith(".dir"):
                return None
            for entry in json.loads(listing.read_text(encoding="utf-8")):
                if inside and not f"{entry['relpath']}/".startswith(f"{inside}/"):
                    continue
                source = cache_file(root, entry["md5"])
                if not source.is_file():
                    return None
                target = folder / out["path"] / entry["relpath"]
                target.parent.mkdir(parents=True, exist_ok=True)
                if not link:
                    shutil.copyfile(source, target)
                elif not target.is_symlink():
                    target.symlink_to(source)
            restored = folder / path
            return restored if restored.exists() else None
    return None


def cache_file(root: Path, md5: str) -> Path:
    """Where DVC keeps the content with this MD5 sum."""
    return cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]


@cache
def cache_folder(root: Path) -> Path:
    """DVC's cache, as configured."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return root / done.stdout.strip().splitlines()[-1]


def read_lock(folder: Path) -> dict[str, Any]:
    """dvc.lock of a folder, empty where there is none."""
    path = folder / "dvc.lock"
    return (read_yaml(path) or {}) if path.is_file() else {}


def used_params(path: Path, lock: dict[str, Any]) -> dict[str, Any]:
    """The parameters that dvc.lock says were used; of the rest those of params.yaml."""
    params: dict[str, Any] = read_yaml(path) if path.is_file() else {}
    for stage in lock.get("stages", {}).values():
        for dotted, value in stage.get("params", {}).get("params.yaml", {}).items():
            section = params
            *parents, last = dotted.split(".")
            for parent in parents:
                section = section.setdefault(parent, {})
            section[last] = value
    return params


def is_current(lock: dict[str, Any], stage: str, producer: str) -> bool:
    """False where dvc.lock says that `stage` last ran on older outputs of `producer`."""
    outs = lock.get("stages", {}).get(producer, {}).get("outs", ())
    made = {out["path"]: out.get("md5") for out in outs}
    for dep in lock.get("stages", {}).get(stage, {}).get("deps", ()):
        path = dep["path"]
        inside = {name: md5 for name, md5 in made.items() if name.startswith(f"{path}/")}
        if path in made:
            expected = made[path]
        elif inside and len(inside) == dep.get("nfiles"):
            expected = hash_listing(path, inside)
        else:
            continue
        if dep.get("md5") != expected:
            return False
    return True


def hash_listing(folder: str, files: dict[str, str]) -> str:
    """DVC's MD5 of a folder with these files (path and MD5): that of its sorted JSON listing."""
    entries = [
        {"md5": files[path], "relpath": path.removeprefix(f"{folder}/")} for path in sorted(files)
    ]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"


def _git(root: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout
