"""`facet ui`: which page it names, and what it starts."""

import os

import pytest
from typer.testing import CliRunner

from stages.cli import app
from stages.common import store
from stages.common.errors import FacetError


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The commands that take the process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command))
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "")
    return commands


def test_page_of_the_runs_is_named_and_one_worker_started(tracked_folder, started):
    done = CliRunner().invoke(app, ["ui", "--port", "5001"])
    experiment = store.open_store().experiment_id
    page = f"http://127.0.0.1:5001/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert done.output == f"MLflow on {page} (Ctrl-C ends it)\n"
    ((_, *options),) = started
    assert options[:3] == ["-m", "mlflow", "ui"]
    assert options[options.index("--host") + 1] == "127.0.0.1"
    assert options[options.index("--port") + 1] == "5001"
    assert options[options.index("--workers") + 1] == "1"
    assert options[options.index("--backend-store-uri") + 1] == store.store_uri()


def test_server_has_pages_of_its_own(tracked_folder, started, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org")
    done = CliRunner().invoke(app, ["ui"])
    assert isinstance(done.exception, FacetError)
    assert str(done.exception).endswith("pages of its own: https://example.org")
    assert started == []
