import io
from pathlib import Path

import numpy as np
import pytest
from audit_fabric import Row, draw_picture, encode, write_download
from PIL import Image

from stages.audit import pictures as module
from stages.audit.pictures import THUMB_SIDE_PX, Reduced, read_pictures, reduce_files
from stages.common.errors import FacetError
from stages.common.tables import read_annotations


def reduce_one(blob: bytes) -> Reduced:
    (reduced,) = reduce_files([blob])
    assert isinstance(reduced, Reduced)
    return reduced


def test_same_pixels_in_other_files_share_a_digest() -> None:
    jpeg = encode(draw_picture(0))
    image = Image.open(io.BytesIO(jpeg))
    png, other = encode(image, kind="PNG"), encode(image, quality=60)
    digests = [reduce_one(blob).digest for blob in (jpeg, png, other)]
    assert digests[0] == digests[1] != digests[2]


def test_same_values_in_another_shape_have_another_digest() -> None:
    flat = [Image.new("RGB", size, "gray") for size in ((40, 60), (60, 40))]
    assert reduce_one(encode(flat[0])).digest != reduce_one(encode(flat[1])).digest


def test_files_of_all_sizes_and_broken_ones_keep_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 50_000)  # shrunk in several parts
    monkeypatch.setattr(module, "BUFFER_BYTES", 90_000)  # too small for some
    files = [encode(draw_picture(k, height=90 + 40 * k, width=150)) for k in range(6)]
    blobs = [*files[:3], files[3][:900], b"", *files[3:]]
    together = reduce_files(blobs)
    for blob, reduced in zip(blobs, together, strict=True):
        if blob in files:
            assert isinstance(reduced, Reduced)
            alone = reduce_one(blob)
            assert (reduced.digest, reduced.hash) == (alone.digest, alone.hash)
            np.testing.assert_array_equal(reduced.thumb, alone.thumb)
        else:
            assert isinstance(reduced, str)
    assert together[4] == "empty file"
    assert reduce_files([]) == []


def test_thumbs_are_pillows_box_filter_of_gray() -> None:
    blob = encode(draw_picture(2))
    gray = Image.open(io.BytesIO(blob)).convert("L")
    expected = np.asarray(gray.resize((THUMB_SIDE_PX, THUMB_SIDE_PX), Image.Resampling.BOX))
    apart = np.abs(reduce_one(blob).thumb.astype(int) - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01


def test_unreadable_pictures_are_left_out_with_their_reasons(tmp_path: Path) -> None:
    rows = [Row(f"{k}.jpg", encode(draw_picture(k))) for k in range(4)]
    rows[1].data = b"\xff\xd8 no picture"
    rows[2].status, rows[2].error, rows[2].data = "missing", None, None
    download = write_download(tmp_path / "download", rows)
    annotations, _ = read_annotations(download)
    pictures = read_pictures(download, annotations)
    assert pictures.row.tolist() == [0, 3]
    assert sorted(pictures.unreadable) == [1, 2]
    for k, row in enumerate((0, 3)):
        alone = reduce_one(rows[row].data or b"")
        assert pictures.hashes[k] == alone.hash
        assert pictures.mirrored[k] == alone.mirrored
        np.testing.assert_array_equal(pictures.thumbs[k], alone.thumb)


def test_a_picture_without_a_row_is_refused(tmp_path: Path) -> None:
    rows = [Row(f"{k}.jpg", encode(draw_picture(k))) for k in range(2)]
    download = write_download(tmp_path / "download", rows)
    annotations, _ = read_annotations(download)
    with pytest.raises(FacetError, match="expected a row of annotations"):
        read_pictures(download, annotations.iloc[:1])
