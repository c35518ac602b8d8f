"""A git and DVC repository with fabricated experiments: results in commits, heavy files in a cache.

What a run answers is drawn around the labels with a given skill, so that its place among others is
known; figures are derived by evaluate's own code.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.common.files import write_json, write_manifest
from stages.common.params import load_params
from stages.common.shards import ShardWriter, shard_schema
from stages.common.tables import (
    ANNOTATIONS,
    PREDICTIONS,
    annotations_schema,
    predictions_schema,
    write_table,
)
from stages.evaluate.figures import derive_figures
from stages.evaluate.outputs import to_csv
from stages.evaluate.part import Part
from stages.patch import patch_text
from tests.conftest import make_history, write_csv

ROOT = Path(__file__).resolve().parent.parent
#: Attribute and prevalence.
ATTRIBUTES = {"Male": 0.42, "Smiling": 0.48, "Bald": 0.05, "Young": 0.78, "NA": 0.2}
SIZES = {"train": 60, "valid": 160, "test": 200}
OUTS = ("data/download", "data/prepare", "data/train", "data/evaluate")
STAGES = ("download", "prepare", "train", "evaluate")
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Data:
    """A source of data: images of SIZES, labels by prevalence, six or so images per person."""

    def __init__(
        self,
        name: str = "faces",
        attributes: Mapping[str, float] = ATTRIBUTES,
        sizes: Mapping[str, int] = SIZES,
        celeba: dict[str, Any] | None = None,
        identities: bool = True,
    ) -> None:
        self.name, self.celeba, self.sizes = name, celeba, dict(sizes)
        self.attributes = tuple(attributes)
        n = sum(sizes.values())
        seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
        rng = np.random.default_rng(seed)
        self.image_ids = np.array([f"{name}{k:06d}.jpg" for k in range(n)])
        self.partition = np.repeat(list(sizes), list(sizes.values()))
        people = rng.integers(0, max(2, n // 6), n)
        # A person is in one partition.
        self.identities = np.array(
            [
                f"{part}{p}" if identities else None
                for part, p in zip(self.partition, people, strict=True)
            ],
            object,
        )
        self.labels = (rng.random((n, len(attributes))) < list(attributes.values())).astype(
            np.uint8
        )
        self.difficulty = rng.normal(size=(n, len(attributes)))

    def write(self, folder: Path) -> None:
        """data/download; the picture's bytes are its name."""
        folder.mkdir(parents=True)
        table = pd.DataFrame(self.labels.astype(bool), columns=list(self.attributes))
        table.insert(0, "image_id", self.image_ids)
        table.insert(1, "partition", self.partition)
        table.insert(2, "identity", self.identities)
        table["status"], table["error"] = "ok", None
        write_table(table, folder / ANNOTATIONS, annotations_schema(self.attributes))
        (folder / "images-00000-of-00001.parquet").write_bytes(self.name.encode())
        facts = {"source": "files", "celeba": self.celeba, "attributes": list(self.attributes)}
        write_manifest(folder, facts)


class Scene:
    """A repository at `folder`; every `add` makes one experiment of it."""

    def __init__(self, folder: Path, n_resamples: int = 200) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "-q", "-b", "main")
        (folder / ".dvc").mkdir()
        shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
        (folder / ".gitignore").write_text(
            ".dvc/cache\n.dvc/tmp\nin\ndata\nmlflow.db\nmlartifacts\n.facet\n"
        )
        text = (ROOT / "params.yaml").read_text()
        changed = {("evaluate", "n_resamples"): str(n_resamples), ("download", "source"): "files"}
        (folder / "params.yaml").write_text(
            patch_text(text, {**changed, ("download", "path"): "."})
        )
        shutil.copytree(ROOT / "recipes", folder / "recipes")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "start")

    def add(
        self,
        name: str,
        skill: float = 1.2,
        data: Data | None = None,
        settings: Mapping[str, str] | None = None,
        attributes: Sequence[str] | None = None,
        partitions: Sequence[str] = ("valid", "test"),
        seed: int = 0,
        is_cached: bool = True,
        is_evaluated: bool = True,
        n_epochs: int = 3,
        n_valid: int | None = None,
        helped: Mapping[str, float] | None = None,
    ) -> str:
        """Make an experiment; returns its commit. `workspace` stays in the workspace instead.

        Args:
            name: The experiment's.
            skill: Distance of the answers from the labels.
            data: What it is about.
            settings: Other values of params.yaml by dotted key, as YAML.
            attributes: What it learns, where not all.
            partitions: What is evaluated.
            seed: Of its own errors.
            is_cached: False: DVC's cache has nothing of it.
            is_evaluated: False: the training alone.
            n_epochs: Rows of history.csv.
            n_valid: Images of valid that are evaluated, where not all.
            helped: More skill for some attributes.
        """
        with chdir(self.folder):  # paths of params.yaml count from here
            return self._add(
                name, skill, data or Data(), settings or {}, attributes, partitions, seed,
                is_cached, is_evaluated, n_epochs, n_valid, helped or {},
            )  # fmt: skip

    def _add(
        self, name: str, skill: float, data: Data, settings: Mapping[str, str],
        attributes: Sequence[str] | None, partitions: Sequence[str], seed: int, is_cached: bool,
        is_evaluated: bool, n_epochs: int, n_valid: int | None, helped: Mapping[str, float],
    ) -> str:  # fmt: skip
        chosen = tuple(attributes or data.attributes)
        self._write_params(data, settings)
        data.write(self.folder / "data/download")
        parts = [self._draw(data, chosen, p, skill, seed, helped) for p in partitions]
        if n_valid:
            parts = [cut(part, n_valid) if part.name == "valid" else part for part in parts]
        self._write_prepare(data, chosen)
        self._write_training(name, chosen, skill, n_epochs)
        if is_evaluated:
            self._write_evaluation(parts)
        self._write_lock(is_cached, is_evaluated)
        if name == "workspace":
            return ""
        return self._keep(name)

    def _write_params(self, data: Data, settings: Mapping[str, str]) -> None:
        path = self.folder / "params.yaml"
        values = {tuple(key.split(".")): value for key, value in settings.items()}
        values[("download", "path")] = f"in/{data.name}"
        (self.folder / "in" / data.name).mkdir(parents=True, exist_ok=True)
        path.write_text(patch_text(path.read_text(), values))

    def _draw(
        self,
        data: Data,
        attributes: Sequence[str],
        partition: str,
        skill: float,
        seed: int,
        helped: Mapping[str, float],
    ) -> Part:
        rows = data.partition == partition
        columns = [data.attributes.index(name) for name in attributes]
        labels = data.labels[rows][:, columns]
        rng = np.random.default_rng([seed, len(partition)])
        noise = 0.9 * data.difficulty[rows][:, columns] + 0.4 * rng.normal(size=labels.shape)
        far = np.array([skill + helped.get(name, 0.0) for name in attributes])
        learned = data.labels[data.partition == "train"][:, columns]
        return Part(
            name=partition,
            attributes=list(attributes),
            image_ids=list(data.image_ids[rows]),
            identities=list(data.identities[rows]),
            probs=(1 / (1 + np.exp(-2 * ((2.0 * labels - 1) * far + noise)))).astype(np.float32),
            labels=labels,
            mask=np.ones(labels.shape, bool),
            majority=(learned.mean(0) > 0.5).astype(np.uint8),
        )

    def _write_prepare(self, data: Data, attributes: Sequence[str]) -> None:
        folder = self.folder / "data/prepare"
        folder.mkdir(parents=True)
        columns = [data.attributes.index(name) for name in attributes]
        for partition, n in data.sizes.items():
            rows = np.flatnonzero(data.partition == partition)
            writer = ShardWriter(folder, partition, n, shard_schema(2, 2, len(attributes)))
            for start in range(0, n, 256):
                at = rows[start : start + 256]
                labels = data.labels[at][:, columns]
                writer.write_group(
                    list(data.image_ids[at]),
                    list(data.identities[at]),
                    np.zeros((len(at), 2, 2, 3), np.uint8),
                    labels,
                    np.ones(labels.shape, bool),
                )
            writer.close()
        facts = {"attributes": list(attributes), "height_px": 2, "width_px": 2}
        write_manifest(folder, {**facts, "n_by_partition": data.sizes})

    def _write_training(
        self,
        name: str,
        attributes: Sequence[str],
        skill: float,
        n_epochs: int,
    ) -> None:
        params = load_params(self.folder / "params.yaml")
        weights = f"weights of {name} {skill}".encode()
        same = {
            "key": hashlib.sha256(name.encode()).hexdigest(),
            "network": params.train.network,
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "n_parameters": 1_000_000,
        }
        model = self.folder / "data/train/model"
        model.mkdir(parents=True)
        (model / "weights.safetensors").write_bytes(weights)
        train = params.train.model_dump(mode="json")
        prepare = params.prepare  # without a size pictures stay as cropped
        size = {
            "height_px": prepare.height_px or prepare.crop_height_px,
            "width_px": prepare.width_px or prepare.crop_width_px,
        }
        write_json(
            model / "model.json", {**same, **size, "attributes": list(attributes), "train": train}
        )
        facts = {"weights": params.train.weights, "n_train": 60, "best_epoch": n_epochs}
        reports = self.folder / "reports/train"
        write_csv(
            reports / "history.csv",
            [
                {**row, "valid_accuracy": round(0.8 + 0.1 * skill - 0.2 / row["epoch"], 6)}
                for row in make_history(n_epochs)
            ],
        )
        write_json(reports / "summary.json", {**same, **facts, "n_epochs_run": n_epochs})

    def _write_evaluation(self, parts: Sequence[Part]) -> None:
        summary = json.loads((self.folder / "reports/train/summary.json").read_text())
        params = load_params(self.folder / "params.yaml").evaluate
        params = params.model_copy(update={"n_resamples": 20})
        figures = {part.name: derive_figures(part, None, params) for part in parts}
        reports, out = self.folder / "reports/evaluate", self.folder / "data/evaluate"
        reports.mkdir(parents=True)
        out.mkdir(parents=True)
        write_json(reports / "metrics.json", {name: one.metrics for name, one in figures.items()})
        tables = [one.tables["per_attribute"] for one in figures.values()]
        (reports / "per_attribute.csv").write_text(to_csv(pd.concat(tables)))
        attributes = list(parts[0].attributes)
        rows = []
        for part in parts:
            table = pd.DataFrame(part.probs, columns=attributes)
            table.insert(0, "image_id", part.image_ids)
            table.insert(1, "partition", part.name)
            rows.append(table)
        write_table(pd.concat(rows), out / PREDICTIONS, predictions_schema(attributes))
        write_manifest(out, {"weights_sha256": summary["weights_sha256"]})

    def _write_lock(self, is_cached: bool, is_evaluated: bool) -> None:
        stages: dict[str, Any] = {}
        for stage, path in zip(STAGES, OUTS, strict=True):
            if (self.folder / path).exists():
                md5 = self._put_folder(path, is_cached)
                stages[stage] = {"outs": [{"path": path, "md5": md5, "hash": "md5"}]}
        if is_evaluated:
            md5 = stages["train"]["outs"][0]["md5"]
            stages["evaluate"]["deps"] = [{"path": "data/train", "md5": md5}]
        (self.folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))

    def _put_folder(self, path: str, is_cached: bool) -> str:
        entries = [
            {
                "md5": self._put(file.read_bytes(), is_cached),
                "relpath": file.relative_to(self.folder / path).as_posix(),
            }
            for file in sorted((self.folder / path).rglob("*"))
            if file.is_file()
        ]
        # The listing of a source is small and shared: another experiment's run left it there.
        return self._put(json.dumps(entries).encode(), is_cached or path == OUTS[0], ".dir")

    def _put(self, data: bytes, is_cached: bool, suffix: str = "") -> str:
        md5 = hashlib.md5(data).hexdigest() + suffix
        if is_cached:
            place = self.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return md5

    def _keep(self, name: str) -> str:
        """Move what lies in the workspace into an experiment."""
        folder = self.folder
        head = git(folder, "rev-parse", "HEAD")
        git(folder, "add", "-f", "params.yaml", "dvc.lock", "reports")
        git(folder, "commit", "-q", "-m", name)
        commit = git(folder, "rev-parse", "HEAD")
        git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
        git(folder, "reset", "-q", "--hard", head)
        for path in ("data", "reports"):
            shutil.rmtree(folder / path, ignore_errors=True)
        return commit


def cut(part: Part, n: int) -> Part:
    """The first n images of a part."""
    return Part(
        part.name,
        part.attributes,
        part.image_ids[:n],
        part.identities[:n],
        part.probs[:n],
        part.labels[:n],
        part.mask[:n],
        part.majority,
    )
