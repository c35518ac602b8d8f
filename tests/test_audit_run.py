import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_fabric import (
    ATTRIBUTES,
    AUDIT,
    Row,
    draw_picture,
    draw_rows,
    encode,
    list_findings,
    read_bytes,
    write_download,
)
from PIL import Image, ImageEnhance, ImageOps

from stages.audit.run import run
from stages.common.errors import FacetError
from stages.common.tables import CHECKS, ISSUES_SCHEMA, read_table

PARAMS = AUDIT.model_copy(update={"near_similarity": 0.85})


def audit(folder: Path, rows: list[Row], attributes: list[str] = ATTRIBUTES) -> pd.DataFrame:
    """Findings of a fabricated data set; reports lie in folder/reports."""
    write_download(folder / "download", rows, attributes)
    run(PARAMS, folder / "download", folder / "out", folder / "reports")
    return read_table(folder / "out" / "issues.parquet", ISSUES_SCHEMA)


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "reports" / "summary.json").read_text())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """90 different pictures with one or two faults of every kind among them."""
    folder = tmp_path_factory.mktemp("planted")
    rows = draw_rows(90)
    base = {row.image_id: row for row in rows}

    def copy(image_id: str, of: str, data: bytes | None = None, **other: object) -> None:
        settings = {"identity": base[of].identity, "partition": base[of].partition} | other
        rows.append(Row(image_id, data or base[of].data, **settings))  # type: ignore[arg-type]

    for name in ("005.jpg", "006.jpg"):
        base[name].partition = "valid"
    base["007.jpg"].partition = "test"
    picture = draw_picture(8)
    base["008.jpg"].data = encode(picture, kind="PNG")
    copy("a_bytes.jpg", "003.jpg")
    copy("a_bytes2.jpg", "003.jpg")
    copy("b_pixels.png", "008.jpg", encode(picture.convert("RGBA"), kind="PNG"))
    dark = ImageEnhance.Brightness(draw_picture(10).crop((9, 8, 172, 210))).enhance(0.75)
    copy("c_near.jpg", "010.jpg", encode(dark, 60))
    copy("d_mirror.jpg", "011.jpg", encode(ImageOps.mirror(draw_picture(11)), 70))
    copy("e_leak.jpg", "005.jpg", partition="train")
    copy("f_leak.jpg", "006.jpg", encode(draw_picture(6).resize((89, 109)), 80), partition="test")
    copy("g_leak.jpg", "007.jpg", partition="train")
    copy("h_label.jpg", "012.jpg", labels={"Smiling": True, "Male": None})
    copy("i_label.jpg", "013.jpg", encode(draw_picture(13), 50), labels={"Bald": True})
    copy("j_identity.jpg", "014.jpg", identity="999")
    copy("k_identity.jpg", "015.jpg", identity=None)
    broken = encode(draw_picture(500))[:1500]
    rows += [
        Row("x_cut.jpg", broken),
        Row("x_cut_again.jpg", broken),
        Row("y_gone.jpg", None, status="missing", error="not in the archive"),
        Row("z_rule.jpg", encode(draw_picture(501)), labels={"Goatee": True, "No_Beard": True}),
    ]
    return folder, audit(folder, rows)


def test_exact_copies_are_found_all_and_only(planted: tuple[Path, pd.DataFrame]) -> None:
    found = list_findings(planted[1], "exact_duplicate", "image_id", "related_id", "detail")
    expected = {
        "a_bytes.jpg": "003.jpg", "a_bytes2.jpg": "003.jpg", "e_leak.jpg": "005.jpg",
        "g_leak.jpg": "007.jpg", "h_label.jpg": "012.jpg", "j_identity.jpg": "014.jpg",
        "k_identity.jpg": "015.jpg",
    }  # fmt: skip
    assert found == sorted(
        [(image, related, "same bytes") for image, related in expected.items()]
        + [("b_pixels.png", "008.jpg", "same pixels, other bytes")]
    )


def test_near_copies_are_found_all_and_only(planted: tuple[Path, pd.DataFrame]) -> None:
    found = list_findings(planted[1], "near_duplicate", "image_id", "related_id")
    assert found == [
        ("c_near.jpg", "010.jpg"),
        ("d_mirror.jpg", "011.jpg"),
        ("f_leak.jpg", "006.jpg"),
        ("i_label.jpg", "013.jpg"),
    ]
    details = dict(list_findings(planted[1], "near_duplicate", "image_id", "detail"))
    assert [name for name, text in details.items() if "mirrored" in text] == ["d_mirror.jpg"]


def test_leaks_stand_at_the_side_to_be_removed(planted: tuple[Path, pd.DataFrame]) -> None:
    found = list_findings(planted[1], "leak", "image_id", "related_id", "detail")
    assert [(image, related, detail.split(":")[0]) for image, related, detail in found] == [
        ("006.jpg", "f_leak.jpg", "valid-test"),
        ("e_leak.jpg", "005.jpg", "train-valid"),
        ("g_leak.jpg", "007.jpg", "train-test"),
    ]
    leaks = read_summary(planted[0])["leaks_by_pair"]
    assert leaks == {"train-valid": 1, "train-test": 1, "valid-test": 1}


def test_label_conflicts_stand_at_both_copies(planted: tuple[Path, pd.DataFrame]) -> None:
    columns = ("image_id", "attribute", "related_id", "score", "detail")
    found = list_findings(planted[1], "label_conflict", *columns)
    assert [row[:4] for row in found] == [
        ("012.jpg", "Smiling", "h_label.jpg", 0.5),
        ("013.jpg", "Bald", "i_label.jpg", 0.5),
        ("h_label.jpg", "Smiling", "012.jpg", 0.5),
        ("i_label.jpg", "Bald", "013.jpg", 0.5),
    ]
    assert found[0][4] == "0 here, 1 there: same bytes"


def test_identity_conflicts_stand_at_both_copies(planted: tuple[Path, pd.DataFrame]) -> None:
    found = list_findings(planted[1], "identity_conflict", "image_id", "related_id")
    assert found == [("014.jpg", "j_identity.jpg"), ("j_identity.jpg", "014.jpg")]


def test_unreadable_images_are_found_with_reason(planted: tuple[Path, pd.DataFrame]) -> None:
    found = list_findings(planted[1], "unreadable", "image_id", "detail")
    assert [name for name, _ in found] == ["x_cut.jpg", "x_cut_again.jpg", "y_gone.jpg"]
    assert found[2][1] == "missing: not in the archive"
    assert all(detail for _, detail in found)


def test_rule_breaks_stand_at_every_attribute_involved(planted: tuple[Path, pd.DataFrame]) -> None:
    found = list_findings(planted[1], "label_rule", "image_id", "attribute", "detail")
    detail = "goatee_is_beard: Goatee, No_Beard; a rule that 95.2 % of the images obey"
    assert found == [("z_rule.jpg", "Goatee", detail), ("z_rule.jpg", "No_Beard", detail)]


def test_counts_agree_with_the_findings(planted: tuple[Path, pd.DataFrame]) -> None:
    folder, issues = planted
    summary = read_summary(folder)
    assert list(summary["by_check"]) == list(CHECKS)
    for check, counts in summary["by_check"].items():
        rows = issues[issues["check"] == check]
        assert counts == {
            "findings": len(rows), "images": rows["image_id"].nunique(),
            "flagged": rows["flagged"].sum(),
        }  # fmt: skip
    assert (summary["n_groups_exact"], summary["n_groups_near"]) == (7, 4)
    by_attribute = pd.read_csv(folder / "reports" / "by_attribute.csv", index_col=0)
    assert by_attribute.loc["Smiling"].tolist()[:3] == [2, 0, 0]
    assert by_attribute.loc["Goatee"].tolist()[:3] == [0, 1, 0]
    rules = pd.read_csv(folder / "reports" / "rules.csv", index_col=0)
    assert rules.loc["goatee_is_beard"].tolist() == [1, 1, 0]
    assert not issues.duplicated(["image_id", "check", "attribute", "related_id"]).any()
    key = issues[["image_id", "check", "attribute", "related_id"]].fillna("")
    assert key.equals(key.sort_values(list(key.columns), ignore_index=True))


def test_outputs_are_the_same_bytes_whatever_the_threads(
    planted: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    run(PARAMS, planted[0] / "download", tmp_path / "out", tmp_path / "reports")
    for name in ("out", "reports"):
        assert read_bytes(tmp_path / name) == read_bytes(planted[0] / name)


def test_mirrored_copies_are_left_alone_if_not_asked_for(
    planted: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    params = PARAMS.model_copy(update={"mirrored": False})
    run(params, planted[0] / "download", tmp_path / "out", tmp_path / "reports")
    issues = read_table(tmp_path / "out" / "issues.parquet", ISSUES_SCHEMA)
    found = [row[0] for row in list_findings(issues, "near_duplicate", "image_id")]
    assert found == ["c_near.jpg", "f_leak.jpg", "i_label.jpg"]


def test_three_copies_outvote_one(tmp_path: Path) -> None:
    rows = draw_rows(2)
    rows += [Row(f"9{k}.jpg", rows[0].data, identity="0") for k in range(2)]
    rows[2].labels["Male"] = True
    found = list_findings(
        audit(tmp_path, rows), "label_conflict", "image_id", "related_id", "score"
    )
    expected = [("000.jpg", "90.jpg", 2), ("90.jpg", "000.jpg", 1), ("91.jpg", "90.jpg", 2)]
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [2 / 3, 1 / 3, 2 / 3], atol=1e-4)


def test_a_leak_names_every_pair_across_partitions(tmp_path: Path) -> None:
    rows = draw_rows(2)
    for k, partition in enumerate(("train", "valid", "test")):
        rows.append(Row(f"9{k}.jpg", rows[0].data, partition=partition))
    near = encode(draw_picture(0), 60)
    rows.append(Row("99.jpg", near, partition="valid"))
    found = list_findings(audit(tmp_path, rows), "leak", "image_id", "related_id")
    assert found == [
        ("000.jpg", "91.jpg"), ("000.jpg", "92.jpg"), ("000.jpg", "99.jpg"),
        ("90.jpg", "91.jpg"), ("90.jpg", "92.jpg"), ("90.jpg", "99.jpg"),
        ("91.jpg", "92.jpg"), ("99.jpg", "92.jpg"),
    ]  # fmt: skip


def test_near_copies_of_exact_copies_are_paired_with_each(tmp_path: Path) -> None:
    rows = draw_rows(2)
    rows += [Row("98.jpg", rows[1].data), Row("99.jpg", encode(draw_picture(1), 50))]
    found = list_findings(audit(tmp_path, rows), "near_duplicate", "image_id", "related_id")
    assert found == [("99.jpg", "001.jpg"), ("99.jpg", "98.jpg")]
    assert read_summary(tmp_path)["n_groups_near"] == 1


def test_near_pairs_do_not_chain(tmp_path: Path) -> None:
    """The crops at opposite corners are copies of the whole, hardly of one another."""
    whole = draw_picture(3)
    parts = [whole.crop((0, 0, 140, 172)), whole.crop((38, 46, 178, 218))]
    rows = draw_rows(3, seed=20)
    rows.append(Row("m.jpg", encode(whole)))
    rows += [
        Row(f"n{k}.jpg", encode(part), labels={"Male": k == 1}) for k, part in enumerate(parts)
    ]
    issues = audit(tmp_path, rows)
    pairs = list_findings(issues, "near_duplicate", "related_id", "image_id")
    conflicts = list_findings(issues, "label_conflict", "related_id", "image_id")
    assert set(conflicts) <= {*pairs, *((b, a) for a, b in pairs)}


def test_a_large_group_of_copies_stays_affordable(tmp_path: Path) -> None:
    placeholder = encode(Image.new("RGB", (40, 40), "gray"))
    rows = [
        Row(f"{k:04d}.jpg", placeholder, partition="test" if k == 250 else "train")
        for k in range(300)
    ]
    issues = audit(tmp_path, rows)
    assert len(list_findings(issues, "exact_duplicate", "image_id")) == 299
    leaks = list_findings(issues, "leak", "image_id", "related_id")
    assert leaks == [(f"{k:04d}.jpg", "0250.jpg") for k in range(300) if k != 250]


SURROUNDINGS = {
    "no images": [Row("a.jpg", None), Row("b.jpg", None)],
    "no identities": [*draw_rows(1), Row("x.jpg", draw_rows(1)[0].data, identity=None)],
    "nothing known": [
        Row(f"{k}.jpg", encode(draw_picture(1)), labels=dict.fromkeys(ATTRIBUTES)) for k in "ab"
    ],
    "one image": draw_rows(1),
    "none readable in test": [*draw_rows(2), Row("x.jpg", b"no picture", partition="test")],
    "sizes from 1 x 1": [
        Row(f"{k}.png", encode(draw_picture(k).resize((k, 2 * k)), kind="PNG"))
        for k in (1, 2, 30, 400)
    ],
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_scant_data_gives_valid_tables(name: str, tmp_path: Path) -> None:
    issues = audit(tmp_path, SURROUNDINGS[name])
    checks = {"no identities": {"exact_duplicate"}, "nothing known": {"exact_duplicate"}}
    checks["none readable in test"] = {"unreadable"}
    assert set(issues["check"]) == checks.get(name, set())
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_other_attributes_than_those_of_celeba(tmp_path: Path) -> None:
    rows = draw_rows(2)
    rows.append(Row("x.jpg", rows[0].data, identity="0", labels={"Freckles": True}))
    rows[0].labels["Freckles"] = False
    issues = audit(tmp_path, rows, ["Freckles"])
    assert list_findings(issues, "label_conflict", "image_id") == [("000.jpg",), ("x.jpg",)]
    assert (tmp_path / "reports" / "rules.csv").read_text().count("\n") == 1


def test_an_image_that_download_found_unreadable_is_compared_with_nothing(tmp_path: Path) -> None:
    rows = draw_rows(2)
    rows.append(Row("x.jpg", rows[0].data, status="unreadable", error="cut off"))
    issues = audit(tmp_path, rows)
    assert list_findings(issues, "unreadable", "image_id", "detail") == [
        ("x.jpg", "unreadable: cut off")
    ]
    assert len(issues) == 1


def spoil_manifest(download: Path) -> None:
    (download / "manifest.json").unlink()


def spoil_annotations(download: Path) -> None:
    (download / "annotations.parquet").write_bytes(b"PAR1")


def lengthen_images(download: Path) -> None:
    images = sorted(download.glob("images-*"))[0]
    (download / "images-00009-of-00009.parquet").write_bytes(images.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(spoil_manifest, "manifest.json: expected this file", id="no manifest"),
        pytest.param(spoil_annotations, "annotations.parquet: expected", id="cut annotations"),
        pytest.param(lengthen_images, "'000.jpg': expected it once", id="image twice"),
    ],
)
def test_wrong_input_is_refused_and_leaves_nothing(spoil, expected: str, tmp_path: Path) -> None:
    download = write_download(tmp_path / "download", draw_rows(2))
    spoil(download)
    with pytest.raises(FacetError, match=expected):
        run(PARAMS, download, tmp_path / "out", tmp_path / "reports")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download"]


def test_an_image_without_annotations_is_refused(tmp_path: Path) -> None:
    download = write_download(tmp_path / "download", draw_rows(2))
    other = write_download(tmp_path / "other", draw_rows(3))
    for path in other.glob("images-*"):
        (download / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((download / "manifest.json").read_text())
    (download / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    with pytest.raises(FacetError, match=r"'002\.jpg': expected a row of annotations"):
        run(PARAMS, download, tmp_path / "out", tmp_path / "reports")
