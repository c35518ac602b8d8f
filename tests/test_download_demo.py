import hashlib
import io
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.common.errors import FacetError
from stages.common.params import load_params
from stages.common.tables import TRUTH, TRUTH_SCHEMA, read_table
from stages.download.demo import NEAR_KINDS, plan_demo, write_demo
from stages.download.demo_labels import ATTRIBUTES, COLUMN
from stages.download.layouts.recognise import open_source
from tests.official_files import folder_bytes

FAULTS = load_params(Path(__file__).parents[1] / "params.yaml").download.demo.faults.model_dump()
MANY = dict.fromkeys(FAULTS, 0.05) | {"flipped_labels": 0.01}
N_IMAGES = 300

#: Percent of the training partition (CelebA's list_attr_celeba.txt and list_eval_partition.txt).
PREVALENCE = {
    "5_o_Clock_Shadow": 11.17, "Arched_Eyebrows": 26.59, "Attractive": 51.36,
    "Bags_Under_Eyes": 20.45, "Bald": 2.28, "Bangs": 15.17, "Big_Lips": 24.09, "Big_Nose": 23.56,
    "Black_Hair": 23.90, "Blond_Hair": 14.91, "Blurry": 5.14, "Brown_Hair": 20.39,
    "Bushy_Eyebrows": 14.37, "Chubby": 5.77, "Double_Chin": 4.65, "Eyeglasses": 6.46,
    "Goatee": 6.35, "Gray_Hair": 4.24, "Heavy_Makeup": 38.43, "High_Cheekbones": 45.24,
    "Male": 41.94, "Mouth_Slightly_Open": 48.22, "Mustache": 4.08, "Narrow_Eyes": 11.59,
    "No_Beard": 83.42, "Oval_Face": 28.32, "Pale_Skin": 4.30, "Pointy_Nose": 27.55,
    "Receding_Hairline": 8.01, "Rosy_Cheeks": 6.47, "Sideburns": 5.63, "Smiling": 47.97,
    "Straight_Hair": 20.86, "Wavy_Hair": 31.94, "Wearing_Earrings": 18.65, "Wearing_Hat": 4.94,
    "Wearing_Lipstick": 46.96, "Wearing_Necklace": 12.14, "Wearing_Necktie": 7.30, "Young": 77.89,
}  # fmt: skip

#: The strongest phi coefficients of CelebA (list_attr_celeba.txt, all 202,599 images).
PHI = {
    ("Heavy_Makeup", "Wearing_Lipstick"): 0.80,
    ("Male", "Wearing_Lipstick"): -0.79,
    ("High_Cheekbones", "Smiling"): 0.68,
    ("Heavy_Makeup", "Male"): -0.67,
    ("Goatee", "No_Beard"): -0.57,
    ("No_Beard", "Sideburns"): -0.54,
    ("Mouth_Slightly_Open", "Smiling"): 0.54,
    ("Chubby", "Double_Chin"): 0.53,
    ("5_o_Clock_Shadow", "No_Beard"): -0.53,
    ("Male", "No_Beard"): -0.52,
    ("Goatee", "Sideburns"): 0.51,
    ("Attractive", "Wearing_Lipstick"): 0.48,
    ("Attractive", "Heavy_Makeup"): 0.48,
    ("Arched_Eyebrows", "Wearing_Lipstick"): 0.46,
    ("Mustache", "No_Beard"): -0.45,
    ("Goatee", "Mustache"): 0.45,
    ("Arched_Eyebrows", "Heavy_Makeup"): 0.44,
    ("High_Cheekbones", "Mouth_Slightly_Open"): 0.42,
    ("No_Beard", "Wearing_Lipstick"): 0.42,
    ("5_o_Clock_Shadow", "Male"): 0.42,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, N_IMAGES, 3, MANY, n_workers=1)
    return folder


class Drawn:
    """The demo as the reader of official files sees it, and its truth."""

    def __init__(self, folder: Path) -> None:
        with open_source(folder) as source:
            labels = source.labels
            self.data = {name: source.images.read(name) for name in labels.image_ids}
        self.labels = dict(zip(labels.image_ids, labels.values, strict=True))
        self.partition = dict(zip(labels.image_ids, labels.partitions, strict=True))
        self.identity = dict(zip(labels.image_ids, labels.identities, strict=True))
        self.truth = read_table(folder / TRUTH, TRUTH_SCHEMA)

    def planted(self, fault: str) -> pd.DataFrame:
        rows = self.truth[self.truth["fault"] == fault]
        assert len(rows)
        return rows

    def pairs(self, fault: str) -> list[tuple[str, str]]:
        rows = self.planted(fault).drop_duplicates("image_id")
        return list(zip(rows["image_id"], rows["related_id"], strict=True))


@pytest.fixture(scope="module")
def drawn(demo: Path) -> Drawn:
    return Drawn(demo)


def test_a_pure_function_of_the_seed(demo: Path, tmp_path: Path) -> None:
    for name in ("two workers", "other seed"):
        (tmp_path / name).mkdir()
    write_demo(tmp_path / "two workers", N_IMAGES, 3, MANY, n_workers=2)
    assert folder_bytes(tmp_path / "two workers") == folder_bytes(demo)
    write_demo(tmp_path / "other seed", 200, 4, MANY, n_workers=1)
    with open_source(tmp_path / "other seed") as other, open_source(demo) as first:
        assert other.images.read("000001.jpg") != first.images.read("000001.jpg")


def test_pictures_have_celebas_size(drawn: Drawn) -> None:
    for data in drawn.data.values():
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (178, 218))


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(FacetError, match=r"n_images: expected at least 200; got 199"):
        write_demo(tmp_path, 199, 3, FAULTS)


def test_too_many_copies(tmp_path: Path) -> None:
    with pytest.raises(FacetError, match="at most 30% copies"):
        write_demo(tmp_path, 400, 3, MANY | {"byte_copy": 0.25})


def test_byte_copies(drawn: Drawn) -> None:
    for copy, original in drawn.pairs("byte_copy"):
        assert drawn.data[copy] == drawn.data[original]
        assert drawn.identity[copy] == drawn.identity[original]
        assert drawn.partition[copy] == drawn.partition[original]
        assert (drawn.labels[copy] == drawn.labels[original]).all()


def decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"), dtype=float)


def test_near_copies(drawn: Drawn) -> None:
    assert set(drawn.planted("near_copy")["detail"]) == set(NEAR_KINDS)
    kinds = drawn.planted("near_copy").set_index("image_id")["detail"]
    gray = {name: decode(data) for name, data in drawn.data.items()}
    for copy, original in drawn.pairs("near_copy"):
        assert drawn.data[copy] != drawn.data[original]
        assert drawn.partition[copy] == drawn.partition[original]
        assert (drawn.labels[copy] == drawn.labels[original]).all()
        ours = gray[copy][:, ::-1] if kinds[copy] == "mirrored" else gray[copy]
        others = [name for name in gray if name != copy]
        likeness = [np.corrcoef(ours.ravel(), gray[name].ravel())[0, 1] for name in others]
        assert others[int(np.argmax(likeness))] == original, kinds[copy]
        if kinds[copy] != "cropped":  # a crop moves every pixel
            assert max(likeness) > 0.97, kinds[copy]


def test_conflicting_copies_differ_in_the_named_attributes(drawn: Drawn) -> None:
    rows = drawn.planted("conflict_copy")
    for copy, original in drawn.pairs("conflict_copy"):
        assert drawn.data[copy] == drawn.data[original]
        assert drawn.partition[copy] == drawn.partition[original]
        differing = np.flatnonzero(drawn.labels[copy] != drawn.labels[original])
        named = rows.loc[rows["image_id"] == copy, "attribute"]
        assert sorted(ATTRIBUTES[k] for k in differing) == sorted(named)
        assert 1 <= len(named) <= 4


def test_leaks_lie_in_another_partition(drawn: Drawn) -> None:
    pairs = drawn.pairs("leak_copy")
    n_same = sum(drawn.data[copy] == drawn.data[original] for copy, original in pairs)
    assert len(pairs) / 2 < n_same < len(pairs)
    for copy, original in pairs:
        assert drawn.partition[copy] != drawn.partition[original]
        assert drawn.identity[copy] == drawn.identity[original]


def test_identical_bytes_are_all_recorded(drawn: Drawn) -> None:
    groups: dict[str, list[str]] = {}
    for name, data in drawn.data.items():
        groups.setdefault(hashlib.sha256(data).hexdigest(), []).append(name)
    same = {frozenset(pair) for group in groups.values() for pair in combinations(group, 2)}
    copies = drawn.truth[drawn.truth["related_id"].notna()]
    assert same <= {
        frozenset(p) for p in zip(copies["image_id"], copies["related_id"], strict=True)
    }


def make_plan(n_images: int = 20_000, seed: int = 7, **faults: float) -> Any:
    return plan_demo(n_images, seed, {**FAULTS, **faults})


@pytest.mark.parametrize(("n_images", "seed"), [(200, 1), (3000, 7), (3000, 8), (20_000, 7)])
def test_plan_keeps_its_promises(n_images: int, seed: int) -> None:
    plan = make_plan(n_images, seed)
    truth = plan.truth
    numbers = truth["image_id"].str[:6].astype(int).to_numpy() - 1
    for fault, share in FAULTS.items():
        if fault != "flipped_labels":
            n_planted = truth.loc[truth["fault"] == fault, "image_id"].nunique()
            assert n_planted == round(share * n_images), fault
    n_flipped = (truth["fault"] == "flipped_label").sum()
    assert n_flipped == round(FAULTS["flipped_labels"] * n_images * 40)
    involved = set(
        truth.loc[truth["related_id"].notna(), ["image_id", "related_id"]].to_numpy().ravel()
    )
    flipped = truth.loc[truth["fault"] == "flipped_label"]
    assert involved.isdisjoint(flipped["image_id"])
    sizes = np.bincount(plan.identity)
    assert sizes.max() <= 30
    assert (np.diff(plan.partition) >= 0).all()
    assert np.abs(np.bincount(plan.partition) / n_images - [0.65, 0.10, 0.25]).max() < 0.02
    leaked = set(numbers[(truth["fault"] == "leak_copy").to_numpy()])
    homes: dict[int, set[int]] = {}
    for number, (person, partition) in enumerate(zip(plan.identity, plan.partition, strict=True)):
        if number not in leaked:
            homes.setdefault(int(person), set()).add(int(partition))
    assert all(len(partitions) == 1 for partitions in homes.values())
    copies = truth[truth["related_id"].notna()]
    apart = copies["image_id"].str[:6].astype(int) - copies["related_id"].str[:6].astype(int)
    assert (apart.abs() > 1).all()


def test_a_person_has_one_geometry_and_a_wrong_identity_another() -> None:
    plan = make_plan(3000)
    wrong = set(plan.truth.loc[plan.truth["fault"] == "wrong_identity", "image_id"])
    for number, picture in enumerate(plan.pictures):
        assert (picture.person != plan.identity[number]) == (f"{number + 1:06d}.jpg" in wrong)


def test_labels_follow_celebas() -> None:
    labels = make_plan(flipped_labels=0.0).labels
    prevalence = dict(zip(ATTRIBUTES, 100 * labels.mean(0), strict=True))
    assert list(prevalence) == list(PREVALENCE)
    for name, expected in PREVALENCE.items():
        assert abs(prevalence[name] - expected) < 2.5, name
    phi = np.corrcoef(labels.T)
    for (a, b), expected in PHI.items():
        assert abs(phi[COLUMN[a], COLUMN[b]] - expected) < 0.12, (a, b)


def test_flips_are_what_the_truth_says() -> None:
    plan = make_plan(3000)
    seen = np.stack([picture.labels for picture in plan.pictures])
    rows, columns = np.nonzero(seen != plan.labels)
    differing = {
        (f"{row + 1:06d}.jpg", ATTRIBUTES[column])
        for row, column in zip(rows, columns, strict=True)
    }
    named = plan.truth[plan.truth["fault"].isin(["flipped_label", "conflict_copy"])]
    assert differing == set(zip(named["image_id"], named["attribute"], strict=True))
