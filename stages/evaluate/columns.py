"""The tables of reports/evaluate: name of the file without .csv, and its columns in order.

Every value that is undefined is an empty field. <score>_low and <score>_high are the interval of a
score, by resamples of people. partition is valid, test, or extra for the second data set.
"""

from stages.evaluate.scores import WITH_INTERVAL
from stages.evaluate.shift import TERMS
from stages.evaluate.slices import GAPS
from stages.evaluate.thresholds import AIMS


def _with_ends(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{end}" for name in names for end in ("", "_low", "_high"))


COLUMNS: dict[str, tuple[str, ...]] = {
    # One row per partition and attribute, at evaluate.threshold; majority_class: the constant
    # answer.
    "per_attribute": (
        "partition",
        "attribute",
        "n_known",
        "n_positive",
        "prevalence",
        "majority_class",
        *_with_ends(*WITH_INTERVAL),
    ),
    # Confusion counts at 41 thresholds, for precision, recall and ROC curves.
    "curves": ("partition", "attribute", "threshold", "tp", "fp", "fn", "tn"),
    # What was chosen on valid: the temperature by which logits are divided, a threshold per aim.
    "tuned": ("attribute", "temperature", *(f"threshold_{aim}" for aim in AIMS)),
    # What tuned thresholds bring: value of the aim, accuracy, change of the aim's value.
    "thresholds": (
        "partition",
        "attribute",
        "aim",
        "threshold",
        "value",
        "accuracy",
        *_with_ends("change"),
    ),
    # Filled bins of probability, raw and scaled.
    "reliability": (
        "partition",
        "attribute",
        "scaled",
        "bin",
        "n",
        "mean_probability",
        "share_positive",
    ),
    # Valid against test: shares of positives, and the loss of accuracy in two parts (shift.py).
    "shift": (
        "attribute",
        "prevalence_valid",
        "prevalence_test",
        "accuracy_valid",
        "accuracy_test",
        "accuracy_reweighted",
        *_with_ends(*TERMS),
    ),
    # One row per partition and group: means over attributes; _gap is to the slice's other pictures.
    "slices": (
        "partition",
        "slice",
        "group",
        "n_images",
        "n_identities",
        "majority_accuracy",
        "gain",
        *(column for name in GAPS for column in _with_ends(name, f"{name}_gap")),
    ),
    "slices_by_attribute": (
        "partition",
        "slice",
        "group",
        "attribute",
        "n_known",
        "n_positive",
        "prevalence",
        *(column for name in GAPS for column in (name, *_with_ends(f"{name}_gap"))),
    ),
    # Errors of two attributes on the same pictures, per pair.
    "error_correlation": (
        "partition",
        "attribute_a",
        "attribute_b",
        "n_known",
        "n_a",
        "n_b",
        "n_both",
        "n_chance",
        "phi",
    ),
    # Rules between attributes that answers, and labels, break.
    "contradictions": (
        "partition",
        "rule",
        "n_images",
        "n_applicable",
        "n_contradictions",
        "n_applicable_labels",
        "n_contradictions_labels",
    ),
}
