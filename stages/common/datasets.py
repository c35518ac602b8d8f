"""What a run read, as MLflow's data sets: one per partition of the prepared data, and `extra`.

Name and digest identify a data set in MLflow, so the same data have both alike in every run: the
digest is that of data/prepare/manifest.json, and a name that the store knows for it stays.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.store import TAG_DATA, Store

#: What a partition is for, which MLflow shows beside the data set's name.
CONTEXTS = {"train": "training", "valid": "validation", "test": "evaluation"}
DIGEST_CHARS = 12  # MLflow takes 36 at most and shows them beside the name
#: Parts of a path that every project has.
UNTOLD = {"/", "..", "data", "download", "prepare"}


@dataclass(frozen=True)
class Data:
    """The prepared data: data/prepare/manifest.json and its SHA-256, the tag facet.data."""

    manifest: Mapping[str, Any]
    sha256: str


def log_data(
    store: Store, run_id: str, data: Data, partitions: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """Make partitions of the prepared data inputs of a run; those it names already are left out.

    Returns:
        Name and digest by partition.
    """
    run = store.client.get_run(run_id)
    digest = data.sha256[:DIGEST_CHARS]
    name = find_name(store, digest)
    if name is None:
        is_own = run.data.tags.get(TAG_DATA, data.sha256) == data.sha256
        name = name_source(run.data.params) if is_own else "data"
    manifest = data.manifest
    attributes = manifest.get("attributes", ())
    datasets = {}
    for partition in partitions:
        profile = {
            "n_images": manifest["n_by_partition"][partition],
            "n_images_before_cleaning": manifest.get("n_source_by_partition", {}).get(partition),
            "n_attributes": len(attributes),
            "height_px": manifest.get("height_px"),
            "width_px": manifest.get("width_px"),
            "manifest_sha256": data.sha256,
        }
        datasets[partition] = make_dataset(f"{name} {partition}", digest, profile, attributes)
    add_inputs(store, run, [(datasets[name], CONTEXTS[name]) for name in datasets])
    return {name: (dataset.name, dataset.digest) for name, dataset in datasets.items()}


def log_extra(store: Store, run_id: str, path: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """Make the second set of an evaluation (`evaluate.extra`) an input of its run.

    Args:
        store: The opened store.
        run_id: The evaluation's run.
        path: Its folder; only a name is taken from it.
        facts: What data/evaluate/manifest.json says about it.

    Returns:
        Name and digest.
    """
    digest = facts["data_sha256"][:DIGEST_CHARS]
    dataset = make_dataset(f"{name_folder(path) or 'data'} extra", digest, facts, ())
    add_inputs(store, store.client.get_run(run_id), [(dataset, "evaluation")])
    return dataset.name, dataset.digest


def add_inputs(store: Store, run: Any, datasets: Iterable[tuple[Any, str]]) -> None:
    """Add data sets, each with what it is for, to the inputs of a run that lack them."""
    from mlflow.entities import DatasetInput, InputTag

    present = {
        (entry.dataset.name, entry.dataset.digest)
        for entry in (run.inputs.dataset_inputs if run.inputs else ())
    }
    new = [
        DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        for dataset, context in datasets
        if (dataset.name, dataset.digest) not in present
    ]
    if new:
        store.client.log_inputs(run.info.run_id, datasets=new)


def has_inputs(run: Any) -> bool:
    """True where a run names a data set."""
    return bool(run.inputs and run.inputs.dataset_inputs)


def find_name(store: Store, digest: str) -> str | None:
    """The name that data of this digest, without their partition, got first; None for new data."""
    runs = store.client.search_runs(
        [store.experiment_id],
        f"dataset.digest = '{digest}'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    names = [
        entry.dataset.name.rpartition(" ")[0]
        for run in runs
        for entry in run.inputs.dataset_inputs
        if entry.dataset.digest == digest
    ]
    return names[0] if names else None


def name_source(params: Mapping[str, str]) -> str:
    """Where a run's data came from, by its flat parameters: a name without a path.

    That of a folder or archive, or of a repository; else the kind of source.
    """
    source = params.get("download.source", "data")
    if source == "files":
        return name_folder(params.get("download.path", "")) or source
    if source in ("kaggle", "huggingface"):
        return params.get(f"download.{source}", source)
    return source


def name_folder(path: str) -> str:
    """The last part of a path that says something; empty where none does."""
    named = [part for part in Path(path).parts if part not in UNTOLD]
    return named[-1] if named else ""


def make_dataset(
    name: str, digest: str, profile: Mapping[str, Any], attributes: Iterable[str]
) -> Any:
    """An mlflow.entities.Dataset: its name, its columns and counts, and nothing of this machine."""
    from mlflow.entities import Dataset

    columns = [{"name": "image", "type": "binary", "required": True}]
    columns += [{"name": name, "type": "boolean", "required": False} for name in attributes]
    return Dataset(
        name=name,
        digest=digest,
        source_type="facet",
        source=json.dumps({"name": name}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(profile),
    )
