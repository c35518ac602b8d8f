import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import FacetError
from stages.common.files import read_json, read_manifest
from stages.common.shards import read_partition
from stages.common.tables import EXTRA, PREDICTIONS, predictions_schema, read_table
from stages.evaluate.run import run
from tests.model_fabric import download_set, make_project, prepare_set
from tests.official_files import ATTRIBUTES, OfficialFolder, folder_bytes
from tests.test_evaluate import make_params


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extra")
    make_project(folder)
    return folder


def evaluate(project: Path, out: Path, extra: Path | None, **changes: Any) -> Path:
    params = make_params(
        extra=None if extra is None else str(extra), slices=["Male"], n_resamples=20, **changes
    )
    paths = project / "prepare", project / "train", project / "audit"
    run(params, *paths, out / "data", out / "reports")
    return out


def read_extra(out: Path) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    predictions = read_table(out / "data" / EXTRA, predictions_schema(ATTRIBUTES))
    table = pd.read_csv(out / "reports/per_attribute.csv")
    rows = table[table["partition"] == "extra"].set_index("attribute")
    return predictions, read_json(out / "reports/metrics.json")["extra"], rows


def make_other(folder: Path, **changes: Any) -> OfficialFolder:
    return OfficialFolder(**{"n_images": 20, "seed": 9, "height": 218, "width": 178, **changes})


def test_the_own_set_gives_its_own_figures_however_it_is_read(
    project: Path, tmp_path: Path
) -> None:
    """Decoded anew or from shards: the same pixels, so the same predictions to the last bit."""
    for name in ("download", "prepare"):
        out = evaluate(project, tmp_path / name, project / name)
        predictions, metrics, rows = read_extra(out)
        own = read_table(out / "data" / PREDICTIONS, predictions_schema(ATTRIBUTES))
        own = own[own["partition"] == "test"].reset_index(drop=True)
        pd.testing.assert_frame_equal(predictions, own)
        test = read_json(out / "reports/metrics.json")["test"]
        for key in ("n_images", "accuracy", "majority_accuracy", "micro_roc_auc", "tuned"):
            assert metrics[key] == test[key], key
        facts = read_manifest(out / "data")["extra"]
        assert (facts["n_images"], facts["n_left_out"]) == (6, 0)
        assert (facts["majority_from"], facts["n_attributes"]) == ("train", 4)
        assert rows.index.tolist() == list(ATTRIBUTES)


def test_without_a_second_set_nothing_speaks_of_one(project: Path, tmp_path: Path) -> None:
    out = evaluate(project, tmp_path, None)
    assert not (out / "data" / EXTRA).exists()
    assert "extra" not in read_json(out / "reports/metrics.json")
    assert read_manifest(out / "data")["extra"] is None


def test_a_set_of_other_attributes_in_one_partition(project: Path, tmp_path: Path) -> None:
    names = ("Smiling", "Wearing_Hat", "Male")
    other = make_other(tmp_path, attributes=names)
    other.partition = [line.split()[0] + " 0" for line in other.partition]
    download = download_set(tmp_path / "other", other)
    out = evaluate(project, tmp_path, download)
    predictions, metrics, rows = read_extra(out)
    assert len(predictions) == metrics["n_images"] == 20
    assert predictions["partition"].unique().tolist() == ["train"]
    assert rows.loc[["Bald", "Eyeglasses"], "n_known"].tolist() == [0, 0]
    assert rows.loc[["Bald", "Eyeglasses"], ["accuracy", "gain", "brier"]].isna().all(axis=None)
    for name in ("Smiling", "Male"):
        truth = other.values[:, names.index(name)]
        decided = predictions[name].to_numpy() > 0.5
        assert rows.loc[name, "accuracy"] == pytest.approx((decided == truth).mean())
        best = max(truth.mean(), 1 - truth.mean())  # of constant answers, as there is no test
        assert rows.loc[name, "majority_accuracy"] == pytest.approx(best)
    facts = read_manifest(out / "data")["extra"]
    assert (facts["n_attributes"], facts["majority_from"]) == (2, "itself")
    slices = pd.read_csv(out / "reports/slices.csv")
    assert set(slices.loc[slices["partition"] == "extra", "group"]) == {"Male=1", "Male=0"}


def test_unreadable_pictures_are_left_out_and_counted(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_other(tmp_path, n_images=40)
    names = list(other.images)  # the last 8 are of test
    other.images[names[-1]] = other.images[names[-1]][:600]  # a header, and no whole picture
    del other.images[names[-2]]
    download = download_set(tmp_path / "other", other)
    with caplog.at_level(logging.INFO):
        out = evaluate(project, tmp_path, download)
    predictions, metrics, _ = read_extra(out)
    assert predictions["image_id"].tolist() == names[-8:-2]
    assert metrics["n_images"] == 6
    assert read_manifest(out / "data")["extra"]["n_left_out"] == 2
    assert "2 images of" in caplog.text
    assert "cannot be read" in caplog.text


def test_what_is_tuned_on_valid_is_applied(project: Path, tmp_path: Path) -> None:
    out = evaluate(project, tmp_path / "a", project / "download", partitions=["valid", "test"])
    thresholds = pd.read_csv(out / "reports/thresholds.csv")
    per_partition = [
        thresholds[thresholds["partition"] == name]["threshold"].tolist()
        for name in ("valid", "extra")
    ]
    assert str(per_partition[0]) == str(per_partition[1])
    out = evaluate(project, tmp_path / "b", project / "download", partitions=["test"])
    assert pd.read_csv(out / "reports/thresholds.csv").empty
    assert "tuned" not in read_extra(out)[1]


def test_two_runs_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    first = evaluate(project, tmp_path / "a", project / "download")
    second = evaluate(project, tmp_path / "b", project / "download")
    assert folder_bytes(first) == folder_bytes(second)


def test_sets_that_do_not_fit_are_refused(project: Path, tmp_path: Path) -> None:
    strange = make_other(tmp_path, attributes=("Happy", "Scarf"))
    download = download_set(tmp_path / "strange", strange)
    with pytest.raises(FacetError, match=r"evaluate\.extra: expected .*Bald.*; got .*Happy, Scarf"):
        evaluate(project, tmp_path, download)
    with pytest.raises(FacetError, match=r"manifest\.json: expected this file"):
        evaluate(project, tmp_path, project / "train")
    other = make_other(tmp_path)
    download_set(tmp_path / "other", other)
    import tests.model_fabric as fabric

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fabric, "SIZES", {**fabric.SIZES, "height_px": 32, "width_px": 32})
        prepared = prepare_set(tmp_path / "other")
    with pytest.raises(FacetError, match=r"expected height_px 24, .*; got 32 in"):
        evaluate(project, tmp_path, prepared)


def test_pixels_of_the_second_set_are_those_of_prepare(project: Path) -> None:
    from stages.evaluate.extra import _decode

    model = read_json(project / "train/model/model.json")
    test = read_partition(project / "prepare", "test")
    ((ids, pixels),) = _decode(project / "download", set(test.image_ids), model)
    assert ids == test.image_ids
    assert np.array_equal(pixels, test.pixels)
