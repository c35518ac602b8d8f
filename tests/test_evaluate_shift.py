import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from stages.common.metrics import Confusion, count_confusion
from stages.common.resample import Resamples
from stages.evaluate.part import Part
from stages.evaluate.scores import resample_confusion
from stages.evaluate.shift import Shift, explain_loss, split_loss

NAMES = ["a", "b"]


def draw(
    n: int, prevalence: list[float], recall: float, specificity: float, seed: int, name: str
) -> Part:
    """Answers with known recall and specificity."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < prevalence).astype(np.uint8)
    right = rng.random((n, 2)) < np.where(labels == 1, recall, specificity)
    probs = np.where(right == (labels == 1), 0.9, 0.1).astype(np.float32)
    ids = [f"{name}{k}" for k in range(n)]
    mask, majority = np.ones_like(labels, bool), np.zeros(2, np.uint8)
    return Part(name, NAMES, ids, [None] * n, probs, labels, mask, majority)


def explain(valid: Part, test: Part, n_resamples: int = 400) -> Shift:
    counts = [count_confusion(p.probs > 0.5, p.labels, p.mask) for p in (valid, test)]
    drawn = [
        resample_confusion(p, 0.5, Resamples(p.identities, n_resamples, [7, k]))
        for k, p in enumerate((valid, test))
    ]
    return explain_loss(NAMES, *counts, *drawn, 0.95)


def test_label_shift_alone_explains_the_whole_loss() -> None:
    """As hard faces, but twice as many positives, which are answered worse."""
    valid = draw(20_000, [0.2, 0.3], recall=0.6, specificity=0.95, seed=1, name="valid")
    test = draw(20_000, [0.4, 0.5], recall=0.6, specificity=0.95, seed=2, name="test")
    shift = explain(valid, test)
    # accuracy falls by (0.95 - 0.6) * 0.2 in both, by arithmetic
    assert shift.summary["loss"] == pytest.approx(0.07, abs=0.01)
    assert shift.summary["explained"] == pytest.approx(0.07, abs=0.005)
    assert shift.summary["share_explained"] == pytest.approx(1, abs=0.15)
    assert shift.summary["rest_low"] < 0 < shift.summary["rest_high"]
    table = shift.table.set_index("attribute")
    assert table["prevalence_change"].tolist() == pytest.approx([0.2, 0.2], abs=0.02)
    assert (table["prevalence_change_low"] > 0).all()


def test_harder_faces_of_the_same_shares_explain_nothing() -> None:
    valid = draw(20_000, [0.2, 0.3], recall=0.8, specificity=0.95, seed=1, name="valid")
    test = draw(20_000, [0.2, 0.3], recall=0.5, specificity=0.90, seed=2, name="test")
    summary = explain(valid, test).summary
    # 0.25 * 0.3 + 0.75 * 0.05, by arithmetic
    assert summary["loss"] == pytest.approx(0.1125, abs=0.01)
    assert summary["explained"] == pytest.approx(0, abs=0.005)
    assert summary["share_explained"] == pytest.approx(0, abs=0.05)
    assert summary["rest_low"] > 0


def test_half_and_half() -> None:
    valid = draw(50_000, [0.2, 0.2], recall=0.6, specificity=1.0, seed=1, name="valid")
    test = draw(50_000, [0.4, 0.4], recall=0.4, specificity=1.0, seed=2, name="test")
    # 0.92 to 0.84 by the shares, then to 0.76 as positives are harder
    summary = explain(valid, test).summary
    assert summary["explained"] == pytest.approx(0.08, abs=0.006)
    assert summary["rest"] == pytest.approx(0.08, abs=0.006)
    assert summary["share_explained"] == pytest.approx(0.5, abs=0.05)


def test_no_clear_loss_has_no_share() -> None:
    same = {"prevalence": [0.2, 0.3], "recall": 0.6, "specificity": 0.95}
    summary = explain(draw(500, **same, seed=1, name="valid"),
                      draw(500, **same, seed=2, name="test")).summary  # fmt: skip
    assert summary["loss_low"] < 0 < summary["loss_high"]
    assert summary["share_explained"] is None


def test_the_weighted_accuracy_is_that_of_scikit_learn() -> None:
    valid = draw(300, [0.2, 0.7], recall=0.6, specificity=0.9, seed=1, name="valid")
    test = draw(400, [0.5, 0.3], recall=0.6, specificity=0.9, seed=2, name="test")
    terms = split_loss(*(count_confusion(p.probs > 0.5, p.labels, p.mask) for p in (valid, test)))
    for k in range(2):
        truth, share = valid.labels[:, k], test.labels[:, k].mean()
        mine = truth.mean()
        weights = np.where(truth == 1, share / mine, (1 - share) / (1 - mine))
        expected = accuracy_score(truth, valid.probs[:, k] > 0.5, sample_weight=weights)
        assert terms["accuracy_reweighted"][k] == pytest.approx(expected)
        assert terms["explained"][k] + terms["rest"][k] == pytest.approx(terms["loss"][k])


def test_a_class_that_valid_lacks_is_undefined_only_where_test_has_it() -> None:
    valid = Confusion(*(np.array([n, n]) for n in (0, 2, 0, 8)))  # no positive
    test = Confusion(*(np.array(pair) for pair in ([3, 0], [1, 1], [1, 0], [5, 9])))
    terms = split_loss(valid, test)
    assert np.isnan(terms["accuracy_reweighted"][0])
    assert terms["accuracy_reweighted"][1] == pytest.approx(0.8)
    drawn = [Confusion(*(x[None] for x in vars(c).values())) for c in (valid, test)]
    shift = explain_loss(NAMES, valid, test, *drawn, 0.95)
    assert shift.summary["n_attributes"] == 1
    assert shift.table["rest"].isna().tolist() == [True, False]
    assert shift.table["rest_low"].isna().tolist() == [True, False]
