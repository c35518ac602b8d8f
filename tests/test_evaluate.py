import hashlib
import logging
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from stages.common.errors import FacetError
from stages.common.files import read_json, read_manifest, write_manifest
from stages.common.inference import load_model
from stages.common.params import EvaluateParams, load_params
from stages.common.records import log_evaluation_files
from stages.common.shards import read_partition
from stages.common.tables import (
    CALIBRATED,
    ISSUES,
    ISSUES_SCHEMA,
    PREDICTIONS,
    calibrated_schema,
    predictions_schema,
    read_table,
    write_table,
)
from stages.evaluate.columns import COLUMNS
from stages.evaluate.doubts import FIGURES, collect_doubts, score_without
from stages.evaluate.run import run
from stages.evaluate.tables import score_attributes, summarise, trace_curves
from stages.train.run import run as train
from tests.official_files import draw_pixels, folder_bytes
from tests.shard_fabric import write_shards
from tests.test_train import make_params as make_train_params

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").evaluate
NAMES = ["quadrant_0", "quadrant_1", "quadrant_2", "never"]


def make_params(**changes: Any) -> EvaluateParams:
    return EvaluateParams.model_validate({**SHIPPED.model_dump(), **changes})


def write_set(
    prepare: Path, rng: np.random.Generator, names: list[str], **n_by_partition: int
) -> Path:
    """Shards with a masked label here and there; the attributes in the order of `names`."""
    prepare.mkdir()
    columns = [NAMES.index(name) for name in names]
    for partition, n_images in n_by_partition.items():
        rows = []
        for index in range(n_images):
            labels = rng.random(4) < [0.3, 0.6, 0.5, 0.0]
            pixels = draw_pixels(rng, labels.tolist(), 16, 16)
            mask = rng.random(4) < 0.9
            image_id = f"{partition}{index:03d}.jpg"
            rows.append((image_id, pixels, labels[columns], mask[columns]))
        write_shards(prepare, partition, (16, 16), 4, rows)
    facts = {"attributes": names, "height_px": 16, "width_px": 16, "crop_px": None}
    write_manifest(prepare, {**facts, "n_by_partition": n_by_partition})
    return prepare


def write_issues(audit: Path, *rows: tuple[Any, ...]) -> Path:
    """Findings of (image_id, check, attribute, related_id, flagged, detail)."""
    audit.mkdir(parents=True)
    names = ["image_id", "check", "attribute", "related_id", "flagged", "detail"]
    table = pd.DataFrame(rows, columns=names).assign(score=np.float32(0))
    write_table(table.astype({"flagged": bool}), audit / ISSUES, ISSUES_SCHEMA)
    return audit


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set without test images, and a model trained on it."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(5)
    prepare = write_set(folder / "prepare", rng, NAMES, train=96, valid=40, test=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        train(make_train_params(n_epochs=4), prepare, folder / "train", folder / "rtrain")
    write_issues(folder / "audit")
    return folder


def evaluate(workspace: Path, out: Path, **changes: Any) -> Path:
    params = make_params(**{"partitions": ["valid"], **changes})
    audit = workspace / "audit"
    run(params, workspace / "prepare", workspace / "train", audit, out / "data", out / "reports")
    return out


def test_figures_follow_from_the_predictions(workspace: Path, tmp_path: Path) -> None:
    out = evaluate(workspace, tmp_path)
    predictions = read_table(out / "data" / PREDICTIONS, predictions_schema(NAMES))
    valid = read_partition(workspace / "prepare", "valid")
    learned = read_partition(workspace / "prepare", "train", pixels=False)
    assert predictions["image_id"].tolist() == valid.image_ids
    probs = predictions[NAMES].to_numpy()
    assert ((probs > 0) & (probs < 1)).all()
    table = pd.read_csv(out / "reports" / "per_attribute.csv").set_index("attribute")
    for column, name in enumerate(NAMES):
        known = valid.mask[:, column]
        truth, prob = valid.labels[known, column], probs[known, column]
        assert table.loc[name, "accuracy"] == pytest.approx(
            np.mean((prob > 0.5) == truth), abs=1e-6
        )
        seen = learned.labels[learned.mask[:, column], column]
        majority = int(seen.mean() > 0.5)
        assert table.loc[name, "majority_accuracy"] == pytest.approx(
            np.mean(truth == majority), abs=1e-6
        )
        if name == "never":
            assert np.isnan(table.loc[name, "roc_auc"])
            assert np.isnan(table.loc[name, "recall"])
        else:
            expected = sk.roc_auc_score(truth, prob)
            assert table.loc[name, "roc_auc"] == pytest.approx(expected, abs=1e-5)
    metrics = read_json(out / "reports" / "metrics.json")["valid"]
    assert metrics["accuracy"] == pytest.approx(table["accuracy"].mean(), abs=1e-6)
    assert metrics["gain"] == pytest.approx(table["gain"].mean(), abs=1e-6)
    known = valid.mask.ravel()
    flat = valid.labels.ravel()[known], probs.ravel()[known]
    assert metrics["micro_roc_auc"] == pytest.approx(sk.roc_auc_score(*flat), abs=1e-6)
    assert metrics["micro_f1"] == pytest.approx(sk.f1_score(flat[0], flat[1] > 0.5), abs=1e-6)
    assert metrics["n_images"] == 40


def test_two_runs_give_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    first = folder_bytes(evaluate(workspace, tmp_path / "a"))
    assert folder_bytes(evaluate(workspace, tmp_path / "b")) == first
    assert set(first) == {
        "data/calibrated.parquet",
        "data/manifest.json",
        "data/predictions.parquet",
        "data/saliency.parquet",
        "reports/metrics.json",
        *(f"reports/{name}.csv" for name in COLUMNS),
    }


def test_tables_have_their_columns_and_undefined_is_empty(planted: Path) -> None:
    for name, columns in COLUMNS.items():
        table = pd.read_csv(planted / "out/reports" / f"{name}.csv", keep_default_na=False)
        assert tuple(table.columns) == columns, name
        assert "nan" not in table.astype(str).to_numpy(), name
    table = pd.read_csv(planted / "out/reports/per_attribute.csv").set_index("attribute")
    never = table.loc["never", ["recall", "recall_low", "roc_auc", "calibration_error_scaled"]]
    assert never.isna().all(axis=None)
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["accuracy_high"]).all()


def test_calibrated_probabilities_are_the_scaled_ones(planted: Path) -> None:
    data, reports = planted / "out/data", planted / "out/reports"
    raw = read_table(data / PREDICTIONS, predictions_schema(NAMES))
    calibrated = read_table(data / CALIBRATED, calibrated_schema(NAMES))
    assert calibrated[["image_id", "partition"]].equals(raw[["image_id", "partition"]])
    assert calibrated["never"].isna().all()
    tuned = pd.read_csv(reports / "tuned.csv").set_index("attribute")
    for name in NAMES[:3]:
        prob = raw[name].to_numpy(float)
        logit = np.log(prob / (1 - prob)) / tuned.loc[name, "temperature"]
        assert calibrated[name].to_numpy() == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_tuned_thresholds_are_those_of_valid(planted: Path) -> None:
    """F1 on test at the threshold of tuned.csv, from the predictions."""
    predictions = read_table(planted / "out/data" / PREDICTIONS, predictions_schema(NAMES))
    tuned = pd.read_csv(planted / "out/reports/tuned.csv").set_index("attribute")
    applied = pd.read_csv(planted / "out/reports/thresholds.csv")
    applied = applied[(applied["partition"] == "test") & (applied["aim"] == "f1")]
    test = read_partition(planted / "prepare", "test", pixels=False)
    probs = predictions.loc[predictions["partition"] == "test", NAMES].to_numpy(float)
    for k, name in enumerate(NAMES[:3]):
        known = test.mask[:, k]
        decided = probs[known, k] > tuned.loc[name, "threshold_f1"]
        value = applied.set_index("attribute").loc[name, "value"]
        assert value == pytest.approx(sk.f1_score(test.labels[known, k], decided), abs=1e-6)


def test_the_loss_from_valid_to_test_is_split(planted: Path) -> None:
    metrics = read_json(planted / "out/reports/metrics.json")
    shift = metrics["shift"]
    loss = metrics["valid"]["accuracy"] - metrics["test"]["accuracy"]
    assert shift["n_attributes"] == 4
    assert shift["loss"] == pytest.approx(loss, abs=2e-6)
    assert shift["explained"] + shift["rest"] == pytest.approx(loss, abs=3e-6)
    assert shift["loss_low"] < loss < shift["loss_high"]


def test_one_partition_alone_has_no_shift_and_test_alone_nothing_tuned(
    planted: Path, tmp_path: Path
) -> None:
    valid = evaluate(planted, tmp_path / "a", partitions=["valid"])
    test = evaluate(planted, tmp_path / "b", partitions=["test"])
    for out in (valid, test):
        assert "shift" not in read_json(out / "reports/metrics.json")
        assert pd.read_csv(out / "reports/shift.csv").empty
    assert "tuned" in read_json(valid / "reports/metrics.json")["valid"]
    metrics = read_json(test / "reports/metrics.json")["test"]
    assert "tuned" not in metrics
    assert metrics["calibration_error_scaled"] is None
    assert not (test / "data" / CALIBRATED).exists()
    assert pd.read_csv(test / "reports/tuned.csv").empty


def test_figures_of_a_partition_do_not_depend_on_what_else_is_evaluated(
    planted: Path, tmp_path: Path
) -> None:
    both = pd.read_csv(planted / "out/reports/per_attribute.csv")
    alone = pd.read_csv(
        evaluate(planted, tmp_path, partitions=["valid"]) / "reports/per_attribute.csv"
    )
    pd.testing.assert_frame_equal(both[both["partition"] == "valid"], alone)


def test_intervals_follow_the_seed_and_can_be_switched_off(workspace: Path, tmp_path: Path) -> None:
    tables = [
        pd.read_csv(evaluate(workspace, tmp_path / str(k), **changes) / "reports/per_attribute.csv")
        for k, changes in enumerate(({"seed": 1}, {"seed": 2}, {"n_resamples": 0}))
    ]
    ends = [name for name in tables[0] if name.endswith(("_low", "_high"))]
    values = [name for name in tables[0] if name not in ends]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0][values], other[values])
        assert not tables[0][ends].equals(other[ends])
    assert tables[2][ends].isna().all(axis=None)
    metrics = read_json(tmp_path / "2/reports/metrics.json")["valid"]
    assert metrics["n_attributes_clearly_above"] is None
    assert set(metrics["interval"].values()) == {None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"extra": "../nowhere"}, "existing folder", id="extra is missing"),
        pytest.param({"slices": ["Male", "Male"]}, "every attribute once", id="a slice twice"),
        pytest.param({"slices": [["Male", "Male"]]}, "two different", id="a pair of one"),
        pytest.param(
            {"slices": [["Male", "Young"], ["Young", "Male"]]}, "every pair once", id="a pair twice"
        ),
        pytest.param({"slices": [["Male"]]}, "at least 2 items", id="a pair of one alone"),
        pytest.param({"slices": [["a", "b", "c"]]}, "at most 2 items", id="three attributes"),
        pytest.param({"slices": [1]}, "valid string", id="a number for a slice"),
        pytest.param({"n_resamples": -1}, "greater than or equal to 0", id="negative resamples"),
        pytest.param({"confidence": 1.0}, "less than 1", id="certainty"),
        pytest.param({"confidence": 95}, "less than 1", id="percent"),
        pytest.param({"n_bins": 1}, "greater than or equal to 2", id="one bin"),
    ],
)
def test_wrong_parameters(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make_params(**changes)


def test_batch_size_does_not_change_decisions(workspace: Path, tmp_path: Path) -> None:
    large = pd.read_parquet(evaluate(workspace, tmp_path / "a") / "data" / PREDICTIONS)
    small = pd.read_parquet(
        evaluate(workspace, tmp_path / "b", batch_size=7) / "data" / PREDICTIONS
    )
    assert np.abs(large[NAMES].to_numpy() - small[NAMES].to_numpy()).max() < 1e-5


def test_threshold_is_applied(workspace: Path, tmp_path: Path) -> None:
    high = evaluate(workspace, tmp_path, threshold=0.999)
    table = pd.read_csv(high / "reports" / "per_attribute.csv")
    assert table["recall"].max() < 0.5
    assert table["precision"].isna().any()


def test_a_partition_without_images_is_skipped(
    workspace: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = folder_bytes(evaluate(workspace, tmp_path / "a"))
    assert not caplog.text
    with caplog.at_level(logging.INFO):
        out = evaluate(workspace, tmp_path / "b", partitions=["valid", "test"])
    assert folder_bytes(out) == expected
    assert "holds no images of test, which is skipped" in caplog.text
    with pytest.raises(FacetError, match=r"evaluate\.partitions: .* got test, and .* of train and"):
        evaluate(workspace, tmp_path / "c", partitions=["test"])


def test_a_set_of_test_images_with_a_model_trained_elsewhere(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "stages.evaluate.run.log_evaluation", lambda model, params, *paths: tracked.append(params)
    )
    names = ["never", "quadrant_2", "quadrant_0", "quadrant_1"]  # another order
    rng = np.random.default_rng(6)
    prepare = write_set(tmp_path / "other", rng, names, train=0, valid=0, test=50)
    params = make_params(partitions=["valid", "test"])
    audit = workspace / "audit"
    run(params, prepare, workspace / "train", audit, tmp_path / "data", tmp_path / "reports")
    predictions = read_table(tmp_path / "data" / PREDICTIONS, predictions_schema(NAMES))
    test = read_partition(prepare, "test")
    assert predictions["image_id"].tolist() == test.image_ids
    assert predictions["partition"].unique().tolist() == ["test"]
    learned = read_partition(workspace / "prepare", "train", pixels=False)
    table = pd.read_csv(tmp_path / "reports" / "per_attribute.csv").set_index("attribute")
    for column, name in enumerate(names):
        known, index = test.mask[:, column], NAMES.index(name)
        truth = test.labels[known, column]
        right = (predictions.loc[known, name].to_numpy() > 0.5) == truth
        assert table.loc[name, "accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        majority = int(learned.labels[learned.mask[:, index], index].mean() > 0.5)
        assert table.loc[name, "majority_accuracy"] == pytest.approx(
            np.mean(truth == majority), abs=1e-6
        )
    assert read_json(tmp_path / "reports" / "metrics.json").keys() == {"test"}
    evaluate(workspace, tmp_path / "own")
    digest = hashlib.sha256((prepare / "manifest.json").read_bytes()).hexdigest()
    assert [params.get("data_sha256") for params in tracked] == [digest, None]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"attributes": ["quadrant_0", "quadrant_1", "Bald", "never"]},
            r"expected the 4 attributes .* a set without quadrant_2 and with also Bald",
            id="another attribute",
        ),
        pytest.param(
            {"attributes": NAMES[:3]}, "a set without never; set prepare", id="an attribute less"
        ),
        pytest.param(
            {"attributes": [*NAMES, "Bald"]}, "a set with also Bald; set", id="an attribute more"
        ),
        pytest.param({"height_px": 20}, "expected height_px 16.* got 20", id="another height"),
        pytest.param({"width_px": 20}, "expected width_px 16.* got 20", id="another width"),
    ],
)
def test_sets_that_are_not_the_models(
    workspace: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    facts = read_manifest(workspace / "prepare") | changes
    (tmp_path / "prepare").mkdir()
    write_manifest(tmp_path / "prepare", {k: v for k, v in facts.items() if k != "files"})
    out = workspace / "audit", tmp_path / "data", tmp_path / "reports"
    with pytest.raises(FacetError, match=expected):
        run(make_params(), tmp_path / "prepare", workspace / "train", *out)


def test_weights_that_are_not_the_models(workspace: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(workspace / "train" / "model", tmp_path / "model")
    path = tmp_path / "model" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FacetError, match="expected SHA-256"):
        load_model(tmp_path / "model")


def test_curves_hold_the_confusion_at_every_threshold() -> None:
    probs = np.array([[0.1], [0.4], [0.6], [0.9]], np.float32)
    labels = np.array([[0], [1], [0], [1]], np.uint8)
    curves = trace_curves(probs, labels, np.ones((4, 1), bool), ["a"]).set_index("threshold")
    assert curves.loc[0.0, ["tp", "fp", "fn", "tn"]].tolist() == [2, 2, 0, 0]
    assert curves.loc[0.5, ["tp", "fp", "fn", "tn"]].tolist() == [1, 1, 1, 1]
    assert curves.loc[1.0, ["tp", "fp", "fn", "tn"]].tolist() == [0, 0, 2, 2]


def test_undefined_means_are_null() -> None:
    probs, labels = np.full((3, 1), 0.2), np.zeros((3, 1), np.uint8)
    mask = np.ones((3, 1), bool)
    table = score_attributes(probs, labels, mask, np.zeros(1, np.uint8), ["a"], 0.5)
    summary = summarise(table, probs, labels, mask, 0.5)
    assert summary["roc_auc"] is None
    assert summary["precision"] is None
    assert summary["accuracy"] == 1.0


def test_manifest_names_the_weights(workspace: Path, tmp_path: Path) -> None:
    out = evaluate(workspace, tmp_path)
    model = read_json(workspace / "train" / "model" / "model.json")
    assert read_manifest(out / "data")["weights_sha256"] == model["weights_sha256"]


PLANTED = (
    # train000 is in test, twice; its leak stands at the training member
    ("train000.jpg", "leak", None, "test000.jpg", True, "train-test: same bytes"),
    ("train000.jpg", "leak", None, "test001.jpg", True, "train-test: mirrored"),
    ("test001.jpg", "near_duplicate", None, "test000.jpg", True, "mirrored"),
    # one that the model learned from, one in another order, and one between valid and test
    ("train001.jpg", "leak", None, "valid000.jpg", True, "train-valid: same bytes"),
    ("test002.jpg", "leak", None, "train900.jpg", True, "test-train: same bytes"),
    ("valid001.jpg", "leak", None, "test003.jpg", True, "valid-test: same bytes"),
    ("train002.jpg", "leak", None, "test004.jpg", False, "train-test: not flagged"),
    # copies within test, a picture without a face, labels
    ("test006.jpg", "exact_duplicate", None, "test005.jpg", True, None),
    ("test007.jpg", "faceless", None, None, True, None),
    ("test008.jpg", "faceless", None, None, False, None),
    ("test009.jpg", "mislabel", "quadrant_0", None, True, "probably wrong"),
    ("test010.jpg", "mislabel", "quadrant_0", None, False, "perhaps wrong"),
    ("test011.jpg", "label_rule", "quadrant_1", None, True, "a rule"),
    ("test011.jpg", "label_conflict", "quadrant_2", "test012.jpg", True, "copies"),
    ("test011.jpg", "mislabel", "an_attribute_not_learned", None, True, ""),
    ("test013.jpg", "identity_outlier", None, None, True, None),
    ("elsewhere.jpg", "faceless", None, None, True, None),
)
LEAKED = {"test": ["test000", "test001", "test002"], "valid": ["valid000"]}
FLAGGED = {
    "test": [*LEAKED["test"], "test003", "test006", "test007"],
    "valid": ["valid000", "valid001"],
}
HIDDEN = {"test": [(9, 0), (11, 1), (11, 2)], "valid": []}


@pytest.fixture(scope="module")
def planted(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's own set, made to have test images too, beside an audit with planted leaks."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(5)
    write_set(folder / "prepare", rng, NAMES, train=96, valid=40, test=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        train(make_train_params(n_epochs=2), folder / "prepare", folder / "train", folder / "r")
    write_issues(folder / "audit", *PLANTED)
    evaluate(folder, folder / "out", partitions=["valid", "test"])
    return folder


@pytest.mark.parametrize("partition", ["valid", "test"])
def test_figures_without_leaks_and_without_flagged_images(planted: Path, partition: str) -> None:
    metrics = read_json(planted / "out/reports/metrics.json")[partition]
    part = read_partition(planted / "prepare", partition, pixels=False)
    predictions = read_table(planted / "out/data" / PREDICTIONS, predictions_schema(NAMES))
    probs = predictions.loc[predictions["partition"] == partition, NAMES].to_numpy()
    learned = read_partition(planted / "prepare", "train", pixels=False)
    majority = np.array(
        [learned.labels[learned.mask[:, k], k].mean() > 0.5 for k in range(len(NAMES))]
    )

    def mean_accuracy(left_out: list[str], hidden: list[tuple[int, int]]) -> tuple[float, float]:
        rows = [k for k, name in enumerate(part.image_ids) if name[:-4] not in left_out]
        mask = part.mask.astype(bool).copy()
        for place in hidden:
            mask[place] = False
        right, base = [], []
        for column in range(len(NAMES)):
            known = [row for row in rows if mask[row, column]]
            truth = part.labels[known, column].astype(bool)
            right.append(((probs[known, column] > 0.5) == truth).mean())
            base.append((truth == majority[column]).mean())
        return float(np.mean(right)), float(np.mean(base))

    n = len(part.image_ids)
    assert metrics["n_images"] == n  # the official figures leave nothing out
    assert metrics["accuracy"] == pytest.approx(mean_accuracy([], [])[0], abs=1e-6)
    leaks, flagged = metrics["without_leaks"], metrics["without_flagged"]
    assert leaks["n_images"] == n - len(LEAKED[partition])
    assert leaks["n_leaked"] == len(LEAKED[partition])
    accuracy, base = mean_accuracy(LEAKED[partition], [])
    assert leaks["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert leaks["majority_accuracy"] == pytest.approx(base, abs=1e-6)
    assert flagged["n_images"] == n - len(FLAGGED[partition])
    accuracy, base = mean_accuracy(FLAGGED[partition], HIDDEN[partition])
    assert flagged["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert flagged["gain"] == pytest.approx(accuracy - base, abs=1e-6)
    rows = [k for k, name in enumerate(part.image_ids) if name[:-4] not in FLAGGED[partition]]
    n_hidden = sum(part.mask[place] for place in HIDDEN[partition])
    assert flagged["n_labels"] == part.mask[rows].sum() - n_hidden


def test_leaks_that_the_model_learned_from_are_counted(planted: Path) -> None:
    metrics = read_json(planted / "out/reports/metrics.json")
    # train900 was left out of the training set: test002 leaks from the source, not into the model
    assert metrics["test"]["without_leaks"]["n_learned"] == 2
    assert metrics["valid"]["without_leaks"]["n_learned"] == 1


def test_what_a_model_of_elsewhere_learned_from_is_unknown(
    workspace: Path, planted: Path, tmp_path: Path
) -> None:
    paths = planted / "prepare", workspace / "train", planted / "audit"
    run(make_params(partitions=["test"]), *paths, tmp_path / "data", tmp_path / "reports")
    found = read_json(tmp_path / "reports/metrics.json")["test"]["without_leaks"]
    assert found["n_leaked"] == 3
    assert found["n_learned"] is None


def test_without_findings_all_figures_are_the_official_ones(
    workspace: Path, tmp_path: Path
) -> None:
    metrics = read_json(evaluate(workspace, tmp_path) / "reports/metrics.json")["valid"]
    for name in ("without_leaks", "without_flagged"):
        assert metrics[name]["n_images"] == metrics["n_images"]
        assert {key: metrics[name][key] for key in FIGURES} == {
            key: metrics[key] for key in FIGURES
        }


def test_every_image_leaked_leaves_undefined_figures() -> None:
    issues = pd.DataFrame(
        [("t", "leak", None, "e", 0.0, True, "train-test: same bytes")],
        columns=ISSUES_SCHEMA.names,
    )
    probs, labels = np.full((1, 1), 0.9), np.ones((1, 1), np.uint8)
    mask, majority = np.ones((1, 1), bool), np.ones(1, np.uint8)
    found = score_without(
        collect_doubts(issues), ["e"], probs, labels, mask, majority, ["a"], 0.5, {"t"}
    )
    for name in ("without_leaks", "without_flagged"):
        assert found[name]["n_images"] == 0
        assert found[name]["accuracy"] is None
    assert found["without_leaks"]["n_learned"] == 1


def test_a_missing_audit_is_named(workspace: Path, tmp_path: Path) -> None:
    paths = workspace / "prepare", workspace / "train", tmp_path / "audit"
    with pytest.raises(FacetError, match=r"issues\.parquet: expected a Parquet table"):
        run(make_params(partitions=["valid"]), *paths, tmp_path / "data", tmp_path / "reports")


def test_tracked_metrics_name_what_was_left_out(planted: Path) -> None:
    class Store:
        """Takes what would be logged."""

        def __init__(self) -> None:
            self.client = MagicMock()
            self.metrics: dict[str, float | None] = {}

        def log_metrics(self, run_id: str, metrics: dict[str, float | None], **_: Any) -> None:
            self.metrics |= metrics

    store = Store()
    log_evaluation_files(cast(Any, store), "run", planted / "out/reports", None, {})
    shift = read_json(planted / "out/reports/metrics.json")["shift"]
    assert store.metrics["valid_to_test/explained"] == shift["explained"]
    assert {"test/mcc/quadrant_0", "valid/calibration_error_scaled/quadrant_1"} <= set(
        store.metrics
    )
    assert "test/interval/accuracy_low" in store.metrics
    assert not any(isinstance(value, str) for value in store.metrics.values())
    metrics = read_json(planted / "out/reports/metrics.json")["test"]
    assert store.metrics["test/accuracy"] == metrics["accuracy"]
    left = metrics["without_leaks"]["accuracy"]
    assert store.metrics["test/without_leaks/accuracy"] == left
    assert not any(isinstance(value, dict) for value in store.metrics.values())
