"""Partitions where the source has none."""

import logging
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import FacetError
from stages.common.files import read_manifest
from stages.common.params import SplitParams
from stages.common.tables import read_annotations
from stages.download.run import run
from stages.download.source import Labels
from stages.download.split import make_partitions, number_groups
from tests.official_files import ATTRIBUTES, OfficialFolder, folder_bytes
from tests.test_download_layouts import PARAMS, download, params_for


def write_without(tmp_path: Path, n_images: int = 300) -> Path:
    folder = OfficialFolder(n_images=n_images).write(tmp_path / "in")
    (folder / "list_eval_partition.txt").unlink()
    return folder


def test_the_split_is_stated_seeded_and_disjoint_in_identities(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_without(tmp_path)
    with caplog.at_level(logging.INFO):
        table, _ = read_annotations(download(folder, tmp_path / "out"))
    sizes = table["partition"].value_counts()
    assert abs(sizes["valid"] - 30) <= 3
    assert abs(sizes["test"] - 30) <= 3
    assert (table.groupby("identity")["partition"].nunique() == 1).all()
    assert "no person is in two of them" in caplog.text
    assert "seed 7 (download.split)" in caplog.text
    assert read_manifest(tmp_path / "out")["split"] == {
        "valid": 0.1, "test": 0.1, "seed": 7, "method": "iterative stratification",
        "by_identity": True,
    }  # fmt: skip


def test_a_pure_function_of_labels_and_seed(tmp_path: Path) -> None:
    folder = write_without(tmp_path)
    first = folder_bytes(download(folder, tmp_path / "a"))
    assert folder_bytes(download(folder, tmp_path / "b")) == first
    other = PARAMS.split.model_copy(update={"seed": 8})
    run(params_for(folder, split=other), tmp_path / "c")
    assert folder_bytes(tmp_path / "c")["annotations.parquet"] != first["annotations.parquet"]


def test_partitions_have_the_prevalence_of_the_whole(tmp_path: Path) -> None:
    table, _ = read_annotations(download(write_without(tmp_path), tmp_path / "out"))
    values = table[list(ATTRIBUTES)].astype(float)
    for name in ("train", "valid", "test"):
        difference = values[table["partition"] == name].mean() - values.mean()
        assert difference.abs().max() < 0.05  # a random split of 30 images is off by 0.09 and more


def test_without_identities_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_without(tmp_path)
    (folder / "identity_CelebA.txt").unlink()
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    assert table["partition"].value_counts().to_dict() == {"train": 240, "valid": 30, "test": 30}
    assert "one person may be in two of them" in caplog.text


def test_a_source_with_partitions_keeps_them(tmp_path: Path) -> None:
    download(OfficialFolder().write(tmp_path / "in"), tmp_path / "out")
    assert read_manifest(tmp_path / "out")["split"] is None


def labels_of(identities: list[str | None]) -> Labels:
    n = len(identities)
    return Labels([str(k) for k in range(n)], ["a"], np.zeros((n, 1), np.int8), None, identities)


@pytest.mark.parametrize(
    "identities",
    [
        pytest.param(["one"] * 50, id="one person"),
        pytest.param([None, None], id="two images"),
    ],
)
def test_too_few_people_are_refused(identities: list[str | None]) -> None:
    with pytest.raises(FacetError, match="expected images for train, valid and test"):
        make_partitions(labels_of(identities), SplitParams(valid=0.1, test=0.1, seed=0))


def test_images_without_identity_are_people_of_their_own() -> None:
    codes = number_groups(["b", None, "a", "b", None])
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 4
