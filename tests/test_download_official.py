import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.common.errors import FacetError
from stages.common.files import read_manifest
from stages.common.params import load_params
from stages.common.tables import IMAGES_SCHEMA, image_files, iter_images, read_annotations
from stages.download.run import run
from tests.official_files import ATTRIBUTES, OfficialFolder, folder_bytes

LABELS = "list_attr_celeba.txt"
PARAMS = load_params(Path(__file__).parent.parent / "params.yaml").download


def download(folder: Path, out: Path) -> Path:
    run(PARAMS.model_copy(update={"source": "files", "path": str(folder)}), out)
    return out


def test_tables_say_what_the_files_say(tmp_path: Path) -> None:
    official = OfficialFolder()
    out = download(official.write(tmp_path / "in"), tmp_path / "out")
    table, attributes = read_annotations(out)
    assert attributes == list(ATTRIBUTES)
    assert (table[list(ATTRIBUTES)].to_numpy(dtype=bool) == official.values).all()
    assert table["partition"].tolist() == ["train"] * 18 + ["valid"] * 6 + ["test"] * 6
    assert table["identity"].iloc[0] == "100"
    assert set(table["status"]) == {"ok"}
    assert [path.name for path in image_files(out)] == ["images-00000-of-00001.parquet"]
    assert pq.read_schema(image_files(out)[0]).equals(IMAGES_SCHEMA)
    for batch in iter_images(out, ("image_id", "bytes", "sha1")):
        for image_id, data, sha1 in zip(*(column.to_pylist() for column in batch), strict=True):
            assert data == official.images[image_id]
            assert sha1 == hashlib.sha1(data, usedforsecurity=False).hexdigest()
    manifest = read_manifest(out)
    assert manifest["n_by_partition"] == {"train": 18, "valid": 6, "test": 6}
    assert (manifest["n_images"], manifest["n_identities"]) == (30, 10)


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    official = OfficialFolder()
    first = folder_bytes(download(official.write(tmp_path / "a"), tmp_path / "out_a"))
    crlf = official.write(tmp_path / "b", newline="\r\n", unpacked=True)
    (crlf / LABELS).write_bytes(b"\xef\xbb\xbf" + (crlf / LABELS).read_bytes())
    assert folder_bytes(download(crlf, tmp_path / "out_b")) == first
    official.attr[2:] = reversed(official.attr[2:])
    official.images = dict(reversed(official.images.items()))
    assert folder_bytes(download(official.write(tmp_path / "c"), tmp_path / "out_c")) == first


def test_images_without_identities(tmp_path: Path) -> None:
    official = OfficialFolder()
    official.identity = None
    table, _ = read_annotations(download(official.write(tmp_path / "in"), tmp_path / "out"))
    assert table["identity"].isna().all()


def png_bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(None, "no such picture", id="missing"),
        pytest.param(b"", "empty", id="empty file"),
        pytest.param(b"<html>quota</html>", "cannot identify", id="web page"),
        pytest.param(png_bomb(), "pixels, more than", id="too many pixels"),
    ],
)
def test_a_bad_image_is_a_row_with_a_reason(
    tmp_path: Path, data: bytes | None, reason: str
) -> None:
    official = OfficialFolder()
    official.images.pop("000007.jpg")
    if data is not None:
        official.images["000007.jpg"] = data
    out = download(official.write(tmp_path / "in"), tmp_path / "out")
    table, _ = read_annotations(out)
    bad = table[table["status"] != "ok"]
    assert bad["image_id"].tolist() == ["000007.jpg"]
    assert reason in bad["error"].iloc[0]
    kept = [image_id for batch in iter_images(out) for image_id in batch["image_id"].to_pylist()]
    assert kept == [name for name in sorted(table["image_id"]) if name != "000007.jpg"]


def test_damage_inside_the_archive_is_found(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    path = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("img_align_celeba/000003.jpg")
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 400] ^= 0xFF
    path.write_bytes(data)
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    bad = table[table["status"] == "unreadable"]
    assert bad["image_id"].tolist() == ["000003.jpg"]
    assert "CRC" in bad["error"].iloc[0]


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["z", "bz2", "lzma"]
)
def test_damage_inside_compressed_entries_is_found(tmp_path: Path, method: int) -> None:
    folder = OfficialFolder().write(tmp_path / "in", compression=method)
    path = folder / "img_align_celeba.zip"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("img_align_celeba/000003.jpg")
    data = bytearray(path.read_bytes())
    start = entry.header_offset + 80
    data[start : start + 60] = bytes(60)
    path.write_bytes(data)
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    assert table.loc[table["status"] == "unreadable", "image_id"].tolist() == ["000003.jpg"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in", unpacked=True)
    picture = folder / "img_align_celeba" / "000002.jpg"
    picture.rename(tmp_path / "outside.jpg")
    picture.symlink_to(tmp_path / "outside.jpg")
    table, _ = read_annotations(download(folder, tmp_path / "out"))
    assert table.loc[table["status"] != "ok", "image_id"].tolist() == ["000002.jpg"]


def change(part: str, index: int, line: str) -> Callable[[OfficialFolder], None]:
    def apply(official: OfficialFolder) -> None:
        getattr(official, part)[index] = line

    return apply


def drop(part: str, index: int) -> Callable[[OfficialFolder], None]:
    return lambda official: getattr(official, part).pop(index)


def again(part: str, index: int) -> Callable[[OfficialFolder], None]:
    return lambda official: getattr(official, part).append(getattr(official, part)[index])


ROW = "000001.jpg 1 -1 1 -1"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(change("attr", 0, "x"), ":1: expected the number", id="no count"),
        pytest.param(change("attr", 0, "31"), ":1: expected 31 rows", id="wrong count"),
        pytest.param(change("attr", 0, "9" * 5000), ":1: expected the number", id="huge count"),
        pytest.param(change("attr", 1, "A B B C"), ":2: expected distinct", id="name twice"),
        pytest.param(
            change("attr", 1, "A B status C"), ":2: expected distinct", id="reserved name"
        ),
        pytest.param(change("attr", 2, ROW[:-3]), ":3: expected 4 values; got 3", id="value short"),
        pytest.param(change("attr", 2, ROW + " 1"), ":3: expected 4 values; got 5", id="one more"),
        pytest.param(change("attr", 2, ROW[:-2] + "0"), "Smiling: expected -1 or 1", id="value 0"),
        pytest.param(change("attr", 2, ROW[:-2] + "yes"), "got 'yes'", id="word"),
        pytest.param(change("attr", 3, ROW), ":4: expected every image once", id="image twice"),
        pytest.param(change("attr", 2, "../" + ROW), ":3: expected a plain file name", id="escape"),
        pytest.param(change("attr", 2, "/etc/" + ROW), "plain file name", id="absolute"),
        pytest.param(change("partition", 4, "000005.jpg 3"), ":5: expected one of 0, 1, 2", id="3"),
        pytest.param(change("partition", 4, "000005.jpg"), ":5: expected a file name", id="none"),
        pytest.param(drop("partition", 4), "1 have none, such as 000005.jpg", id="uncovered"),
        pytest.param(again("partition", 4), ":31: expected every image once", id="partition twice"),
        pytest.param(change("identity", 4, "000005.jpg 1 2"), ":5: expected a file", id="identity"),
    ],
)
def test_bad_labels_are_refused_with_file_and_line(
    tmp_path: Path, spoil: Callable[[OfficialFolder], None], expected: str
) -> None:
    official = OfficialFolder()
    spoil(official)
    folder = official.write(tmp_path / "in")
    with pytest.raises(FacetError) as caught:
        download(folder, tmp_path / "out")
    assert expected in str(caught.value)
    assert ".txt" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"<!DOCTYPE html><title>Quota exceeded</title>", "a web page", id="quota"),
        pytest.param(b"PK\x03\x04 and then nothing", "incomplete", id="cut off"),
        pytest.param(b"", "0 bytes", id="empty"),
    ],
)
def test_no_archive(tmp_path: Path, content: bytes, expected: str) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    (folder / "img_align_celeba.zip").write_bytes(content)
    with pytest.raises(FacetError, match=expected):
        download(folder, tmp_path / "out")


def test_text_in_another_encoding(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    (folder / LABELS).write_bytes(b"\xff\xfe" + (folder / LABELS).read_text().encode("utf-16-le"))
    with pytest.raises(FacetError, match="UTF-8"):
        download(folder, tmp_path / "out")


def test_too_many_bad_images(tmp_path: Path) -> None:
    official = OfficialFolder()
    for index in range(4):
        official.images.pop(f"{index + 1:06d}.jpg")
    with pytest.raises(FacetError, match=r"at most 10% .* got 4 of 30 \(first: 000001\.jpg"):
        download(official.write(tmp_path / "in"), tmp_path / "out")


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    folder = OfficialFolder().write(tmp_path / "in")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "a") as archive:
        archive.writestr("other/000001.jpg", b"")
    with pytest.raises(FacetError, match=r"one entry named 000001\.jpg"):
        download(folder, tmp_path / "out")


@pytest.mark.real_data
def test_real_files(tmp_path: Path, real_data: Path) -> None:
    table, attributes = read_annotations(download(real_data, tmp_path / "out"))
    assert len(attributes) == 40
    assert table["partition"].value_counts().to_dict() == {
        "train": 12000,
        "valid": 2500,
        "test": 1500,
    }
    assert set(table["status"]) == {"ok"}
    male = table["Male"].to_numpy(dtype=bool)
    lines = (real_data / LABELS).read_text().splitlines()
    column = 1 + lines[1].split().index("Male")
    assert np.array_equal(male, [line.split()[column] == "1" for line in lines[2:]])
