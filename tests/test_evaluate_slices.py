import logging

import numpy as np
import pytest
from sklearn import metrics as sk

from stages.common.resample import Resamples
from stages.evaluate.part import Part
from stages.evaluate.slices import GAPS, choose_slices, score_slices, split_groups
from tests.evaluate_fabric import draw_part

SK = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "recall": sk.recall_score,
    "specificity": lambda truth, decided: sk.recall_score(1 - truth, 1 - decided),
    "precision": sk.precision_score,
    "f1": sk.f1_score,
}


def test_groups_split_the_pictures_whose_labels_are_known() -> None:
    part = draw_part(seed=1)
    groups = split_groups(part, ("Male", "Young"))
    assert [group.name for group in groups] == [
        "Male=1 Young=1", "Male=1 Young=0", "Male=0 Young=1", "Male=0 Young=0",
    ]  # fmt: skip
    known = part.mask[:, :2].all(1)
    assert (sum(group.rows.astype(int) for group in groups) == known).all()
    second = known & (part.labels[:, 0] == 1) & (part.labels[:, 1] == 0)
    assert (groups[1].rows == second).all()
    assert (groups[1].rest == (known & ~second)).all()


@pytest.mark.parametrize("names", [("Male",), ("Male", "Blurry")], ids=["one", "a pair"])
def test_figures_and_gaps_agree_with_scikit_learn(names: tuple[str, ...]) -> None:
    part = draw_part(seed=2, n=900)
    resamples = Resamples(part.identities, 200, [7])
    means, table = score_slices(part, [names], 0.5, resamples, 0.95)
    groups = {group.name: group for group in split_groups(part, names)}
    assert means["group"].tolist() == list(groups)
    k = 2  # Smiling, which makes no group
    for row in table[table["attribute"] == "Smiling"].to_dict("records"):
        rows = part.mask[:, k] & groups[row["group"]].rows
        rest = part.mask[:, k] & groups[row["group"]].rest
        assert (row["n_known"], row["n_positive"]) == (rows.sum(), part.labels[rows, k].sum())
        decided = (part.probs[:, k] > 0.5).astype(int)
        for name, score in SK.items():
            value = score(part.labels[rows, k], decided[rows])
            gap = value - score(part.labels[rest, k], decided[rest])
            assert row[name] == pytest.approx(value), name
            assert row[f"{name}_gap"] == pytest.approx(gap), name
            assert row[f"{name}_gap_low"] < gap < row[f"{name}_gap_high"], name
    for row in means.to_dict("records"):
        mine = table[table["group"] == row["group"]]
        group = groups[row["group"]]
        assert row["n_images"] == group.rows.sum()
        for name in GAPS:
            assert row[name] == pytest.approx(mine[name].mean(), nan_ok=True)
            assert row[f"{name}_gap"] == pytest.approx(mine[f"{name}_gap"].mean(), nan_ok=True)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        known = part.mask & group.rows[:, None]
        base = [(part.labels[known[:, a], a] == part.majority[a]).mean() for a in range(4)]
        assert row["majority_accuracy"] == pytest.approx(np.mean(base))
        assert row["gain"] == pytest.approx(row["accuracy"] - np.mean(base))


def test_a_planted_gap_is_found_and_none_is_not() -> None:
    """Answers on Smiling are wrong twice as often for Male=1, and as often for both Young."""
    rng = np.random.default_rng(3)
    full = draw_part(seed=3, n=4000)
    wrong = rng.random(4000) < np.where(full.labels[:, 0] == 1, 0.2, 0.1)
    probs = full.probs.copy()
    probs[:, 2] = np.where(wrong == (full.labels[:, 2] == 1), 0.1, 0.9)
    part = Part(**{**vars(full), "probs": probs})
    _, table = score_slices(
        part, [("Male",), ("Young",)], 0.5, Resamples(part.identities, 400, [7]), 0.95
    )
    rows = table[table["attribute"] == "Smiling"].set_index("group")
    assert rows.loc["Male=1", "accuracy_gap"] == pytest.approx(-0.1, abs=0.03)
    assert rows.loc["Male=1", "accuracy_gap_high"] < 0
    assert rows.loc["Male=0", "accuracy_gap"] == -rows.loc["Male=1", "accuracy_gap"]
    assert rows.loc["Young=1", "accuracy_gap_low"] < 0 < rows.loc["Young=1", "accuracy_gap_high"]


def test_small_groups_have_counts_and_undefined_values() -> None:
    full = draw_part(seed=4, n=60)
    labels = full.labels.copy()
    labels[:, 0] = 0
    labels[5, 0], labels[5, 2] = 1, 1
    mask = full.mask.copy()
    mask[5] = True
    part = Part(**{**vars(full), "labels": labels, "mask": mask})
    resamples = Resamples(part.identities, 100, [7])
    means, table = score_slices(part, [("Male",), ("Male", "Young")], 0.5, resamples, 0.95)
    one = table[(table["group"] == "Male=1") & (table["attribute"] == "Smiling")].iloc[0]
    assert (one["n_known"], one["n_positive"], one["prevalence"]) == (1, 1, 1.0)
    assert one["accuracy"] in (0.0, 1.0)
    assert np.isnan(
        one[["specificity", "balanced_accuracy", "specificity_gap"]].astype(float)
    ).all()
    assert np.isnan(one["accuracy_gap_low"])  # the one person is in two of three resamples only
    nobody = means[means["n_images"] == 0]
    assert len(nobody) == 1
    assert nobody[["accuracy", "gain", "accuracy_gap", "accuracy_low"]].isna().all(axis=None)
    assert (table.loc[table["group"] == nobody["group"].iloc[0], "n_known"] == 0).all()


def test_slices_that_the_set_lacks_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        chosen = choose_slices(
            ["Male", "Bald", ["Male", "Bald"], ["Young", "Male"]], ["Male", "Young"]
        )
    assert chosen == [("Male",), ("Young", "Male")]
    assert "slice Bald is skipped, no Bald" in caplog.text
    assert "slice Male+Bald is skipped, no Bald" in caplog.text
