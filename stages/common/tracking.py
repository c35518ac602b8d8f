"""What training and evaluation tell MLflow. Nothing here ever fails a stage.

FACET_TRACKING=off switches all of it off. An error of MLflow is logged once and the stage goes on:
`facet sync` adds later what is missing.
"""

import logging
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from stages.common import store as mlstore
from stages.common.datasets import Data
from stages.common.files import MANIFEST, hash_file, read_json
from stages.common.records import (
    default_name,
    epoch_metrics,
    git_tags,
    log_learned,
    log_trained,
    log_training_files,
    merge_runs,
    record_evaluation,
    source_tags,
)
from stages.common.searches import parent_tags
from stages.common.store import Store

logger = logging.getLogger(__name__)


@contextmanager
def tolerated(action: str) -> Iterator[None]:
    """Turn any error of the block into one logged line: MLflow must not fail a stage."""
    try:
        yield
    except ModuleNotFoundError as error:
        logger.info("MLflow: package %s is not installed, nothing is tracked", error.name)
    except Exception as error:
        reason = describe_error(error)
        logger.warning("MLflow: %s failed, `facet sync` adds it later: %s", action, reason)


def describe_error(error: Exception) -> str:
    """An error as one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


class TrainingRun:
    """The MLflow run of a training; without a store every method does nothing."""

    def __init__(self, store: Store | None = None, run_id: str = "", key: str = "") -> None:
        self._store = store
        self.run_id = run_id
        self.key = key
        self._is_broken = store is None
        self._logged_epochs: set[int] = set()
        self._earlier_s = 0.0  # of attempts that were interrupted
        self._started = perf_counter()

    @classmethod
    def open(
        cls,
        key: str,
        params: Mapping[str, Any],
        data: Data | None,
        resume: bool,
    ) -> Self:
        """Continue the unfinished run of `key`, or create one.

        An unfinished run of a training that starts anew was killed, for checkpoints keep a second
        worker off a key: it is closed as KILLED instead of standing there as running for ever.
        """
        store = mlstore.open_store()
        name = os.environ.get("DVC_EXP_NAME")
        tags = {
            mlstore.TAG_KEY: key,
            **source_tags("train"),
            **git_tags(),
            **({mlstore.TAG_NAMES: name} if name else {}),
            mlstore.TAG_DEVICE: describe_device(params.get("train", {})),
            **parent_tags(store, name),
            **({} if data is None else {mlstore.TAG_DATA: data.sha256}),
        }
        unfinished = [
            run
            for run in store.find_runs(facet__key=key)
            if mlstore.TAG_WEIGHTS not in run.data.tags and run.info.status != "FINISHED"
        ]
        if resume and unfinished:
            newest = unfinished[0]
            run = cls(store, newest.info.run_id, key)
            run._logged_epochs = store.logged_epochs(newest)
            run._earlier_s = newest.data.metrics.get(mlstore.SECONDS, 0.0)
            store.client.update_run(run.run_id, status="RUNNING")
            store.set_tags(run.run_id, tags)
            store.log_params(newest, params)
            run._log_data(data)
            return run
        for killed in unfinished:
            if killed.info.status == "RUNNING":
                store.client.set_terminated(killed.info.run_id, "KILLED")
        run_id = store.create_run(name or default_name(params, key), params, tags)
        run = cls(store, run_id, key)
        run._log_data(data)
        return run

    def _log_data(self, data: Data | None) -> None:
        """Name the data set; where that fails everything else is logged all the same."""
        if self._store is not None:
            with tolerated("the data set"):
                log_learned(self._store, self.run_id, data)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the numbers of one epoch (from 1) as `epoch/<name>`, once also after a resume.

        With them goes `train/seconds`: the clock's time since the data were read, validation
        included, and that of interrupted attempts up to their last epoch.
        """
        if self._store is None or self._is_broken or epoch in self._logged_epochs:
            return
        with self._tolerated(f"epoch {epoch}"):
            seconds = {mlstore.SECONDS: self._earlier_s + perf_counter() - self._started}
            self._store.log_metrics(self.run_id, epoch_metrics(metrics) | seconds, step=epoch)

    def finish(self, model: Path, reports: Path, weights_sha256: str) -> None:
        """Log the model's folder, the tables of `reports` and the curves; tag the weights' hash.

        A repetition of a training that gave the same weights adds no second run: the first one
        takes its name.
        """
        if self._store is None or self._is_broken:
            return
        store = self._store
        with self._tolerated("the result"):
            twins = store.find_runs(facet__key=self.key, facet__weights=weights_sha256)
            if twins:
                merge_runs(store, self.run_id, twins[-1])
                self._store, self.run_id = None, twins[-1].info.run_id
            else:
                log_training_files(store, self.run_id, reports, weights_sha256)
        if not self._is_broken:
            with tolerated("the model"):  # everything else is there all the same
                log_trained(store, self.run_id, model, reports)

    def close(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; FAILED where MLflow missed a part."""
        if self._store is None:
            return
        if self._is_broken:
            with suppress(Exception):
                self._store.client.set_terminated(self.run_id, "FAILED")
            return
        with self._tolerated("the end of the run"):
            self._store.client.set_terminated(self.run_id, status)

    @contextmanager
    def _tolerated(self, action: str) -> Iterator[None]:
        """As `tolerated`; after a first failure this run logs nothing more, so one line is all."""
        with tolerated(action):
            try:
                yield
            except Exception:
                self._is_broken = True
                raise


def describe_device(train: Mapping[str, Any]) -> str:
    """Name and number of the devices of a `train` section on this machine."""
    import torch

    n = int(train.get("devices", 1)) * int(train.get("n_nodes", 1))
    if train.get("device") != "cpu" and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return f"{n} x {name}" if n > 1 else name
    names = [
        line.partition(":")[2].strip()
        for path in (Path("/proc/cpuinfo"),)
        if path.is_file()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.processor() or platform.machine()
    n_threads = n * torch.get_num_threads()
    return f"{name}, {n_threads} thread{'' if n_threads == 1 else 's'}"


@contextmanager
def start_training(
    key: str,
    params: Mapping[str, Any],
    data: Data | None = None,
    resume: bool = False,
) -> Iterator[TrainingRun]:
    """The run of a training: FINISHED when the block ends, FAILED or KILLED when it raises.

    Args:
        key: The training's key, a hash of parameters, data and code.
        params: The whole of params.yaml, nested.
        data: What is learned from; becomes inputs of the run, and the tag facet.data.
        resume: The training goes on from a checkpoint: its run goes on as well.
    """
    run = TrainingRun()
    if not mlstore.is_off():
        with tolerated("opening the store"):
            run = TrainingRun.open(key, params, data, resume)
    try:
        yield run
    except Exception:
        run.close("FAILED")
        raise
    except BaseException:
        run.close("KILLED")
        raise
    run.close("FINISHED")


def log_evaluation(
    model: Mapping[str, Any],
    evaluate: Mapping[str, Any],
    reports: Path,
    out: Path,
    data: Data | None = None,
) -> None:
    """Log an evaluation to its training's run, or to one of its own; a repetition changes nothing.

    Args:
        model: model.json of the evaluated model.
        evaluate: The section `evaluate` of params.yaml.
        reports: reports/evaluate with metrics.json and the CSV files.
        out: data/evaluate; the hash of its manifest.json becomes a tag.
        data: The prepared data; what was evaluated of them becomes inputs of the run.
    """
    if mlstore.is_off():
        return
    with tolerated("the evaluation"):
        store = mlstore.open_store()
        key, weights = model["key"], model["weights_sha256"]
        runs = store.find_runs(facet__key=key, facet__weights=weights)
        if not runs:
            logger.info("MLflow: no run of this training yet, `facet sync` adds it")
            return
        extra = read_json(out / MANIFEST).get("extra")
        run_id = record_evaluation(store, runs, evaluate, reports, data=data, extra=extra)[0]
        store.set_tags(run_id, {"facet.predictions": hash_file(out / MANIFEST)})
