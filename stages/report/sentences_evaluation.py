"""What the figures of evaluate say, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stages.report.tuning import Aim
from stages.report.words import (
    between,
    count,
    counted,
    decimal,
    is_undefined,
    listed,
    percent,
    points,
)


def describe_tuned(aims: Sequence[Aim], partition: str) -> str:
    """What the thresholds chosen on valid bring on a partition."""
    known = [aim for aim in aims if not is_undefined(aim.change)]
    if not known:
        return ""
    said = [f"{points(aim.change, 2)} points of {_lower(aim.name)}" for aim in known]
    where = "on valid itself, where they were chosen" if partition == "valid" else f"on {partition}"
    return (
        f"A threshold per attribute, chosen on valid for one aim, brings {where}: {listed(said)}, "
        "each as the mean over attributes and against the one threshold for all."
    )


def describe_shift(summary: Mapping[str, Any]) -> list[str]:
    """How much accuracy is lost from valid to test, and what of it a shift explains."""
    if is_undefined(summary["loss"]):
        return ["No attribute has what it takes to compare valid with test."]
    verdict = "more than chance does" if _is_clear(summary, "loss") else "which could be chance"
    found = [
        f"From valid to test the mean accuracy changes by {_change(summary, 'loss')}, {verdict}.",
        "Had only the share of positives changed, it would have changed by "
        f"{_change(summary, 'explained')}; the rest, {_change(summary, 'rest')}, is other "
        "pictures, choices fitted to valid, and chance.",
    ]
    share = summary.get("share_explained")
    if not is_undefined(share):
        found.append(f"So the shift of prevalence explains {percent(share, 0)} of the change.")
    return found


def describe_errors(pairs: pd.DataFrame) -> str:
    """The pairs of attributes that are most often wrong together."""
    if pairs.empty:
        return "No two attributes are ever wrong, so nothing can be said about errors together."
    top = pairs.sort_values("phi", ascending=False, kind="stable")
    top = top[(top["phi"] > 0) & (top["n_both"] > 0)][:3]
    if top.empty:
        return "Errors of different attributes do not come together more often than by chance."
    said = [
        f"{row.attribute_a} and {row.attribute_b} ({count(row.n_both)} pictures with both wrong, "
        f"{decimal(row.n_chance, 1)} by chance)"
        for row in top.itertuples()
    ]
    return f"Most often wrong on the same pictures: {listed(said)}."


def describe_contradictions(metrics: Mapping[str, Any], rules: pd.DataFrame) -> str:
    """How many pictures have answers that break a rule between attributes, and labels that do."""
    found = metrics.get("contradictions") or {}
    if not found.get("n_rules") or is_undefined(found.get("share")):
        return "None of the rules between attributes concerns this model’s attributes."
    return (
        f"{percent(found['share'], 2)} of the pictures get answers that contradict each other; "
        f"the labels of {percent(found['share_labels'], 2)} do. "
        f"{counted(found['n_rules'], 'rule')} between attributes were tried: those that the audit "
        "tries on the labels."
    )


def describe_extra(facts: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> str:
    """What the second data set is, and where its majority class comes from."""
    if not facts:
        return f"{counted(metrics['n_images'], 'image')}."
    left_out = facts.get("n_left_out") or 0
    text = f"{counted(facts['n_images'], 'image')} of another data set, answered by the same model"
    text += f", {count(left_out)} unreadable ones left out" if left_out else ""
    source = (
        "its own training images"
        if facts.get("majority_from") == "train"
        else "the evaluated images themselves, which no constant answer surpasses"
    )
    return (
        f"{text}. It knows {facts['n_attributes']} of the model’s attributes. Its majority class "
        f"is that of {source}."
    )


def _change(summary: Mapping[str, Any], key: str) -> str:
    """A loss as a change of the accuracy, with its interval."""
    change, high, low = (_negate(summary.get(f"{key}{end}")) for end in ("", "_low", "_high"))
    ends = between({"change": change, "change_low": low, "change_high": high}, "change", 2)
    return f"{points(change, 2)} points{f' ({ends})' if ends else ''}"


def _negate(value: float | None) -> float | None:
    return None if value is None or is_undefined(value) else -value


def _is_clear(summary: Mapping[str, Any], key: str) -> bool:
    low, high = (_negate(summary.get(f"{key}_{end}")) for end in ("low", "high"))
    return low is not None and high is not None and low * high > 0  # on one side of 0


def _lower(name: str) -> str:
    return name if name.isupper() or name == "F1" else name[0].lower() + name[1:]
