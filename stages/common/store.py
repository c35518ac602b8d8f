"""The MLflow store: where it is, how it is opened, and how its runs are found and written.

mlflow takes a second to import and is therefore imported inside functions. Everything here raises
what MLflow raises; `tracking` turns that into one warning, `sync` into one line.
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.common.params import project_root

EXPERIMENT = "facet"
TAG_KEY = "facet.key"  # of the training: parameters, data and code
TAG_DATA = "facet.data"  # SHA-256 of data/prepare/manifest.json
TAG_WEIGHTS = "facet.weights"  # SHA-256 of weights.safetensors
TAG_EVALUATION = "facet.evaluation"  # parameters of the evaluation and weights
TAG_RESULTS = "facet.results"  # content of reports/evaluate
TAG_REPORT = "facet.report"  # content of reports/site
TAG_SEARCH = "facet.search"  # of a search's own run, the parent of its trainings
TAG_NAMES = "dvc.experiments"  # names of the DVC experiments that share this run
TAG_DEVICE = "facet.device"  # that a training ran on
SECONDS = "train/seconds"  # metric: of a training by the clock, all its attempts together
TAG_COMMITS = "dvc.experiment_commits"  # those of them that were synchronised in full

#: Opens MLflow's pages for model training rather than those for language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}

#: MLflow's own limits of one log_batch.
BATCH_METRICS, BATCH_PARAMS = 1000, 100
MAX_PARAM_CHARS = 6000

#: A server that does not answer must not hold up a training: seconds and tries, unless set.
REMOTE_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def is_off() -> bool:
    """True where FACET_TRACKING=off switches tracking off."""
    return os.environ.get("FACET_TRACKING", "").lower() in ("off", "0", "false", "no")


def state_folder() -> Path:
    """`.facet` at the repository's root: locks and checkpoints, ignored by git."""
    folder = project_root().absolute() / ".facet"
    folder.mkdir(exist_ok=True)
    return folder


def store_uri() -> str:
    """MLFLOW_TRACKING_URI, or mlflow.db at the repository's root, also for temporary experiments.

    A relative SQLite path counts from the root as well: counted from the folder of a temporary
    experiment the store would be deleted with it.
    """
    root = project_root().absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        return f"sqlite:///{root / uri.removeprefix('sqlite:///')}"
    return uri


def shown_uri() -> str:
    """`store_uri` without user name and password, for messages."""
    scheme, found, rest = store_uri().partition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2]}"


@dataclass(frozen=True)
class Store:
    """An opened store; `client` is an mlflow.MlflowClient."""

    client: Any
    experiment_id: str

    def find_runs(self, **tags: str) -> list[Any]:
        """Runs with these tags (`facet__key` stands for `facet.key`), the newest first."""
        terms = [f"tags.`{name.replace('__', '.')}` = '{value}'" for name, value in tags.items()]
        found, token = [], None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                " and ".join(terms),
                max_results=1000,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found

    def create_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Create a run with flattened parameters; returns its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags))
        self.log_params(run, params)
        return run.info.run_id

    def log_params(self, run: Any, params: Mapping[str, Any]) -> None:
        """Log nested parameters that the run does not hold yet (MLflow refuses to change one)."""
        from mlflow.entities import Param

        flat = flatten_params(params)
        new = [Param(key, text) for key, text in flat.items() if key not in run.data.params]
        for start in range(0, len(new), BATCH_PARAMS):
            batch = new[start : start + BATCH_PARAMS]
            self.client.log_batch(run.info.run_id, params=batch)

    def log_metrics(
        self,
        run_id: str,
        metrics: Mapping[str, float | None],
        step: int = 0,
        model_id: str | None = None,
        dataset: tuple[str, str] | None = None,
    ) -> None:
        """Log the finite ones of `metrics`, a thousand at a time; undefined ones are left out.

        Args:
            run_id: The run.
            metrics: Values by name.
            step: The epoch.
            model_id: MLflow's model that they are of, on whose page they then stand as well.
            dataset: Name and digest of the data set that they were measured on.
        """
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        entries = [
            Metric(clean_name(name), float(value), now_ms, step, model_id, *(dataset or ()))
            for name, value in metrics.items()
            if value is not None and math.isfinite(value)
        ]
        for start in range(0, len(entries), BATCH_METRICS):
            batch = entries[start : start + BATCH_METRICS]
            self.client.log_batch(run_id, metrics=batch)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags in one call."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def logged_epochs(self, run: Any) -> set[int]:
        """Steps of a run's first epoch metric: what it holds of a training that goes on."""
        names = sorted(name for name in run.data.metrics if name.startswith("epoch/"))
        if not names:
            return set()
        history = self.client.get_metric_history(run.info.run_id, names[0])
        return {metric.step for metric in history}

    def drop_artifacts(self, run_id: str, name: str) -> None:
        """Delete a run's own files below `name`, if there are any; not those of its model."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(self.client.get_run(run_id).info.artifact_uri)
        if repository.list_artifacts(name):
            repository.delete_artifacts(name)

    def replace_artifacts(self, run_id: str, folder: Path, name: str) -> None:
        """Log a folder's files as `name`, without files of that name from before."""
        self.drop_artifacts(run_id, name)
        self.client.log_artifacts(run_id, str(folder), name)


def open_store() -> Store:
    """Open the store; the first one to come creates it, the others wait.

    Raises:
        ModuleNotFoundError: mlflow is not installed.
        Exception: whatever MLflow raises when the store cannot be opened.
    """
    silence_mlflow()
    uri = store_uri()
    is_remote = not uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))
    if uri.startswith("http"):
        for name, value in REMOTE_LIMITS.items():
            os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    lock = nullcontext() if is_remote else FileLock(state_folder() / "store.lock", timeout=120)
    with lock:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return Store(client, experiment.experiment_id)
        # Without a location of its own an experiment's artifacts go to the folder of whoever
        # created it, which may be a temporary one. A server knows best where it keeps its own.
        artifacts = (project_root().absolute() / "mlartifacts").as_uri()
        location = None if is_remote else artifacts
        return Store(client, client.create_experiment(EXPERIMENT, location, KIND))


def silence_mlflow() -> None:
    """No telemetry, and no lines about database migrations; before mlflow is imported."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"  # a saved model takes no lock file of uv along
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{"train": {"lr": 0.001}} as {"train.lr": "0.001"}; lists and null as JSON."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten_params(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[f"{prefix}{key}"] = text[:MAX_PARAM_CHARS]
    return flat


def clean_name(name: str) -> str:
    """`name` with characters that MLflow refuses in a metric's name as underscores."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)


def merge_words(present: str, words: Iterable[str]) -> str:
    """Names or commits as one tag: sorted, separated by spaces."""
    return " ".join(sorted({*present.split(), *words}))
