"""The data set as input of MLflow's runs: the same data alike in every run, and told once."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from stages.common import datasets, store, sync, tracking
from stages.common.datasets import Data, log_data, name_source
from stages.common.files import hash_file, read_json

EVALUATE = {"partitions": ["valid", "test"], "threshold": 0.5}


def read_data(folder: Path) -> Data:
    path = folder / "data/prepare/manifest.json"
    return Data(read_json(path), hash_file(path))


def inputs_of(run_id: str) -> list[tuple[str, str, str]]:
    """Name, digest and context of a run's data sets, sorted."""
    run = store.open_store().client.get_run(run_id)
    return sorted(
        (entry.dataset.name, entry.dataset.digest, entry.tags[0].value)
        for entry in run.inputs.dataset_inputs
    )


def train(folder: Path, model, params=None, **options) -> str:
    params = params or {"download": {"source": "demo"}}
    with tracking.start_training(model["key"], params, read_data(folder), **options) as run:
        run.finish(Path("data/train/model"), Path("reports/train"), model["weights_sha256"])
    return run.run_id


def evaluate(model, data, section=None) -> None:
    section, out = section or EVALUATE, Path("data/evaluate")
    tracking.log_evaluation(model, section, Path("reports/evaluate"), out, data)


def test_training_names_train_and_valid_and_its_evaluation_adds_test(tracked_folder, fabricate):
    model = fabricate(tracked_folder)
    run_id = train(tracked_folder, model)
    digest = read_data(tracked_folder).sha256[:12]
    learned = [("demo train", digest, "training"), ("demo valid", digest, "validation")]
    assert inputs_of(run_id) == learned
    for _ in range(2):
        evaluate(model, read_data(tracked_folder))
    assert inputs_of(run_id) == [("demo test", digest, "evaluation"), *learned]


def test_data_set_says_how_many_images_of_which_size_and_its_attributes(tracked_folder, fabricate):
    run_id = train(tracked_folder, fabricate(tracked_folder))
    entries = store.open_store().client.get_run(run_id).inputs.dataset_inputs
    (dataset,) = [entry.dataset for entry in entries if entry.dataset.name == "demo train"]
    assert json.loads(dataset.profile) == {
        "n_images": 80,
        "n_images_before_cleaning": 82,
        "n_attributes": 2,
        "height_px": 8,
        "width_px": 6,
        "manifest_sha256": read_data(tracked_folder).sha256,
    }
    columns = json.loads(dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["image", "Eyeglasses", "Smiling"]


def test_only_evaluated_partitions_are_named(tracked_folder, fabricate):
    model = fabricate(tracked_folder)
    run_id = train(tracked_folder, model)
    path = tracked_folder / "reports/evaluate/metrics.json"
    figures = json.loads(path.read_text())
    path.write_text(json.dumps({"valid": figures["valid"], "shift": {"roc_auc": None}}))
    evaluate(model, read_data(tracked_folder))
    assert [name for name, *_ in inputs_of(run_id)] == ["demo train", "demo valid"]


def test_evaluation_of_its_own_names_what_it_read(tracked_folder, fabricate):
    model = fabricate(tracked_folder)
    run_id = train(tracked_folder, model)
    evaluate(model, read_data(tracked_folder))
    evaluate(model, read_data(tracked_folder), EVALUATE | {"threshold": 0.3})
    (other,) = [run for run in store.open_store().find_runs() if run.info.run_id != run_id]
    assert [name for name, *_ in inputs_of(other.info.run_id)] == ["demo test", "demo valid"]


def test_second_set_of_an_evaluation_is_named_after_its_folder(tracked_folder, fabricate):
    model = fabricate(tracked_folder)
    run_id = train(tracked_folder, model)
    facts = {"n_images": 4, "data_sha256": "e" * 64}
    (tracked_folder / "data/evaluate/manifest.json").write_text(json.dumps({"extra": facts}))
    section = EVALUATE | {"extra": "/somewhere/lfwa/data/download"}
    for _ in range(2):
        evaluate(model, read_data(tracked_folder), section)
    assert ("lfwa extra", "e" * 12, "evaluation") in inputs_of(run_id)
    assert len(inputs_of(run_id)) == 4


def test_other_data_than_the_models_bear_no_name_of_its_source(tracked_folder, fabricate):
    model = fabricate(tracked_folder)
    run_id = train(tracked_folder, model)
    other = Data(read_data(tracked_folder).manifest, "f" * 64)
    evaluate(model, other, EVALUATE | {"data_sha256": other.sha256})
    names = {name for name, digest, _ in inputs_of(run_id) if digest == "f" * 12}
    assert names == {"data valid", "data test"}


def test_resumed_and_repeated_trainings_tell_it_once(tracked_folder, fabricate):
    model, data = fabricate(tracked_folder), read_data(tracked_folder)
    params = {"download": {"source": "demo"}}
    with suppress(KeyboardInterrupt), tracking.start_training(model["key"], params, data):
        raise KeyboardInterrupt
    run_id = train(tracked_folder, model, resume=True)
    assert train(tracked_folder, model) == run_id
    for _ in range(2):
        sync.sync(in_pipeline=False)
    (run,) = store.open_store().find_runs()
    assert run.info.run_id == run_id
    assert [name for name, *_ in inputs_of(run_id)] == ["demo test", "demo train", "demo valid"]


def test_same_data_keep_their_name_when_their_source_is_renamed(tracked_folder, fabricate):
    def named(path: str) -> dict:
        return {"download": {"source": "files", "path": path}}

    model = fabricate(tracked_folder, key="a" * 64, weights="1" * 64)
    first = train(tracked_folder, model, named("/home/someone/celeba-16k"))
    model = fabricate(tracked_folder, key="b" * 64, weights="2" * 64)
    second = train(tracked_folder, model, named("../moved"))
    assert inputs_of(first) == inputs_of(second)
    assert inputs_of(first)[0][0] == "celeba-16k train"
    entries = store.open_store().client.get_run(first).inputs.dataset_inputs
    for entry in entries:
        assert "someone" not in f"{vars(entry.dataset)}"


def test_other_data_have_another_digest(tracked_folder, fabricate):
    first = train(tracked_folder, fabricate(tracked_folder, key="a" * 64, weights="1" * 64))
    model = fabricate(tracked_folder, key="b" * 64, weights="2" * 64)
    path = tracked_folder / "data/prepare/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"height_px": 9}))
    second = train(tracked_folder, model)
    assert [name for name, *_ in inputs_of(first)] == [name for name, *_ in inputs_of(second)]
    assert not {digest for _, digest, _ in inputs_of(first)} & {
        digest for _, digest, _ in inputs_of(second)
    }


def test_data_that_cannot_be_logged_break_no_training(
    tracked_folder, fabricate, monkeypatch, caplog
):
    def fail(*_):
        raise OSError("no inputs here")

    model = fabricate(tracked_folder)
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "add_inputs", fail)
        run_id = train(tracked_folder, model)
    assert caplog.text.count("no inputs here") == 1
    run = store.open_store().client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert "facet.weights" in run.data.tags
    sync.sync(in_pipeline=False)
    assert [name for name, *_ in inputs_of(run_id)] == ["demo test", "demo train", "demo valid"]


def test_runs_find_their_data_by_name_and_digest(tracked_folder, fabricate):
    """What a person types into the search field of MLflow's pages."""
    opened = store.open_store()
    data = (fabricate(tracked_folder), read_data(tracked_folder))[1]
    ids = [opened.create_run(name, {}, {}) for name in ("a", "b")]
    for run_id in ids:
        log_data(opened, run_id, data, ["train"])
    term = f"dataset.name = 'data train' and dataset.digest = '{data.sha256[:12]}'"
    found = opened.client.search_runs([opened.experiment_id], term)
    assert {run.info.run_id for run in found} == set(ids)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"source": "demo", "path": "null"}, "demo"),
        ({"source": "files", "path": "/mnt/a disk/CelebA/"}, "CelebA"),
        ({"source": "files", "path": "../in/celeba.zip"}, "celeba.zip"),
        ({"source": "files", "path": "../celeba/data"}, "celeba"),
        ({"source": "files", "path": ".."}, "files"),
        ({"source": "kaggle", "kaggle": "owner/name/versions/2"}, "owner/name/versions/2"),
        ({"source": "huggingface", "huggingface": "owner/name"}, "owner/name"),
        ({"source": "url", "url": "https://me:secret@example.org/x"}, "url"),
        ({}, "data"),
    ],
    ids=[
        "demo",
        "folder",
        "archive",
        "folder named data",
        "folder without a name",
        "kaggle",
        "huggingface",
        "url",
        "unknown",
    ],
)
def test_name_of_a_source(params, expected):
    assert name_source({f"download.{key}": text for key, text in params.items()}) == expected
