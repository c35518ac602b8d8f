import numpy as np
import pytest
from sklearn import metrics as sk

from stages.common.metrics import (
    Confusion,
    bin_probabilities,
    calibration_error,
    count_confusion,
    majority_accuracy,
    majority_class,
    mean_defined,
    score_confusion,
    score_probabilities,
    score_ranking,
)


def make_case(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((200, 5)) < [0.5, 0.1, 0.9, 0.3, 0.02]).astype(np.uint8)
    probs = np.clip(labels * 0.3 + rng.random((200, 5)) * 0.7, 0, 1).astype(np.float32)
    return probs, labels, rng.random((200, 5)) < 0.8


def test_scores_agree_with_scikit_learn() -> None:
    probs, labels, mask = make_case()
    ours = score_confusion(count_confusion(probs > 0.5, labels, mask)) | score_ranking(
        probs, labels, mask
    )
    functions = {
        "accuracy": sk.accuracy_score,
        "balanced_accuracy": sk.balanced_accuracy_score,
        "precision": sk.precision_score,
        "recall": sk.recall_score,
        "specificity": lambda truth, decided: sk.recall_score(truth, decided, pos_label=0),
        "f1": sk.f1_score,
        "mcc": sk.matthews_corrcoef,
    }
    for column in range(labels.shape[1]):
        known = mask[:, column]
        truth, prob = labels[known, column], probs[known, column]
        for name, function in functions.items():
            assert ours[name][column] == pytest.approx(function(truth, prob > 0.5)), name
        assert ours["roc_auc"][column] == pytest.approx(sk.roc_auc_score(truth, prob))
        expected = sk.average_precision_score(truth, prob)
        assert ours["average_precision"][column] == pytest.approx(expected)


def test_micro_agrees_with_scikit_learn() -> None:
    probs, labels, mask = make_case(1)
    pooled = score_confusion(count_confusion(probs > 0.5, labels, mask).pooled())
    truth, decided = labels[mask], probs[mask] > 0.5
    assert pooled["f1"][0] == pytest.approx(sk.f1_score(truth, decided))
    assert pooled["precision"][0] == pytest.approx(sk.precision_score(truth, decided))


def test_undefined_is_nan_never_zero() -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0]], np.uint8)
    mask = np.array([[True, True, False], [True, True, False]])
    decided = np.array([[True, False, True], [False, False, True]])
    scores = score_confusion(count_confusion(decided, labels, mask))
    assert scores["accuracy"][:2].tolist() == [0.5, 1.0]
    assert np.isnan(scores["accuracy"][2])
    assert np.isnan(scores["balanced_accuracy"]).all()
    assert np.isnan(scores["precision"][1])
    assert np.isnan(scores["recall"][1])
    assert np.isnan(scores["f1"][1])
    assert np.isnan(scores["mcc"]).all()
    assert np.isnan(scores["specificity"][0])
    assert np.isnan(score_ranking(decided.astype(np.float32), labels, mask)["roc_auc"]).all()


def test_majority_comes_from_known_labels() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], np.uint8)
    mask = np.ones_like(labels, bool)
    mask[1:, 1] = False
    majority = majority_class(labels, mask)
    assert majority.tolist() == [1, 1, 0]
    assert majority_accuracy(majority, labels, mask).tolist() == [0.75, 1.0, 0.5]


def test_mean_of_defined_values() -> None:
    assert mean_defined(np.array([1.0, np.nan, 2.0])) == 1.5
    assert np.isnan(mean_defined(np.array([np.nan])))


def test_probability_scores_agree_with_scikit_learn_and_the_definition() -> None:
    probs, labels, mask = make_case(2)
    brier = score_probabilities(probs, labels, mask)["brier"]
    error = calibration_error(probs, labels, mask, 15)
    for column in range(labels.shape[1]):
        known = mask[:, column]
        truth, prob = labels[known, column], probs[known, column].astype(float)
        assert brier[column] == pytest.approx(sk.brier_score_loss(truth, prob))
        expected = 0.0
        for low in np.arange(15) / 15:
            inside = (prob >= low) & (prob < low + 1 / 15)
            if inside.any():
                expected += inside.mean() * abs(prob[inside].mean() - truth[inside].mean())
        assert error[column] == pytest.approx(expected)


def test_every_probability_has_a_bin() -> None:
    probs = np.array([0.0, 0.0999, 0.1, 0.5, 0.9999, 1.0])
    assert bin_probabilities(probs, 10).tolist() == [0, 0, 1, 5, 9, 9]


def test_probability_scores_without_labels_are_undefined() -> None:
    probs, labels = np.full((3, 1), 0.3), np.zeros((3, 1), np.uint8)
    mask = np.zeros((3, 1), bool)
    assert np.isnan(score_probabilities(probs, labels, mask)["brier"]).all()
    assert np.isnan(calibration_error(probs, labels, mask, 5)).all()


def test_mcc_of_many_labels_does_not_overflow() -> None:
    counts = [np.array([n]) for n in (40_000_000, 1_000_000, 2_000_000, 50_000_000)]
    whole = score_confusion(Confusion(*counts))["mcc"]
    small = score_confusion(Confusion(*(count // 1_000_000 for count in counts)))["mcc"]
    assert whole == pytest.approx(small)
