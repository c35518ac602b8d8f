import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.common.errors import FacetError
from stages.common.files import read_manifest, write_manifest
from stages.common.images import crop_resize, decode_rgb
from stages.common.params import PrepareParams, load_params
from stages.common.shards import PixelSet, read_partition
from stages.common.tables import (
    ANNOTATIONS,
    ISSUES,
    ISSUES_SCHEMA,
    annotations_schema,
    image_files,
    read_annotations,
    write_table,
)
from stages.download.run import run as run_download
from stages.prepare.policy import decide
from stages.prepare.run import run
from tests.official_files import ATTRIBUTES, OfficialFolder, encode_jpeg, folder_bytes

ROOT_PARAMS = Path(__file__).parents[1] / "params.yaml"
SHIPPED = load_params(ROOT_PARAMS).prepare
SIZES = {"crop_height_px": 40, "crop_width_px": 36, "height_px": 20, "width_px": 18}


def make_params(**changes: Any) -> PrepareParams:
    policy = {**SHIPPED.policy.model_dump(), **changes.pop("policy", {})}
    subset = {**SHIPPED.subset.model_dump(), **changes.pop("subset", {})}
    resplit = {**SHIPPED.resplit.model_dump(), **changes.pop("resplit", {})}
    nested = {"policy": policy, "subset": subset, "resplit": resplit}
    return PrepareParams.model_validate({**SHIPPED.model_dump(), **SIZES, **changes, **nested})


def make_issues(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """Rows of (image_id, check, attribute, related_id, flagged)."""
    table = pd.DataFrame(rows, columns=["image_id", "check", "attribute", "related_id", "flagged"])
    table["score"], table["detail"] = np.float32(0), None
    table["flagged"] = table["flagged"].astype(bool)
    return table[ISSUES_SCHEMA.names]


class Workspace:
    def __init__(self, folder: Path, official: OfficialFolder, issues: pd.DataFrame) -> None:
        self.folder = folder
        official.write(folder / "in")
        self.download, self.audit = folder / "download", folder / "audit"
        shipped = load_params(Path(__file__).parents[1] / "params.yaml").download
        source = {"source": "files", "path": str(folder / "in")}
        run_download(shipped.model_copy(update=source), self.download)
        self.audit.mkdir()
        write_table(issues, self.audit / ISSUES, ISSUES_SCHEMA)

    def prepare(self, params: PrepareParams, name: str = "prepare") -> Path:
        run(params, self.download, self.audit, self.folder / name)
        return self.folder / name


def reference_pixels(data: bytes) -> np.ndarray:
    """Pillow alone: decode, centred crop, antialiased bilinear resize."""
    with Image.open(io.BytesIO(data)) as image:
        left, top = (image.width - 36) // 2, (image.height - 40) // 2
        cropped = image.convert("RGB").crop((left, top, left + 36, top + 40))
        return np.asarray(cropped.resize((18, 20), Image.Resampling.BILINEAR))


def test_shards_hold_pixels_labels_and_identities(tmp_path: Path) -> None:
    official = OfficialFolder()
    out = Workspace(tmp_path, official, make_issues()).prepare(make_params())
    parts = [read_partition(out, p) for p in ("train", "valid", "test")]
    assert [len(part.image_ids) for part in parts] == [18, 6, 6]
    image_ids = [image_id for part in parts for image_id in part.image_ids]
    assert image_ids == sorted(official.images)
    pixels = np.concatenate([part.pixels for part in parts])
    expected = np.stack([reference_pixels(official.images[image_id]) for image_id in image_ids])
    assert np.abs(pixels.astype(int) - expected).mean() < 1.0
    assert (np.concatenate([part.labels for part in parts]) == official.values).all()
    assert all(part.mask.all() for part in parts)
    assert parts[0].identities[:4] == ["100", "100", "100", "101"]
    manifest = read_manifest(out)
    assert (manifest["height_px"], manifest["width_px"]) == (20, 18)


@pytest.mark.parametrize("n_known", [0, 5], ids=["no identities", "some identities"])
def test_identities_may_be_unknown(tmp_path: Path, n_known: int) -> None:
    official = OfficialFolder()
    official.identity = None
    workspace = Workspace(tmp_path, official, make_issues())
    annotations, attributes = read_annotations(workspace.download)
    identities = ["7"] * n_known + [None] * (30 - n_known)
    annotations["identity"] = pd.Series(identities, dtype="str")
    schema = annotations_schema(attributes)
    write_table(annotations, workspace.download / ANNOTATIONS, schema)
    write_manifest(workspace.download, {"attributes": attributes})
    part = read_partition(workspace.prepare(make_params()), "train")
    assert part.identities == identities[:18]


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, OfficialFolder(), make_issues())
    params = make_params(subset={"train": 0.5})
    first = folder_bytes(workspace.prepare(params, "first"))
    assert folder_bytes(workspace.prepare(params, "second")) == first


def test_only_chosen_attributes(tmp_path: Path) -> None:
    official = OfficialFolder()
    workspace = Workspace(tmp_path, official, make_issues())
    out = workspace.prepare(make_params(attributes=["Smiling", "Bald"]))
    assert read_manifest(out)["attributes"] == ["Bald", "Smiling"]
    assert (read_partition(out, "train").labels == official.values[:18][:, [0, 3]]).all()
    with pytest.raises(FacetError, match=r"expected attributes of the data .*Bald.*; got Beard"):
        workspace.prepare(make_params(attributes=["Beard"]))


def test_subset_is_seeded_and_counted(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, OfficialFolder(), make_issues())
    subset = {"train": 6, "valid": 0.5, "test": None}
    first = workspace.prepare(make_params(subset=subset), "a")
    manifest = read_manifest(first)
    assert manifest["n_by_partition"] == {"train": 6, "valid": 3, "test": 6}
    assert manifest["dropped"]["subset"] == {"train": 12, "valid": 3, "test": 0}
    other = workspace.prepare(make_params(subset=subset, seed=8), "b")
    assert read_partition(first, "train").image_ids != read_partition(other, "train").image_ids
    with pytest.raises(FacetError, match=r"subset\.train: expected at most 18.*got 19"):
        workspace.prepare(make_params(subset={"train": 19}))


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_a_subset_keeps_the_shares_of_all_chosen_attributes(tmp_path: Path, seed: int) -> None:
    official = OfficialFolder(n_images=300)  # 180, 60 and 60
    workspace = Workspace(tmp_path, official, make_issues())
    out = workspace.prepare(make_params(subset={"train": 45, "valid": 0.5, "test": 6}, seed=seed))
    bounds = {"train": (0, 180, 45), "valid": (180, 240, 30), "test": (240, 300, 6)}
    for partition, (start, stop, n) in bounds.items():
        part = read_partition(out, partition, pixels=False)
        assert len(part.image_ids) == n
        wanted = official.values[start:stop].mean(0) * n
        assert np.abs(part.labels.sum(0) - wanted).max() < 1


def keep_partitions(official: OfficialFolder, code: int) -> OfficialFolder:
    """All images in one partition."""
    official.partition = [f"{line.split()[0]} {code}" for line in official.partition]
    return official


def test_a_set_without_training_images_is_written(tmp_path: Path) -> None:
    official = keep_partitions(OfficialFolder(), 2)
    issues = make_issues(("000002.jpg", "exact_duplicate", None, "000001.jpg", True))
    workspace = Workspace(tmp_path, official, issues)
    out = workspace.prepare(make_params(subset={"train": 0.5}))
    assert read_manifest(out)["n_by_partition"] == {"train": 0, "valid": 0, "test": 30}
    assert read_partition(out, "test").image_ids == sorted(official.images)
    assert read_partition(out, "train").pixels.shape == (0, 20, 18, 3)
    assert [path.name for path in out.glob("*.parquet")] == ["test-00000-of-00001.parquet"]


def test_labels_without_pictures_are_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, OfficialFolder(), make_issues())
    annotations, attributes = read_annotations(workspace.download)
    annotations["status"] = "missing"
    schema = annotations_schema(attributes)
    write_table(annotations, workspace.download / ANNOTATIONS, schema)
    for path in image_files(workspace.download):
        path.unlink()
    write_manifest(workspace.download, {"attributes": attributes})
    with pytest.raises(FacetError, match=r"got no readable images \(30 of 30 are missing\)"):
        workspace.prepare(make_params(subset={"train": 5}))
    assert not (tmp_path / "prepare").exists()


def test_a_policy_that_leaves_nothing(tmp_path: Path) -> None:
    official = keep_partitions(OfficialFolder(), 0)
    found = [(image_id, "label_rule", "Bald", None, True) for image_id in sorted(official.images)]
    workspace = Workspace(tmp_path, official, make_issues(*found))
    whole = {"crop_height_px": None, "crop_width_px": None, "height_px": None, "width_px": None}
    with pytest.raises(FacetError, match=r"prepare\.policy: .* drops all 30"):
        workspace.prepare(make_params(policy={"label_rule": "drop"}, **whole))


ISSUES_OF_ALL_KINDS = make_issues(
    ("000002.jpg", "exact_duplicate", None, "000001.jpg", True),
    ("000003.jpg", "leak", None, "000020.jpg", True),
    ("000004.jpg", "label_conflict", "Male", "000005.jpg", True),
    ("000005.jpg", "label_conflict", "Male", "000004.jpg", True),
    ("000006.jpg", "label_rule", "Bald", None, False),
    ("000020.jpg", "exact_duplicate", None, "000003.jpg", True),
    ("000021.jpg", "label_conflict", "Bald", "000022.jpg", True),
    ("000025.jpg", "unreadable", None, None, True),
)


def test_policy_touches_training_images_only(tmp_path: Path) -> None:
    out = Workspace(tmp_path, OfficialFolder(), ISSUES_OF_ALL_KINDS).prepare(make_params())
    train, valid = read_partition(out, "train"), read_partition(out, "valid")
    assert {"000002.jpg", "000003.jpg"}.isdisjoint(train.image_ids)
    assert len(train.image_ids) == 16
    assert len(valid.image_ids) == 6
    assert valid.mask.all()
    masked = [
        (train.image_ids[row], ATTRIBUTES[column]) for row, column in np.argwhere(~train.mask)
    ]
    assert masked == [("000004.jpg", "Male"), ("000005.jpg", "Male")]
    manifest = read_manifest(out)
    assert manifest["dropped"]["leak"] == {"train": 1}
    assert manifest["dropped"]["exact_duplicate"] == {"train": 1}
    assert manifest["dropped"]["unreadable"] == {"train": 0, "valid": 0, "test": 1}
    assert manifest["masked"] == {"label_conflict": 2}


def test_keep_changes_nothing_and_drop_drops(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, OfficialFolder(), ISSUES_OF_ALL_KINDS)
    keep = dict.fromkeys(SHIPPED.policy.model_dump(), "keep")
    kept = read_partition(workspace.prepare(make_params(policy=keep), "keep"), "train")
    assert len(kept.image_ids) == 18
    assert kept.mask.all()
    drop = {**keep, "label_conflict": "drop"}
    dropped = read_partition(workspace.prepare(make_params(policy=drop), "drop"), "train")
    assert len(dropped.image_ids) == 16


def test_one_copy_stays_when_the_first_is_not_selected() -> None:
    issues = make_issues(
        ("b", "exact_duplicate", None, "a", True), ("c", "exact_duplicate", None, "a", True)
    )
    with_first = decide(issues, {"a", "b", "c"}, SHIPPED.policy)
    assert with_first.dropped["exact_duplicate"] == {"b", "c"}
    without_first = decide(issues, {"b", "c"}, SHIPPED.policy)
    assert without_first.dropped["exact_duplicate"] == {"c"}


def test_a_leaked_first_copy_does_not_save_the_others() -> None:
    issues = make_issues(
        ("a", "leak", None, "z", True),
        ("b", "exact_duplicate", None, "a", True),
        ("b", "leak", None, "z", True),
    )
    assert decide(issues, {"a", "b"}, SHIPPED.policy).dropped_ids() == {"a", "b"}


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    official = OfficialFolder()
    official.images["000009.jpg"] = encode_jpeg(np.zeros((44, 38, 3), np.uint8))
    workspace = Workspace(tmp_path, official, make_issues())
    none = dict.fromkeys(SIZES)
    with pytest.raises(FacetError, match=r"48x40 .* in 000001\.jpg, 44x38 in 000009\.jpg"):
        workspace.prepare(make_params(**none))
    only_crop = {"height_px": None, "width_px": None}
    assert read_manifest(workspace.prepare(make_params(**only_crop)))["height_px"] == 40


def test_crop_is_centred_and_none_changes_nothing() -> None:
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    assert (crop_resize(pixels, (2, 2), None) == pixels[2:4, 1:3]).all()
    assert (crop_resize(pixels, None, None) == pixels).all()


@pytest.mark.parametrize("crop", [(9, 8), (3, 9), (8, 3), (7, 5)])
def test_crop_of_a_smaller_picture_is_padded_like_torchvisions(crop: tuple[int, int]) -> None:
    import torch
    from torchvision.transforms.v2.functional import center_crop

    pixels = np.random.default_rng(0).integers(1, 256, (6, 4, 3), dtype=np.uint8)
    theirs = center_crop(torch.from_numpy(pixels).permute(2, 0, 1), list(crop))
    assert (crop_resize(pixels, crop, None) == theirs.permute(1, 2, 0).numpy()).all()


def test_gray_and_png_become_rgb() -> None:
    gray = np.tile(np.arange(0, 200, 5, dtype=np.uint8), (30, 1))
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "PNG")
    assert (decode_rgb(buffer.getvalue()) == gray[:, :, None]).all()
    jpeg = decode_rgb(encode_jpeg(gray))
    assert jpeg.shape == (30, 40, 3)
    assert np.abs(jpeg.astype(int) - gray[:, :, None]).mean() < 3


def test_labels_without_pixels(tmp_path: Path) -> None:
    out = Workspace(tmp_path, OfficialFolder(), make_issues()).prepare(make_params())
    part: PixelSet = read_partition(out, "valid", pixels=False)
    assert part.pixels.shape == (6, 0, 0, 3)
    assert (part.labels == read_partition(out, "valid").labels).all()
