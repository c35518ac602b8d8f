import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from stages.evaluate.mistakes import correlate_errors, count_contradictions
from stages.evaluate.part import Part
from tests.evaluate_fabric import draw_part


def test_correlations_of_errors_are_those_of_scikit_learn() -> None:
    part = draw_part(seed=1)
    table = correlate_errors(part, 0.5)
    assert len(table) == 6
    wrong = (part.probs > 0.5) != part.labels.astype(bool)
    index = {name: k for k, name in enumerate(part.attributes)}
    for row in table.to_dict("records"):
        a, b = index[row["attribute_a"]], index[row["attribute_b"]]
        known = part.mask[:, a] & part.mask[:, b]
        x, y = wrong[known, a], wrong[known, b]
        assert row["phi"] == pytest.approx(matthews_corrcoef(x, y))
        counts = known.sum(), x.sum(), y.sum(), (x & y).sum()
        assert (row["n_known"], row["n_a"], row["n_b"], row["n_both"]) == counts
        assert row["n_chance"] == pytest.approx(x.mean() * y.mean() * known.sum())


def test_errors_that_never_happen_correlate_with_nothing() -> None:
    full = draw_part(seed=2)
    probs = full.probs.copy()
    probs[:, 0] = full.labels[:, 0]
    table = correlate_errors(Part(**{**vars(full), "probs": probs}), 0.5)
    assert table["phi"].isna().tolist() == [True, True, True, False, False, False]
    assert (table["n_both"][:3] == 0).all()


def make_part(answers: list[list[int]], labels: list[list[int]]) -> Part:
    truth = np.array(labels, np.uint8)
    n = len(truth)
    names = ["Goatee", "No_Beard", "Straight_Hair", "Wavy_Hair"]
    probs = np.where(np.array(answers) == 1, 0.8, 0.2).astype(np.float32)
    ids = [f"{k}.jpg" for k in range(n)]
    mask = np.ones_like(truth, bool)
    return Part("test", names, ids, [None] * n, probs, truth, mask, np.zeros(4, np.uint8))


def test_impossible_answers_and_labels_are_counted() -> None:
    answers = [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 0]]
    labels = [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0]]
    table, summary = count_contradictions(make_part(answers, labels), 0.5)
    rows = table.set_index("rule")
    columns = ["n_images", "n_applicable", "n_contradictions", "n_applicable_labels",
               "n_contradictions_labels"]  # fmt: skip
    assert rows.loc["goatee_is_beard", columns].tolist() == [4, 3, 2, 1, 0]
    assert rows.loc["straight_or_wavy", columns].tolist() == [4, 2, 1, 2, 1]
    assert set(rows.index) == {"goatee_is_beard", "straight_or_wavy"}
    assert summary == {"n_rules": 2, "share": 0.5, "share_labels": 0.25}


def test_without_rules_there_is_no_share() -> None:
    table, summary = count_contradictions(draw_part(seed=3), 0.5)
    assert table.empty
    assert summary == {"n_rules": 0, "share": None, "share_labels": None}
