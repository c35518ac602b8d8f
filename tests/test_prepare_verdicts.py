"""A reviewer's verdicts: read strictly, applied to training images only, counted."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.common.errors import FacetError
from stages.common.files import read_manifest
from stages.common.reviews import read_verdicts
from stages.common.shards import read_partition
from stages.common.tables import ISSUES_SCHEMA
from stages.prepare.policy import LABEL_CHECKS, ORDER, count_flagged, decide
from stages.prepare.run import run
from tests.official_files import ATTRIBUTES, OfficialFolder, folder_bytes
from tests.test_prepare import ROOT_PARAMS, SHIPPED, Workspace, make_issues, make_params

IDS = [f"{k:06d}.jpg" for k in range(1, 31)]
KEEP = dict.fromkeys(SHIPPED.policy.model_dump(), "keep")
HEADER = "image_id,attribute,verdict\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "verdicts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes) -> list[tuple[str, str | None, str]]:
    entries = read_verdicts(write(folder, text), set(IDS), ATTRIBUTES)
    return [(entry.image_id, entry.attribute, entry.verdict) for entry in entries]


ONE = [("000001.jpg", "Male", "wrong")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty file"),
        pytest.param("\n\n", [], id="empty lines"),
        pytest.param(HEADER, [], id="header only"),
        pytest.param(HEADER + "000001.jpg,Male,wrong", ONE, id="no line end"),
        pytest.param(HEADER + "\n000001.jpg,Male,wrong\n\n,,\n", ONE, id="empty lines between"),
        pytest.param(
            b"\xef\xbb\xbf" + (HEADER + "000001.jpg,Male,wrong\n").replace("\n", "\r\n").encode(),
            ONE,
            id="byte order mark and CRLF",
        ),
        pytest.param(HEADER + ' 000001.jpg , "Male",wrong \n', ONE, id="space before a quote"),
        pytest.param(HEADER + ' 000001.jpg , Male,"wrong"\n', ONE, id="spaces and quotes"),
        pytest.param("verdict,image_id,attribute\nwrong,000001.jpg,Male\n", ONE, id="other order"),
        pytest.param(
            HEADER + "000001.jpg,,drop\n000001.jpg,Male,fine\n000002.jpg,,keep\n",
            [("000001.jpg", None, "drop"), ("000001.jpg", "Male", "fine"),
             ("000002.jpg", None, "keep")],
            id="image and label",
        ),
    ],
)  # fmt: skip
def test_files_that_can_be_read(tmp_path, text, expected):
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "image,attribute,verdict\n", r":1: expected the columns .*; got image,at", id="column"
        ),
        pytest.param("000001.jpg,Male,wrong\n", r":1: expected the columns image_id,", id="header"),
        pytest.param("image_id;attribute;verdict\n", r":1: expected the columns", id="semicolons"),
        pytest.param(
            "image_id,attribute,verdict,note\n", r":1: expected the columns", id="a column more"
        ),
        pytest.param(HEADER + "000001.jpg,wrong\n", ":2: expected 3 values .*got 2", id="short"),
        pytest.param(HEADER + "000001.jpg,Male,wrong,1\n", ":2: expected 3 .*got 4", id="long"),
        pytest.param(HEADER + ",Male,wrong\n", ":2: expected an image_id", id="no image"),
        pytest.param(
            HEADER + "\n999999.jpg,Male,wrong\n",
            ":3: expected an image of the data; got '999999.jpg'.*other data",
            id="unknown image",
        ),
        pytest.param(
            HEADER + "000001.jpg,Smilling,wrong\n",
            ":2: expected an attribute of the data; got 'Smilling'; did you mean Smiling",
            id="unknown attribute",
        ),
        pytest.param(
            HEADER + "000001.jpg,Male,right\n",
            r":2: expected a verdict \(wrong, flip, fine, drop, keep\); got 'right'",
            id="unknown verdict",
        ),
        pytest.param(HEADER + "000001.jpg,Male,\n", "got nothing", id="no verdict"),
        pytest.param(HEADER + "000001.jpg,Male,Wrong\n", "got 'Wrong'", id="capital letter"),
        pytest.param(
            HEADER + "000001.jpg,,wrong\n", ":2: expected an attribute, as 'wrong'", id="wrong what"
        ),
        pytest.param(HEADER + "000001.jpg,,flip\n", "expected an attribute, as", id="flip what"),
        pytest.param(
            HEADER + "000001.jpg,Male,drop\n", ":2: expected no attribute, as 'drop'", id="drop one"
        ),
        pytest.param(HEADER + "000001.jpg,Male,keep\n", "expected no attribute", id="keep one"),
        pytest.param(
            HEADER + "000001.jpg,Male,fine\n000002.jpg,,drop\n000001.jpg,Male,wrong\n",
            ":4: expected one verdict on 000001.jpg, Male; got another in line 2",
            id="two verdicts on a label",
        ),
        pytest.param(
            HEADER + "000001.jpg,,drop\n000001.jpg,,drop\n",
            ":3: expected one verdict on 000001.jpg, the whole image; got another in line 2",
            id="a line twice",
        ),
        pytest.param(HEADER + '"000001.jpg,Male,wrong\n', ":2: no valid CSV", id="open quote"),
        pytest.param(
            HEADER.encode() + b"000001.jpg,M\xe4le,wrong\n", "expected UTF-8", id="Latin-1"
        ),
    ],
)
def test_files_that_are_refused(tmp_path, text, expected):
    with pytest.raises(FacetError, match=expected) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "verdicts.csv"))


def test_no_file_is_no_verdict(tmp_path):
    assert read_verdicts(None, IDS, ATTRIBUTES) == []
    assert read_verdicts(tmp_path / "verdicts.csv", IDS, ATTRIBUTES) == []
    assert read_verdicts(tmp_path, IDS, ATTRIBUTES) == []  # a folder without the file
    write(tmp_path, HEADER + "000001.jpg,,drop\n")
    assert len(read_verdicts(tmp_path, IDS, ATTRIBUTES)) == 1


ISSUES = make_issues(
    ("000001.jpg", "mislabel", "Male", None, True),
    ("000002.jpg", "exact_duplicate", None, "000001.jpg", True),
    ("000003.jpg", "leak", None, "000020.jpg", True),
    ("000004.jpg", "label_rule", "Bald", None, True),
    ("000004.jpg", "mislabel", "Bald", None, True),
    ("000004.jpg", "mislabel", "Smiling", None, True),
    ("000005.jpg", "faceless", None, None, True),
    ("000006.jpg", "identity_outlier", None, None, True),
    ("000007.jpg", "mislabel", "Smiling", None, False),
    ("000020.jpg", "mislabel", "Male", None, True),
    ("000021.jpg", "faceless", None, None, True),
)


def prepare(folder: Path, text: str, official: OfficialFolder | None = None, **policy: str) -> Path:
    workspace = Workspace(folder, official or OfficialFolder(), ISSUES)
    out = folder / "prepare"
    run(
        make_params(policy={**KEEP, **policy}),
        workspace.download,
        workspace.audit,
        out,
        write(folder, HEADER + text),
    )
    return out


def masked_labels(out: Path) -> list[tuple[str, str]]:
    part = read_partition(out, "train", pixels=False)
    return [(part.image_ids[row][3:6], ATTRIBUTES[k]) for row, k in np.argwhere(~part.mask)]


def missing_images(out: Path) -> list[str]:
    left = set(read_partition(out, "train", pixels=False).image_ids)
    return [image_id[3:6] for image_id in IDS[:18] if image_id not in left]


def test_no_verdicts_change_nothing(tmp_path):
    workspace = Workspace(tmp_path, OfficialFolder(), ISSUES)
    empty = write(tmp_path, HEADER)
    run(make_params(), workspace.download, workspace.audit, tmp_path / "a")
    run(make_params(), workspace.download, workspace.audit, tmp_path / "b", empty)
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    manifest = read_manifest(tmp_path / "a")
    assert manifest["reviews"]["n_verdicts"] == 0
    assert "review" not in manifest["dropped"]


def test_wrong_masks_and_flip_corrects(tmp_path):
    official = OfficialFolder()
    text = "000001.jpg,Male,wrong\n000002.jpg,Smiling,flip\n000009.jpg,Bald,flip\n"
    out = prepare(tmp_path, text, official)
    assert masked_labels(out) == [("001", "Male")]
    train = read_partition(out, "train", pixels=False)
    expected = official.values[:18].copy()
    for row, column in ((1, 3), (8, 0)):
        expected[row, column] = not expected[row, column]
    assert (train.labels == expected).all()
    manifest = read_manifest(out)
    assert manifest["masked"]["review"] == 1
    assert manifest["reviews"] == {
        "n_verdicts": 3,
        "applied": {"drop": 0, "keep": 0, "fine": 0, "wrong": 1, "flip": 2},
        "not_applied": 0,
        "n_flipped": 2,
    }


def test_drop_leaves_an_image_out_and_a_copy_of_it_stays(tmp_path):
    text = "000001.jpg,,drop\n000009.jpg,,drop\n000009.jpg,Male,wrong\n"
    out = prepare(tmp_path, text, exact_duplicate="drop")
    assert missing_images(out) == ["001", "009"]
    manifest = read_manifest(out)
    assert manifest["dropped"]["review"] == {"train": 2}
    assert manifest["dropped"]["exact_duplicate"] == {"train": 0}
    assert manifest["masked"]["review"] == 0


@pytest.mark.parametrize(
    ("line", "dropped", "masked"),
    [
        pytest.param("", ["002", "003", "005", "006"], ["001 Male", "004 Bald", "004 Smiling"],
                     id="no verdict"),
        pytest.param("000001.jpg,Male,fine", ["002", "003", "005", "006"],
                     ["004 Bald", "004 Smiling"], id="a label is right"),
        pytest.param("000004.jpg,Bald,fine", ["002", "003", "005", "006"],
                     ["001 Male", "004 Smiling"], id="two checks on one label"),
        pytest.param("000002.jpg,,fine", ["003", "005", "006"],
                     ["001 Male", "004 Bald", "004 Smiling"], id="not a copy"),
        pytest.param("000003.jpg,,fine", ["002", "005", "006"],
                     ["001 Male", "004 Bald", "004 Smiling"], id="not a leak"),
        pytest.param("000005.jpg,,fine", ["002", "003", "006"],
                     ["001 Male", "004 Bald", "004 Smiling"], id="a face"),
        pytest.param("000006.jpg,,fine", ["002", "003", "005"],
                     ["001 Male", "004 Bald", "004 Smiling"], id="the right person"),
        pytest.param("000004.jpg,,fine", ["002", "003", "005", "006"],
                     ["001 Male", "004 Bald", "004 Smiling"], id="a fine picture, wrong labels"),
        pytest.param("000004.jpg,,keep", ["002", "003", "005", "006"], ["001 Male"],
                     id="keep it all"),
        pytest.param("000004.jpg,Bald,flip", ["002", "003", "005", "006"],
                     ["001 Male", "004 Smiling"], id="corrected, not masked"),
    ],
)  # fmt: skip
def test_a_verdict_overrules_the_findings_it_is_about(tmp_path, line, dropped, masked):
    policy = {
        "leak": "drop",
        "exact_duplicate": "drop",
        "faceless": "drop",
        "identity_outlier": "drop",
        "mislabel": "mask",
        "label_rule": "mask",
    }
    out = prepare(tmp_path, line + "\n", **policy)
    assert missing_images(out) == dropped
    assert [" ".join(label) for label in masked_labels(out)] == masked


def test_a_label_called_wrong_does_not_drop_its_image(tmp_path):
    out = prepare(tmp_path, "000001.jpg,Male,wrong\n", mislabel="drop")
    assert missing_images(out) == ["004"]
    assert masked_labels(out) == [("001", "Male")]


def test_verdicts_touch_training_images_and_learned_attributes_only(tmp_path):
    official = OfficialFolder()
    workspace = Workspace(tmp_path, official, ISSUES)
    text = "000020.jpg,Male,flip\n000026.jpg,,drop\n000001.jpg,Bald,flip\n000001.jpg,Male,wrong\n"
    run(
        make_params(attributes=["Male", "Smiling"]),
        workspace.download,
        workspace.audit,
        tmp_path / "prepare",
        write(tmp_path, HEADER + text),
    )
    for partition, n in (("valid", 6), ("test", 6)):
        part = read_partition(tmp_path / "prepare", partition)
        assert len(part.image_ids) == n
        assert part.mask.all()
        start = 18 if partition == "valid" else 24
        assert (part.labels == official.values[start : start + 6, 2:]).all()
    manifest = read_manifest(tmp_path / "prepare")
    assert manifest["reviews"]["not_applied"] == 3
    assert manifest["reviews"]["applied"]["wrong"] == 1


def test_images_that_a_resplit_moves_to_valid_are_not_touched(tmp_path):
    workspace = Workspace(tmp_path, OfficialFolder(), make_issues())
    text = "".join(f"{image_id},,drop\n" for image_id in IDS[:9])
    params = make_params(resplit={"valid": 0.5, "by_identity": False}, policy=KEEP)
    out = tmp_path / "prepare"
    run(params, workspace.download, workspace.audit, out, write(tmp_path, HEADER + text))
    valid, train = (read_partition(out, p, pixels=False).image_ids for p in ("valid", "train"))
    assert len(valid) == 9
    assert set(valid) & set(IDS[:9])
    assert not set(train) & set(IDS[:9])


def test_an_unknown_label_cannot_be_turned_round(tmp_path):
    from stages.common.tables import ANNOTATIONS, annotations_schema, read_annotations, write_table

    workspace = Workspace(tmp_path, OfficialFolder(), make_issues())
    annotations, attributes = read_annotations(workspace.download)
    annotations["Male"] = annotations["Male"].astype(object)
    annotations.loc[0, "Male"] = None
    path = workspace.download / ANNOTATIONS
    write_table(annotations, path, annotations_schema(attributes))
    from stages.common.files import write_manifest

    write_manifest(workspace.download, {"attributes": attributes})
    arguments = make_params(), workspace.download, workspace.audit, tmp_path / "prepare"
    with pytest.raises(FacetError, match=r"verdicts\.csv:2: expected a known label to flip; got M"):
        run(*arguments, write(tmp_path, HEADER + "000001.jpg,Male,flip\n"))
    assert not (tmp_path / "prepare").exists()
    run(*arguments, write(tmp_path, HEADER + "000001.jpg,Male,wrong\n"))
    assert read_manifest(tmp_path / "prepare")["masked"]["review"] == 0  # it was unknown anyway


def test_verdicts_that_leave_nothing(tmp_path):
    official = OfficialFolder()
    official.partition = [f"{line.split()[0]} 0" for line in official.partition]
    text = "".join(f"{image_id},,drop\n" for image_id in IDS)
    with pytest.raises(FacetError, match=r"drops all 30 \(30 of them by verdicts\)"):
        prepare(tmp_path, text, official)


def test_policy_defaults_leave_what_the_probe_doubts_alone():
    policy = SHIPPED.policy.model_dump()
    assert {policy[check] for check in ("mislabel", "faceless", "identity_outlier")} == {"keep"}
    assert policy["leak"] == "drop"
    assert set(policy) == set(ORDER)


@pytest.mark.parametrize("check", ORDER)
@pytest.mark.parametrize("action", ["drop", "mask"])
def test_every_check_has_its_policy(check: str, action: str):
    rows: list[Any] = [("b", check, "Male" if check in LABEL_CHECKS else None, "a", True)]
    rows += [("z", *rows[0][1:]), ("c", *rows[0][1:4], False)]  # not in train; not flagged
    issues = make_issues(*rows)
    if action == "mask" and check not in LABEL_CHECKS:
        with pytest.raises(ValueError, match="drop"):
            make_params(policy={**KEEP, check: action})
        return
    policy = make_params(policy={**KEEP, check: action}).policy
    decisions = decide(issues, {"a", "b", "c"}, policy)
    assert decisions.dropped_ids() == ({"b"} if action == "drop" else set())
    labels = set().union(*decisions.masked.values())
    assert labels == ({("b", "Male")} if action == "mask" else set())


def test_the_manifest_counts_what_was_found_whatever_the_policy(tmp_path):
    manifest = read_manifest(prepare(tmp_path, ""))
    flagged = manifest["flagged"]
    assert flagged["mislabel"] == {"images": 2, "labels": 3}  # 000020 is no training image
    assert flagged["label_rule"] == {"images": 1, "labels": 1}
    assert [flagged[c]["images"] for c in ("leak", "faceless", "exact_duplicate")] == [1, 1, 1]
    assert list(flagged) == list(ORDER)


def test_nothing_flagged_is_counted_as_zero():
    counts = count_flagged(pd.DataFrame(make_issues(), columns=ISSUES_SCHEMA.names), {"a"})
    assert all(set(entry.values()) == {0} for entry in counts.values())


def test_command_line_takes_the_file_and_does_without(tmp_path):
    workspace = Workspace(tmp_path, OfficialFolder(), ISSUES)
    text = "000001.jpg,Male,wrong\n000002.jpg,Mal,wrong\n"
    command = [sys.executable, "-m", "stages.prepare", "--params", str(ROOT_PARAMS)]
    command += ["--download", str(workspace.download), "--audit", str(workspace.audit)]
    verdicts = write(tmp_path, HEADER + text)
    command += ["--out", str(tmp_path / "prepare"), "--reviews", str(verdicts)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"facet: {verdicts}:3: expected an attribute")
    done = subprocess.run(command[:-2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "verdict" not in done.stdout
    write(tmp_path, HEADER + "000001.jpg,Male,wrong\n")
    done = subprocess.run(command, capture_output=True, text=True)
    assert "verdicts read: 1" in done.stdout
