"""The audit's exams: what is planted is what they say, and nothing else is."""

import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from audit_fabric import draw_picture
from PIL import Image, ImageChops

from benchmarks.audit import exam as exams
from benchmarks.audit.exam import Exam, build_exam, label_exam, write_exam
from benchmarks.audit.planter import DEV_KINDS, EXAM_KINDS, HELD_OUT, border, crop, plant, rotation
from stages.common.tables import read_annotations

KINDS = [*DEV_KINDS, *EXAM_KINDS]
#: Kinds that move no pixel; the second ones cover a part and leave the rest alone.
RECOLOURED = {
    "reencode", "brightness", "contrast", "noise", "gray", "gamma", "blur", "sharpen",
    "colour_cast", "vignette",
}  # fmt: skip
COVERED = {"banner", "sticker"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_planted_copy_is_another_file_of_the_same_picture(kind: str, strength: float) -> None:
    image = draw_picture(1)
    for seed in range(4):
        data = plant(image, kind, strength, np.random.default_rng(seed))
        assert data == plant(image, kind, strength, np.random.default_rng(seed))
        copy = Image.open(io.BytesIO(data))
        copy.load()
        assert copy.format == "JPEG"
        assert copy.mode == "RGB"
        assert np.asarray(copy).shape != (218, 178, 3) or (
            np.abs(np.asarray(copy).astype(int) - np.asarray(image)).mean() > 0.3
        )
        mine, theirs = (np.asarray(one.convert("L")).astype(int) for one in (image, copy))
        if kind in RECOLOURED:
            assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.8
        if kind in COVERED:
            assert 0.8 < (np.abs(mine - theirs) < 24).mean() < 0.99


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_crops_rotations_and_borders_are_as_strong_as_they_say(strength: float) -> None:
    image = Image.new("RGB", (1000, 1000), "white")
    sizes = [crop(image, strength, np.random.default_rng(k)).size for k in range(40)]
    cut = [1 - min(size) / 1000 for size in sizes if size != image.size]
    most = 0.02 + 0.06 * strength
    assert len(cut) > 5
    assert min(cut) >= most - 0.002  # one side loses the most, the opposite one may lose as much
    assert max(cut) <= 2 * most + 0.002
    angle = np.radians(1 + 4 * strength)
    for seed in range(8):
        turned = rotation(image, strength, np.random.default_rng(seed))
        if turned.size == image.size:  # black wedges along the edges, as deep as the angle says
            black = np.asarray(turned.convert("L")) < 128
            half_a_pixel = 0.5 / np.tan(angle)  # the thin end of a wedge is no darker than gray
            assert black[:, 0].sum() == pytest.approx(
                500, abs=half_a_pixel + 1000 * np.tan(angle) ** 2 + 5
            )
            assert black[0].sum() == pytest.approx(
                500, abs=half_a_pixel + 1000 * np.tan(angle) ** 2 + 5
            )
            assert black[:, 250].sum() == pytest.approx(250 * np.tan(angle), rel=0.1, abs=2)
        else:
            assert (np.asarray(turned.convert("L")) > 250).mean() > 0.999  # cropped until none left
    for seed in range(8):
        framed = border(image, strength, np.random.default_rng(seed))
        grown = framed.width - image.width
        assert grown in (0, 2 * round(1000 * (0.03 + 0.07 * strength)))


def test_mirrors_are_mirrored_and_grays_are_gray() -> None:
    image = draw_picture(2)
    rng = np.random.default_rng(0)
    mirrored = Image.open(io.BytesIO(plant(image, "mirror", 0.5, rng)))
    back = mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.asarray(ImageChops.difference(back, image)).mean() < 6
    gray = np.asarray(Image.open(io.BytesIO(plant(image, "gray", 1.0, rng)))).astype(int)
    assert np.ptp(gray, axis=2).max() <= 2


def test_seen_and_held_out_kinds_are_different_ones() -> None:
    assert not set(DEV_KINDS) & set(EXAM_KINDS)
    assert 0 < HELD_OUT < 1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pytest.MonkeyPatch]:
    """A folder in CelebA's layout with 120 drawn pictures, and an exam cut down to its size."""
    folder = tmp_path_factory.mktemp("celeba")
    lines = []
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for k in range(120):
            buffer = io.BytesIO()
            draw_picture(k).save(buffer, "JPEG", quality=90)
            archive.writestr(f"img_align_celeba/{k + 1:06d}.jpg", buffer.getvalue())
            lines.append(f"{k + 1:06d}.jpg {0 if k < 90 else k % 3}")
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exams, "N_IMAGES", 96)
        patch.setattr(exams, "N_PER_DEV_KIND", 1)
        patch.setattr(exams, "N_PER_EXAM_KIND", 1)
        patch.setattr(exams, "N_TRIPLES", 2)
        patch.setattr(exams, "N_SAME_BYTES", 4)
        patch.setattr(exams, "N_SAME_PIXELS", 3)
        yield folder


@pytest.fixture(scope="module")
def exam(small: Path) -> Exam:
    return build_exam(small, seed=3)


def test_the_exam_holds_what_its_key_says(exam: Exam) -> None:
    assert len(exam.blobs) == len(set(exam.names)) == len(exam.partition) == 96
    kinds = Counter(pair.kind for pair in exam.planted)
    triples = kinds.pop("two copies")
    assert triples == 2
    assert kinds.pop("same bytes") == 4
    assert kinds.pop("same pixels") == 3
    assert set(kinds) == set(KINDS)
    assert sum(kinds.values()) == len(KINDS) + triples  # the second copies are of seen kinds
    for pair in exam.planted:
        assert pair.first < pair.second
        same = exam.blobs[pair.first] == exam.blobs[pair.second]
        assert same == (pair.kind == "same bytes")
        if pair.is_exact:
            one, two = (
                np.asarray(Image.open(io.BytesIO(exam.blobs[k])).convert("RGB"))
                for k in (pair.first, pair.second)
            )
            assert np.array_equal(one, two)


def test_no_pair_of_files_is_equal_but_the_planted(exam: Exam) -> None:
    by_digest: dict[str, list[int]] = {}
    for k, blob in enumerate(exam.blobs):
        by_digest.setdefault(hashlib.sha1(blob).hexdigest(), []).append(k)
    twice = {tuple(rows) for rows in by_digest.values() if len(rows) > 1}
    assert twice == {(p.first, p.second) for p in exam.planted if p.kind == "same bytes"}


def test_the_exam_takes_no_picture_of_the_test_partition(small: Path, exam: Exam) -> None:
    lines = (small / "list_eval_partition.txt").read_text().splitlines()
    held = {line.split()[0] for line in lines if line.split()[1] == "2"}
    assert held
    with zipfile.ZipFile(small / "img_align_celeba.zip") as archive:
        theirs = {archive.read(f"img_align_celeba/{name}") for name in held}
    assert not theirs & set(exam.blobs)


def test_rehearsals_use_other_pictures_and_seen_strengths(small: Path, exam: Exam) -> None:
    # the exam's pictures are the first 96 of the order: there are only so many of train and valid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exams, "EXAM_KINDS", {})
        patch.setattr(exams, "N_IMAGES", 50)
        patch.setattr(exams, "N_SAME_BYTES", 0)
        patch.setattr(exams, "N_SAME_PIXELS", 0)
        patch.setattr(exams, "N_TRIPLES", 0)
        patch.setattr(
            exams, "DEV_KINDS", {"gray": DEV_KINDS["gray"]} | dict(list(DEV_KINDS.items())[:3])
        )
        first = build_exam(small, seed=3)
        rehearsal = build_exam(small, seed=3, is_rehearsal=True)
    assert not set(first.blobs) & set(rehearsal.blobs)
    assert {pair.kind for pair in rehearsal.planted} - {
        "two copies",
        "same bytes",
        "same pixels",
    } <= set(DEV_KINDS)
    assert max(pair.strength for pair in rehearsal.planted) < HELD_OUT


def test_labels_agree_between_copies_but_for_the_conflicts(exam: Exam, tmp_path: Path) -> None:
    labels, conflicts = label_exam(exam, seed=1)
    named = {(first, second) for first, second, _ in conflicts}
    exact = [(p.first, p.second) for p in exam.planted if p.kind == "same bytes"]
    assert named == set(exact[::2]) or len(named) == 2
    for pair in exam.planted:
        differing = np.flatnonzero(labels[pair.first] != labels[pair.second])
        expected = [
            exams.ATTRIBUTES.index(name)
            for first, second, name in conflicts
            if (first, second) == (pair.first, pair.second)
        ]
        if pair.kind in ("same bytes", "same pixels"):
            assert differing.tolist() == expected
    write_exam(exam, tmp_path / "exam", seed=1)
    annotations, attributes = read_annotations(tmp_path / "exam")
    assert annotations["image_id"].tolist() == exam.names
    assert (annotations[attributes].to_numpy(bool) == labels).all()


@pytest.mark.real_data
def test_listed_natural_copies_are_two_files_of_celeba(real_data: Path) -> None:
    names = (real_data / "list_eval_partition.txt").read_text().split()[::2]
    rows = exams.NATURAL.read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) > 10
    for row in rows:
        first, second = row.split(",")[:2]
        assert first != second
        assert {first, second} <= set(names)
