"""python -m stages.common.sync: bring into MLflow what is missing there; a repetition adds nothing.

Missing is what DVC restored from its run cache, what an outage of the store kept out, and what was
run elsewhere and pulled. The second command of the stage `report`, and `facet sync` by hand.
"""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from stages.common import store as mlstore
from stages.common.datasets import Data, has_inputs
from stages.common.entry import run_guarded
from stages.common.errors import FacetError
from stages.common.files import hash_file, read_json
from stages.common.params import project_root
from stages.common.pyfunc import find_model
from stages.common.records import (
    count_earlier,
    default_name,
    epoch_metrics,
    git_tags,
    hash_folder,
    log_learned,
    log_trained,
    log_training_files,
    record_evaluation,
    source_tags,
)
from stages.common.results import Results, list_experiments, read_workspace, unpack_experiment
from stages.common.store import Store
from stages.common.tracking import describe_error

logger = logging.getLogger(__name__)


@dataclass
class Counts:
    """What was added."""

    looked_at: int = 0
    trainings: int = 0
    evaluations: int = 0
    reports: int = 0
    names: int = 0

    def describe(self) -> str:
        """One closing line."""
        return (
            f"sync: added {self.trainings} trainings, {self.evaluations} evaluations, "
            f"{self.reports} reports, {self.names} experiment names "
            f"({self.looked_at} results compared with the store)"
        )


def synchronise() -> Counts:
    """Add what the workspace and DVC's experiments hold and the store lacks.

    Raises:
        Exception: whatever MLflow raises.
    """
    counts = Counts()
    root = project_root().absolute()
    store = mlstore.open_store()
    with FileLock(mlstore.state_folder() / "sync.lock", timeout=600):
        workspace = read_workspace()
        if workspace is not None:
            add_results(store, workspace, counts, git_tags(), replace=True)
        complete = {
            commit
            for run in store.find_runs()
            if has_inputs(run)  # runs of older code lack them
            for commit in run.data.tags.get(mlstore.TAG_COMMITS, "").split()
        }
        for experiment in list_experiments(root):
            if experiment.commit in complete:
                counts.looked_at += 1
                continue
            with unpack_experiment(root, experiment) as results:
                if results is None:
                    continue
                tags = {"mlflow.source.git.commit": experiment.baseline}
                run_id = add_results(store, results, counts, tags, replace=False)
                if results.fetch("data/train/model") is not None:
                    run = store.client.get_run(run_id)
                    present = run.data.tags.get(mlstore.TAG_COMMITS, "")
                    commits = mlstore.merge_words(present, [experiment.commit])
                    store.set_tags(run_id, {mlstore.TAG_COMMITS: commits})
    return counts


def add_results(
    store: Store, results: Results, counts: Counts, tags: Mapping[str, str], replace: bool
) -> str:
    """Add what the store lacks of one training, its evaluation, its report and its names.

    Args:
        store: The opened store.
        results: Where they come from.
        counts: Counted up.
        tags: Tags of a run that has to be created.
        replace: Whether other figures and another report of the same evaluation are replaced: the
            workspace does, while of several experiments that share a run the first one stays.

    Returns:
        Id of the run that holds the evaluation (the training, where there is none).
    """
    counts.looked_at += 1
    same = {"facet__key": results.key, "facet__weights": results.weights_sha256}
    runs = store.find_runs(**same)
    if not runs:
        add_training(store, results, tags)
        counts.trainings += 1
        runs = store.find_runs(**same)
    if find_model(store, runs[-1].info.run_id) is None:
        model = results.fetch("data/train/model")
        log_trained(store, runs[-1].info.run_id, model, results.folder / "reports/train")
    data = read_data(results)
    if data is not None and runs[-1].data.tags.get(mlstore.TAG_DATA, data.sha256) != data.sha256:
        data = None  # prepared anew since
    log_learned(store, runs[-1].info.run_id, data)
    run_id = runs[0].info.run_id
    if results.has_evaluation:
        section, reports = results.params["evaluate"], results.folder / "reports/evaluate"
        made = results.fetch("data/evaluate/manifest.json")
        extra = read_json(made).get("extra") if made else None
        run_id, is_new = record_evaluation(store, runs, section, reports, replace, data, extra)
        counts.evaluations += is_new
    run = store.client.get_run(run_id)
    if set(results.names) - set(run.data.tags.get(mlstore.TAG_NAMES, "").split()):
        names = mlstore.merge_words(run.data.tags.get(mlstore.TAG_NAMES, ""), results.names)
        store.set_tags(run_id, {mlstore.TAG_NAMES: names})
        counts.names += 1
    if results.has_report and (replace or mlstore.TAG_REPORT not in run.data.tags):
        counts.reports += add_report(store, run, results)
    return run_id


def read_data(results: Results) -> Data | None:
    """The data of a training, or None where their manifest is not at hand."""
    path = results.fetch("data/prepare/manifest.json")
    if path is None:
        return None
    return Data(read_json(path), hash_file(path))


def add_training(store: Store, results: Results, tags: Mapping[str, str]) -> None:
    """Create the run of a training, or complete one that an outage left without its model."""
    import pandas as pd

    tags = {mlstore.TAG_KEY: results.key, "facet.origin": "sync", **source_tags("train"), **tags}
    data = read_data(results)
    if data is not None:
        tags[mlstore.TAG_DATA] = data.sha256
    begun = [
        run
        for run in store.find_runs(facet__key=results.key)
        if mlstore.TAG_WEIGHTS not in run.data.tags
    ]
    logged: set[int] = set()
    if begun:
        run_id, logged = begun[0].info.run_id, store.logged_epochs(begun[0])
        store.log_params(begun[0], results.params)
    else:
        title = results.names[0] if results.names else default_name(results.params, results.key)
        run_id = store.create_run(title, results.params, tags)
    reports = results.folder / "reports/train"
    summary = read_json(reports / "summary.json")
    n_earlier = count_earlier(summary, results.params["train"])
    for row in pd.read_csv(reports / "history.csv").to_dict("records"):
        step = n_earlier + int(row["epoch"])
        if step not in logged:
            store.log_metrics(run_id, epoch_metrics(row), step=step)
    log_training_files(store, run_id, reports, results.weights_sha256)
    store.client.set_terminated(run_id, "FINISHED")


def add_report(store: Store, run: Any, results: Results) -> bool:
    """Attach the HTML report as `report` where the run has none or another; True if it did."""
    site = results.fetch("reports/site")
    if site is None:
        return False
    content = hash_folder(site)
    if run.data.tags.get(mlstore.TAG_REPORT) == content:
        return False
    store.replace_artifacts(run.info.run_id, site, "report")
    store.set_tags(run.info.run_id, {mlstore.TAG_REPORT: content})
    return True


def sync(in_pipeline: bool) -> str:
    """Synchronise; returns one line of counts.

    Args:
        in_pipeline: An outage is a warning: the pipeline's results do not depend on MLflow.

    Raises:
        FacetError: the store cannot be used, and this is no pipeline.
    """
    if mlstore.is_off():
        return "sync: tracking is switched off (FACET_TRACKING=off)"
    try:
        return synchronise().describe()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "mlflow":
            raise
        return "sync: mlflow is not installed, nothing is tracked"
    except Exception as error:
        reason = f"MLflow store {mlstore.shown_uri()}: {describe_error(error)}"
        if not in_pipeline:
            raise FacetError(f"{reason}; check MLFLOW_TRACKING_URI, then `facet sync`") from error
        logger.warning("sync: %s; `facet sync` tries again", reason)
        return "sync: nothing added"


def main() -> str:
    """The command; DVC sets DVC_STAGE in the pipeline."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return sync(in_pipeline="DVC_STAGE" in os.environ)


if __name__ == "__main__":
    run_guarded(main)
