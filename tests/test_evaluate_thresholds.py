import numpy as np
import pytest
from sklearn import metrics as sk

from stages.common.resample import Resamples
from stages.evaluate.part import Part
from stages.evaluate.thresholds import AIMS, apply_thresholds, tune_threshold, tune_thresholds
from tests.evaluate_fabric import draw_part

SK = {
    "accuracy": sk.accuracy_score,
    "f1": lambda truth, decided: sk.f1_score(truth, decided, zero_division=0),
    "balanced_accuracy": sk.balanced_accuracy_score,
}


@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(60) < [0.5, 0.1, 0.9, 0.3][seed]).astype(np.uint8)
    probs = np.round(np.clip(labels * 0.2 + rng.random(60) * 0.8, 0, 1), 2).astype(np.float32)
    chosen = tune_threshold(probs, labels)
    everywhere = np.concatenate([[-1], np.unique(probs)])  # each way to split the scores
    for aim, score in SK.items():
        best = max(score(labels, probs > limit) for limit in everywhere)
        assert score(labels, probs.astype(float) > chosen[aim]) == pytest.approx(best), aim


def test_equally_good_thresholds_stay_near_one_half() -> None:
    labels = np.array([0, 0, 1, 1], np.uint8)
    chosen = tune_threshold(np.array([0.1, 0.2, 0.8, 0.9], np.float32), labels)
    assert set(chosen.values()) == {0.5}
    chosen = tune_threshold(np.array([0.1, 0.6, 0.8, 0.9], np.float32), labels)
    assert chosen["accuracy"] == pytest.approx(0.7)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []], ids=["no 1", "no 0", "no label"])
def test_one_class_chooses_no_threshold(labels: list[int]) -> None:
    probs = np.linspace(0.2, 0.7, len(labels)).astype(np.float32)
    assert np.isnan(list(tune_threshold(probs, np.array(labels, np.uint8)).values())).all()


def test_thresholds_of_valid_are_applied_to_test() -> None:
    valid, test = draw_part(seed=1), draw_part(seed=2, name="test")
    valid = Part(**{**vars(valid), "labels": valid.labels * [1, 1, 1, 0]})  # Blurry: no positive
    tuned = tune_thresholds(valid)
    resamples = Resamples(test.identities, 300, [7])
    table, means = apply_thresholds(test, tuned, 0.5, resamples, 0.95)
    for aim in AIMS:
        rows = table[table["aim"] == aim].set_index("attribute")
        for k, name in enumerate(test.attributes[:3]):
            known = test.mask[:, k]
            truth, probs = test.labels[known, k], test.probs[known, k]
            decided = probs > tuned[aim][k]
            assert rows.loc[name, "threshold"] == tuned[aim][k]
            assert rows.loc[name, "value"] == pytest.approx(SK[aim](truth, decided))
            assert rows.loc[name, "accuracy"] == pytest.approx((decided == truth).mean())
            change = SK[aim](truth, decided) - SK[aim](truth, probs > 0.5)
            assert rows.loc[name, "change"] == pytest.approx(change)
            assert rows.loc[name, "change_low"] <= change <= rows.loc[name, "change_high"]
        assert rows.loc["Blurry", ["threshold", "value", "change", "change_low"]].isna().all()
        assert means[aim] == pytest.approx(rows["value"].mean(), abs=1e-6)
        assert means[f"{aim}_change"] == pytest.approx(rows["change"].mean(), abs=1e-6)
