"""What is said of one attribute: how it is answered, what thresholds bring, what is doubted."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stages.report.words import count, counted, is_undefined, listed, percent, points

#: What a threshold is tuned for -> what a reader calls it.
AIMS = {"accuracy": "accuracy", "f1": "F1", "balanced_accuracy": "balanced accuracy"}
PART_NAMES = {"extra": "the second set"}
Row = Mapping[str, Any]


def name_part(part: str) -> str:
    """A partition as it stands in a sentence."""
    return PART_NAMES.get(part, part)


def describe_answers(row: Row, part: str) -> str:
    """Accuracy with its interval beside the majority class, and whether it is clearly above it."""
    where = name_part(part)
    if is_undefined(row["accuracy"]):
        return f"No label of {where} is known: nothing can be said of it there."
    constant = "yes" if row["majority_class"] == 1 else "no"
    return (
        f"On {where} {percent(row['accuracy'], 2)} of {counted(row['n_known'], 'answer')} "
        f"{'is' if row['n_known'] == 1 else 'are'} right"
        f"{_interval(row, 'accuracy')}; always answering {constant} reaches "
        f"{percent(row['majority_accuracy'], 2)}. {describe_gain(row)}"
    )


def describe_gain(row: Row) -> str:
    """How far the gain over the majority class lies from chance."""
    gain, ends = row["gain"], find_ends(row, "gain")
    between = f" ({write_ends(*ends)})" if ends else ""
    said = f"The gain of {points(gain, 2)} points{between}"
    if is_undefined(gain):
        return "Its gain is undefined."
    if gain == 0:
        return "The model gains nothing over that constant answer."
    if gain < 0:
        return f"{said} means that the model does worse than that constant answer."
    if not ends:
        return f"{said} puts the model above it."
    clear = "puts the model clearly above it" if ends[0] > 0 else "may be chance"
    return f"{said} {clear}."


def describe_prevalence(row: Row, part: str) -> str:
    """How many labels are yes."""
    if not row["n_known"]:
        return ""
    n = row["n_positive"]
    if n == 0:
        return (
            f"No label of {name_part(part)} is yes: recall, average precision and the area under "
            "the ROC curve are undefined."
        )
    if n == row["n_known"]:
        return (
            f"All labels of {name_part(part)} are yes: specificity and the area under the ROC "
            "curve are undefined."
        )
    return (
        f"{percent(row['prevalence'])} of the labels are yes ({count(n)} of "
        f"{count(row['n_known'])})."
    )


def describe_tuning(tuned: Sequence[Row], part: str) -> str:
    """What thresholds tuned on valid bring on a partition.

    Args:
        tuned: Rows of thresholds.csv of one attribute and partition.
        part: That partition.
    """
    known = [row for row in tuned if not is_undefined(row["change"])]
    if not known:
        return "No threshold could be tuned: it takes labels of both classes in valid."
    said = [
        f"{AIMS.get(row['aim'], row['aim'])} by {points(row['change'], 2)}{_brackets(row)} at "
        f"{shorten_limit(row['threshold'])}"
        for row in known
    ]
    text = f"Thresholds tuned on valid change, in points, {listed(said)}."
    if part == "valid":
        return f"{text} Chosen on these very pictures, they look too good here."
    clear = [row for row in known if excludes_zero(find_ends(row, "change"))]
    if not clear and all(find_ends(row, "change") for row in known):
        return f"{text} None of these changes is clear of chance."
    return text


def shorten_limit(threshold: float) -> str:
    """A threshold in three digits."""
    return f"{float(threshold):.3g}"


def describe_ranking(row: Row) -> str:
    """Average precision and AUC in words."""
    if is_undefined(row["roc_auc"]):
        return ""
    return (
        f"Of a picture with it and one without, the model ranks the right one higher in "
        f"{percent(row['roc_auc'])} of the pairs (AUC); average precision is "
        f"{percent(row['average_precision'])}, where chance gives {percent(row['prevalence'])}."
    )


def describe_calibration(row: Row, temperature: float | None) -> str:
    """Calibration error before and after temperature scaling."""
    before, after = row.get("calibration_error"), row.get("calibration_error_scaled")
    if is_undefined(before):
        return "The calibration error is undefined."
    said = (
        f"The expected calibration error is {percent(before)}{_interval(row, 'calibration_error')}"
    )
    if is_undefined(after) or is_undefined(temperature):
        return f"{said}; no temperature could be fitted."
    told = "surer" if float(temperature or 1) < 1 else "less sure"
    value = shorten_limit(temperature or 1)
    return (
        f"{said} raw and {percent(after)}{_interval(row, 'calibration_error_scaled')} after "
        f"temperature scaling (temperature {value}, fitted on valid, makes answers "
        f"{told})."
    )


def describe_doubts(flagged: pd.DataFrame, n_contradicted: int | None, without: Row | None) -> str:
    """How many labels the audit flags, and what the model says to the evaluated ones.

    Args:
        flagged: Flagged labels, partition each.
        n_contradicted: Of the evaluated ones, those that the model answers otherwise.
        without: partition, n (labels flagged in it) and accuracy without them.
    """
    if flagged.empty:
        return "The audit flags no label of this attribute."
    by_part = flagged["partition"].value_counts()
    parts = [f"{count(by_part[p])} in {p}" for p in ("train", "valid", "test") if p in by_part]
    text = f"The audit flags {counted(len(flagged), 'label')} of this attribute: {listed(parts)}."
    n = int(sum(by_part.get(p, 0) for p in ("valid", "test")))
    if n_contradicted is not None and n:
        text += (
            f" Of the {counted(n, 'evaluated one')} the model answers {count(n_contradicted)} "
            "otherwise than labelled."
        )
    if without is not None and without["n"] and not is_undefined(without["accuracy"]):
        text += (
            f" Without the {counted(without['n'], 'flagged label')} of {without['partition']} its "
            f"accuracy there is {percent(without['accuracy'], 2)}, which flatters every model."
        )
    return text


def find_ends(row: Row, key: str) -> tuple[float, float] | None:
    """The interval of row[key]; None where it or the value is undefined."""
    found = [row.get(name) for name in (key, f"{key}_low", f"{key}_high")]
    numbers = [float(value) for value in found if value is not None and not is_undefined(value)]
    return (numbers[1], numbers[2]) if len(numbers) == 3 else None


def write_ends(low: float, high: float, digits: int = 2) -> str:
    """An interval of a difference, in points."""
    return f"{points(low, digits)} to {points(high, digits)}"


def excludes_zero(ends: tuple[float, float] | None) -> bool:
    """True where an interval lies on one side of 0."""
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def _interval(row: Row, key: str) -> str:
    ends = find_ends(row, key)
    return f" (interval {100 * ends[0]:.2f} to {100 * ends[1]:.2f})" if ends else ""


def _brackets(row: Row) -> str:
    ends = find_ends(row, "change")
    return f" ({write_ends(*ends)})" if ends else ""


def name_group(group: str) -> str:
    """'Male=1 Young=0' as 'Male: yes, Young: no'."""
    words = group.replace("=1 ", ": yes, ").replace("=0 ", ": no, ")
    if words.endswith("=1"):
        return f"{words[:-2]}: yes"
    return f"{words[:-2]}: no" if words.endswith("=0") else words
