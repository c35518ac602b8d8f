"""The command line: one line per fact, one line per error, and a dependable exit status."""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from stages.check import check_source, check_torch, find_differences, run_checks
from stages.common.params import load_params
from stages.download.run import run as download
from tests.official_files import OfficialFolder

ROOT = Path(__file__).resolve().parent.parent


def facet(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `facet` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "stages.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def project(tmp_path):
    """A folder with valid parameters and a lock file that fits."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "requirements.lock").write_text(f"numpy=={metadata.version('numpy')}\n")
    return tmp_path


def test_check_tells_all_facts(project):
    done = facet(project, "check", FACET_TRACKING="on")
    assert (done.returncode, done.stderr) == (0, "")
    subjects = [line.split()[1] for line in done.stdout.splitlines()]
    assert subjects == [
        f"{name}:" for name in ("parameters", "source", "environment", "network", "device", "store")
    ]
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())
    assert not (project / "mlflow.db").exists()


def test_check_of_wrong_parameters_is_one_quick_line(project):
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("  lr:", "  learning_rate:"))
    started = time.monotonic()
    done = facet(project, "check")
    assert time.monotonic() - started < 2
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("PROBLEM parameters: params.yaml:")
    assert "train.l" in line


def test_check_reports_each_problem_and_goes_on(project, monkeypatch):
    (project / "requirements.lock").write_text("numpy==0.1\nno-such-package==1\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("FACET_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    results = {result.subject: result for result in run_checks()}
    assert not results["environment"].is_fine
    assert "expected numpy==0.1; got" in results["environment"].text
    assert "(and 1 more); run `make venv`" in results["environment"].text
    assert not results["store"].is_fine
    assert results["device"].is_fine


def test_unknown_network_is_named(project):
    params = project / "params.yaml"
    params.write_text(
        params.read_text().replace("network: efficientnet_lite0", "network: resnet19")
    )
    done = facet(project, "check")
    assert done.returncode == 1
    assert "PROBLEM network: train.network: expected efficientnet_lite0, " in done.stdout
    assert "did you mean resnet" in done.stdout


def test_missing_source_is_named(project):
    params = project / "params.yaml"
    text = params.read_text().replace("source: demo ", "source: files ")
    params.write_text(text.replace("path: null", "path: ../nowhere"))
    done = facet(project, "check")
    assert done.returncode == 1
    assert "download.path" in done.stdout
    assert "../nowhere" in done.stdout


def files_params(folder: Path):
    return load_params().download.model_copy(update={"source": "files", "path": str(folder)})


def test_source_in_a_folder(project, monkeypatch):
    monkeypatch.chdir(project)
    OfficialFolder().write(project / "in")
    result = check_source(files_params(project / "in"))
    assert result.is_fine
    assert "CelebA's official layout" in result.text
    assert "30 labelled images, pictures in img_align_celeba.zip" in result.text
    (project / "in" / "img_align_celeba.zip").write_text("<html>quota</html>")
    result = check_source(files_params(project / "in"))
    assert not result.is_fine
    assert "a web page" in result.text


def test_a_source_that_changed_since_it_was_downloaded(project, monkeypatch):
    monkeypatch.chdir(project)
    official = OfficialFolder()
    params = files_params(official.write(project / "in"))
    download(params, project / "data" / "download")
    lock = {"stages": {"download": {"params": {"params.yaml": {"download": params.model_dump()}}}}}
    (project / "dvc.lock").write_text(json.dumps(lock))
    assert check_source(params).is_fine
    official.images["000003.jpg"] += b"\0"
    official.write(project / "in")
    result = check_source(params)
    assert not result.is_fine
    assert "changed since it was downloaded" in result.text
    other = params.model_copy(update={"split": params.split.model_copy(update={"seed": 9})})
    assert check_source(other).is_fine  # `dvc repro` downloads anew by itself


def test_a_source_in_the_network_is_described_without_asking_it(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("FACET_CACHE", str(project / "cache"))
    params = load_params().download.model_copy(update={"source": "google_drive"})
    assert check_source(params).is_fine
    assert "not downloaded yet" in check_source(params).text


def test_missing_gpu_is_a_problem_only_when_asked_for(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_torch("auto").is_fine
    assert not check_torch("cuda").is_fine


@pytest.mark.parametrize(
    ("lock", "n_wrong"),
    [
        ("numpy=={numpy}\n# comment\n\n", 0),
        ("numpy==0.0.1\n", 1),
        ("nothing-of-this-name==1 ; sys_platform == 'win32'\n", 0),
        ("nothing-of-this-name==1\n", 1),
    ],
    ids=["same", "other version", "other platform", "not installed"],
)
def test_find_differences(lock, n_wrong):
    text = lock.format(numpy=metadata.version("numpy"))
    assert len(list(find_differences(text))) == n_wrong


def test_local_version_counts_as_the_public_one(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "2.15.0+cpu")
    assert list(find_differences("torch==2.15.0")) == []
    assert list(find_differences("torch==2.15.1")) == ["expected torch==2.15.1; got 2.15.0+cpu"]


def test_sync_without_a_store_fails_with_one_line(project):
    variables = {"FACET_TRACKING": "on", "MLFLOW_TRACKING_URI": "sqlite:////proc/none/mlflow.db"}
    done = facet(project, "sync", **variables)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("facet: MLflow store sqlite:////proc/none/mlflow.db: ")


def test_sync_says_that_tracking_is_off(project):
    done = facet(project, "sync")
    assert (done.returncode, done.stdout.strip()) == (
        0,
        "sync: tracking is switched off (FACET_TRACKING=off)",
    )


def test_ui_of_a_server_points_to_the_server(project):
    done = facet(project, "ui", MLFLOW_TRACKING_URI="http://user:word@127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "facet: MLFLOW_TRACKING_URI is a server with pages of its own: http://127.0.0.1:9"
    )


@pytest.mark.parametrize("arguments", [["chek"], ["ui", "--port", "x"]], ids=["command", "option"])
def test_wrong_usage_has_no_traceback(project, arguments):
    done = facet(project, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
