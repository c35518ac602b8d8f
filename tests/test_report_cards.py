"""Cards for review: which pictures stand together, what is marked, what can be judged."""

import numpy as np
import pandas as pd
import pytest

from stages.common.tables import ISSUES_SCHEMA
from stages.report.cards import KINDS, Target, list_cards
from stages.report.gallery import is_decided
from stages.report.people import People

ATTRIBUTES = ["Bald", "Male", "Young"]


def make_people(*rows: tuple) -> People:
    """Rows of (image_id, partition, identity, Bald, Male, Young); None is unknown."""
    table = pd.DataFrame(rows, columns=["image_id", "partition", "identity", *ATTRIBUTES])
    return People(table.astype(dict.fromkeys(ATTRIBUTES, object)), ATTRIBUTES)


def make_issues(*rows: tuple) -> pd.DataFrame:
    """Rows of (image_id, check, attribute, related_id, score, flagged, detail)."""
    return pd.DataFrame(rows, columns=ISSUES_SCHEMA.names)


PEOPLE = make_people(
    ("a", "train", "1", False, True, True),
    ("b", "train", "1", False, False, True),
    ("c", "train", "1", False, False, None),
    ("d", "valid", "1", True, False, True),
    ("e", "train", "2", False, True, True),
    ("t", "test", None, True, True, False),
)


def test_a_doubted_label_stands_beside_the_usual_ones_of_its_person():
    issue = ("a", "mislabel", "Male", None, 0.03, True, "labelled Male; 3 of 3 others say no")
    (card,) = list_cards("mislabel", make_issues(issue), PEOPLE)
    assert [shot.image_id for shot in card.shots] == ["a", "b", "c"]
    assert [shot.labels for shot in card.shots] == [
        (("Male", "yes", True),), (("Male", "no", False),), (("Male", "no", False),)
    ]  # fmt: skip
    assert card.claim == "wrong with a probability of 97\u202f%"
    assert card.reasons == ("labelled Male", "3 of 3 others say no")
    assert card.attribute == "Male"
    assert card.targets == (Target(("a",), "Male", ("wrong", "flip", "fine", "drop")),)


def test_nothing_is_called_certain():
    issue = ("a", "mislabel", "Male", None, 0.0004, True, None)
    (card,) = list_cards("mislabel", make_issues(issue), PEOPLE)
    assert card.claim == "wrong with a probability of over 99\u202f%"
    assert card.reasons == ()


def test_without_an_identity_a_suspect_stands_alone():
    issue = ("t", "mislabel", "Bald", None, 0.2, True, None)
    (card,) = list_cards("mislabel", make_issues(issue), PEOPLE)
    assert len(card.shots) == 1
    assert card.targets == ()  # test stays as it is


def test_suspects_that_can_be_judged_come_first_then_the_flagged_then_by_score():
    issues = make_issues(
        ("t", "mislabel", "Bald", None, 0.01, True, None),
        ("a", "mislabel", "Bald", None, 0.5, False, None),
        ("b", "mislabel", "Bald", None, 0.6, True, None),
        ("e", "mislabel", "Bald", None, 0.2, True, None),
    )
    cards = list_cards("mislabel", issues, PEOPLE)
    assert [card.shots[0].image_id for card in cards] == ["e", "b", "a", "t"]


@pytest.mark.parametrize("check", ["near_duplicate", "exact_duplicate", "leak"])
def test_of_copies_the_least_certain_come_first_and_what_differs_is_marked(check):
    detail = "train-test: mirrored near copy" if check == "leak" else "mirrored near copy"
    issues = make_issues(
        ("a", check, None, "b", 0.01, True, detail), ("a", check, None, "t", 0.2, True, detail)
    )
    first, second = list_cards(check, issues, PEOPLE)
    assert [shot.image_id for shot in first.shots] == ["a", "t"]
    assert {shot.odd for shot in first.shots} == {("partition", "identity")}
    assert first.shots[0].labels == (("Bald", "no", True), ("Young", "yes", True))
    assert first.shots[1].labels == (("Bald", "yes", True), ("Young", "no", True))
    assert second.shots[0].odd == ()
    assert second.shots[0].labels == (("Male", "yes", True),)
    assert first.claim == "mirrored near copy"
    assert first.targets == (Target(("a",), None, ("fine", "drop")),)


def test_an_unknown_label_does_not_differ():
    issues = make_issues(("b", "near_duplicate", None, "c", 0.01, True, None))
    (card,) = list_cards("near_duplicate", issues, PEOPLE)
    assert card.shots[0].labels == ()
    assert card.claim == "similarity 0.990"


def test_copies_with_different_labels_are_one_card_judged_together():
    issues = make_issues(
        ("a", "label_conflict", "Bald", "t", 0.5, True, "0 here, 1 there: same bytes"),
        ("a", "label_conflict", "Male", "b", 0.5, True, "1 here, 0 there: same bytes"),
        ("a", "label_conflict", "Young", "b", 0.4, True, "1 here, 0 there: same bytes"),
        ("b", "label_conflict", "Male", "a", 0.5, True, "0 here, 1 there: same bytes"),
        ("t", "label_conflict", "Bald", "a", 0.5, True, "1 here, 0 there: same bytes"),
    )
    pair, across = list_cards("label_conflict", issues, PEOPLE)
    assert [shot.image_id for shot in pair.shots] == ["a", "b"]
    assert pair.claim == "2 labels differ"
    assert pair.reasons == ("same bytes",)
    assert pair.targets == (
        Target(("a", "b"), "Male", labels=("yes", "no")),
        Target(("a", "b"), "Young", labels=("yes", "yes")),
    )
    assert across.claim == "1 label differs"
    assert across.targets == (Target(("a",), "Bald", labels=("no",)),)  # t is in test


def test_a_broken_rule_is_one_card_with_all_its_labels():
    detail = "bald_has_no_hair: Bald, Young; a rule that 95.0 % of the images obey"
    issues = make_issues(
        ("a", "label_rule", "Bald", None, 0.05, True, detail),
        ("a", "label_rule", "Young", None, 0.05, True, detail),
        ("a", "label_rule", "Male", None, 0.3, False, "another_rule: Male"),
    )
    cards = list_cards("label_rule", issues, PEOPLE)
    assert [card.reasons for card in cards] == [("bald has no hair",), ("another rule",)]
    assert cards[0].claim == "a rule that 95.0 % of the images obey"
    assert [target.attribute for target in cards[0].targets] == ["Bald", "Young"]
    assert ["drop" in target.choices for target in cards[0].targets] == [False, True]


def test_an_outlier_stands_beside_others_of_its_identity_and_a_faceless_one_alone():
    issues = make_issues(
        ("c", "identity_outlier", None, None, 0.1, True, "someone else"),
        ("c", "faceless", None, None, 0.1, True, "no face"),
    )
    (outlier,) = list_cards("identity_outlier", issues, PEOPLE)
    assert [shot.image_id for shot in outlier.shots] == ["c", "a", "b"]
    (faceless,) = list_cards("faceless", issues, PEOPLE)
    assert [shot.image_id for shot in faceless.shots] == ["c"]
    assert faceless.targets == (Target(("c",), None, ("fine", "drop")),)


def test_identity_conflicts_once_per_pair_with_both_images_to_judge():
    detail = "1 here, 2 there: same bytes"
    issues = make_issues(
        ("a", "identity_conflict", None, "e", 0.5, True, detail),
        ("e", "identity_conflict", None, "a", 0.5, True, detail),
    )
    (card,) = list_cards("identity_conflict", issues, PEOPLE)
    assert card.shots[0].odd == ("identity",)
    assert [target.image_ids for target in card.targets] == [("a",), ("e",)]
    assert card.reasons == ("same bytes",)


def test_an_image_that_the_annotations_lack_is_shown_as_unknown():
    issues = make_issues(("a", "near_duplicate", None, "gone", 0.1, True, None))
    (card,) = list_cards("near_duplicate", issues, PEOPLE)
    assert card.shots[1].partition == ""
    assert card.shots[1].labels == ()


@pytest.mark.parametrize("check", [check for check, _ in KINDS])
def test_no_findings_no_cards(check):
    assert list_cards(check, make_issues(), PEOPLE) == []


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        ({}, False),
        ({("a", "Male"): "fine"}, False),
        ({("a", "Male"): "fine", ("a", "Bald"): "wrong"}, True),
        ({("a", None): "drop"}, True),
        ({("a", None): "keep"}, True),
        ({("a", None): "fine"}, False),  # about the picture, not its labels
    ],
)
def test_what_is_decided(decided, expected):
    targets = [Target(("a",), "Male", ("fine",)), Target(("a",), "Bald", ("fine",))]
    assert is_decided(targets, decided) is expected
    assert is_decided([], decided) is False


def test_facts_of_many_images_are_those_of_the_table():
    n = 2_000
    rng = np.random.default_rng(0)
    ids = [f"{k:06d}.jpg" for k in range(n)]
    labels = rng.random((n, 3)) < 0.5
    table = pd.DataFrame(labels, columns=ATTRIBUTES).astype(object)
    table.insert(0, "image_id", ids)
    table.insert(1, "partition", "train")
    table.insert(2, "identity", [str(k) for k in rng.integers(0, 100, n)])
    people = People(table, ATTRIBUTES)
    assert people.label(ids[77], "Male") == ("yes" if labels[77, 1] else "no")
    assert people.differing(ids[1], ids[2]) == [
        name for k, name in enumerate(ATTRIBUTES) if labels[1, k] != labels[2, k]
    ]
    mine = table.loc[5, "identity"]
    same = table.loc[table["identity"] == mine, "image_id"].tolist()
    assert people.companions(ids[5]) == [image_id for image_id in same if image_id != ids[5]]
