"""LFWA+: lfw_att_40.mat beside LFW's folders."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from stages.common.errors import FacetError
from stages.common.tables import read_annotations
from stages.download.run import run
from tests.official_files import encode_jpeg
from tests.test_download_layouts import params_for

PEOPLE = ("Aaron_Eckhart", "Zico", "Aaron_Eckhart", "Abel_Pacheco")
NAMES = [f"{person}\\{person}_{k:04d}.jpg" for k, person in enumerate(PEOPLE, start=1)]
ATTRIBUTES = ["5 o Clock Shadow", "Male ", "Smiling"]
LABEL = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 1]], float)


def variables() -> dict[str, Any]:
    return {"name": list(NAMES), "label": LABEL.copy(), "AttrName": list(ATTRIBUTES)}


def indices() -> dict[str, Any]:
    return {
        "indices_img_train": np.array([[1.0], [3.0]]),
        "indices_img_test": np.array([[2.0], [4.0]]),
        "indices_identity_train": np.array([[1.0]]),
    }


def save_hdf5(path: Path, values: dict[str, Any]) -> None:
    """As MATLAB 7.3 writes: HDF5, arrays transposed, a cell array as references to texts."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in values.items():
            if isinstance(value, list):
                cells = np.empty((1, len(value)), h5py.ref_dtype)
                for k, text in enumerate(value):
                    codes = np.frombuffer(text.encode("utf-16-le"), np.uint16)[:, None]
                    cell = file.create_dataset(f"#refs#/{name}{k}", data=codes)
                    cell.attrs["MATLAB_class"] = np.bytes_("char")
                    cells[0, k] = cell.ref
                dataset = file.create_dataset(name, data=cells, dtype=h5py.ref_dtype)
                dataset.attrs["MATLAB_class"] = np.bytes_("cell")
            else:
                dataset = file.create_dataset(name, data=np.asarray(value).T)
                dataset.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(512))


def save_old(path: Path, values: dict[str, Any]) -> None:
    """As MATLAB 5 writes."""
    cells = {
        k: np.array(v, object)[:, None] if isinstance(v, list) else v for k, v in values.items()
    }
    savemat(path, cells)


def write(folder: Path, save: Any = save_hdf5, **changes: Any) -> Path:
    folder.mkdir()
    save(folder / "lfw_att_40.mat", {**variables(), **changes})
    save(folder / "indices_train_test.mat", indices())
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = folder / "lfw-deepfunneled" / name.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(rng.integers(0, 255, (25, 25, 3)).astype(np.uint8)))
    return folder


@pytest.mark.parametrize("save", [save_hdf5, save_old], ids=["MATLAB 7.3", "MATLAB 5"])
def test_names_labels_people_and_partitions(
    save: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path / "in", save)
    with caplog.at_level("INFO"):
        run(params_for(folder), tmp_path / "out")
    table, attributes = read_annotations(tmp_path / "out")
    assert attributes == ["5_o_Clock_Shadow", "Male", "Smiling"]
    assert table["image_id"].tolist() == sorted(name.replace("\\", "/") for name in NAMES)
    table = table.set_index("image_id").loc[[name.replace("\\", "/") for name in NAMES]]
    assert table["identity"].tolist() == list(PEOPLE)
    assert table["partition"].tolist() == ["train", "test", "train", "test"]
    assert table[attributes].to_numpy(dtype=float).tolist() == LABEL.tolist()
    assert set(table["status"]) == {"ok"}
    assert "the LFWA+ layout" in caplog.text
    assert "prepare.resplit.valid" in caplog.text  # there are no validation images


def test_indices_in_the_file_itself(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", **indices())
    (folder / "indices_train_test.mat").unlink()
    run(params_for(folder), tmp_path / "out")
    table, _ = read_annotations(tmp_path / "out")
    assert table["partition"].value_counts().to_dict() == {"train": 2, "test": 2}


def test_an_unknown_label_is_null(tmp_path: Path) -> None:
    label = LABEL.copy()
    label[1, 2] = np.nan
    run(params_for(write(tmp_path / "in", label=label)), tmp_path / "out")
    table, _ = read_annotations(tmp_path / "out")
    assert table.set_index("image_id").loc["Zico/Zico_0002.jpg", "Smiling"] is None


def split_as(train: list[int], test: list[int]) -> dict[str, Any]:
    return {"indices_img_train": np.array(train), "indices_img_test": np.array(test)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"label": LABEL[:2]}, "that fit together; got AttrName, label", id="short"),
        pytest.param({"label": LABEL * 2}, "label: expected 0 and 1", id="value 2"),
        pytest.param({"name": ["../a.jpg", *NAMES[1:]]}, "expected a path below", id="escape"),
        pytest.param({"name": [NAMES[1], *NAMES[1:]]}, "every image once", id="image twice"),
        pytest.param({"AttrName": ["a", "a", "b"]}, "expected distinct names", id="name twice"),
        pytest.param(split_as([1, 9], [2]), "from 1 to 4 once; got 9", id="index too large"),
        pytest.param(split_as([1, 2, 3], [3, 4]), "from 1 to 4 once; got 3", id="index twice"),
        pytest.param(split_as([1], [2]), "2 have none, such as number 3", id="uncovered"),
    ],
)
def test_bad_files_are_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", save_old, **changes)
    if "indices_img_train" in changes:
        (folder / "indices_train_test.mat").unlink()
    with pytest.raises(FacetError) as caught:
        run(params_for(folder), tmp_path / "out")
    assert expected in str(caught.value)
    assert ".mat" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"<html>Sign in</html>" * 50, "expected a MATLAB file", id="web page"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(600), "expected a MATLAB file", id="broken HDF5"),
        pytest.param(b"", "expected a MATLAB file", id="empty"),
    ],
)
def test_no_matlab_file(content: bytes, expected: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    (folder / "lfw_att_40.mat").write_bytes(content)
    with pytest.raises(FacetError, match=expected):
        run(params_for(folder), tmp_path / "out")


def test_a_variable_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    save_hdf5(folder / "lfw_att_40.mat", {"name": NAMES})
    with pytest.raises(FacetError, match="expected the variables name, label "):
        run(params_for(folder), tmp_path / "out")


def test_names_without_folders(tmp_path: Path) -> None:
    names = [name.partition("\\")[2] for name in NAMES]
    run(params_for(write(tmp_path / "in", name=names)), tmp_path / "out")
    table, _ = read_annotations(tmp_path / "out")
    assert table["image_id"].tolist() == sorted(names)
    assert table["identity"].tolist() == sorted(PEOPLE)
    assert set(table["status"]) == {"ok"}


def test_without_indices_partitions_are_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    n = 30
    names = [f"P{k}/P{k}_0001.jpg" for k in range(n)]
    labels = np.random.default_rng(0).integers(0, 2, (n, 3)).astype(float)
    save_hdf5(folder / "lfw_att_40.mat", {**variables(), "name": names, "label": labels})
    run(params_for(folder), tmp_path / "out")
    table, _ = read_annotations(tmp_path / "out")
    assert table["partition"].value_counts().to_dict() == {"train": 24, "valid": 3, "test": 3}
    assert "the source has no partitions" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"label": LABEL.T}, id="transposed"),
        pytest.param({"label": LABEL.astype(bool)}, id="logical"),
        pytest.param({"bbox": np.ones((4, 4)), "note": ["a", "b"]}, id="more variables"),
        pytest.param({"a_text": "LFWA+", "AttrName": np.array(ATTRIBUTES)}, id="rows of text"),
    ],
)
def test_variables_are_told_by_what_they_hold(changes: dict[str, Any], tmp_path: Path) -> None:
    run(params_for(write(tmp_path / "in", save_old, **changes)), tmp_path / "out")
    table, attributes = read_annotations(tmp_path / "out")
    assert attributes == ["5_o_Clock_Shadow", "Male", "Smiling"]
    row = table.set_index("image_id").loc["Zico/Zico_0002.jpg"]
    assert row[attributes].tolist() == [True, True, False]


def test_one_attribute_and_logical_indices(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", save_old, label=LABEL[:, :1], AttrName=["Male"])
    masks = {"train": np.array([True, False, True, False])}
    savemat(folder / "indices_train_test.mat", {**masks, "test": ~masks["train"]})
    run(params_for(folder), tmp_path / "out")
    table, attributes = read_annotations(tmp_path / "out")
    assert attributes == ["Male"]
    assert table["Male"].sum() == 1
    assert table.set_index("image_id").loc["Zico/Zico_0002.jpg", "partition"] == "test"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"indices_img_train": np.array([1, 3])}, id="train only"),
        pytest.param(split_as([1, 3], [2, 4]) | {"indices_img_test": [1.5, 2.5]}, id="fractions"),
        pytest.param({"train": np.array(NAMES, object), "test": np.array([2])}, id="names"),
        pytest.param({"something": np.array([1, 2])}, id="other variables"),
    ],
)
def test_official_partitions_are_never_replaced_silently(
    values: dict[str, Any], tmp_path: Path
) -> None:
    folder = write(tmp_path / "in")
    savemat(folder / "indices_train_test.mat", values)
    with pytest.raises(FacetError, match=r"indices_train_test\.mat: expected numbers"):
        run(params_for(folder), tmp_path / "out")
