"""Training and evaluation in the MLflow store, and what happens without one."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from stages.common import records, store, tracking
from stages.common.datasets import Data
from stages.common.files import hash_file, read_json
from stages.common.params import read_yaml

ROOT = Path(__file__).resolve().parent.parent
KEY = "k" * 64
EVALUATE = {"partitions": ["valid", "test"], "threshold": 0.5, "batch_size": 256}


def read_data(folder):
    """The prepared data that `fabricate` left in a folder."""
    path = folder / "data/prepare/manifest.json"
    return Data(read_json(path), hash_file(path))


def train_once(folder, fabricate, key=KEY, weights="w" * 64, **options):
    """One tracked training of two epochs; returns model.json and the run's id."""
    model = fabricate(folder, key=key, weights=weights)
    params = read_yaml(ROOT / "params.yaml")
    with tracking.start_training(key, params, read_data(folder), **options) as run:
        for epoch in (1, 2):
            run.log_epoch(epoch, {"epoch": epoch, "train_loss": 1 / epoch, "valid_accuracy": 0.8})
        run.finish(folder / "data/train/model", folder / "reports/train", weights)
    return model, run.run_id


def artifacts(opened, run_id, path=None):
    """A run's artifact paths; those of its model are listed below `model` only."""
    found = []
    for entry in opened.client.list_artifacts(run_id, path):
        found += artifacts(opened, run_id, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def test_training_is_logged_whole(tracked_folder, fabricate, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "rainy-daze")
    _, run_id = train_once(tracked_folder, fabricate)
    opened = store.open_store()
    run = opened.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "rainy-daze"
    assert run.data.params["train.lr"] == "0.0015"
    assert run.data.params["download.demo.faults.byte_copy"] == "0.01"
    assert run.data.params["train.patience"] == "null"
    assert run.data.tags["facet.data"] == read_data(tracked_folder).sha256
    assert run.data.tags["facet.weights"] == "w" * 64
    assert run.data.tags["dvc.experiments"] == "rainy-daze"
    history = opened.client.get_metric_history(run_id, "epoch/train_loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert artifacts(opened, run_id) == [
        "charts/training.png",
        "train/history.csv",
        "train/summary.json",
    ]
    assert {"model/MLmodel", "model/model.json", "model/weights.safetensors"} <= set(
        artifacts(opened, run_id, "model")
    )


def test_store_of_a_temporary_experiment_is_that_of_the_root(
    tracked_folder, fabricate, monkeypatch
):
    temporary = tracked_folder / ".dvc/tmp/exps/tmpabc"
    temporary.mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tracked_folder))
    monkeypatch.chdir(temporary)
    _, run_id = train_once(temporary, fabricate)
    assert not (temporary / "mlflow.db").exists()
    assert (tracked_folder / "mlartifacts" / run_id / "artifacts/train/history.csv").is_file()
    assert list((tracked_folder / "mlartifacts/models").rglob("model.json"))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("", "sqlite:///{root}/mlflow.db"),
        ("sqlite:///other.db", "sqlite:///{root}/other.db"),
        ("sqlite:////srv/other.db", "sqlite:////srv/other.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
    ids=["default", "relative path", "absolute path", "server"],
)
def test_store_uri(tmp_path, monkeypatch, uri, expected):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert store.store_uri() == expected.format(root=tmp_path)


def test_uri_is_shown_without_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:5000/x")
    assert store.shown_uri() == "http://127.0.0.1:5000/x"


def test_resumed_training_goes_on_in_its_run(tracked_folder, fabricate):
    params = read_yaml(ROOT / "params.yaml")
    with suppress(RuntimeError), tracking.start_training(KEY, params) as run:
        run.log_epoch(1, {"train_loss": 1.0})
        raise RuntimeError
    opened = store.open_store()
    assert opened.client.get_run(run.run_id).info.status == "FAILED"
    _, again = train_once(tracked_folder, fabricate, resume=True)
    assert again == run.run_id
    assert [entry.info.status for entry in opened.find_runs()] == ["FINISHED"]
    history = opened.client.get_metric_history(again, "epoch/train_loss")
    assert [metric.step for metric in history] == [1, 2]


@pytest.mark.parametrize("resume", [True, False], ids=["resumed", "started anew"])
def test_killed_training_leaves_no_running_run(tracked_folder, fabricate, resume):
    code = (
        "import time; from stages.common.tracking import start_training\n"
        f"with start_training('{KEY}', {{}}) as run:\n"
        "    print(run.run_id, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    killed_id = child.stdout.readline().decode().strip()
    child.send_signal(signal.SIGKILL)
    child.wait()
    opened = store.open_store()
    assert opened.client.get_run(killed_id).info.status == "RUNNING"
    _, run_id = train_once(tracked_folder, fabricate, resume=resume)
    assert (run_id == killed_id) is resume
    statuses = sorted(run.info.status for run in opened.find_runs())
    assert statuses == (["FINISHED"] if resume else ["FINISHED", "KILLED"])


def test_repetition_with_the_same_weights_adds_no_second_run(
    tracked_folder, fabricate, monkeypatch
):
    _, first = train_once(tracked_folder, fabricate)
    monkeypatch.setenv("DVC_EXP_NAME", "again")
    _, second = train_once(tracked_folder, fabricate)
    assert second == first
    (run,) = store.open_store().find_runs()
    assert run.data.tags["dvc.experiments"] == "again"
    assert run.info.status == "FINISHED"
    train_once(tracked_folder, fabricate, weights="x" * 64)
    assert len(store.open_store().find_runs()) == 2


def test_evaluation_joins_its_training(tracked_folder, fabricate):
    model, run_id = train_once(tracked_folder, fabricate)
    train_once(tracked_folder, fabricate, key="other", weights="x" * 64)
    reports, out = tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    for _ in range(2):
        tracking.log_evaluation(model, EVALUATE, reports, out)
    opened = store.open_store()
    assert len(opened.find_runs()) == 2
    run = opened.client.get_run(run_id)
    assert run.data.metrics["test/accuracy"] == 0.9
    assert run.data.metrics["valid/gain/Eyeglasses"] == 0.15
    assert "test/roc_auc" not in run.data.metrics
    assert "test/f1/Smiling" not in run.data.metrics
    assert len(opened.client.get_metric_history(run_id, "test/accuracy")) == 1
    assert {"charts/accuracy_test.png", "evaluate/per_attribute.csv"} <= set(
        artifacts(opened, run_id)
    )


def test_what_a_person_looks_for_is_listed_first(tracked_folder, fabricate):
    """MLflow lists metrics as they came, and groups its charts by what stands before the last /."""
    model, run_id = train_once(tracked_folder, fabricate)
    reports, out = tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    path = reports / "metrics.json"
    figures = read_json(path) | {"shift": {"loss": 0.1}}
    figures["test"]["without_leaks"] = {"gain": 0.2}
    path.write_text(json.dumps(figures))
    tracking.log_evaluation(model, EVALUATE, reports, out, read_data(tracked_folder))
    names = list(store.open_store().client.get_run(run_id).data.metrics)
    assert names[:2] == ["epoch/valid_accuracy", "epoch/train_loss"]
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    assert groups[:6] == ["epoch", "train", "test", "valid", "valid_to_test", "test/without_leaks"]
    assert set(groups[6:]) >= {"test/accuracy", "valid/accuracy"}
    assert "valid_to_test/loss" in names


def test_models_page_shows_parameters_and_figures_by_data_set(tracked_folder, fabricate):
    model, run_id = train_once(tracked_folder, fabricate)
    reports, out = tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    data = read_data(tracked_folder)
    tracking.log_evaluation(model, EVALUATE, reports, out, data)
    opened = store.open_store()
    (logged,) = opened.client.search_logged_models([opened.experiment_id])
    assert logged.params["train.lr"] == "0.0015"
    assert {(metric.key, metric.value, metric.dataset_name) for metric in logged.metrics} == {
        ("test/accuracy", 0.9, "demo test"),
        ("test/n_images", 10, "demo test"),
        ("valid/accuracy", 0.9, "demo valid"),
        ("valid/n_images", 10, "demo valid"),
    }
    tracking.log_evaluation(model, {**EVALUATE, "threshold": 0.3}, reports, out, data)
    (second,) = [run for run in opened.find_runs() if run.info.run_id != run_id]
    inputs = opened.client.get_run(second.info.run_id).inputs.model_inputs
    assert [entry.model_id for entry in inputs] == [logged.model_id]


def test_run_names_what_made_it(tracked_folder, fabricate):
    """MLflow shows the commit beside a source only."""
    _, run_id = train_once(tracked_folder, fabricate)
    tags = store.open_store().client.get_run(run_id).data.tags
    assert tags["mlflow.source.name"] == "python -m stages.train"


def test_other_evaluation_of_the_same_weights_gets_a_run_of_its_own(tracked_folder, fabricate):
    model, run_id = train_once(tracked_folder, fabricate)
    reports, out = tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    tracking.log_evaluation(model, EVALUATE, reports, out)
    fabricate(tracked_folder, accuracy=0.7)
    for _ in range(2):
        tracking.log_evaluation(model, {**EVALUATE, "threshold": 0.3}, reports, out)
    opened = store.open_store()
    first = opened.client.get_run(run_id)
    (second,) = [run for run in opened.find_runs() if run.info.run_id != run_id]
    assert (first.data.metrics["test/accuracy"], second.data.metrics["test/accuracy"]) == (0.9, 0.7)
    assert second.data.params["evaluate.threshold"] == "0.3"
    assert second.data.params["train.lr"] == first.data.params["train.lr"]
    assert second.data.tags["facet.training_run"] == run_id


def test_other_figures_of_the_same_evaluation_replace_the_old_ones(tracked_folder, fabricate):
    model, run_id = train_once(tracked_folder, fabricate)
    reports, out = tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    tracking.log_evaluation(model, EVALUATE, reports, out)
    fabricate(tracked_folder, accuracy=0.95)
    tracking.log_evaluation(model, EVALUATE, reports, out)
    opened = store.open_store()
    assert len(opened.find_runs()) == 1
    assert opened.client.get_run(run_id).data.metrics["test/accuracy"] == 0.95


def test_evaluation_of_an_unknown_training_is_left_to_sync(tracked_folder, fabricate):
    model = fabricate(tracked_folder)
    tracking.log_evaluation(
        model, EVALUATE, tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    )
    assert store.open_store().find_runs() == []


def test_off_touches_nothing(tracked_folder, fabricate, monkeypatch):
    (tracked_folder / "mlflow.db").unlink()
    monkeypatch.setenv("FACET_TRACKING", "off")
    model, run_id = train_once(tracked_folder, fabricate)
    tracking.log_evaluation(
        model, EVALUATE, tracked_folder / "reports/evaluate", tracked_folder / "data/evaluate"
    )
    assert run_id == ""
    assert not (tracked_folder / "mlflow.db").exists()
    assert not (tracked_folder / "mlartifacts").exists()


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:9", "sqlite:////proc/no/such/folder.db", "nonsense://x", "./mlruns"],
    ids=["no server", "no folder", "unknown scheme", "old file store"],
)
def test_outage_is_one_warning_and_the_stage_goes_on(
    tracked_folder, fabricate, monkeypatch, caplog, uri
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in store.REMOTE_LIMITS:
        monkeypatch.setenv(name, "1")
    started = time.monotonic()
    with caplog.at_level(logging.INFO, logger="stages"):
        train_once(tracked_folder, fabricate)
    assert time.monotonic() - started < 15
    warnings = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len([entry for entry in warnings if entry.name.startswith("stages")]) == 1
    assert "facet sync" in caplog.text


def test_store_that_dies_midway_is_one_warning(tracked_folder, fabricate, caplog, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    fabricate(tracked_folder)
    with (
        caplog.at_level(logging.WARNING, logger="stages"),
        tracking.start_training(KEY, {}) as run,
    ):
        run.log_epoch(1, {"train_loss": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(store.Store, "log_metrics", fail)
            run.log_epoch(2, {"train_loss": 0.5})
            run.log_epoch(3, {"train_loss": 0.2})
        run.finish(Path("data/train/model"), Path("reports/train"), "w" * 64)
    assert caplog.text.count("disk full") == 1
    opened = store.open_store()
    assert opened.client.get_run(run.run_id).info.status == "FAILED"
    assert "facet.weights" not in opened.client.get_run(run.run_id).data.tags


def test_error_of_the_stage_is_not_swallowed(tracked_folder):
    with pytest.raises(ZeroDivisionError), tracking.start_training(KEY, {}):
        _ = 1 / 0


def test_missing_mlflow_is_one_line(tracked_folder, fabricate, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with caplog.at_level(logging.INFO, logger="stages"):
        train_once(tracked_folder, fabricate)
    assert [entry.levelname for entry in caplog.records] == ["INFO"]
    assert "mlflow is not installed" in caplog.text


def test_importing_tracking_imports_no_mlflow():
    code = "import sys, stages.common.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.slow
def test_three_processes_create_one_store(tmp_path):
    code = (
        "from stages.common.tracking import start_training\n"
        "with start_training('k', {}) as run: print(run.run_id)"
    )
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "FACET_TRACKING": "on"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [child.communicate() for child in children]
    assert [stderr for _, stderr in outputs] == ["", "", ""]
    assert len({stdout for stdout, _ in outputs if stdout.strip()}) == 3


def test_flat_parameters_and_metric_names():
    flat = store.flatten_params(
        {"a": {"b": 1e-4, "c": None, "d": [1, "x"]}, "e": "text", "f": True}
    )
    assert flat == {"a.b": "0.0001", "a.c": "null", "a.d": '[1, "x"]', "e": "text", "f": "true"}
    assert store.clean_name("test/accuracy/5_o'Clock (dark)") == "test/accuracy/5_o_Clock _dark_"


def test_hash_does_not_distinguish_one_from_one_point_zero():
    assert records.hash_json({"a": 1}) == records.hash_json(json.loads('{"a": 1.0}'))
    assert records.hash_json({"a": 1}) != records.hash_json({"a": 2})
