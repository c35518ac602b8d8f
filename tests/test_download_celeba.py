"""CelebA is recognised by hash, or by content where line ends differ."""

import logging
import zipfile
from pathlib import Path

import pytest

from stages.common.files import read_manifest
from stages.download.celeba import official_partition
from stages.download.run import run
from tests.official_files import OfficialFolder
from tests.test_download_layouts import download, params_for

NAMES = ("list_attr_celeba", "list_eval_partition", "identity_CelebA")


@pytest.fixture(scope="module")
def label_files() -> Path:
    """The complete official label files; the test is skipped where they are missing."""
    folder = Path(__file__).parents[2] / "shared" / "celeba-labels"
    if not folder.is_dir():
        pytest.skip("no complete label files in ../shared/celeba-labels")
    return folder


def unpack(label_files: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in NAMES:
        with zipfile.ZipFile(label_files / f"{name}.zip") as archive:
            archive.extract(f"{name}.txt", folder)
    return folder


def test_by_hash_within_their_zips(
    label_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run(params_for(label_files), tmp_path / "out")
    assert "complete official CelebA: labels by MD5, partitions by MD5, ident" in caplog.text
    manifest = read_manifest(tmp_path / "out")
    assert manifest["celeba"] == {
        "extent": "complete", "official": ["labels", "partitions", "identities"],
    }  # fmt: skip
    assert manifest["n_by_partition"] == {"train": 162_770, "valid": 19_867, "test": 19_962}
    assert manifest["n_identities"] == 10_177


def test_by_content_where_line_ends_differ_or_a_label_does(
    label_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = unpack(label_files, tmp_path / "in")
    for name in NAMES:
        path = folder / f"{name}.txt"
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    attr = folder / "list_attr_celeba.txt"
    with caplog.at_level(logging.INFO):
        run(params_for(folder), tmp_path / "out")
    assert "labels by content, partitions by content, identities by content" in caplog.text
    text = attr.read_text().replace("000001.jpg -1", "000001.jpg  1", 1)
    assert text != attr.read_text()
    attr.write_text(text)
    with caplog.at_level(logging.INFO):
        run(params_for(folder), tmp_path / "out2")
    assert read_manifest(tmp_path / "out2")["celeba"] == {
        "extent": "changed", "official": ["partitions", "identities"],
    }  # fmt: skip
    assert "CelebA with other labels than the official ones" in caplog.text


def test_other_data_is_not_celeba(tmp_path: Path) -> None:
    download(OfficialFolder().write(tmp_path / "in"), tmp_path / "out")
    assert read_manifest(tmp_path / "out")["celeba"] is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1, "train"), (162_770, "train"), (162_771, "valid"), (182_637, "valid"), (182_638, "test"),
     (202_599, "test")],
)  # fmt: skip
def test_partitions_are_contiguous(number: int, expected: str) -> None:
    assert official_partition(number) == expected


@pytest.mark.real_data
def test_a_subset_is_a_part(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run(params_for(real_data), tmp_path / "out")
    assert "a part of CelebA" in caplog.text
    assert read_manifest(tmp_path / "out")["celeba"] == {"extent": "part", "official": []}
