"""The pipeline and DVC's experiments, played once in a copy of the repository with a tiny demo.

The scenario is one fixture, as each of its steps costs seconds; the tests look at what it recorded.
"""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
NAMES = tuple(STAGES)

#: Enough of every fault in few, small images; a small network and one epoch.
TINY = {
    ("download", "demo", "n_images"): 240,
    ("download", "demo", "faults", "byte_copy"): 0.03,
    ("download", "demo", "faults", "conflict_copy"): 0.03,
    ("download", "demo", "faults", "leak_copy"): 0.03,
    ("explore", "n_images"): 50,
    ("prepare", "height_px"): 32,
    ("prepare", "width_px"): 32,
    ("train", "network"): "uab_cnn",
    ("train", "weights"): "none",
    ("train", "batch_size"): 32,
    ("train", "n_epochs"): 1,
    ("report", "n_gallery"): 2,
}

pytestmark = pytest.mark.slow


@dataclass
class Played:
    """What the scenario left: the repository, what commands printed, and seconds they took."""

    root: Path
    outputs: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    runs: dict[str, list[Any]] = field(default_factory=dict)
    differences: dict[str, list[str]] = field(default_factory=dict)

    def run(self, name: str, command: str, **variables: str) -> str:
        """Run a command in the repository; its output is recorded under a name."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FACET_TRACKING": "on",
            "OMP_NUM_THREADS": "1",  # tiny tensors, and the machine runs other tests as well
            **variables,
        }
        started = time.monotonic()
        # Into a file: the queue's worker outlives its command and would keep a pipe open.
        with (self.root.parent / "output.txt").open("w+") as file:
            done = subprocess.run(
                shlex.split(command), cwd=self.root, env=environment, stdout=file, stderr=file
            )
            file.seek(0)
            output = file.read()
        self.seconds[name] = time.monotonic() - started
        self.outputs[name] = output
        if done.returncode != 0:
            raise RuntimeError(f"{command}\n{output[-3000:]}")
        return output

    def try_run(self, command: str) -> str:
        """What a command prints that must fail."""
        with pytest.raises(RuntimeError) as caught:
            self.run("a failure", command, FACET_TRACKING="off")
        return str(caught.value)

    def look_at_store(self, name: str) -> None:
        """Record the MLflow runs of this moment."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{self.root}/mlflow.db")
        experiment = client.get_experiment_by_name("facet")
        self.runs[name] = (
            [] if experiment is None else client.search_runs([experiment.experiment_id])
        )

    def wait_for_queue(self) -> None:
        """`dvc queue start` returns at once; its worker goes on."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            status = self.run("queue status", "dvc queue status")
            if not any(word in status for word in ("Queued", "Running")):
                return
            time.sleep(2)
        pytest.fail(f"the queue did not end: {status}")


def copy_repository(target: Path) -> None:
    """Copy what git tracks or would track, with tiny parameters, into a repository of its own."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "reports/", "dvc.lock")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    yaml = YAML()
    params = yaml.load((target / "params.yaml").read_text())
    for path, value in TINY.items():
        section = params
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
    with (target / "params.yaml").open("w") as file:
        yaml.dump(params, file)


@contextmanager
def spoilt_truth(played: Played) -> Iterator[None]:
    """The demo's truth file holds rubbish of the same length: who opens it fails."""
    truth = played.root / "data/download/truth.parquet"
    kept = truth.rename(played.root / "truth.parquet")
    truth.write_bytes(b"x" * kept.stat().st_size)
    try:
        yield
    finally:
        kept.replace(truth)


def repeat_stages(played: Played) -> None:
    """Run each stage once more, directly and into a fresh folder, and compare every byte.

    All but the report, whose self-check needs it, must do so without the demo's truth file.
    """
    for stage in NAMES:
        command = STAGES[stage]["cmd"]
        command = command if isinstance(command, str) else command[0]
        outs = re.findall(r"--(?:out|reports) (\S+)", command)
        command = re.sub(r"--(out|reports) ", r"--\1 second/", command)
        (played.root / "second/data").mkdir(parents=True, exist_ok=True)
        (played.root / "second/reports").mkdir(parents=True, exist_ok=True)
        if stage == "report":
            with spoilt_truth(played):
                played.outputs["report without truth"] = played.try_run(command)
            played.run("report again", command, FACET_TRACKING="off")
        else:
            with spoilt_truth(played):
                played.run(f"{stage} again", command, FACET_TRACKING="off")
        played.differences[stage] = [
            name for out in outs for name in different_files(played.root, out)
        ]


def different_files(root: Path, out: str) -> list[str]:
    """Names of files of two folders that differ, or stand in one of them only."""
    first, second = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (root / out, root / "second" / out)
    )
    assert first, f"{out} is empty"
    return [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Repro, a second repro, experiments in all modes, and sync after a loss of the store."""
    scene = Played(tmp_path_factory.mktemp("scene") / "a clone")
    scene.root.mkdir()
    copy_repository(scene.root)
    scene.run("init", "git init -q -b main")
    scene.run("name", "git config user.name Tester")
    scene.run("mail", "git config user.email tester@example.org")
    scene.run("add", "git add -A")
    scene.run("commit", "git commit -q -m start")

    scene.run("repro", "dvc repro")
    scene.look_at_store("repro")
    scene.run("no-op repro", "dvc repro")
    scene.run("status", "dvc status")
    repeat_stages(scene)
    shutil.rmtree(scene.root / "second")
    scene.run("add results", "git add -A")
    scene.run("commit results", "git commit -q -m results")

    scene.run("exp run", "dvc exp run -n slower -S train.lr=1e-4")
    scene.look_at_store("exp run")
    scene.run("metrics diff", "dvc metrics diff --json")
    scene.run("plots diff", "dvc plots diff --out plots HEAD workspace")
    scene.run("queue", "dvc exp run --queue -S 'train.lr=2e-3,5e-4'")
    scene.run("queue start", "dvc queue start")
    scene.wait_for_queue()
    scene.run("temp", "dvc exp run --temp -n strict -S evaluate.threshold=0.6")
    scene.look_at_store("all modes")
    scene.run("exp show", "dvc exp show --csv")

    scene.run("compare", f"{shlex.quote(sys.executable)} -m stages.cli compare")
    scene.outputs["compared"] = (scene.root / "reports/compare/comparison.csv").read_text()
    scene.outputs["differences"] = (scene.root / "reports/compare/differences.csv").read_text()

    params = scene.root / "params.yaml"
    text = params.read_text()
    params.write_text(
        text.replace("seed: 7                   # of the", "seed: 7  # hand-made: of the")
    )
    params.write_text(params.read_text().replace("title: Facet", "title: By hand  # my own"))
    scene.run("hand edit", "dvc exp run -n by-hand -S report.n_gallery=1")
    scene.outputs["hand-edited params"] = params.read_text()
    scene.look_at_store("hand edit")

    for lost in ("mlflow.db", "mlartifacts"):
        path = scene.root / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    scene.run("checkout", "git checkout -q --force HEAD")
    for lost in ("data", "reports/site"):
        shutil.rmtree(scene.root / lost)
    scene.run("restoring repro", "dvc repro")
    scene.run("sync", f"{shlex.quote(sys.executable)} -m stages.cli sync")
    scene.look_at_store("sync")
    scene.run("sync again", f"{shlex.quote(sys.executable)} -m stages.cli sync")
    scene.look_at_store("sync again")
    return scene


def experiments(played: Played) -> dict[str, dict[str, str]]:
    """Rows of `dvc exp show --csv` by experiment name."""
    rows = csv.DictReader(io.StringIO(played.outputs["exp show"]))
    return {row["Experiment"]: row for row in rows if row["Experiment"]}


def test_repro_makes_the_report(played):
    assert (played.root / "reports/site/index.html").stat().st_size > 1000


def test_second_repro_does_nothing_and_is_quick(played):
    assert "Data and pipelines are up to date." in played.outputs["no-op repro"]
    assert "Running" not in played.outputs["no-op repro"]
    print(f"no-op repro: {played.seconds['no-op repro']:.2f} s")
    assert played.seconds["no-op repro"] < 3
    assert "up to date" in played.outputs["status"]


@pytest.mark.parametrize("stage", NAMES)
def test_two_direct_runs_give_the_same_bytes(played, stage):
    assert played.differences[stage] == []


def test_only_the_self_check_opens_the_truth(played):
    """The other stages ran again beside a spoilt one (test_two_direct_runs_give_the_same_bytes)."""
    assert "truth.parquet" in played.outputs["report without truth"]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("byte_copy", "exact_duplicate"),
        ("leak_copy", "leak"),
        ("conflict_copy", "label_conflict"),
    ],
)
def test_planted_faults_are_found(played, fault, check):
    truth = pd.read_parquet(played.root / "data/download/truth.parquet")
    issues = pd.read_parquet(played.root / "data/audit/issues.parquet")
    planted = truth[truth["fault"] == fault]
    assert len(planted) >= 3
    found = issues[(issues["check"] == check) & issues["flagged"]]
    pairs = {frozenset(pair) for pair in zip(found["image_id"], found["related_id"], strict=True)}
    missed = [
        row["image_id"]
        for _, row in planted.iterrows()
        if frozenset((row["image_id"], row["related_id"])) not in pairs
    ]
    assert missed == []


def test_repro_is_one_finished_run_with_everything_in_it(played):
    (run,) = played.runs["repro"]
    assert run.info.status == "FINISHED"
    assert run.data.params["train.network"] == "uab_cnn"
    assert {"epoch/train_loss", "valid/accuracy", "test/gain"} <= run.data.metrics.keys()
    assert any(name.startswith("test/accuracy/") for name in run.data.metrics)
    assert {"facet.key", "facet.weights", "facet.data", "facet.evaluation", "facet.report"} <= (
        run.data.tags.keys()
    )


def test_workspace_experiment_is_one_more_run_under_its_name(played):
    before = {run.info.run_id for run in played.runs["repro"]}
    (new,) = [run for run in played.runs["exp run"] if run.info.run_id not in before]
    assert new.info.run_name == "slower"
    assert new.data.params["train.lr"] == "0.0001"
    assert new.data.tags["dvc.experiments"] == "slower"


def test_all_experiments_succeeded(played):
    rows = experiments(played)
    assert {"slower", "strict"} <= rows.keys()
    assert len(rows) == 4
    for name, row in rows.items():
        assert row["State"] in ("", "Success"), (name, row["State"])
        assert float(row["test.accuracy"]) > 0


def test_every_experiment_is_in_the_one_store(played):
    runs = played.runs["all modes"]
    assert len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}
    names = {run.data.tags.get("dvc.experiments") for run in runs}
    assert names == {None, *experiments(played)}
    rates = sorted(float(run.data.params["train.lr"]) for run in runs)
    assert rates == [0.0001, 0.0001, 0.0005, 0.0015, 0.002]
    (strict,) = [run for run in runs if run.data.tags.get("dvc.experiments") == "strict"]
    assert strict.data.params["evaluate.threshold"] == "0.6"
    assert "facet.training_run" in strict.data.tags
    assert len(list(played.root.rglob("mlflow.db"))) == 1


def test_experiments_are_compared(played):
    table = pd.read_csv(io.StringIO(played.outputs["compared"])).query("kind == 'ours'")
    rows = table[table["partition"] == "test"].set_index("run")
    assert rows.index.nunique() == len(experiments(played)) + ("workspace" in rows.index)
    for name, row in experiments(played).items():
        if name != "strict":  # at another threshold, and compared at 0.5
            assert rows.loc[name, "accuracy"] == pytest.approx(
                float(row["test.accuracy"]), abs=1e-5
            )
    assert rows["ranking"].nunique() == 1
    assert rows.loc["slower", "command"] == "dvc exp run -S train.lr=0.0001"
    assert (
        rows.loc["strict", "command"] == "dvc exp run -S train.lr=0.0001 -S evaluate.threshold=0.6"
    )
    assert (rows["seconds"] > 0).all()
    assert (rows["images_per_s"] > 0).all()
    assert rows["device"].str.contains("thread").all()
    pairs = pd.read_csv(io.StringIO(played.outputs["differences"]))
    means = pairs[pairs["attribute"].isna()]
    n = rows.index.nunique()
    assert len(means) == 2 * n * (n - 1) // 2
    same = means[(means["run_a"] == "slower") & (means["run_b"] == "strict")]
    assert (same["difference"] == 0).all()  # the same weights


def test_metrics_and_plots_diff_show_the_change(played):
    changes = json.loads(played.outputs["metrics diff"])["reports/evaluate/metrics.json"]
    assert changes["test.roc_auc"]["old"] != changes["test.roc_auc"]["new"]
    page = (played.root / "plots/index.html").read_text()
    for word in ('"rev": "HEAD"', '"rev": "workspace"', "train_loss", "Accuracy by attribute"):
        assert word in page


def test_hand_edits_are_honoured_and_kept(played):
    text = played.outputs["hand-edited params"]
    assert "title: By hand  # my own" in text
    assert "n_gallery: 1 " in text
    runs = played.runs["hand edit"]
    assert len(runs) == 5
    assert any("by-hand" in run.data.tags.get("dvc.experiments", "") for run in runs)


def test_sync_adds_what_dvc_restored(played):
    assert "Running stage" not in played.outputs["restoring repro"]
    assert played.outputs["sync"].startswith("sync: added ")

    def facts(name):
        return sorted(
            (
                run.data.params["train.lr"],
                run.data.params["evaluate.threshold"],
                run.data.tags["facet.weights"],
                run.data.metrics["test/accuracy"],
            )
            for run in played.runs[name]
        )

    assert facts("sync") == facts("hand edit")
    assert all("facet.report" in run.data.tags for run in played.runs["sync"])


def test_second_sync_adds_nothing(played):
    line = played.outputs["sync again"]
    assert line.startswith("sync: added 0 trainings, 0 evaluations, 0 reports, 0 experiment names")
    assert len(played.runs["sync again"]) == len(played.runs["sync"])
