"""Mean and sample faces: the right pictures, of training images alone, within the page's size."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from report_fabric import Recipe, fabricate

from stages.common.params import ReportParams
from stages.common.tables import IMAGES_SCHEMA
from stages.report import faces, page_faces
from stages.report.faces import choose_work_size, draw_faces, fit, pick_varied
from stages.report.page_faces import encode_faces
from stages.report.run import run

SIZE = (40, 32)
PARAMS = ReportParams(title="Facet", n_gallery=0)
SMALL = Recipe(n_images=120, n_planted=2)


def paint(gray: int, size: tuple[int, int] = SIZE) -> bytes:
    """A PNG of one gray, so that means can be told by heart."""
    buffer = io.BytesIO()
    Image.new("RGB", (size[1], size[0]), (gray, gray, gray)).save(buffer, "PNG")
    return buffer.getvalue()


def write_images(folder: Path, blobs: dict[str, bytes]) -> Path:
    columns = [list(blobs), list(blobs.values()), [""] * len(blobs)]
    pq.write_table(
        pa.Table.from_arrays([pa.array(c) for c in columns], schema=IMAGES_SCHEMA),
        folder / "images-00000-of-00001.parquet",
        row_group_size=4,
    )
    return folder


def annotate(labels: list[bool | None], **columns: list) -> pd.DataFrame:
    n = len(labels)
    table = {
        "image_id": [f"{k:03d}" for k in range(n)],
        "partition": ["train"] * n,
        "identity": [str(k) for k in range(n)],
        "A": labels,
        "status": ["ok"] * n,
    }
    return pd.DataFrame(table | columns).astype({"A": object})


def show_means(sample: faces.FaceSample) -> dict[bool, tuple[int, int]]:
    """Value -> the mean's one gray, and its count of images."""
    shown = {}
    for (_, value), (pixels, n) in sample.means.items():
        assert len(np.unique(pixels)) == 1
        shown[value] = (int(pixels[0, 0, 0]), n)
    return shown


def test_means_are_of_readable_training_images_with_a_known_label(tmp_path):
    grays = [10, 21, 100, 200, 250, 90, 60]
    blobs = {f"{k:03d}": paint(gray) for k, gray in enumerate(grays)}
    blobs["005"] = b"no picture"
    table = annotate(
        [True, True, False, None, True, True, False],
        partition=["train"] * 4 + ["test"] + ["train"] * 2,
        status=["ok"] * 6 + ["missing"],
    )
    sample = draw_faces(write_images(tmp_path, blobs), table, ["A"], SIZE)
    assert show_means(sample) == {True: (16, 2), False: (100, 1)}  # 15.5 rounds to the even
    assert sample.n_images == 4
    assert {value: sorted(ids) for (_, value), ids in sample.chosen.items()} == {
        True: ["000", "001"],
        False: ["002"],
    }


def test_without_training_images_all_partitions_are_drawn_from(tmp_path):
    blobs = {"000": paint(10), "001": paint(30)}
    table = annotate([True, False], partition=["valid", "test"])
    sample = draw_faces(write_images(tmp_path, blobs), table, ["A"], SIZE)
    assert show_means(sample) == {True: (10, 1), False: (30, 1)}


def test_a_large_set_is_sampled_and_samples_come_from_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "N_MEAN", 200)
    monkeypatch.setattr(faces, "BATCH", 16)
    rng = np.random.default_rng(0)
    grays = rng.integers(0, 256, 400)
    blobs = {f"{k:03d}": paint(int(gray), (8, 6)) for k, gray in enumerate(grays)}
    rare = [k in (3, 399) for k in range(400)]
    folder = write_images(tmp_path, blobs)
    sample = draw_faces(folder, annotate(rare), ["A"], (8, 6))
    assert sample.n_images == 200
    assert sorted(sample.chosen[0, True]) == ["003", "399"]
    assert len(sample.chosen[0, False]) == faces.N_SAMPLES
    again = draw_faces(folder, annotate(rare), ["A"], (8, 6))
    assert again.chosen == sample.chosen
    means = [int(one.means[0, False][0][0, 0, 0]) for one in (sample, again)]
    assert means[0] == means[1] == pytest.approx(grays.mean(), abs=10)


def test_large_pictures_mean_fewer_of_them(tmp_path):
    blobs = {f"{k:03d}": paint(9, (4, 4)) for k in range(300)}
    sample = draw_faces(write_images(tmp_path, blobs), annotate([True] * 300), ["A"], (2000, 2000))
    assert sample.n_images == 200


def test_unreadable_samples_are_replaced(tmp_path):
    blobs = {f"{k:03d}": paint(9) for k in range(9)}
    blobs |= {"002": paint(9)[:40], "004": b"", "007": b"\xff\xd8"}
    sample = draw_faces(write_images(tmp_path, blobs), annotate([True] * 9), ["A"], SIZE)
    assert sorted(sample.chosen[0, True]) == ["000", "001", "003", "005", "006", "008"]


def test_samples_are_of_different_people_as_far_as_there_are_any():
    identity = np.array(["1"] * 50 + ["2", "3", None, None], object)
    rows = np.arange(54)
    for seed in range(20):
        drawn = pick_varied(rows, identity, 6, np.random.default_rng(seed))
        assert len(set(drawn)) == 6
        assert {50, 51, 52, 53} <= set(drawn)
    assert len(pick_varied(rows[:2], identity, 6, np.random.default_rng(0))) == 2
    assert len(pick_varied(rows[:0], identity, 6, np.random.default_rng(0))) == 0


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((40, 32), (0, 0), id="same aspect"),
        pytest.param((40, 64), (0, 16), id="too wide"),
        pytest.param((80, 32), (20, 0), id="too high"),
    ],
)
def test_other_aspects_lose_their_sides_evenly(shape, expected):
    top, left = expected
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[top : shape[0] - top, left : shape[1] - left] = 200
    fitted = fit(pixels, SIZE)
    assert fitted.shape == (*SIZE, 3)
    assert (fitted == 200).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((218, 178), (128, 105), id="celeba"),
        pytest.param((64, 64), (64, 64), id="never enlarged"),
        pytest.param((100, 2000), (100, 200), id="panorama"),
        pytest.param((2000, 10), (128, 64), id="column"),
        pytest.param((1, 1), (1, 1), id="one pixel"),
    ],
)
def test_size_of_the_pictures(size, expected):
    assert choose_work_size(size) == expected


def noisy_sample(n_attributes: int) -> tuple[faces.FaceSample, list[str]]:
    """Pictures of noise, which no encoder makes small."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 128, 105, 3), dtype=np.uint8)
    pictures = {str(k): pixels for k, pixels in enumerate(noise)}
    keys = [(column, value) for column in range(n_attributes) for value in (True, False)]
    return (
        faces.FaceSample(
            9,
            dict.fromkeys(keys, (noise[0], 5)),
            {key: [str(k) for k in range(6)] for key in keys},
            pictures,
        ),
        [f"A{k}" for k in range(n_attributes)],
    )


def test_pictures_shrink_before_any_is_left_out(monkeypatch):
    sample, names = noisy_sample(8)
    monkeypatch.setattr(page_faces, "BUDGET_CHARS", 400_000)
    shown = encode_faces(sample, names)
    assert [face.attribute for face in shown] == names
    heights = {strip.height_px for face in shown for strip in face.samples.values()}
    assert len(heights) == 1
    assert min(page_faces.HEIGHTS_PX) <= heights.pop() < max(page_faces.HEIGHTS_PX)
    assert sum(face.n_chars for face in shown) <= 400_000


def test_the_last_attributes_are_left_out_where_nothing_else_helps(monkeypatch):
    sample, names = noisy_sample(8)
    monkeypatch.setattr(page_faces, "BUDGET_CHARS", 50_000)
    shown = encode_faces(sample, names)
    assert 0 < len(shown) < 8
    assert [face.attribute for face in shown] == names[: len(shown)]


def test_strips_hold_their_pictures_side_by_side():
    sample, names = noisy_sample(1)
    strip = encode_faces(sample, names)[0].samples["with"]
    image = Image.open(io.BytesIO(base64.b64decode(strip.uri.split(",")[1])))
    assert image.size == (strip.width_px, strip.height_px) == (6 * 92, 112)
    assert (strip.n, strip.image_ids) == (6, ("0", "1", "2", "3", "4", "5"))


def build(root: Path, recipe: Recipe) -> str:
    paths = fabricate(root, recipe)
    run(PARAMS, **paths)
    return (paths["out"] / "faces.html").read_text(encoding="utf-8")


def test_page_shows_both_sides_of_every_attribute(tmp_path):
    page = build(tmp_path, replace(SMALL, empty_attribute="Bald", findings=False))
    means = re.findall(r'alt="Mean of (\d+) faces? (with|without) (\w+)"', page)
    assert len(means) == 2 * 8 - 1
    known = {name: 0 for _, _, name in means}
    for n, _, name in means:
        known[name] += int(n)
    assert set(known) == set(SMALL.attributes)
    assert all(70 <= n <= 78 for n in known.values())  # training images but for unknown labels
    strips = re.findall(r'alt="(\d+) sample faces? (with|without) (\w+): ([^"]+)"', page)
    assert len(strips) == 2 * 8 - 1
    assert all(len(ids.split(", ")) == int(n) <= 6 for n, _, _, ids in strips)
    assert all(int(i[:6]) <= 78 for *_, ids in strips for i in ids.split(", "))
    assert page.count('<div class="gone">') == 2
    assert "Means over 78 images for training" in page
    assert "These faces are drawn." in page


def test_many_attributes_stay_within_the_page(tmp_path):
    names = {f"attribute {k}": 0.3 for k in range(page_faces.MAX_ATTRIBUTES + 5)}
    page = build(tmp_path, replace(SMALL, attributes=names, findings=False, source="files"))
    assert len(page) < 3_000_000
    assert f"shows {page_faces.MAX_ATTRIBUTES} of {len(names)} attributes" in page
    assert "mind their licence" in page


def test_without_a_readable_picture_the_page_says_so(tmp_path):
    paths = fabricate(tmp_path, replace(SMALL, findings=False))
    write_images(paths["download"], {f"{k + 1:06d}.jpg": b"broken" for k in range(120)})
    manifest = paths["download"] / "manifest.json"
    size = (paths["download"] / "images-00000-of-00001.parquet").stat().st_size
    text = re.sub(r'(images-00000[^}]*"bytes": )\d+', rf"\g<1>{size}", manifest.read_text())
    manifest.write_text(text)
    run(PARAMS, **paths)
    page = (paths["out"] / "faces.html").read_text(encoding="utf-8")
    assert "No picture can be shown" in page
    assert "<img" not in page


def test_without_statistics_of_pictures_the_page_says_so(tmp_path):
    paths = fabricate(tmp_path, SMALL)
    table = paths["explore_reports"] / "images.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    run(PARAMS, **paths)
    page = (paths["out"] / "faces.html").read_text(encoding="utf-8")
    assert "No picture can be shown" in page
