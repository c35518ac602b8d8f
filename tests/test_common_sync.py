"""What sync adds to the MLflow store, and that a repetition adds nothing."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common import records, results, store, sync, tracking
from stages.common.errors import FacetError
from stages.common.files import hash_file
from stages.common.params import load_params

ROOT = Path(__file__).resolve().parent.parent
NOTHING = "sync: added 0 trainings, 0 evaluations, 0 reports, 0 experiment names"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def cache_folder(folder: Path, name: str) -> str:
    """Put a folder into DVC's cache as DVC does; returns its MD5 for dvc.lock."""

    def put(data: bytes, suffix: str = "") -> str:
        md5 = hashlib.md5(data).hexdigest() + suffix
        path = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return md5

    entries = [
        {"md5": put(path.read_bytes()), "relpath": path.relative_to(folder / name).as_posix()}
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    ]
    return put(json.dumps(entries).encode(), ".dir")


def make_experiment(folder: Path, name: str, threshold: float = 0.5) -> str:
    """Move the results in `folder` into a DVC experiment; returns its commit."""
    outs = {
        stage: [{"path": path, "md5": cache_folder(folder, path)}]
        for stage, path in (("train", "data/train"), ("prepare", "data/prepare"))
    }
    if (folder / "reports/site").exists():
        outs["report"] = [{"path": "reports/site", "md5": cache_folder(folder, "reports/site")}]
    lock = {"schema": "2.0", "stages": {stage: {"outs": outs[stage]} for stage in outs}}
    lock["stages"]["evaluate"] = {
        "deps": [{"path": "data/train", "md5": outs["train"][0]["md5"]}],
        "params": {"params.yaml": {"evaluate.threshold": threshold}},
    }
    (folder / "dvc.lock").write_text(json.dumps(lock))
    head = git(folder, "rev-parse", "HEAD")
    git(folder, "add", "-f", "params.yaml", "dvc.lock", "reports/train", "reports/evaluate")
    git(folder, "commit", "-q", "-m", name)
    commit = git(folder, "rev-parse", "HEAD")
    git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
    git(folder, "reset", "-q", "--hard", head)
    for path in ("data", "reports"):
        shutil.rmtree(folder / path, ignore_errors=True)
    return commit


@pytest.fixture
def repository(tracked_folder):
    """A git and DVC repository with one commit."""
    git(tracked_folder, "init", "-q", "-b", "main")
    (tracked_folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", tracked_folder / ".dvc/config")
    (tracked_folder / ".gitignore").write_text("mlflow.db\nmlartifacts\n.facet\ndata\n.dvc\n")
    git(tracked_folder, "add", ".gitignore")
    git(tracked_folder, "commit", "-q", "-m", "start")
    results.cache_folder.cache_clear()
    return tracked_folder


def files_of(run) -> set[str]:
    """Names of a run's files, those of its model below `model/`."""
    client, found = store.open_store().client, set()
    pending = ["", "model"]
    while pending:
        for entry in client.list_artifacts(run.info.run_id, pending.pop()):
            (pending.append if entry.is_dir else found.add)(entry.path)
    return found


def inputs_of(run) -> set[tuple[str, str]]:
    """Name and digest of a run's data sets."""
    return {(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs}


def refresh(run):
    return store.open_store().client.get_run(run.info.run_id)


def test_workspace_without_a_run_is_added_once(tracked_folder, fabricate):
    fabricate(tracked_folder)
    data = hash_file(tracked_folder / "data/prepare/manifest.json")
    line = sync.sync(in_pipeline=False)
    assert line.startswith("sync: added 1 trainings, 1 evaluations, 1 reports, 0 experiment names")
    (run,) = store.open_store().find_runs()
    assert run.info.status == "FINISHED"
    params = load_params(tracked_folder / "params.yaml")
    assert run.data.params["train.batch_size"] == str(params.train.batch_size)
    assert run.data.metrics["test/gain/Smiling"] == 0.15
    assert run.data.tags["facet.data"] == data
    history = store.open_store().client.get_metric_history(run.info.run_id, "epoch/valid_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.81), (2, 0.82)]
    assert {
        "model/weights.safetensors",
        "train/history.csv",
        "charts/training.png",
        "report/index.html",
    } <= files_of(run)
    assert sync.sync(in_pipeline=False).startswith(NOTHING)
    assert len(store.open_store().find_runs()) == 1


def test_logged_training_gets_its_evaluation_and_report_only(tracked_folder, fabricate):
    fabricate(tracked_folder)
    with tracking.start_training("k" * 64, {}) as run:
        run.finish(Path("data/train/model"), Path("reports/train"), "w" * 64)
    assert "added 0 trainings, 1 evaluations, 1 reports" in sync.sync(in_pipeline=False)
    assert [entry.info.run_id for entry in store.open_store().find_runs()] == [run.run_id]


def test_run_left_by_an_outage_is_completed(tracked_folder, fabricate):
    fabricate(tracked_folder)
    with tracking.start_training("k" * 64, {}) as run:
        run.log_epoch(1, {"valid_accuracy": 0.81})
    assert "added 1 trainings" in sync.sync(in_pipeline=False)
    (entry,) = store.open_store().find_runs()
    assert entry.info.run_id == run.run_id
    history = store.open_store().client.get_metric_history(run.run_id, "epoch/valid_accuracy")
    assert [metric.step for metric in history] == [1, 2]
    assert "model/model.json" in files_of(entry)


def test_new_report_replaces_the_old_one(tracked_folder, fabricate):
    fabricate(tracked_folder)
    (tracked_folder / "reports/site/old.html").write_text("old")
    sync.sync(in_pipeline=False)
    (tracked_folder / "reports/site/old.html").unlink()
    (tracked_folder / "reports/site/index.html").write_text("<p>new</p>")
    assert "0 evaluations, 1 reports" in sync.sync(in_pipeline=False)
    (run,) = store.open_store().find_runs()
    assert {name for name in files_of(run) if name.startswith("report/")} == {"report/index.html"}


def test_empty_workspace_and_half_a_training_add_nothing(tracked_folder, fabricate):
    assert sync.sync(in_pipeline=False).startswith(NOTHING)
    fabricate(tracked_folder)
    (tracked_folder / "reports/train/summary.json").unlink()
    assert sync.sync(in_pipeline=False).startswith(NOTHING)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("", "0 evaluations, 0 reports"), ("report", "0 evaluations, 0 reports")],
    ids=["by hand", "in the report stage"],
)
def test_evaluation_of_older_weights_is_left_out(
    tracked_folder, fabricate, monkeypatch, stage, expected
):
    fabricate(tracked_folder)
    lock = {
        "stages": {
            "train": {"outs": [{"path": "data/train", "md5": "new"}]},
            "evaluate": {"deps": [{"path": "data/train", "md5": "old"}]},
        }
    }
    (tracked_folder / "dvc.lock").write_text(json.dumps(lock))
    monkeypatch.setenv("DVC_STAGE", stage)
    assert f"added 1 trainings, {expected}" in sync.sync(in_pipeline=bool(stage))


@pytest.mark.parametrize(
    ("stage", "n_reports"), [("", 0), ("report", 1)], ids=["by hand", "in the report stage"]
)
def test_report_on_older_figures_counts_only_while_it_is_being_made(
    tracked_folder, fabricate, monkeypatch, stage, n_reports
):
    fabricate(tracked_folder)
    lock = {
        "stages": {
            "evaluate": {"outs": [{"path": "reports/evaluate", "md5": "new"}]},
            "report": {"deps": [{"path": "reports/evaluate", "md5": "old"}]},
        }
    }
    (tracked_folder / "dvc.lock").write_text(json.dumps(lock))
    monkeypatch.setenv("DVC_STAGE", stage)
    assert f"1 evaluations, {n_reports} reports" in sync.sync(in_pipeline=bool(stage))


def test_folder_hash_of_dvc_is_known():
    """A stage that depends on a folder whose files another stage declares one by one."""
    lock = {
        "stages": {
            "evaluate": {
                "outs": [{"path": "r/a.csv", "md5": "1"}, {"path": "r/b.csv", "md5": "2"}]
            },
            "report": {"deps": [{"path": "r", "nfiles": 2, "md5": results.hash_listing("r", {})}]},
        }
    }
    assert not results.is_current(lock, "report", "evaluate")
    listing = b'[{"md5": "1", "relpath": "a.csv"}, {"md5": "2", "relpath": "b.csv"}]'
    lock["stages"]["report"]["deps"][0]["md5"] = f"{hashlib.md5(listing).hexdigest()}.dir"
    assert results.is_current(lock, "report", "evaluate")


def test_parameters_are_those_that_were_used(tracked_folder, fabricate):
    fabricate(tracked_folder)
    lock = {"stages": {"train": {"params": {"params.yaml": {"train": {"lr": 0.5}}}}}}
    (tracked_folder / "dvc.lock").write_text(json.dumps(lock))
    sync.sync(in_pipeline=False)
    (run,) = store.open_store().find_runs()
    assert run.data.params["train.lr"] == "0.5"
    assert run.data.params["report.title"] == "Facet"


def test_experiments_are_added_with_model_and_report(repository, fabricate):
    baseline = git(repository, "rev-parse", "HEAD")
    fabricate(repository, key="a" * 64, weights="1" * 64)
    data = hash_file(repository / "data/prepare/manifest.json")
    make_experiment(repository, "first-try")
    fabricate(repository, key="b" * 64, weights="2" * 64, accuracy=0.8)
    make_experiment(repository, "second-try")
    line = sync.sync(in_pipeline=False)
    assert line.startswith("sync: added 2 trainings, 2 evaluations, 2 reports")
    runs = {run.info.run_name: run for run in store.open_store().find_runs()}
    assert runs.keys() == {"first-try", "second-try"}
    second = runs["second-try"]
    assert second.data.metrics["test/accuracy"] == 0.8
    assert second.data.tags["mlflow.source.git.commit"] == baseline
    assert second.data.tags["facet.data"] == data
    assert {"model/weights.safetensors", "report/index.html"} <= files_of(second)
    expected = {("demo test", data[:12]), ("demo train", data[:12]), ("demo valid", data[:12])}
    assert [inputs_of(run) for run in runs.values()] == [expected, expected]
    assert sync.sync(in_pipeline=False).startswith(NOTHING)


def test_runs_of_older_code_get_data_and_model_once(repository, fabricate, monkeypatch):
    """They hold the model as plain files, and name no data set."""
    fabricate(repository, key="a" * 64, weights="1" * 64)
    make_experiment(repository, "old")
    fabricate(repository, key="b" * 64, weights="2" * 64)
    with monkeypatch.context() as patch:
        for module in (records, sync):
            patch.setattr(module, "log_learned", lambda *_: None)
        patch.setattr(records, "log_evaluated", lambda *_: {})
        patch.setattr(sync, "log_trained", lambda *_: None)
        sync.sync(in_pipeline=False)
        opened = store.open_store()
        for run in opened.find_runs():
            opened.client.log_artifacts(run.info.run_id, "data/train/model", "model")
    assert [inputs_of(run) for run in opened.find_runs()] == [set(), set()]
    assert sync.sync(in_pipeline=False).startswith(NOTHING)
    for run in opened.find_runs():
        assert {name for name, _ in inputs_of(run)} == {"demo train", "demo valid", "demo test"}
        assert "model/MLmodel" in files_of(run)
        folder = repository / "mlartifacts" / run.info.run_id / "artifacts"
        assert not (folder / "model").exists()
    monkeypatch.setattr(sync, "unpack_experiment", None)  # not even looked at again
    assert sync.sync(in_pipeline=False).startswith(NOTHING)
    assert [len(run.outputs.model_outputs) for run in map(refresh, opened.find_runs())] == [1, 1]


def test_data_prepared_anew_are_not_those_of_the_training(tracked_folder, fabricate):
    fabricate(tracked_folder)
    sync.sync(in_pipeline=False)
    (run,) = store.open_store().find_runs()
    path = tracked_folder / "data/prepare/manifest.json"
    path.write_text(path.read_text().replace("80", "70"))
    sync.sync(in_pipeline=False)
    assert inputs_of(refresh(run)) == inputs_of(run)


def test_last_generations_epochs_follow_those_of_the_earlier_ones(tracked_folder, fabricate):
    """As a training counts them that is tracked while it runs."""
    fabricate(tracked_folder)
    path = tracked_folder / "reports/train/summary.json"
    n_epochs = load_params(tracked_folder / "params.yaml").train.n_epochs
    generations = {"generations": [{"best_epoch": 1}, {"best_epoch": 2}]}
    path.write_text(json.dumps(json.loads(path.read_text()) | generations))
    sync.sync(in_pipeline=False)
    (run,) = store.open_store().find_runs()
    history = store.open_store().client.get_metric_history(run.info.run_id, "epoch/valid_accuracy")
    assert [metric.step for metric in history] == [n_epochs + 1, n_epochs + 2]


def test_experiments_that_share_a_training(repository, fabricate):
    for name, threshold, site in (("one", 0.5, "a"), ("two", 0.5, "b"), ("three", 0.3, "c")):
        fabricate(repository, threshold=threshold, site=site)
        make_experiment(repository, name, threshold)
    assert "added 1 trainings, 2 evaluations, 2 reports, 3 exp" in sync.sync(in_pipeline=False)
    by_threshold = {
        run.data.params["evaluate.threshold"]: run.data.tags["dvc.experiments"]
        for run in store.open_store().find_runs()
    }
    assert by_threshold == {"0.5": "one two", "0.3": "three"}
    for _ in range(2):
        assert sync.sync(in_pipeline=False).startswith(NOTHING)


def test_experiment_without_cache_comes_again_when_its_model_is_there(repository, fabricate):
    fabricate(repository)
    make_experiment(repository, "pulled-later")
    cache = repository / ".dvc/cache"
    cache.rename(repository / ".dvc/elsewhere")
    assert "added 1 trainings, 1 evaluations, 0 reports" in sync.sync(in_pipeline=False)
    (run,) = store.open_store().find_runs()
    assert "model/model.json" not in files_of(run)
    (repository / ".dvc/elsewhere").rename(cache)
    assert "0 trainings, 0 evaluations, 1 reports" in sync.sync(in_pipeline=False)
    assert {"model/model.json", "report/index.html"} <= files_of(run)
    assert sync.sync(in_pipeline=False).startswith(NOTHING)


def test_temporary_experiment_names_the_run_in_the_roots_store(repository, fabricate, monkeypatch):
    fabricate(repository)
    sync.sync(in_pipeline=False)
    temporary = repository / ".dvc/tmp/exps/tmpx"
    temporary.mkdir(parents=True)
    fabricate(temporary)
    monkeypatch.chdir(temporary)
    monkeypatch.setenv("DVC_ROOT", str(repository))
    monkeypatch.setenv("DVC_EXP_NAME", "quiet-fox")
    monkeypatch.setenv("DVC_STAGE", "report")
    assert "0 reports, 1 experiment names" in sync.sync(in_pipeline=True)
    (run,) = store.open_store().find_runs()
    assert run.data.tags["dvc.experiments"] == "quiet-fox"
    assert not (temporary / "mlflow.db").exists()


def test_outage_by_hand_is_one_line(tracked_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    expected = r"^MLflow store sqlite:////proc/none/mlflow\.db: .*; check MLFLOW_TRACKING_URI"
    with pytest.raises(FacetError, match=expected):
        sync.sync(in_pipeline=False)


def test_outage_in_the_pipeline_is_a_warning(tracked_folder, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    with caplog.at_level(logging.WARNING, logger="stages"):
        assert sync.sync(in_pipeline=True) == "sync: nothing added"
    assert len([entry for entry in caplog.records if entry.name.startswith("stages")]) == 1


@pytest.mark.parametrize(
    ("stage", "status"), [("", 1), ("report", 0)], ids=["by hand", "in the pipeline"]
)
def test_exit_status_of_an_outage(tmp_path, stage, status):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FACET_TRACKING": "on"}
    environment["MLFLOW_TRACKING_URI"] = "sqlite:////proc/none/mlflow.db"
    if stage:
        environment["DVC_STAGE"] = stage
    done = subprocess.run(
        [sys.executable, "-m", "stages.common.sync"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_off_and_missing_mlflow(tracked_folder, fabricate, monkeypatch):
    fabricate(tracked_folder)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "mlflow is not installed" in sync.sync(in_pipeline=False)
    monkeypatch.setenv("FACET_TRACKING", "off")
    assert "switched off" in sync.sync(in_pipeline=False)
