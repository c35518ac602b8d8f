"""A trained model in MLflow: what it says, and that it works far from this project."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from stages.common import pyfunc, store, sync, tracking
from stages.common.files import hash_file, write_json
from stages.common.inference import load_model, predict
from stages.common.networks import build_network
from stages.common.params import load_params
from tests.test_pipeline import iter_runtime_nodes, reachable_files

ROOT = Path(__file__).resolve().parent.parent
#: Ours, torchvision's, timm's, and one that is put together of two.
NETWORKS = ("uab_cnn", "resnet18", "timm:test_vit", "efficientnet_lite0", "devarashs_cnn_rnn")
ATTRIBUTES = ["5_o_Clock_Shadow", "Eyeglasses", "Smiling"]
SIZE = 64, 48

#: Loads each saved model, answers the pictures, says where `stages` came from.
CHILD = """
import sys
from pathlib import Path
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]  # as if not installed
import numpy as np
import mlflow.pyfunc
pixels = np.load("pixels.npy")
for folder in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(folder)
    answer = model.predict(pixels)
    assert list(model.predict(pixels[:0]).columns) == list(answer.columns)
    assert model.predict(model.input_example).shape == (1, answer.shape[1])
    answer.to_parquet(Path(folder).name + ".parquet")
for name, module in sys.modules.items():
    if name.partition(".")[0] == "stages":
        print(module.__file__)
"""


def write_model(folder: Path, network: str) -> Path:
    """A model of random weights, as the stage `train` leaves one."""
    folder.mkdir()
    train = load_params(ROOT / "params.yaml").train.model_dump(mode="json")
    built = build_network(network, len(ATTRIBUTES), *SIZE, 0.2, "none")
    weights = {name: tensor.contiguous() for name, tensor in built.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    model = {
        "network": network,
        "attributes": ATTRIBUTES,
        "height_px": SIZE[0],
        "width_px": SIZE[1],
        "weights_sha256": hash_file(folder / "weights.safetensors"),
        "train": train | {"network": network},
    }
    write_json(folder / "model.json", model)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder with the models of NETWORKS as `trained-N`, and as MLflow's `saved-N`."""
    store.silence_mlflow()
    folder = tmp_path_factory.mktemp("models")
    for i, network in enumerate(NETWORKS):
        write_model(folder / f"trained-{i}", network)
        pyfunc.save_pyfunc(folder / f"trained-{i}", folder / f"saved-{i}", "r" * 32, "m-1")
    return folder


@pytest.mark.slow
def test_saved_model_answers_as_the_pipeline_does_and_needs_nothing_of_it(saved):
    pixels = np.random.default_rng(1).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    np.save(saved / "pixels.npy", pixels)
    (saved / "child.py").write_text(CHILD)
    names = [f"saved-{i}" for i in range(len(NETWORKS))]
    done = subprocess.run(
        [sys.executable, "-IB", "child.py", *names],
        cwd=saved,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = [Path(line) for line in done.stdout.splitlines()]
    assert len(files) > 10
    assert all(file.is_relative_to(saved) for file in files)
    for i, network in enumerate(NETWORKS):
        built, model = load_model(saved / f"trained-{i}")
        expected = predict(built, model["network"], pixels, 2)
        answer = pd.read_parquet(saved / f"saved-{i}.parquet")
        assert list(answer.columns) == ATTRIBUTES
        assert answer.dtypes.unique().tolist() == [np.float32]
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6, err_msg=network)
        assert np.ptp(expected, axis=0).max() > 0  # the pictures make a difference


def test_saved_model_carries_the_code_it_reaches_and_no_more():
    carried = set()
    for name in pyfunc.CODE:
        path = Path("stages", name)
        inside = (ROOT / path).rglob("*.py") if (ROOT / path).is_dir() else [ROOT / path]
        carried |= {file.relative_to(ROOT) for file in inside}
    assert reachable_files(pyfunc.LOADER) == carried


def test_saved_model_requires_what_its_code_imports():
    imported = set()
    for path in reachable_files(pyfunc.LOADER):
        for node in iter_runtime_nodes(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names - {"stages"} == set(pyfunc.REQUIREMENTS)


def test_signature_and_example(saved):
    from mlflow.models import Model

    model = Model.load(str(saved / "saved-0"))
    (pictures,) = model.signature.inputs.inputs
    assert (pictures.type, pictures.shape) == (np.dtype(np.uint8), (-1, *SIZE, 3))
    columns = model.signature.outputs.inputs
    assert [(column.name, column.type.name) for column in columns] == [
        (name, "float") for name in ATTRIBUTES
    ]
    example = model.load_input_example(str(saved / "saved-0"))
    assert (example.dtype, example.shape) == (np.uint8, (1, *SIZE, 3))
    np.testing.assert_array_equal(example, pyfunc.draw_example(*SIZE))


def test_example_is_two_gradients():
    example = pyfunc.draw_example(3, 2)[0]
    assert example[..., 0].tolist() == [[0, 255]] * 3
    assert example[..., 1].tolist() == [[0, 0], [127, 127], [255, 255]]
    assert (example[..., 2] == 128).all()


def test_requirements_are_versions_without_where_they_came_from(saved, monkeypatch):
    lines = (saved / "saved-0/requirements.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in lines} == {"mlflow", *pyfunc.REQUIREMENTS}
    assert not [line for line in lines if any(c in line for c in "+@/:")]
    monkeypatch.setattr(pyfunc, "version", lambda name: "2.11.0+cpu")
    assert pyfunc.pin_requirements()[0] == "numpy==2.11.0"


def test_saved_model_names_no_place_on_this_machine_and_holds_no_pickle(saved):
    files = [path for path in (saved / "saved-0").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {"", ".json", ".py", ".safetensors", ".txt", ".yaml"}
    for path in files:
        if path.suffix != ".safetensors":
            text = path.read_text()
            assert str(saved) not in text, path
            assert str(ROOT) not in text, path
            assert sys.prefix not in text, path


@pytest.fixture
def run(tracked_folder):
    """A run, and a model to log to it."""
    opened = store.open_store()
    return opened, opened.create_run("a", {}, {}), write_model(tracked_folder / "m", "uab_cnn")


def models_of(opened) -> list[tuple[str, str, str]]:
    """Name, run and status of all models in the store."""
    models = opened.client.search_logged_models([opened.experiment_id])
    return [(model.name, model.source_run_id, str(model.status)) for model in models]


def test_model_is_logged_once_and_loads_by_its_run(run, monkeypatch):
    import mlflow

    opened, run_id, model = run
    for _ in range(2):
        pyfunc.log_model(opened, run_id, model, 2)
    assert models_of(opened) == [("model", run_id, "READY")]
    (output,) = opened.client.get_run(run_id).outputs.model_outputs
    assert output.step == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.store_uri())
    # MLflow puts the model's code first on the path, where a later test's processes would find it.
    monkeypatch.setattr(sys, "path", list(sys.path))
    loaded = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    assert loaded.predict(loaded.input_example).columns.tolist() == ATTRIBUTES
    assert loaded.metadata.run_id == run_id
    assert loaded.metadata.model_id == output.model_id


def test_plain_files_of_older_runs_make_way(run):
    opened, run_id, model = run
    opened.client.log_artifacts(run_id, str(model), "model")
    opened.client.log_artifacts(run_id, str(model), "other")
    pyfunc.log_model(opened, run_id, model, 1)
    folder = store.project_root().absolute() / "mlartifacts" / run_id / "artifacts"
    assert [path.name for path in folder.iterdir()] == ["other"]


def test_what_a_killed_and_a_failed_attempt_left_is_replaced(run, monkeypatch):
    opened, run_id, model = run
    opened.client.create_logged_model(opened.experiment_id, "model", run_id)  # killed here
    other = opened.create_run("b", {}, {})
    pyfunc.log_model(opened, other, model, 1)

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(pyfunc, "save_pyfunc", fail)
        with pytest.raises(OSError, match="disk full"):
            pyfunc.log_model(opened, run_id, model, 1)
    assert sorted(models_of(opened)) == sorted(
        [("model", run_id, "FAILED"), ("model", other, "READY")]
    )
    assert pyfunc.find_model(opened, run_id) is None
    pyfunc.log_model(opened, run_id, model, 1)
    assert sorted(models_of(opened)) == sorted(
        [("model", run_id, "READY"), ("model", other, "READY")]
    )


def test_model_that_cannot_be_logged_costs_nothing_else(
    tracked_folder, fabricate, monkeypatch, caplog
):
    """The training ends well, its evaluation finds its run, and sync adds the model."""

    def fail(*_):
        raise OSError("no models here")

    model = fabricate(tracked_folder)
    with monkeypatch.context() as patch:
        patch.setattr(pyfunc, "save_pyfunc", fail)
        with tracking.start_training(model["key"], {}) as begun:
            begun.finish(Path("data/train/model"), Path("reports/train"), model["weights_sha256"])
    assert caplog.text.count("no models here") == 1
    tracking.log_evaluation(model, {}, Path("reports/evaluate"), Path("data/evaluate"))
    opened = store.open_store()
    run = opened.client.get_run(begun.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy"] == 0.9
    assert pyfunc.find_model(opened, begun.run_id) is None
    sync.sync(in_pipeline=False)
    assert models_of(opened) == [("model", begun.run_id, "READY")]


def test_saving_loads_no_network():
    code = "import sys, stages.common.pyfunc; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_example_for_a_server_is_small(saved):
    """MLflow's own form of it takes a line per number."""
    text = (saved / "saved-0/serving_input_example.json").read_text()
    assert len(text) < 5 * SIZE[0] * SIZE[1] * 3
    assert np.shape(json.loads(text)["inputs"]) == (1, *SIZE, 3)
