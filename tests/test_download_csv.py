"""A CSV of the user's own."""

import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import FacetError
from stages.common.files import read_manifest
from stages.common.tables import iter_images, read_annotations
from stages.download.run import run
from tests.official_files import encode_jpeg
from tests.test_download_layouts import params_for

NAMES = ("anna/1.jpg", "anna/2.jpg", "ben/1.png", "c.jpg")
ROWS = [
    "file,happy,Wears a scarf,split,person",
    "anna/1.jpg,1,0,train,anna",
    "anna/2.jpg,0,,train,anna",
    "ben/1.png,1,1,val,ben",
    "c.jpg,0,0,test,",
]


def write(folder: Path, rows: list[str] = ROWS, name: str = "labels.csv") -> Path:
    rng = np.random.default_rng(0)
    for image in NAMES:
        path = folder / "faces" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(rng.integers(0, 255, (30, 20, 3)).astype(np.uint8)))
    (folder / "faces" / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def read(path: Path, out: Path):
    run(params_for(path), out)
    return read_annotations(out)


def test_columns_become_attributes(tmp_path: Path) -> None:
    table, attributes = read(write(tmp_path / "in"), tmp_path / "out")
    assert attributes == ["happy", "Wears a scarf"]
    assert table["image_id"].tolist() == list(NAMES)
    assert table["partition"].tolist() == ["train", "train", "valid", "test"]
    assert table["identity"].fillna("unknown").tolist() == ["anna", "anna", "ben", "unknown"]
    assert table["happy"].tolist() == [True, False, True, False]
    assert table["Wears a scarf"].tolist() == [False, None, True, False]
    assert set(table["status"]) == {"ok"}
    assert sum(len(batch) for batch in iter_images(tmp_path / "out")) == 4
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["celeba"], manifest["split"]) == (None, None)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row.replace(",", ";") for row in ROWS], id="semicolons"),
        pytest.param([row.replace(",", "\t") for row in ROWS], id="tabs"),
        pytest.param([row.replace("/", "\\") for row in ROWS], id="backslashes"),
        pytest.param([ROWS[0], *(f"./{row}" for row in ROWS[1:])], id="dot and slash"),
        pytest.param(["\ufeff" + ROWS[0], *ROWS[1:], ""], id="byte order mark"),
        pytest.param([row.replace(",0", ",-1") for row in ROWS], id="-1 and 1"),
        pytest.param(
            [ROWS[0], *(r.replace(",1", ",True").replace(",0", ",False") for r in ROWS[1:])],
            id="true and false",
        ),
        pytest.param(
            [ROWS[0], *(r.replace(",1", ",1.0").replace(",0", ",0.0") for r in ROWS[1:])],
            id="as floats",
        ),
        pytest.param([ROWS[0], *reversed(ROWS[1:])], id="another order"),
        pytest.param([ROWS[0].replace("file", '"file"'), *ROWS[1:]], id="quotes"),
        pytest.param([ROWS[0].replace("file", "Foto"), *ROWS[1:]], id="another name"),
        pytest.param(
            ["," + ROWS[0], *(f"{k},{row}" for k, row in enumerate(ROWS[1:]))], id="row numbers"
        ),
        pytest.param(
            [ROWS[0], *(r.replace(",1", ",YES").replace(",0", ", no ") for r in ROWS[1:])],
            id="yes and no",
        ),
    ],
)
def test_the_same_table_written_otherwise(rows: list[str], tmp_path: Path) -> None:
    expected, _ = read(write(tmp_path / "a"), tmp_path / "out_a")
    got, _ = read(write(tmp_path / "b", rows), tmp_path / "out_b")
    assert got.equals(expected)


def test_the_file_itself_may_be_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    (folder / "faces" / "other.csv").write_text("file,x\nc.jpg,1\n")
    with pytest.raises(FacetError, match="expected one CSV of labels"):
        read(folder, tmp_path / "out")
    table, attributes = read(folder / "faces" / "labels.csv", tmp_path / "out")
    assert (len(table), len(attributes)) == (4, 2)


def test_a_named_file_with_its_pictures_in_a_zip(tmp_path: Path) -> None:
    folder = write(tmp_path / "in") / "faces"
    (folder / "more.csv").write_bytes(b"caf\xe9,x\nc.jpg,1")  # broken, and not asked for
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
            (folder / name).unlink()
    table, _ = read(folder / "labels.csv", tmp_path / "out")
    assert set(table["status"]) == {"ok"}
    table, _ = read(folder, tmp_path / "out")  # the broken one is no candidate
    assert len(table) == 4


def test_a_zip_with_table_and_pictures(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    expected, _ = read(folder, tmp_path / "out_a")
    got, _ = read(tmp_path / "all.zip", tmp_path / "out_b")
    assert got.equals(expected)


def test_pictures_of_other_names_only_are_refused(tmp_path: Path) -> None:
    rows = [ROWS[0], *(row.replace(".jpg", ".JPG").replace(".png", ".PNG") for row in ROWS[1:])]
    with pytest.raises(FacetError, match=r"such as anna/1\.JPG; got others, such as .*\.(jpg|png)"):
        read(write(tmp_path / "in", rows), tmp_path / "out")


def test_two_pictures_of_one_name_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path / "in")
    for k, archive in enumerate("ab"):
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as file:
            for name in NAMES:
                file.writestr(f"raw/{name}", (folder / "faces" / name).read_bytes() + b"x" * k)
    for name in NAMES:
        (folder / "faces" / name).unlink()
    with caplog.at_level(logging.WARNING):
        table, _ = read(folder, tmp_path / "out")
    assert set(table["status"]) == {"ok"}
    assert "4 pictures are there twice and differ; used for anna/1.jpg:" in caplog.text
    assert "a.zip/raw/anna/1.jpg, not" in caplog.text


def test_pictures_beside_the_table_win(tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    (folder / "raw").mkdir()
    (folder / "raw" / "c.jpg").write_bytes(b"another c.jpg")
    table, _ = read(folder, tmp_path / "out")
    assert set(table["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([ROWS[0], "c.jpg,2,0,train,"], ":2: happy: expected a label", id="value 2"),
        pytest.param([*ROWS, "d.jpg,-1,0,train,"], ":6: happy: expected -1 and 1, or", id="-1, 0"),
        pytest.param([ROWS[0], "c.jpg,-1,0,test,"], ":2: Wears a scarf: expected -1", id="one row"),
        pytest.param([ROWS[0], "c.jpg,1,0,train"], ":2: expected 5 columns; got 4", id="short row"),
        pytest.param([*ROWS, ROWS[1]], ":6: expected every image once", id="image twice"),
        pytest.param([*ROWS, "./" + ROWS[1]], ":6: expected every image once", id="path twice"),
        pytest.param([ROWS[0], "../c.jpg,1,0,train,"], ":2: expected a path below", id="escape"),
        pytest.param([ROWS[0], "..\\c.jpg,1,0,train,"], ":2: expected a path", id="backslash"),
        pytest.param([ROWS[0], "/etc/passwd,1,0,train,"], ":2: expected a path", id="absolute"),
        pytest.param([ROWS[0], "C:\\c.jpg,1,0,train,"], ":2: expected a path", id="drive"),
        pytest.param([ROWS[0], "c.jpg,1,0,dev,"], "split: expected train, valid", id="partition"),
        pytest.param([ROWS[0], "c.jpg,1,0,,"], "split: expected train, valid", id="no partition"),
        pytest.param(["file,a,a", "c.jpg,1,0"], ":1: expected distinct names", id="name twice"),
        pytest.param(["file,status", "c.jpg,1"], ":1: expected distinct names", id="reserved"),
        pytest.param(
            ["file,face", "c.jpg,1"], ":1: expected distinct names", id="a column of scores"
        ),
        pytest.param(["file,", "c.jpg,1"], ":1: expected distinct names", id="no name"),
        pytest.param(["file", "c.jpg"], ":1: expected attribute names", id="no attributes"),
        pytest.param(["file,a"], "at least one image", id="no rows"),
        pytest.param(["file,age", "c.jpg,34"], ":2: age: expected a label", id="a number"),
        pytest.param(["file,a", '"c.jpg,1', 'd.jpg",1'], ":2: expected quotes", id="open quotes"),
        pytest.param(["file,a", 'c.jpg,"1'], ":2: expected a row of a CSV", id="quotes at the end"),
        pytest.param(["file,a", f"{'c' * 200_000},1"], ":2: expected a row", id="huge field"),
    ],
)
def test_bad_tables_are_refused_with_file_and_line(
    rows: list[str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(FacetError) as caught:
        read(write(tmp_path / "in", rows), tmp_path / "out")
    assert expected in str(caught.value)
    assert "labels.csv" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        pytest.param("test", "can be explored, audited and evaluated, but not trained", id="test"),
        pytest.param("train", "not trained on", id="train"),
    ],
)
def test_one_partition_is_told(
    partition: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [ROWS[0], *(f"{name},1,0,{partition}," for name in NAMES)]
    with caplog.at_level(logging.WARNING):
        table, _ = read(write(tmp_path / "in", rows), tmp_path / "out")
    assert set(table["partition"]) == {partition}
    assert words in caplog.text


def test_people_in_two_partitions_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row.replace("anna/2.jpg,0,,train", "anna/2.jpg,0,,test") for row in ROWS]
    read(write(tmp_path / "in", rows), tmp_path / "out")
    assert "1 of 2 identities have images in more than one partition" in caplog.text
    assert read_manifest(tmp_path / "out")["n_shared_identities"] == 1
