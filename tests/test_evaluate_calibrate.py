import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from stages.common.metrics import calibration_error
from stages.evaluate.calibrate import (
    fit_temperature,
    fit_temperatures,
    list_reliability,
    scale,
    to_logits,
    to_probs,
)
from stages.evaluate.part import Part
from tests.evaluate_fabric import draw_part


def draw_logits(temperature: float, n: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn by the sigmoid of logits, and the logits that a network too sure would give."""
    rng = np.random.default_rng(seed)
    true_logits = rng.normal(scale=2, size=n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-true_logits))).astype(np.uint8)
    return true_logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_planted_comes_back(temperature: float) -> None:
    logits, labels = draw_logits(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


def test_temperature_agrees_with_other_programs() -> None:
    """Logistic regression on the logit without intercept or penalty, and a search of the loss."""
    logits, labels = draw_logits(2.0, n=300)
    found = fit_temperature(logits, labels)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    sharpness = model.fit(logits[:, None], labels).coef_[0, 0]
    assert found == pytest.approx(1 / sharpness, rel=1e-4)

    def loss(t: float) -> float:
        return log_loss(labels, 1 / (1 + np.exp(-logits / t)))

    assert found == pytest.approx(minimize_scalar(loss, bounds=(0.1, 10)).x, rel=1e-3)


def test_scaling_repairs_the_probabilities_of_test() -> None:
    valid_logits, valid_labels = draw_logits(3.0, seed=1)
    logits, labels = draw_logits(3.0, seed=2)
    temperature = np.array([fit_temperature(valid_logits, valid_labels)])
    raw = to_probs(logits)[:, None]
    truth, known = labels[:, None], np.ones((len(labels), 1), bool)
    scaled = scale(raw, temperature)
    before = calibration_error(raw, truth, known, 15)[0]
    after = calibration_error(scaled, truth, known, 15)[0]
    assert before > 0.08
    assert after < 0.03
    assert (np.argsort(scaled[:, 0]) == np.argsort(raw[:, 0], kind="stable")).mean() > 0.9


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        pytest.param([-2.0, 3.0], [0, 0], np.nan, id="one class"),
        pytest.param([], [], np.nan, id="no label"),
        pytest.param([-2.0, 3.0], [0, 1], 0.01, id="no mistake at all"),
        pytest.param([-2.0, 3.0], [1, 0], 100.0, id="nothing but mistakes"),
    ],
)
def test_temperature_at_its_limits(logits: list[float], labels: list[int], expected: float) -> None:
    found = fit_temperature(np.array(logits), np.array(labels, np.uint8))
    assert found == pytest.approx(expected, nan_ok=True)


def test_saturated_sigmoids_have_finite_logits() -> None:
    probs = np.array([[0.0, 1.0, 1e-30, 0.25]], np.float32)
    logits = to_logits(probs)
    assert np.isfinite(logits).all()
    assert (np.abs(logits) < 16.7).all()
    assert to_probs(logits)[0, 3] == np.float32(0.25)
    assert np.isfinite(scale(probs, np.full(4, 0.01))).all()


def test_unknown_labels_take_no_part() -> None:
    part = draw_part(seed=1)
    other = Part(**{**vars(part), "labels": np.where(part.mask, part.labels, 1 - part.labels)})
    assert (fit_temperatures(part) == fit_temperatures(other)).all()


def test_reliability_holds_every_known_label_in_its_bin() -> None:
    part = draw_part(seed=5)
    scaled = scale(part.probs, np.array([1.0, 2.0, 0.5, np.nan]))
    table = list_reliability(part, scaled, 10)
    raw = table[~table["scaled"]]
    assert raw.groupby("attribute", sort=False)["n"].sum().tolist() == part.mask.sum(0).tolist()
    assert set(table.loc[table["scaled"], "attribute"]) == {"Male", "Young", "Smiling"}
    for row in raw[raw["attribute"] == "Young"].to_dict("records"):
        prob = part.probs[:, 1].astype(float)
        rows = part.mask[:, 1] & (np.floor(prob * 10).clip(max=9) == row["bin"])
        assert row["n"] == rows.sum()
        assert row["mean_probability"] == pytest.approx(prob[rows].mean())
        assert row["share_positive"] == pytest.approx(part.labels[rows, 1].mean())
    errors = calibration_error(part.probs, part.labels, part.mask, 10)
    raw = raw.assign(gap=(raw["mean_probability"] - raw["share_positive"]).abs() * raw["n"])
    sums = raw.groupby("attribute", sort=False)[["gap", "n"]].sum()
    assert (sums["gap"] / sums["n"]).to_numpy() == pytest.approx(errors)
