"""What all tests share: no settings of the surroundings, real images, a store of their own."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.printout import ARGS
from tests.browser_fabric import CHROMIUM

ROOT = Path(__file__).resolve().parent.parent
REQUIRE_REAL_DATA = "FACET_REQUIRE_REAL_DATA"

skipped_real_data: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """No variable of DVC's or MLflow's takes part; tracking is off unless a test asks for it."""
    for name in list(os.environ):
        if name.startswith(("DVC_", "MLFLOW_")):
            del os.environ[name]
    os.environ["FACET_TRACKING"] = "off"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side on few cores
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, for tests that bear browser_fabric's marks."""
    playwright = pytest.importorskip("playwright.sync_api")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=[*ARGS, *sandbox])
        yield chromium
        chromium.close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skipped tests with real images."""
    if report.skipped and "real_data" in report.keywords:
        skipped_real_data.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With FACET_REQUIRE_REAL_DATA=1 a skipped test with real images is a failure."""
    if skipped_real_data and os.environ.get(REQUIRE_REAL_DATA) == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which tests with real images were skipped although they had to run."""
    if skipped_real_data and os.environ.get(REQUIRE_REAL_DATA) == "1":
        terminalreporter.section("real_data tests were skipped")
        for nodeid in skipped_real_data:
            terminalreporter.line(nodeid)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real CelebA files in the official layout; the test is skipped where they are missing."""
    path = Path(os.environ.get("FACET_REAL_DATA") or ROOT.parent / "shared" / "celeba-16k")
    if not path.is_dir():
        pytest.skip(f"no real CelebA files in {path} (FACET_REAL_DATA names another folder)")
    return path


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; creating one takes seconds, so tests copy it."""
    from stages.common.store import silence_mlflow

    silence_mlflow()
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracked_folder(tmp_path: Path, store_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder with a space in its name, as current folder, and tracking on."""
    folder = tmp_path / "my project"
    folder.mkdir()
    shutil.copy(store_template, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FACET_TRACKING")
    return folder


def make_history(n_epochs: int) -> list[dict[str, float]]:
    """Rows of a history.csv."""
    return [
        {
            "epoch": epoch,
            "lr": 0.001,
            "train_loss": 0.5 / epoch,
            "valid_loss": 0.6 / epoch,
            "valid_accuracy": round(0.8 + 0.01 * epoch, 6),
            "valid_majority": 0.75,
        }
        for epoch in range(1, n_epochs + 1)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def fabricate() -> Callable[..., dict[str, Any]]:
    """Write what train, evaluate and report leave behind, in their formats; returns model.json."""

    def write(
        folder: Path,
        key: str = "k" * 64,
        weights: str = "w" * 64,
        threshold: float = 0.5,
        accuracy: float = 0.9,
        site: str | None = "<p>report</p>",
    ) -> dict[str, Any]:
        attributes = ("Eyeglasses", "Smiling")
        params = shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
        Path(params).write_text(
            Path(params).read_text().replace("threshold: 0.5 ", f"threshold: {threshold} ")
        )
        model = {
            "format": 1,
            "key": key,
            "network": "uab_cnn",
            "weights_sha256": weights,
            "best_epoch": 2,
            "train": {"n_epochs": 2},
            "attributes": attributes,
            "height_px": 8,
            "width_px": 6,
        }
        manifest = {
            "attributes": attributes,
            "height_px": 8,
            "width_px": 6,
            "n_by_partition": {"train": 80, "valid": 10, "test": 10},
            "n_source_by_partition": {"train": 82, "valid": 10, "test": 10},
        }
        write_files(
            folder,
            {
                "data/prepare/manifest.json": json.dumps(manifest),
                "data/train/model/model.json": json.dumps(model),
                "data/train/model/weights.safetensors": weights,
                "data/evaluate/manifest.json": "{}",
                "reports/train/summary.json": json.dumps(model),
                "reports/evaluate/metrics.json": json.dumps(
                    {
                        part: {"n_images": 10, "accuracy": accuracy, "roc_auc": None}
                        for part in ("valid", "test")
                    }
                ),
                **({} if site is None else {"reports/site/index.html": site}),
            },
        )
        write_csv(folder / "reports/train/history.csv", make_history(2))
        write_csv(
            folder / "reports/evaluate/per_attribute.csv",
            [
                {
                    "partition": part,
                    "attribute": attribute,
                    "majority_accuracy": 0.75,
                    "accuracy": accuracy,
                    "gain": round(accuracy - 0.75, 6),
                    "balanced_accuracy": 0.8,
                    "precision": "",
                    "recall": 0.5,
                    "f1": "",
                    "roc_auc": "",
                    "average_precision": 0.4,
                }
                for part in ("valid", "test")
                for attribute in attributes
            ],
        )
        return model

    return write


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
