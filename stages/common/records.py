"""What an MLflow run of Facet holds: how a training and its evaluation are written into one.

One run per training, found by the training's key and the hash of its weights, with its evaluation
in it; an evaluation with other parameters of the same weights gets a run of its own.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common import store as mlstore
from stages.common.datasets import Data, log_data, log_extra
from stages.common.files import hash_file, read_json
from stages.common.metrics import ERROR_NAMES, SCORE_NAMES
from stages.common.pyfunc import find_model, log_model
from stages.common.store import Store
from stages.common.tables import PARTITIONS

#: Columns of per_attribute.csv that become metrics such as test/accuracy/Eyeglasses.
ATTRIBUTE_METRICS = ("accuracy", "gain", *SCORE_NAMES[1:], *ERROR_NAMES)

#: Columns of history.csv that are listed first: MLflow draws the first metric unless told other.
EPOCH_FIRST = ("valid_accuracy", "valid_loss", "train_loss")
#: Figures of two partitions, by what they are of.
PAIRS = {"shift": "valid_to_test"}


def record_evaluation(
    store: Store,
    runs: list[Any],
    evaluate: Mapping[str, Any],
    reports: Path,
    replace: bool = True,
    data: Data | None = None,
    extra: Mapping[str, Any] | None = None,
) -> tuple[str, bool]:
    """Log an evaluation to the right one of a training's runs.

    Args:
        store: The opened store.
        runs: All runs of one training (same key and weights), at least one.
        evaluate: The section `evaluate` of params.yaml.
        reports: reports/evaluate.
        replace: Whether other figures of the same evaluation (by other code) are replaced.
        data: The prepared data; what was evaluated of them becomes inputs of the run.
        extra: Facts of the second set (`evaluate.extra`), which becomes one as well.

    Returns:
        The run's id, and whether anything was logged.
    """
    tags = runs[0].data.tags
    evaluation = hash_json({"evaluate": evaluate, "weights": tags[mlstore.TAG_WEIGHTS]})
    results = hash_folder(reports)
    same = [run for run in runs if run.data.tags.get(mlstore.TAG_EVALUATION) == evaluation]
    free = [run for run in runs if mlstore.TAG_EVALUATION not in run.data.tags]
    if same:
        run_id = same[0].info.run_id
        if not replace or same[0].data.tags.get(mlstore.TAG_RESULTS) == results:
            log_evaluated(store, run_id, evaluate, reports, data, extra)
            return run_id, False
    elif free:
        run_id = free[0].info.run_id
    else:
        run_id = create_evaluation_run(store, runs[-1], evaluate, evaluation)
    datasets = log_evaluated(store, run_id, evaluate, reports, data, extra)
    model_id = find_model(store, runs[-1].info.run_id)
    log_evaluation_files(store, run_id, reports, model_id, datasets)
    store.set_tags(run_id, {mlstore.TAG_EVALUATION: evaluation, mlstore.TAG_RESULTS: results})
    return run_id, True


def log_learned(store: Store, run_id: str, data: Data | None) -> None:
    """Log the partitions that a training reads as inputs of its run."""
    if data is not None:
        log_data(store, run_id, data, ("train", "valid"))


def log_evaluated(
    store: Store,
    run_id: str,
    evaluate: Mapping[str, Any],
    reports: Path,
    data: Data | None,
    extra: Mapping[str, Any] | None,
) -> dict[str, tuple[str, str]]:
    """Log what an evaluation read as inputs of its run; returns name and digest by partition."""
    datasets: dict[str, tuple[str, str]] = {}
    if data is not None:
        figures = read_json(reports / "metrics.json")
        names = [name for name in PARTITIONS if name in figures]
        datasets = log_data(store, run_id, data, names)
    if extra and evaluate.get("extra"):
        datasets["extra"] = log_extra(store, run_id, evaluate["extra"], extra)
    return datasets


def create_evaluation_run(
    store: Store, training: Any, evaluate: Mapping[str, Any], evaluation: str
) -> str:
    """A run of its own for one more evaluation of a training; returns its id."""
    from mlflow.entities import LoggedModelInput

    kept = {
        name: text
        for name, text in training.data.params.items()
        if not name.startswith("evaluate.")
    }
    inherited = (mlstore.TAG_KEY, mlstore.TAG_WEIGHTS, mlstore.TAG_DATA)
    tags = {name: training.data.tags[name] for name in inherited if name in training.data.tags}
    tags |= {"facet.training_run": training.info.run_id, **source_tags("evaluate"), **git_tags()}
    name = os.environ.get("DVC_EXP_NAME")
    if name:
        tags[mlstore.TAG_NAMES] = name
    title = name or f"{training.info.run_name}-evaluation-{evaluation[:4]}"
    run_id = store.create_run(title, {**kept, "evaluate": evaluate}, tags)
    model_id = find_model(store, training.info.run_id)
    if model_id is not None:
        store.client.log_inputs(run_id, models=[LoggedModelInput(model_id)])
    store.client.set_terminated(run_id, "FINISHED")
    return run_id


def merge_runs(store: Store, run_id: str, twin: Any) -> None:
    """Delete a run whose training repeated `twin`'s; `twin` takes its experiment name."""
    names = store.client.get_run(run_id).data.tags.get(mlstore.TAG_NAMES, "")
    present = twin.data.tags.get(mlstore.TAG_NAMES, "")
    if names:
        merged = mlstore.merge_words(present, names.split())
        store.set_tags(twin.info.run_id, {mlstore.TAG_NAMES: merged})
    store.client.delete_run(run_id)


def log_training_files(store: Store, run_id: str, reports: Path, weights_sha256: str) -> None:
    """Log a training's tables and curves, then tag the run with the weights' hash."""
    import pandas as pd

    from stages.common.charts import draw_training

    store.client.log_artifacts(run_id, str(reports), "train")
    figure = draw_training(pd.read_csv(reports / "history.csv"))
    store.client.log_figure(run_id, figure, "charts/training.png")
    store.set_tags(run_id, {mlstore.TAG_WEIGHTS: weights_sha256})


def log_trained(store: Store, run_id: str, model: Path | None, reports: Path) -> None:
    """Log a training's model, where it is at hand and the run has none."""
    if model is not None:
        train = read_json(model / "model.json")["train"]
        summary = read_json(reports / "summary.json")
        step = count_earlier(summary, train) + summary["best_epoch"]
        log_model(store, run_id, model, step)


def count_earlier(summary: Mapping[str, Any], train: Mapping[str, Any]) -> int:
    """Steps that a training's earlier generations take in MLflow, before those of history.csv.

    Args:
        summary: reports/train/summary.json.
        train: The section `train` of params.yaml.
    """
    n_earlier = len(summary.get("generations", ())) - 1  # older results have none
    return n_earlier * int(train["n_epochs"]) if n_earlier > 0 else 0


def log_evaluation_files(
    store: Store,
    run_id: str,
    reports: Path,
    model_id: str | None,
    datasets: Mapping[str, tuple[str, str]],
) -> None:
    """Log metrics such as `test/gain` and `test/accuracy/Eyeglasses`, a chart and the tables.

    MLflow's pages make a group of charts of what stands before a name's last `/`, and list metrics
    as they came: what a person looks for first comes first.

    Args:
        store: The opened store.
        run_id: The evaluation's run.
        reports: reports/evaluate.
        model_id: MLflow's model that was evaluated; the figures of whole partitions are its own.
        datasets: Name and digest of MLflow's data sets by partition.
    """
    import pandas as pd

    from stages.common.charts import draw_accuracy

    figures = read_json(reports / "metrics.json")
    order = [name for name in reversed(PARTITIONS) if name in figures]
    parts: dict[str, float | None] = {}
    for partition in (*order, *(name for name in figures if name not in order)):
        shown = PAIRS.get(partition, partition)
        whole: dict[str, float | None] = {}
        for name, value in figures[partition].items():
            if isinstance(value, dict):  # figures with something left out: test/without_leaks/gain
                parts |= {f"{shown}/{name}/{key}": part for key, part in value.items()}
            else:
                whole[f"{shown}/{name}"] = value
        store.log_metrics(run_id, whole, model_id=model_id, dataset=datasets.get(partition))
    table = pd.read_csv(reports / "per_attribute.csv", keep_default_na=False, na_values=[""])
    for row in table.to_dict("records"):
        for name in ATTRIBUTE_METRICS:
            if name in row:  # results of older code lack some
                parts[f"{row['partition']}/{name}/{row['attribute']}"] = row[name]
    store.log_metrics(run_id, parts)
    store.client.log_artifacts(run_id, str(reports), "evaluate")
    for partition in table["partition"].unique():
        figure = draw_accuracy(table, partition)
        store.client.log_figure(run_id, figure, f"charts/accuracy_{partition}.png")


def epoch_metrics(row: Mapping[str, float]) -> dict[str, float | None]:
    """A row of history.csv as metrics: `epoch/train_loss`; the epoch itself is the step."""
    order = [*(name for name in EPOCH_FIRST if name in row), *row]
    return {f"epoch/{name}": row[name] for name in order if name != "epoch"}


def source_tags(stage: str) -> dict[str, str]:
    """What MLflow shows as a run's source, beside the commit."""
    return {"mlflow.source.name": f"python -m stages.{stage}", "mlflow.source.type": "LOCAL"}


def default_name(params: Mapping[str, Any], key: str) -> str:
    """A run's name outside of DVC experiments: network and the start of the key."""
    return f"{params.get('train', {}).get('network', 'training')}-{key[:8]}"


def git_tags() -> dict[str, str]:
    """Commit of the code, and whether code or environment differ from it; empty outside of git.

    Figures and parameters differ during a run by nature and are recorded by value.
    """
    code = ("stages", "pyproject.toml", "requirements.lock")
    try:
        commit = os.environ.get("DVC_EXP_BASELINE_REV") or _git("rev-parse", "HEAD")
        is_dirty = bool(_git("status", "--porcelain", "--", *code))
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": commit, "facet.git_dirty": str(is_dirty).lower()}


def hash_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in which 1 and 1.0 are the same."""
    text = json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_folder(folder: Path) -> str:
    """One hash of the names and MD5 sums of a folder's files (MD5 is what DVC's cache knows)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hash_json(
        {path.relative_to(folder).as_posix(): hash_file(path, "md5") for path in files}
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
