import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import FacetError
from stages.common.files import read_manifest
from stages.common.shards import PixelSet, read_partition
from stages.prepare.resplit import group_images
from tests.official_files import OfficialFolder, folder_bytes
from tests.test_prepare import SHIPPED, Workspace, make_issues, make_params

KEEP = dict.fromkeys(SHIPPED.policy.model_dump(), "keep")


def resplit(workspace: Workspace, name: str = "prepare", **changes: Any) -> dict[str, PixelSet]:
    out = workspace.prepare(make_params(**changes), name)
    return {p: read_partition(out, p, pixels=False) for p in ("train", "valid", "test")}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """60 images: 36 of train, then 12 of valid, 12 of test; three of each person in a row."""
    return Workspace(tmp_path, OfficialFolder(n_images=60), make_issues())


def test_valid_comes_out_of_train_and_no_person_is_on_both_sides(workspace: Workspace) -> None:
    parts = resplit(workspace, resplit={"valid": 0.25, "by_identity": True})
    train, valid, test = (parts[p] for p in ("train", "valid", "test"))
    assert len(valid.image_ids) == 9
    assert sorted(train.image_ids + valid.image_ids) == [f"{k:06d}.jpg" for k in range(1, 37)]
    assert valid.image_ids == sorted(valid.image_ids)
    assert not set(train.identities) & set(valid.identities)
    assert test.image_ids == [f"{k:06d}.jpg" for k in range(49, 61)]
    manifest = read_manifest(workspace.folder / "prepare")
    assert manifest["resplit"] == {
        "valid": 0.25,
        "by_identity": True,
        "n_train": 27,
        "n_valid": 9,
    }
    assert manifest["dropped"]["resplit"] == {"valid": 12}
    assert manifest["dropped"]["subset"] == {"train": 0, "valid": 0, "test": 0}
    assert manifest["n_by_partition"] == {"train": 27, "valid": 9, "test": 12}


def test_without_a_resplit_the_manifest_says_so(workspace: Workspace) -> None:
    manifest = read_manifest(workspace.prepare(make_params()))
    assert manifest["resplit"] is None
    assert "resplit" not in manifest["dropped"]


def test_single_images_give_the_exact_share_of_every_chosen_attribute(tmp_path: Path) -> None:
    official = OfficialFolder(n_images=500)
    workspace = Workspace(tmp_path, official, make_issues())
    for attributes in (["Male"], "all"):
        parts = resplit(
            workspace, attributes=attributes, resplit={"valid": 0.2, "by_identity": False}
        )
        assert len(parts["valid"].image_ids) == 60
        total = parts["train"].labels.sum(0) + parts["valid"].labels.sum(0)
        assert np.abs(parts["valid"].labels.sum(0) - 0.2 * total).max() < 1


def test_persons_give_nearly_the_share_of_every_attribute(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, OfficialFolder(n_images=500), make_issues())
    parts = resplit(workspace, resplit={"valid": 0.2, "by_identity": True})
    assert len(parts["valid"].image_ids) == 60
    assert not set(parts["train"].identities) & set(parts["valid"].identities)
    total = parts["train"].labels.sum(0) + parts["valid"].labels.sum(0)
    assert np.abs(parts["valid"].labels.sum(0) - 0.2 * total).max() <= 2


def test_two_runs_give_the_same_bytes_and_another_seed_others(workspace: Workspace) -> None:
    changes: dict[str, Any] = {"resplit": {"valid": 0.25}}
    first = folder_bytes(workspace.prepare(make_params(**changes), "a"))
    assert folder_bytes(workspace.prepare(make_params(**changes), "b")) == first
    assert folder_bytes(workspace.prepare(make_params(**changes, seed=8), "c")) != first


def test_the_subset_of_train_comes_first(workspace: Workspace) -> None:
    changes: dict[str, Any] = {"subset": {"train": 20, "test": 0.5}}
    chosen = resplit(workspace, "chosen", **changes)["train"].image_ids
    parts = resplit(workspace, "divided", **changes, resplit={"valid": 0.25, "by_identity": False})
    assert sorted(parts["train"].image_ids + parts["valid"].image_ids) == chosen
    assert {p: len(part.image_ids) for p, part in parts.items()} == {
        "train": 15,
        "valid": 5,
        "test": 6,
    }


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_one_picture_stay_on_one_side(tmp_path: Path, seed: int) -> None:
    groups = [{1, 14, 30}, {2, 20}, {3, 25, 33}]
    issues = make_issues(
        ("000014.jpg", "exact_duplicate", None, "000001.jpg", True),
        ("000030.jpg", "near_duplicate", None, "000014.jpg", True),
        ("000050.jpg", "near_duplicate", None, "000002.jpg", True),  # a test image between two
        ("000050.jpg", "near_duplicate", None, "000020.jpg", True),
        ("000025.jpg", "exact_duplicate", None, "000003.jpg", True),
        ("000033.jpg", "exact_duplicate", None, "000003.jpg", True),
    )
    workspace = Workspace(tmp_path, OfficialFolder(n_images=60), issues)
    for by_identity in (False, True):
        share = {"valid": 0.5, "by_identity": by_identity}
        parts = resplit(workspace, resplit=share, policy=KEEP, seed=seed)
        valid = {int(image_id[:6]) for image_id in parts["valid"].image_ids}
        assert len(valid) == pytest.approx(18, abs=2)
        for group in groups:
            assert group <= valid or not group & valid
        if by_identity:
            assert not set(parts["train"].identities) & set(parts["valid"].identities)


def test_groups_follow_from_persons_and_flagged_copies() -> None:
    train = pd.DataFrame(
        {"image_id": ["a", "b", "c", "d", "e"], "identity": ["1", None, None, "1", "2"]}
    )
    issues = make_issues(
        ("b", "exact_duplicate", None, "z", True),
        ("c", "near_duplicate", None, "z", True),
        ("e", "near_duplicate", None, "a", False),
        ("e", "leak", None, "a", True),
    )
    assert group_images(train, issues, by_identity=False).tolist() == [0, 1, 1, 2, 3]
    assert group_images(train, issues, by_identity=True).tolist() == [0, 1, 1, 0, 2]
    assert group_images(train, issues[:0], by_identity=False).tolist() == [0, 1, 2, 3, 4]


def test_persons_that_are_unknown_do_not_belong_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official = OfficialFolder(n_images=60)
    official.identity = None
    workspace = Workspace(tmp_path, official, make_issues())
    with caplog.at_level(logging.WARNING):
        parts = resplit(workspace, resplit={"valid": 0.2, "by_identity": True})
    assert len(parts["valid"].image_ids) == 7
    assert "by_identity has no effect" in caplog.text


def test_the_policy_touches_what_is_train_afterwards(tmp_path: Path) -> None:
    found = [(f"{k:06d}.jpg", "label_rule", "Bald", None, True) for k in range(1, 49)]
    workspace = Workspace(tmp_path, OfficialFolder(n_images=60), make_issues(*found))
    share = {"valid": 0.25}
    masked = resplit(workspace, "mask", resplit=share, policy={"label_rule": "mask"})
    assert not masked["train"].mask[:, 0].any()
    assert masked["valid"].mask.all()
    assert read_manifest(workspace.folder / "mask")["masked"]["label_rule"] == 27
    dropped = resplit(workspace, "drop", resplit=share, policy={"label_rule": "drop"})
    assert dropped["train"].image_ids == []
    assert dropped["valid"].image_ids == masked["valid"].image_ids
    assert read_manifest(workspace.folder / "drop")["dropped"]["label_rule"] == {"train": 27}


def test_a_copy_in_the_replaced_valid_is_no_leak(tmp_path: Path) -> None:
    leaks = [(f"{k:06d}.jpg", "leak", None, "000040.jpg", True) for k in range(1, 19)]
    leaks += [(f"{k:06d}.jpg", "leak", None, "000055.jpg", True) for k in range(19, 37)]
    workspace = Workspace(tmp_path, OfficialFolder(n_images=60), make_issues(*leaks))
    parts = resplit(workspace, resplit={"valid": 0.25, "by_identity": False})
    kept = {int(image_id[:6]) for image_id in parts["train"].image_ids}
    assert kept
    assert kept <= set(range(1, 19))
    n_dropped = read_manifest(workspace.folder / "prepare")["dropped"]["leak"]["train"]
    assert n_dropped + len(kept) + len(parts["valid"].image_ids) == 36


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    official = OfficialFolder(n_images=30)
    assert official.identity is not None
    official.identity = [f"{line.split()[0]} 1" for line in official.identity]
    workspace = Workspace(tmp_path, official, make_issues())
    with pytest.raises(FacetError, match=r"prepare\.resplit: .* got a group of 18 images of one"):
        resplit(workspace, resplit={"valid": 0.2, "by_identity": True})
    parts = resplit(workspace, resplit={"valid": 0.2, "by_identity": False})
    assert len(parts["valid"].image_ids) == 4


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_either_side_gets_an_image(workspace: Workspace, share: float) -> None:
    parts = resplit(workspace, resplit={"valid": share, "by_identity": False})
    assert min(len(parts[p].image_ids) for p in ("train", "valid")) == 1


def test_too_few_training_images(tmp_path: Path) -> None:
    official = OfficialFolder()
    official.partition = [f"{line.split()[0]} 2" for line in official.partition]
    workspace = Workspace(tmp_path, official, make_issues())
    with pytest.raises(FacetError, match=r"prepare\.resplit\.valid: expected at least 2 .* got 0"):
        resplit(workspace, resplit={"valid": 0.5})
