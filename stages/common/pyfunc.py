"""A trained model in MLflow: with signature, example, requirements and the code that it needs.

Beside weights.safetensors and model.json lie MLmodel and the few files of ours that rebuild the
network, so `mlflow.pyfunc.load_model` needs neither this project nor a pickle. Those files are
copied, not imported: nothing heavy is loaded here, and no stage depends on them for it.
"""

import json
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from stages.common.files import read_json
from stages.common.store import Store

NAME = "model"  # runs:/<run_id>/model
LOADER = "stages.common.predictor"
#: The code that a saved model carries, below `stages`: what LOADER reaches.
CODE = (
    "__init__.py",
    "common/__init__.py",
    "common/errors.py",
    "common/files.py",
    "common/inference.py",
    "common/mirror.py",
    "common/networks",
    "common/predictor.py",
    "common/progress.py",
)
#: What that code imports, as pip names.
REQUIREMENTS = (
    "numpy",
    "pandas",
    "rich",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)


def find_model(store: Store, run_id: str) -> str | None:
    """MLflow's id of the model that a run holds in MLflow's own format; None where it has none."""
    outputs = store.client.get_run(run_id).outputs
    return outputs.model_outputs[0].model_id if outputs and outputs.model_outputs else None


def log_model(store: Store, run_id: str, model: Path, step: int) -> None:
    """Log a trained model as `runs:/<run_id>/model`, unless the run holds one.

    Plain files of that name, as older runs have them, make way: MLflow would find both.

    Args:
        store: The opened store.
        run_id: The training's run.
        model: Folder with model.json and weights.safetensors.
        step: Of the run's metrics, that the weights come from.
    """
    from mlflow.entities import LoggedModelOutput

    if find_model(store, run_id):
        return
    discard_attempts(store, run_id)
    params = store.client.get_run(run_id).data.params
    shown = {name: text for name, text in params.items() if name.startswith("train.")}
    logged = store.client.create_logged_model(store.experiment_id, NAME, run_id, params=shown)
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory(prefix="facet-") as temporary:
            saved = Path(temporary) / NAME
            save_pyfunc(model, saved, run_id, logged.model_id)
            store.client.log_model_artifacts(logged.model_id, str(saved))
        status = "READY"
    finally:
        store.client.finalize_logged_model(logged.model_id, status)
    store.drop_artifacts(run_id, NAME)
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])


def discard_attempts(store: Store, run_id: str) -> None:
    """Delete what killed or failed attempts left of a run's model."""
    term = f"source_run_id = '{run_id}'"
    for attempt in store.client.search_logged_models([store.experiment_id], term):
        store.client.delete_logged_model(attempt.model_id)


def save_pyfunc(model: Path, out: Path, run_id: str, model_id: str) -> None:
    """Write a trained model as an MLflow model; nothing of it is loaded or unpickled.

    Args:
        model: Folder with model.json and weights.safetensors.
        out: A folder that does not exist; it gets both files and MLflow's.
        run_id: MLflow's run of the training.
        model_id: MLflow's id of the model.

    Raises:
        Exception: whatever MLflow raises, or a model.json without size or attributes.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    description = read_json(model / "model.json")
    shape = (description["height_px"], description["width_px"], 3)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        Schema([ColSpec("float", name) for name in description["attributes"]]),
    )
    mlmodel = Model(artifact_path=NAME, run_id=run_id, model_id=model_id)
    with tempfile.TemporaryDirectory(prefix="facet-") as temporary:
        code = Path(temporary) / "stages"
        copy_code(code)
        mlflow.pyfunc.save_model(
            str(out),
            loader_module=LOADER,
            code_paths=[str(code)],
            mlflow_model=mlmodel,
            signature=signature,
            input_example=draw_example(*shape[:2]),
            pip_requirements=pin_requirements(),
        )
    served = out / "serving_input_example.json"  # MLflow indents each of its numbers
    text = json.dumps(json.loads(served.read_text(encoding="utf-8")), separators=(",", ":"))
    served.write_text(text, encoding="utf-8")
    for path in sorted(model.iterdir()):
        shutil.copyfile(path, out / path.name)
    mlmodel.model_size_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    mlmodel.save(str(out / "MLmodel"))


def copy_code(target: Path) -> None:
    """Copy the files that rebuild the network to `target`, which stands for `stages`."""
    source = Path(__file__).resolve().parent.parent
    for name in CODE:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source / name, path)


def draw_example(height_px: int, width_px: int) -> np.ndarray:
    """One picture (1, H, W, 3) uint8 RGB that shows nobody: red rightwards, green downwards."""
    example = np.full((1, height_px, width_px, 3), 128, np.uint8)
    example[..., 0] = np.linspace(0, 255, width_px).astype(np.uint8)
    example[..., 1] = np.linspace(0, 255, height_px).astype(np.uint8)[:, None]
    return example


def pin_requirements() -> list[str]:
    """Installed versions as name==version, without where they came from (2.11.0+cpu: 2.11.0)."""
    pinned = []
    for name in REQUIREMENTS:
        try:
            pinned.append(f"{name}=={re.sub(r'[+].*', '', version(name))}")
        except PackageNotFoundError:
            pinned.append(name)
    return pinned
