import io
from types import SimpleNamespace

import numpy as np
import pytest
from audit_fabric import draw_picture, encode
from PIL import Image, ImageOps

from stages.audit import copies as module
from stages.audit.copies import Copies, find_copies
from stages.audit.findings import group_near
from stages.audit.pictures import Pictures, Reduced, reduce_files

N_STRANGERS = 70  # enough for the search for look-alikes to measure


def look_for_copies(
    blobs: list[bytes], partition: list[str] | None = None, mirrored: bool = True
) -> Copies:
    """find_copies in these files and strangers behind them."""
    files = [*blobs, *(encode(draw_picture(1000 + k)) for k in range(N_STRANGERS))]
    reduced = [picture for picture in reduce_files(files) if isinstance(picture, Reduced)]
    assert len(reduced) == len(files)
    pictures = Pictures(
        np.arange(len(files)),
        np.array([str(hash(blob)) for blob in files], object),
        np.array([picture.digest for picture in reduced], object),
        np.array([picture.hash for picture in reduced]),
        np.array([picture.mirrored for picture in reduced]),
        np.stack([picture.thumb for picture in reduced]),
        {},
    )
    where = [*(partition or []), *["train"] * len(files)][: len(files)]
    params = SimpleNamespace(near_radius_bits=6, near_similarity=0.8, mirrored=mirrored)
    return find_copies(pictures, np.array(where, object), params)  # type: ignore[arg-type]


def test_groups_and_pairs_of_exact_and_near_copies() -> None:
    image = draw_picture(0)
    blob = encode(image)
    same_pixels = encode(Image.open(io.BytesIO(blob)), kind="PNG")
    near = encode(image.crop((9, 10, 170, 210)), 60)
    found = look_for_copies([blob, near, same_pixels, blob, near])
    assert found.exact == [[0, 2, 3], [1, 4]]
    assert [(pair.first, pair.second) for pair in found.near] == [(0, 1)]
    assert {(p.first, p.second): p.how for p in found.pairs if p.exact} == {
        (0, 2): "same pixels, other bytes",
        (0, 3): "same bytes",
        (2, 3): "same pixels, other bytes",
        (1, 4): "same bytes",
    }
    near_pairs = {(p.first, p.second) for p in found.pairs if not p.exact}
    assert near_pairs == {(0, 1), (0, 4), (1, 2), (2, 4), (1, 3), (3, 4)}


def test_mirrored_copies_are_found_where_wanted() -> None:
    image = draw_picture(3)
    blobs = [encode(image), encode(ImageOps.mirror(image))]
    (pair,) = look_for_copies(blobs).pairs
    assert (pair.first, pair.second, pair.exact) == (0, 1, False)
    assert pair.how.startswith("mirrored near copy, similarity 0.9")
    assert look_for_copies(blobs, mirrored=False).pairs == []


def test_near_copies_of_one_picture_form_a_group() -> None:
    image = draw_picture(5)
    blobs = [encode(x) for x in (image, image.resize((90, 110)), image.crop((9, 9, 178, 218)))]
    assert group_near(look_for_copies([*blobs, encode(draw_picture(6))])) == [[0, 1, 2]]


def test_a_large_exact_group_is_paired_by_one_of_each_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_GROUP", 4)
    partition = ["train", "train", "test", "valid", "train", "test"]
    found = look_for_copies([encode(draw_picture(8))] * 6, partition)
    assert found.exact == [[0, 1, 2, 3, 4, 5]]
    leaders = {0, 2, 3}
    expected = {(i, j) for i in range(6) for j in range(i + 1, 6) if {i, j} & leaders}
    assert {(pair.first, pair.second) for pair in found.pairs} == expected


def test_every_member_of_a_large_group_meets_a_near_copy_in_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_GROUP", 2)
    image = draw_picture(8)
    found = look_for_copies([*[encode(image)] * 6, encode(image, 50)], [*["train"] * 6, "test"])
    near = {(pair.first, pair.second) for pair in found.pairs if not pair.exact}
    assert near == {(k, 6) for k in range(6)}


def test_pictures_that_show_nothing_are_no_near_copies() -> None:
    blobs = [encode(Image.new("RGB", (40, 50), (k, k, k))) for k in range(100, 140)]
    assert look_for_copies(blobs).pairs == []


def put_in_frame(image: Image.Image) -> bytes:
    inside = image.resize((124, 152))
    framed = Image.new("RGB", image.size)
    framed.paste(inside, (27, 33))
    return encode(framed)


def test_strangers_in_the_same_frame_are_no_copies() -> None:
    images = [draw_picture(k) for k in range(30)]
    blobs = [put_in_frame(image) for image in images]
    found = look_for_copies([*blobs, encode(images[3])])
    assert [(pair.first, pair.second) for pair in found.pairs] == [(3, 30)]


def test_a_crowd_of_near_copies_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.audit.crowds.MAX_CROWD", 5)
    image = draw_picture(8)
    blobs = [encode(image, quality) for quality in range(50, 90, 2)]
    partition = ["valid", "train", "train", "test"] * 5
    found = look_for_copies(blobs, partition)
    assert group_near(found) == [[*range(20)]]
    assert len(found.pairs) < 3 * 20
    for k in range(20):
        met = {
            j
            for pair in found.pairs
            for j in (pair.first, pair.second)
            if k in (pair.first, pair.second)
        }
        assert {partition[j] for j in met} == {"train", "valid", "test"}


def test_no_pictures_hold_no_copies() -> None:
    nothing = np.zeros(0, object)
    empty = Pictures(
        np.zeros(0, np.int64), nothing, nothing, np.zeros(0, np.uint64), np.zeros(0, np.uint64),
        np.zeros((0, 64, 64), np.uint8), {},
    )  # fmt: skip
    params = SimpleNamespace(near_radius_bits=6, near_similarity=0.8, mirrored=True)
    found = find_copies(empty, nothing, params)  # type: ignore[arg-type]
    assert (found.exact, found.near, found.pairs) == ([], [], [])
