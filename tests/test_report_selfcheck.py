"""The self-check counts exactly what was planted, found, missed and invented."""

import pandas as pd
import pytest
from report_fabric import Recipe, fabricate

from stages.common.tables import ISSUES, ISSUES_SCHEMA, TRUTH_SCHEMA, read_table, write_table
from stages.report.selfcheck import run_selfcheck


def issue(image: str, check: str, related: str, attribute: str | None = None):
    return (image, check, attribute, related, 0.0, True, None)


def fault(image: str, kind: str, related: str | None = None, attribute: str | None = None):
    return (image, kind, attribute, related, None)


def check(tmp_path, faults, issues):
    truth = pd.DataFrame(faults, columns=TRUTH_SCHEMA.names)
    write_table(truth, tmp_path / "truth.parquet", TRUTH_SCHEMA)
    return run_selfcheck(tmp_path, pd.DataFrame(issues, columns=ISSUES_SCHEMA.names))


def by_fault(result):
    return {row.fault: row for row in result.found}


def test_counts_of_the_fabricated_demo(tmp_path):
    paths = fabricate(tmp_path, Recipe(n_images=240, n_planted=4, n_missed=1))
    issues = read_table(paths["audit"] / ISSUES, ISSUES_SCHEMA)
    result = run_selfcheck(paths["download"], issues)
    assert result is not None
    counts = {row.fault: (row.n_planted, row.n_found, len(row.missed)) for row in result.found}
    assert counts == {
        "byte_copy": (4, 4, 0),
        "near_copy": (4, 3, 1),
        "conflict_copy": (4, 4, 0),
        "leak_copy": (4, 4, 0),
    }
    claims = {row.check: (row.n_pairs, row.n_false) for row in result.claimed}
    assert claims == {"exact_duplicate": (12, 0), "near_duplicate": (4, 1)}
    assert result.not_checked == ()
    doubted = {row.fault: (row.n_planted, row.n_flagged, row.n_found) for row in result.doubted}
    assert doubted == {
        "flipped_label": (2, 2, 1),
        "wrong_identity": (1, 1, 0),
        "faceless": (1, 1, 0),
    }


def test_no_truth_no_self_check(tmp_path):
    assert run_selfcheck(tmp_path, pd.DataFrame(columns=ISSUES_SCHEMA.names)) is None


def test_two_copies_of_one_original_found_through_each_other(tmp_path):
    faults = [fault("b", "byte_copy", "a"), fault("c", "byte_copy", "a")]
    issues = [issue("b", "exact_duplicate", "a"), issue("c", "exact_duplicate", "b")]
    result = check(tmp_path, faults, issues)
    assert by_fault(result)["byte_copy"].n_found == 2
    assert [row.n_false for row in result.claimed] == [0, 0]  # b and c are both copies of a


def test_pair_reported_in_both_orders_counts_once(tmp_path):
    issues = [issue("a", "near_duplicate", "b"), issue("b", "near_duplicate", "a")]
    result = check(tmp_path, [fault("b", "near_copy", "a")], issues)
    assert by_fault(result)["near_copy"].n_found == 1
    assert result.claimed[1].n_pairs == 1


def test_near_copy_of_a_picture_that_has_an_exact_copy(tmp_path):
    faults = [fault("b", "byte_copy", "a"), fault("c", "near_copy", "a")]
    issues = [issue("b", "exact_duplicate", "a"), issue("c", "near_duplicate", "b")]
    row = by_fault(check(tmp_path, faults, issues))["near_copy"]
    assert (row.n_planted, row.n_found) == (1, 1)
    assert row.by_check["exact_duplicate"] == 0


def test_conflict_without_a_finding_about_labels_is_missed(tmp_path):
    issues = [issue("b", "exact_duplicate", "a")]
    row = by_fault(check(tmp_path, [fault("b", "conflict_copy", "a")], issues))["conflict_copy"]
    assert (row.n_found, row.missed) == (0, ("b",))
    assert row.by_check["exact_duplicate"] == 1


def test_conflict_in_several_attributes_is_one_fault(tmp_path):
    faults = [fault("b", "conflict_copy", "a", name) for name in ("Male", "Young")]
    issues = [issue("b", "exact_duplicate", "a")]
    issues += [issue("b", "label_conflict", "a", name) for name in ("Male", "Young")]
    row = by_fault(check(tmp_path, faults, issues))["conflict_copy"]
    assert (row.n_planted, row.n_found) == (1, 1)


def test_leak_named_with_another_picture_is_not_found(tmp_path):
    issues = [issue("b", "leak", "z")]
    row = by_fault(check(tmp_path, [fault("b", "leak_copy", "a")], issues))["leak_copy"]
    assert row.n_found == 0


def test_false_pairs_are_listed(tmp_path):
    issues = [issue("x", "exact_duplicate", "y"), issue("b", "exact_duplicate", "a")]
    result = check(tmp_path, [fault("b", "byte_copy", "a")], issues)
    assert result.claimed[0].false_pairs == (("x", "y"),)


def suspect(image: str, check: str, score: float, flagged: bool, attribute: str | None = None):
    return (image, check, attribute, None, score, flagged, None)


def test_faults_of_single_labels_are_ranked_by_score(tmp_path):
    faults = [fault(image, "flipped_label", attribute="Male") for image in ("a", "b", "c")]
    issues = [
        suspect("b", "mislabel", 0.3, True, "Male"),
        suspect("a", "mislabel", 0.1, True, "Male"),
        suspect("x", "mislabel", 0.2, True, "Male"),
        suspect("a", "mislabel", 0.9, False, "Young"),
        suspect("c", "mislabel", 0.95, False, "Young"),  # another label of c
    ]
    (row,) = check(tmp_path, faults, issues).doubted
    assert (row.fault, row.n_planted, row.n_flagged, row.n_found) == ("flipped_label", 3, 3, 2)
    assert row.average_precision == pytest.approx((1 / 1 + 2 / 3) / 3)


def test_checks_that_did_not_run_are_said(tmp_path):
    faults = [fault("a", "faceless"), fault("b", "wrong_identity"), fault("c", "wrong_identity")]
    result = check(tmp_path, faults, [suspect("z", "faceless", 0.1, True)])
    assert [row.fault for row in result.doubted] == ["faceless"]
    assert result.doubted[0].n_found == 0
    assert result.not_checked == (("flipped_label", 0), ("wrong_identity", 2))
