"""The measures that tables and cards show: what they are called, mean and are written like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.report.words import between, decimal, is_undefined, percent, points


@dataclass(frozen=True)
class Measure:
    """One measure. style: percent, points (of a difference) or plain (from -1 or 0 to 1)."""

    key: str
    heading: str
    meaning: str
    style: str = "percent"
    is_error: bool = False

    def write(self, row: Mapping[str, Any], digits: int = 1) -> str:
        """The value in words, n/a where undefined."""
        value = row.get(self.key)
        if self.style == "percent":
            return percent(value, digits)
        return points(value, digits) if self.style == "points" else decimal(value, digits + 2)

    def ends(self, row: Mapping[str, Any], digits: int = 1) -> str:
        """Its interval, '' where there is none."""
        if self.style == "plain":
            return between(row, self.key, digits + 2, 1)
        return between(row, self.key, digits)


ACCURACY = Measure("accuracy", "Accuracy", "share of the known labels that are answered right")
MAJORITY = Measure(
    "majority_accuracy", "Majority", "accuracy of always giving the answer more frequent in train"
)
GAIN = Measure("gain", "Gain", "accuracy less that of the majority class, points", "points")
BALANCED = Measure(
    "balanced_accuracy", "Balanced", "mean of the accuracies on positives and on negatives"
)
PRECISION = Measure("precision", "Precision", "share of the images named positive that are")
RECALL = Measure("recall", "Recall", "share of the positive images that are named")
SPECIFICITY = Measure("specificity", "Specificity", "share of the negative images left unnamed")
F1 = Measure("f1", "F1", "harmonic mean of precision and recall")
MCC = Measure(
    "mcc", "MCC", "Matthews correlation: 0 is guessing, 1 is perfect, whatever the prevalence",
    "plain",
)  # fmt: skip
AUC = Measure("roc_auc", "AUC", "area under the ROC curve: 50 % is guessing")
AP = Measure("average_precision", "AP", "average precision: guessing reaches the prevalence")
BRIER = Measure("brier", "Brier", "mean squared error of the probability: 0 is best", "plain", True)
ECE = Measure(
    "calibration_error", "ECE", "expected calibration error: how far probabilities are off",
    is_error=True,
)  # fmt: skip
ECE_SCALED = Measure(
    "calibration_error_scaled", "ECE, scaled", "the same after temperature scaling fitted on valid",
    is_error=True,
)  # fmt: skip

#: Columns of the table of attributes that are shown together.
GROUPS = (
    ("Accuracy", (ACCURACY, MAJORITY, GAIN, BALANCED)),
    ("Positives", (PRECISION, RECALL, SPECIFICITY, F1, MCC)),
    ("Probabilities", (AUC, AP, BRIER, ECE, ECE_SCALED)),
)
#: Measures of the headline, and a heading that stands alone.
HEADLINE = (
    (ACCURACY, "Mean accuracy"),
    (GAIN, "Gain, points"),
    (BALANCED, "Balanced accuracy"),
    (F1, "F1"),
    (MCC, "MCC"),
    (AUC, "ROC AUC"),
    (AP, "Average precision"),
    (BRIER, "Brier score"),
    (ECE, "Calibration error"),
    (ECE_SCALED, "… after scaling"),
)


@dataclass(frozen=True)
class Fact:
    """A figure of the headline with its interval, '' where there is none, and a remark."""

    name: str
    value: str
    interval: str
    remark: str
    meaning: str


def list_facts(metrics: Mapping[str, Any], n_attributes: int) -> list[Fact]:
    """The headline figures of one partition."""
    flat = {**metrics, **(metrics.get("interval") or {})}
    remarks = {
        "accuracy": f"majority {percent(metrics['majority_accuracy'], 2)}",
        "gain": describe_lead(metrics, n_attributes),
    }
    facts = []
    for measure, name in HEADLINE:
        micro = Measure(f"micro_{measure.key}", "", "", measure.style)
        if measure.key not in metrics:
            continue
        remark = remarks.get(measure.key)
        if remark is None and not is_undefined(metrics.get(micro.key)):
            remark = "" if measure is BRIER else f"micro {micro.write(flat, _digits(measure))}"
        facts.append(
            Fact(
                name,
                measure.write(flat, _digits(measure)),
                measure.ends(flat, _digits(measure)),
                remark or "",
                measure.meaning,
            )
        )
    return facts


def describe_lead(metrics: Mapping[str, Any], n_attributes: int) -> str:
    """On how many attributes the model is above the majority class, and on how many clearly."""
    text = f"above on {metrics['n_attributes_above_majority']} of {n_attributes}"
    n_clear = metrics.get("n_attributes_clearly_above")
    return text if is_undefined(n_clear) else f"{text}, clearly on {n_clear}"


def _digits(measure: Measure) -> int:
    return 1 if measure.style == "plain" else 2
