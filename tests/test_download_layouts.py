"""Every layout ends in the same canonical tables."""

import logging
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common.errors import FacetError
from stages.common.files import read_manifest
from stages.common.params import DownloadParams, load_params
from stages.common.tables import image_files, iter_images, read_annotations
from stages.download.layouts.recognise import open_source
from stages.download.run import run
from tests.official_files import ATTRIBUTES, OfficialFolder, folder_bytes

PARAMS = load_params(Path(__file__).parent.parent / "params.yaml").download


def params_for(path: Path, **changes: object) -> DownloadParams:
    return PARAMS.model_copy(update={"source": "files", "path": str(path), **changes})


def download(path: Path, out: Path) -> Path:
    run(params_for(path), out)
    return out


def write_drive_folder(official: OfficialFolder, folder: Path) -> Path:
    """As the official Google Drive has it: Anno, Eval and Img, the in-the-wild pictures too."""
    official.write(folder)
    for name, sub in (
        ("list_attr_celeba.txt", "Anno"),
        ("identity_CelebA.txt", "Anno"),
        ("list_eval_partition.txt", "Eval"),
        ("img_align_celeba.zip", "Img"),
    ):
        (folder / sub).mkdir(exist_ok=True)
        if (folder / name).exists():
            (folder / name).rename(folder / sub / name)
    (folder / "Img" / "img_celeba").mkdir()
    for name in official.images:
        (folder / "Img" / "img_celeba" / name).write_bytes(b"another picture of this name")
    return folder


def write_zipped_texts(official: OfficialFolder, folder: Path) -> Path:
    official.write(folder)
    for path in list(folder.glob("*.txt")):
        with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
        path.unlink()
    return folder


def write_all_in_one_zip(official: OfficialFolder, folder: Path) -> Path:
    official.write(folder / "celeba", unpacked=True)
    with zipfile.ZipFile(folder / "everything.zip", "w") as archive:
        for path in sorted((folder / "celeba").rglob("*")):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/celeba/img_align_celeba/._000001.jpg", b"junk")
        archive.writestr("celeba/__MACOSX/list_attr_celeba.txt", b"junk")
    return folder / "everything.zip"


SAME_CONTENT: dict[str, Callable[[OfficialFolder, Path], Path]] = {
    "deflated zip": lambda o, f: o.write(f, compression=zipfile.ZIP_DEFLATED),
    "unpacked folder": lambda o, f: o.write(f, unpacked=True),
    "zip and folder both": lambda o, f: o.write(f) and o.write(f, unpacked=True),
    "CRLF": lambda o, f: o.write(f, newline="\r\n"),
    "the Drive's folders": write_drive_folder,
    "zipped text files": write_zipped_texts,
    "one zip of everything": write_all_in_one_zip,
    "Kaggle's files": lambda o, f: o.write_kaggle(f),
    "Kaggle's one zip in a folder": lambda o, f: o.write_kaggle(f, zipped=True),
    "Kaggle's one zip": lambda o, f: o.write_kaggle(f, zipped=True) / "archive.zip",
    "Parquet with file names": lambda o, f: o.write_shards(f, paths=True),
}


@pytest.mark.parametrize("write", SAME_CONTENT.values(), ids=SAME_CONTENT.keys())
def test_same_content_gives_the_same_bytes(
    write: Callable[[OfficialFolder, Path], Path], tmp_path: Path
) -> None:
    official = OfficialFolder()
    official.identity = None  # Kaggle has none
    expected = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    got = folder_bytes(download(write(official, tmp_path / "b"), tmp_path / "out_b"))
    assert got.keys() == expected.keys()
    differing = [name for name in expected if got[name] != expected[name]]
    # Shards do not tell the sizes of their pictures, which the manifest's digest holds.
    is_parquet = any((tmp_path / "b").rglob("*.parquet"))
    assert differing == (["manifest.json"] if is_parquet else [])


def test_identities_come_from_every_layout_that_has_them(tmp_path: Path) -> None:
    official = OfficialFolder()
    expected = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    shards = official.write_shards(tmp_path / "b", paths=True)
    got = folder_bytes(download(shards, tmp_path / "out_b"))
    assert got["annotations.parquet"] == expected["annotations.parquet"]
    kaggle = official.write_kaggle(tmp_path / "c")
    (kaggle / "identity_CelebA.txt").write_text("\n".join(official.identity or []))
    assert folder_bytes(download(kaggle, tmp_path / "out_c")) == expected


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(lambda o, f: o.write(f), "CelebA's official layout", id="official"),
        pytest.param(lambda o, f: o.write_kaggle(f), "CelebA's Kaggle layout", id="kaggle"),
        pytest.param(lambda o, f: o.write_shards(f), "Parquet layout (6 shards)", id="huggingface"),
    ],
)
def test_the_layout_is_recognised_and_said(
    write: Callable[[OfficialFolder, Path], Path],
    words: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        download(write(OfficialFolder(), tmp_path / "in"), tmp_path / "out")
    assert words in caplog.text


def test_labels_without_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    OfficialFolder().write_texts(tmp_path / "in")
    out = download(tmp_path / "in", tmp_path / "out")
    table, _ = read_annotations(out)
    assert set(table["status"]) == {"missing"}
    assert image_files(out) == []
    assert "labels only" in caplog.text


def test_unknown_labels_stay_null(tmp_path: Path) -> None:
    kaggle = OfficialFolder().write_kaggle(tmp_path / "in")
    path = kaggle / "list_attr_celeba.csv"
    lines = path.read_text().splitlines()
    lines[1] = "000001.jpg,1,,-1,nan"
    path.write_text("\n".join(lines))
    table, _ = read_annotations(download(kaggle, tmp_path / "out"))
    assert table.loc[0, list(ATTRIBUTES)].tolist() == [True, None, False, None]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(lambda f: None, "expected label files of a known layout", id="nothing"),
        pytest.param(
            lambda f: (f / "notes.txt").write_text("x"), "got notes.txt", id="something else"
        ),
        pytest.param(
            lambda f: (f / "data.csv").write_text("a,b\n1,0\n"),
            "data.csv:1: expected a column of image files",
            id="CSV without images",
        ),
        pytest.param(
            lambda f: (f / "x.parquet").write_text("PAR1 not"),
            "x.parquet: expected a Parquet file",
            id="no Parquet",
        ),
        pytest.param(
            lambda f: (f / "x.zip").write_text("<html>Sign in</html>"), "a web page", id="web page"
        ),
        pytest.param(
            lambda f: (f / "list_attr_celeba.txt").write_text("<!DOCTYPE html><title>Quota"),
            "a quota or login page",
            id="web page as a text file",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(
    spoil: Callable[[Path], object], expected: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    spoil(folder)
    with pytest.raises(FacetError) as caught:
        download(folder, tmp_path / "out")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_archive_of_another_kind_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    OfficialFolder().write_texts(tmp_path / "in")
    (tmp_path / "in" / "img_align_celeba_png.7z.001").write_bytes(b"7z")
    with caplog.at_level(logging.INFO):
        download(tmp_path / "in", tmp_path / "out")
    assert "img_align_celeba_png.7z.001 is not read" in caplog.text


def test_kaggles_csv_may_be_named(tmp_path: Path) -> None:
    kaggle = OfficialFolder().write_kaggle(tmp_path / "in")
    expected = folder_bytes(download(kaggle, tmp_path / "a"))
    got = download(kaggle / "list_attr_celeba.csv", tmp_path / "b")
    assert folder_bytes(got) == expected


@pytest.mark.parametrize("prefix", ["img_align_celeba\\", "./img_align_celeba/"], ids=["\\", "./"])
def test_names_of_other_programs_in_archives(prefix: str, tmp_path: Path) -> None:
    official = OfficialFolder()
    expected = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    folder = official.write(tmp_path / "b")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for name, data in official.images.items():
            archive.writestr(f"{prefix}{name}", data)
    assert folder_bytes(download(folder, tmp_path / "out_b")) == expected


def test_a_broken_archive_matters_only_where_something_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    (folder / "old backup.zip").write_bytes(b"PK\x03\x04 broken")
    download(folder, tmp_path / "out")
    assert "left aside, as nothing is missing without it" in caplog.text
    (folder / "img_align_celeba.zip").unlink()
    with pytest.raises(FacetError, match=r"old backup\.zip: expected a zip archive"):
        download(folder, tmp_path / "out2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    (folder / "img_align_celeba.zip").chmod(0)
    with pytest.raises(FacetError, match="permission denied"):
        download(folder, tmp_path / "out")


def test_a_zip_within_a_zip_is_named(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.write(folder / "img_align_celeba.zip", "img_align_celeba.zip")
    (folder / "img_align_celeba.zip").unlink()
    with pytest.raises(FacetError, match=r"lies in archive\.zip: unpack archive\.zip once"):
        download(folder, tmp_path / "out")


def test_an_archive_without_the_labelled_pictures_is_refused(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/other.jpg", b"")
    with pytest.raises(FacetError, match=r"such as 000001\.jpg; got others, such as .*other\.jpg"):
        download(folder, tmp_path / "out")


def test_so_is_one_in_the_drives_folders(tmp_path: Path) -> None:
    folder = write_drive_folder(OfficialFolder(), tmp_path / "in")
    shutil.rmtree(folder / "Img" / "img_celeba")
    with zipfile.ZipFile(folder / "Img" / "img_align_celeba.zip", "w") as archive:
        archive.writestr("readme", b"")
    with pytest.raises(FacetError, match="expected pictures of the labelled images"):
        download(folder, tmp_path / "out")


def test_the_archive_of_the_right_name_wins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    with zipfile.ZipFile(folder / "a backup.zip", "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", b"an old one")
    with caplog.at_level(logging.INFO):
        table, _ = read_annotations(download(folder, tmp_path / "out"))
    assert set(table["status"]) == {"ok"}
    assert "pictures in img_align_celeba.zip" in caplog.text


def add_link(archive: zipfile.ZipFile, name: str, target: str) -> None:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, target)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../img_align_celeba/000001.jpg", id="parent folder"),
        pytest.param("/img_align_celeba/000001.jpg", id="absolute"),
        pytest.param("C:/img_align_celeba/000001.jpg", id="drive"),
        pytest.param("img_align_celeba/../../000001.jpg", id="parent in the middle"),
    ],
)
def test_entries_that_lead_out_of_their_archive_are_not_read(name: str, tmp_path: Path) -> None:
    official = OfficialFolder()
    escaped = official.images.pop("000001.jpg")
    folder = official.write(tmp_path / "in")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "a") as archive:
        archive.writestr(name, escaped)
    before = sorted(path for path in tmp_path.rglob("*"))
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    assert table.loc[0, "status"] == "missing"
    after = [path for path in sorted(tmp_path.rglob("*")) if tmp_path / "out" not in path.parents]
    assert [path for path in after if path.name != "out"] == before


def test_links_are_not_followed_wherever_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = OfficialFolder()
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(official.images.pop("000001.jpg"))
    folder = official.write(tmp_path / "in")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "a") as archive:
        add_link(archive, "img_align_celeba/000001.jpg", str(secret))
    (folder / "img_align_celeba").mkdir()
    (folder / "img_align_celeba" / "000001.jpg").symlink_to(secret)
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    assert table.loc[0, "status"] == "missing"
    assert "links are not followed" in caplog.text


def test_a_linked_label_file_is_not_followed(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    (folder / "list_attr_celeba.txt").rename(tmp_path / "elsewhere.txt")
    (folder / "list_attr_celeba.txt").symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(FacetError, match="known layout"):
        download(folder, tmp_path / "out")


def test_links_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    shards = OfficialFolder().write_shards(tmp_path / "made")
    repo = tmp_path / "datasets--flwrlabs--celeba"
    snapshot = repo / "snapshots" / "abc" / "data"
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for number, path in enumerate(sorted(shards.rglob("*.parquet"))):
        path.rename(repo / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../../blobs/{number}")
    (snapshot / "valid-00009-of-00002.parquet").symlink_to(tmp_path / "outside.parquet")
    table, _ = read_annotations(download(repo / "snapshots" / "abc", tmp_path / "out"))
    assert len(table) == 30


def test_an_entry_that_holds_more_than_it_says_is_damaged(tmp_path: Path) -> None:
    """A bomb: the directory says a few bytes, the entry inflates to many."""
    folder = OfficialFolder().write(tmp_path / "in", compression=zipfile.ZIP_DEFLATED)
    path = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img_align_celeba/bomb.jpg", bytes(50_000_000))
    data = bytearray(path.read_bytes())
    for signature, name_at, size_at in ((b"PK\x03\x04", 30, 22), (b"PK\x01\x02", 46, 24)):
        at = data.rfind(signature, 0, data.rfind(b"img_align_celeba/bomb.jpg"))
        while data[at + name_at : at + name_at + 25] != b"img_align_celeba/bomb.jpg":
            at = data.rfind(signature, 0, at)
        data[at + size_at : at + size_at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    labels = folder / "list_attr_celeba.txt"
    text = labels.read_text().replace("000030.jpg", "bomb.jpg")
    labels.write_text(text)
    partition = folder / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("000030.jpg", "bomb.jpg"))
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    row = table[table["image_id"] == "bomb.jpg"].iloc[0]
    assert row["status"] == "unreadable"
    assert "damaged" in row["error"]


def test_the_digest_changes_with_the_source(tmp_path: Path) -> None:
    official = OfficialFolder()
    with open_source(official.write(tmp_path / "a")) as source:
        first = source.digest_state()
    assert read_manifest(download(tmp_path / "a", tmp_path / "out"))["source_state"] == first
    official.images["000004.jpg"] += b"\0"
    with open_source(official.write(tmp_path / "b")) as source:
        assert source.digest_state() != first


@pytest.mark.real_data
def test_real_files_in_every_layout(tmp_path: Path, real_data: Path) -> None:
    """A few hundred real pictures, cut out of the zip into the other layouts."""
    official = OfficialFolder(n_images=0)
    lines = (real_data / "list_attr_celeba.txt").read_text().splitlines()
    chosen = [*lines[2:102], *lines[-100:]]
    names = [line.split()[0] for line in chosen]
    official.attr = [str(len(names)), lines[1], *chosen]
    with zipfile.ZipFile(real_data / "img_align_celeba.zip") as archive:
        official.images = {name: archive.read(f"img_align_celeba/{name}") for name in names}
    for part, file in (("partition", "list_eval_partition"), ("identity", "identity_CelebA")):
        rows = dict(line.split() for line in (real_data / f"{file}.txt").read_text().splitlines())
        setattr(official, part, [f"{name} {rows[name]}" for name in names])
    expected = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    shards = download(official.write_shards(tmp_path / "b", paths=True), tmp_path / "out_b")
    kaggle = official.write_kaggle(tmp_path / "c", zipped=True)
    (kaggle / "identity_CelebA.txt").write_text("\n".join(official.identity or []))
    got = folder_bytes(shards)
    assert got["annotations.parquet"] == expected["annotations.parquet"]
    assert got["images-00000-of-00001.parquet"] == expected["images-00000-of-00001.parquet"]
    assert folder_bytes(download(kaggle, tmp_path / "out_c")) == expected
    assert sum(len(batch) for batch in iter_images(tmp_path / "out_a")) == 200
    assert read_manifest(tmp_path / "out_a")["celeba"]["extent"] == "part"
