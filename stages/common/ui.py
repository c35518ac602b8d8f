"""MLflow's pages on the project's own store."""

import logging
import os
import sys

from stages.common.errors import FacetError
from stages.common.store import open_store, shown_uri, silence_mlflow, store_uri

logger = logging.getLogger(__name__)


def start_ui(port: int) -> None:
    """Replace this process by MLflow's server on 127.0.0.1 with one worker.

    By default MLflow starts 15 processes that take 2.4 GB; these are 2 with 0.5 GB.

    Raises:
        FacetError: MLFLOW_TRACKING_URI is a server, which has pages of its own.
    """
    uri = store_uri()
    if uri.startswith("http"):
        raise FacetError(f"MLFLOW_TRACKING_URI is a server with pages of its own: {shown_uri()}")
    open_store()
    silence_mlflow()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    options = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    logger.info("MLflow on http://127.0.0.1:%d (Ctrl-C ends it)", port)
    command = [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"]
    os.execv(sys.executable, command)
