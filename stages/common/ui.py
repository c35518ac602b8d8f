"""MLflow's pages on the project's own store."""

import os
import sys

from stages.common.errors import FacetError
from stages.common.store import open_store, shown_uri, store_uri


def find_page(port: int) -> str:
    """The address of the runs; in full, for MLflow's start page leads to those of language models.

    Raises:
        FacetError: MLFLOW_TRACKING_URI is a server, which has pages of its own.
    """
    if store_uri().startswith("http"):
        raise FacetError(f"MLFLOW_TRACKING_URI is a server with pages of its own: {shown_uri()}")
    path = f"experiments/{open_store().experiment_id}/runs?workflowType=machine_learning"
    return f"http://127.0.0.1:{port}/#/{path}"


def start_ui(port: int) -> None:
    """Replace this process by MLflow's server on 127.0.0.1 with one worker.

    By default MLflow starts 15 processes that take 2.4 GB; these are 2 with 0.5 GB.
    """
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    options = ["--backend-store-uri", store_uri(), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"]
    os.execv(sys.executable, command)
