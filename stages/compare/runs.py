"""What can be compared: the workspace's result, DVC's experiments, any commit; and what cannot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from stages.common.errors import FacetError
from stages.common.files import read_json
from stages.common.results import (
    Experiment,
    Results,
    read_workspace,
    unpack_experiment,
)
from stages.compare.answers import Answers, read_answers
from stages.compare.data import Data, identify_data
from stages.compare.experiments import WORKSPACE, choose_experiments, list_unfinished
from stages.compare.origin import Origin, describe_origin

PARTITIONS = ("valid", "test")


@dataclass(frozen=True)
class Run:
    """A training with its evaluation, as git and DVC's cache hold it.

    Attributes:
        name: Of the experiment, or `workspace`, or as the user named a commit.
        commit: Where the results stand; None for the workspace.
        key: The training's. weights_sha256: of its weights.
        summary: reports/train/summary.json.
        history: reports/train/history.csv, one row per epoch.
        params: Parameters that were used, nested.
        model: model.json, or None where the cache lacks it.
        attributes: Names, in the order of the tables; empty where nothing was evaluated.
        metrics: metrics.json per partition; empty where nothing was evaluated.
        table: per_attribute.csv of valid and test.
        answers: What the model answered per partition, where it could be read.
        data: What it learned from and was evaluated on.
        origin: The recipe it comes from, and the command that makes it again.
        notes: What is missing, in sentences.
    """

    name: str
    commit: str | None
    key: str
    weights_sha256: str
    summary: dict[str, Any]
    history: pd.DataFrame
    params: dict[str, Any]
    model: dict[str, Any] | None
    attributes: tuple[str, ...]
    metrics: dict[str, dict[str, Any]]
    table: pd.DataFrame
    answers: dict[str, Answers]
    data: Data
    origin: Origin
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """The runs, and for each name without any the reason."""

    runs: list[Run]
    left_out: list[tuple[str, str]] = field(default_factory=list)


def collect_runs(root: Path, names: Sequence[str] = ()) -> Collected:
    """Read the workspace and all experiments, or those named.

    Args:
        root: The repository.
        names: Experiments, `workspace`, or commits as git names them; none for all experiments
            and the workspace.

    Raises:
        FacetError: a name is none of these.
    """
    experiments = choose_experiments(root, names)
    collected = Collected([])
    if not names:
        done = {experiment.name for experiment in experiments}
        collected.left_out.extend(one for one in list_unfinished(root) if one[0] not in done)
    for experiment in experiments:
        try:
            with unpack_experiment(root, experiment, link=True) as results:
                add_run(collected, root, results, experiment)
        except (FacetError, KeyError, OSError, ValueError) as error:
            collected.left_out.append((experiment.name, f"its files cannot be read: {error}"))
    if not names or WORKSPACE in names:
        add_workspace(collected, root, is_named=WORKSPACE in names)
    return collected


def add_run(
    collected: Collected, root: Path, results: Results | None, experiment: Experiment
) -> None:
    """Add a run, or the reason why there is none.

    Raises:
        FacetError, KeyError, OSError or ValueError: its files cannot be read.
    """
    if results is None:
        reason = "it holds no finished training (reports/train/summary.json)"
        collected.left_out.append((experiment.name, reason))
        return
    run = read_run(root, results, experiment.name, experiment.commit, experiment.baseline)
    collected.runs.append(run)


def add_workspace(collected: Collected, root: Path, is_named: bool) -> None:
    """Add the workspace's run, unless an experiment just left the same results there."""
    results = read_workspace()
    if results is None:
        reason = "it holds no finished training; `dvc repro` makes one"
        collected.left_out.append((WORKSPACE, reason))
        return
    try:
        run = read_run(root, results, WORKSPACE, None, "HEAD")
    except (FacetError, KeyError, OSError, ValueError) as error:
        collected.left_out.append((WORKSPACE, f"its files cannot be read: {error}"))
        return
    twins = [one.name for one in collected.runs if is_same(one, run)]
    if twins and not is_named:
        collected.left_out.append((WORKSPACE, f"it holds the same result as {twins[0]}"))
    else:
        collected.runs.append(run)


def is_same(a: Run, b: Run) -> bool:
    """True where training and evaluation are the same, with the same parameters."""
    return (a.key, a.weights_sha256, a.metrics, a.params.get("evaluate")) == (
        b.key,
        b.weights_sha256,
        b.metrics,
        b.params.get("evaluate"),
    )


def read_run(root: Path, results: Results, name: str, commit: str | None, baseline: str) -> Run:
    """Everything of one result, read into memory.

    Raises:
        FacetError, KeyError, OSError, ValueError: a file is not what its stage writes.
    """
    folder = results.folder
    notes: list[str] = []
    metrics, table = {}, pd.DataFrame({"partition": [], "attribute": []})
    if results.has_evaluation:
        every = read_json(folder / "reports/evaluate/metrics.json")
        metrics = {name: every[name] for name in PARTITIONS if name in every}
        table = read_csv(folder / "reports/evaluate/per_attribute.csv")
    elif (folder / "reports/evaluate/metrics.json").is_file():
        notes.append("its evaluation is of an older training and takes no part")
    else:
        notes.append("it was not evaluated")
    attributes = tuple(dict.fromkeys(table["attribute"].astype(str)))
    model_path = results.fetch("data/train/model/model.json")
    model = read_json(model_path) if model_path is not None else None
    if model is not None and model.get("weights_sha256") != results.weights_sha256:
        model = None
    if model is None:
        notes.append("DVC’s cache lacks its model.json: no count of operations")
    answers: dict[str, Answers] = {}
    if metrics:
        answers, missing = read_answers(results, tuple(metrics), attributes)
        notes += missing
    return Run(
        name=name,
        commit=commit,
        key=results.key,
        weights_sha256=results.weights_sha256,
        summary=read_json(folder / "reports/train/summary.json"),
        history=read_csv(folder / "reports/train/history.csv"),
        params=results.params,
        model=model,
        attributes=attributes,
        metrics=metrics,
        table=table[table["partition"].isin(PARTITIONS)],
        answers=answers,
        data=identify_data(root, results),
        origin=describe_origin(root, results.params, baseline),
        notes=tuple(notes),
    )


def read_csv(path: Path) -> pd.DataFrame:
    """A table of ours, in which an attribute may be called NA; only empty fields are undefined."""
    kinds = {"attribute": "str"}  # also where all names are numbers
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=kinds)


def iter_partitions(runs: Sequence[Run]) -> Iterator[str]:
    """Those of valid and test that a run was evaluated on."""
    for name in PARTITIONS:
        if any(name in run.metrics for run in runs):
            yield name
