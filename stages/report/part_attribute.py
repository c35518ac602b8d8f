"""One attribute on one evaluated partition: figures, curves, thresholds, groups, shared errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import bin_probabilities
from stages.report.answers import Answers, Ladder, build_ladder, read_ladder
from stages.report.charts_attribute import (
    draw_calibration,
    draw_histogram,
    draw_precision_recall,
    draw_roc,
)
from stages.report.inputs import Inputs
from stages.report.sentences_attribute import (
    AIMS,
    describe_answers,
    describe_calibration,
    describe_prevalence,
    describe_ranking,
    describe_tuning,
    excludes_zero,
    find_ends,
    name_group,
    name_part,
    shorten_limit,
    write_ends,
)
from stages.report.words import is_undefined, listed, points, records

N_ERRORS = 8
#: Bins of the raw probabilities where evaluate made none, as it does without valid.
N_BINS = 15
SCORES = ("precision", "recall", "f1", "accuracy", "balanced_accuracy")
GAPS = (("accuracy", "Accuracy"), ("recall", "Recall"), ("specificity", "Specificity"))
Tables = dict[tuple[str, str], pd.DataFrame]


@dataclass(frozen=True)
class Grouped:
    """The tables of reports/evaluate by (partition, attribute), so that a look-up is quick."""

    per_attribute: Tables
    curves: Tables
    thresholds: Tables
    reliability: Tables
    slices: Tables
    errors: Tables
    temperatures: Mapping[str, float]


def group_tables(inputs: Inputs) -> Grouped:
    """Sort the rows of every table; a pair of attributes stands under both."""
    e = inputs.evaluated

    def split(table: pd.DataFrame) -> Tables:
        groups = table.groupby(["partition", "attribute"], sort=False)
        return {(str(part), str(name)): rows for (part, name), rows in groups}

    names = {"attribute_a": "attribute", "attribute_b": "other"}
    swapped = {"attribute_b": "attribute", "attribute_a": "other"}
    pairs = pd.concat([e.error_correlation.rename(columns=n) for n in (names, swapped)])
    return Grouped(
        per_attribute=split(e.per_attribute),
        curves=split(e.curves),
        thresholds=split(e.thresholds),
        reliability=split(e.reliability),
        slices=split(e.slices_by_attribute),
        errors=split(pairs),
        temperatures=dict(zip(e.tuned["attribute"], e.tuned["temperature"], strict=True)),
    )


def build_part(
    part: str,
    attribute: str,
    tables: Grouped,
    answers: Answers | None,
    column: int,
    threshold: float,
) -> dict[str, Any]:
    """What the template shows of one partition.

    Args:
        part: valid, test or extra.
        attribute: Its name.
        tables: Of reports/evaluate.
        answers: On that partition; None for the second set, of which only tables are known.
        column: The attribute's place among the answers.
        threshold: In use.
    """
    key = (part, attribute)
    row = records(tables.per_attribute[key])[0]
    if answers is None:
        probs, labels = np.empty(0, np.float32), np.empty(0, bool)
        ladder = read_ladder(tables.curves[key])
    else:
        known = answers.known[:, column]
        probs, labels = answers.probs[known, column], answers.labels[known, column]
        ladder = build_ladder(probs, labels)
    tuned = records(tables.thresholds[key]) if key in tables.thresholds else []
    temperature = tables.temperatures.get(attribute)
    bins = tables.reliability.get(key)
    return {
        "name": part,
        "said": name_part(part),
        "row": row,
        "answers": describe_answers(row, part),
        "prevalence": describe_prevalence(row, part),
        "ranking": describe_ranking(row),
        "tuning": describe_tuning(tuned, part),
        "calibration": describe_calibration(row, temperature),
        "temperature": temperature,
        "ladder": ladder if len(ladder.steps) and row["n_known"] else None,
        "start": ladder.find_limit(threshold),
        "presets": list_presets(tuned, threshold),
        "limits": list_limits(tuned, ladder, threshold, row),
        "pr_chart": draw_precision_recall(ladder, row["average_precision"], part, threshold),
        "roc_chart": draw_roc(ladder, row["roc_auc"], part, threshold),
        "calibration_chart": draw_calibration(
            bin_raw(probs, labels) if bins is None else bins, part
        ),
        "histogram": draw_histogram(probs, labels, part, threshold),
        "groups": list_groups(tables.slices.get(key)),
        "errors": list_errors(tables.errors.get(key)),
    }


def list_presets(tuned: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """Thresholds that a button chooses: the one in use, and those tuned on valid."""
    aims: dict[float, list[str]] = {}
    for row in tuned:
        if not is_undefined(row["threshold"]):
            aims.setdefault(float(row["threshold"]), []).append(AIMS.get(row["aim"], row["aim"]))
    found = {threshold: "in use"}
    for limit, names in aims.items():
        start = f"{found[limit]}, " if limit in found else ""
        found[limit] = f"{start}for {listed(names)}"
    return [
        {"name": name, "threshold": limit, "text": shorten_limit(limit)}
        for limit, name in found.items()
    ]


def list_limits(
    tuned: list[dict[str, Any]], ladder: Ladder, threshold: float, row: dict[str, Any]
) -> list[dict[str, Any]]:
    """Scores at the threshold in use and at the tuned ones; None where they are not known.

    Those of an inexact ladder are known at its steps only; evaluate's tables say some more.
    """
    in_use = {name: row[name] for name in SCORES}
    found = [{"name": "in use", "text": shorten_limit(threshold), **in_use}]
    for entry in tuned:
        limit = entry["threshold"]
        if is_undefined(limit):
            continue
        scores: dict[str, Any] = dict.fromkeys(SCORES)
        if ladder.is_exact:
            scores |= ladder.count(limit).score()
        else:
            scores |= {"accuracy": entry["accuracy"], entry["aim"]: entry["value"]}
        gap = _gap(entry, "change")
        name = f"tuned for {AIMS.get(entry['aim'], entry['aim'])}"
        found.append({"name": name, "text": shorten_limit(limit), **scores, "change": gap})
    return found


def bin_raw(probs: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Rows as in reliability.csv of n raw probabilities."""
    table = pd.DataFrame({"bin": bin_probabilities(probs, N_BINS), "p": probs, "y": labels})
    table = table.astype({"p": float, "y": float})
    bins = table.groupby("bin").agg(
        n=("p", "size"), mean_probability=("p", "mean"), share_positive=("y", "mean")
    )
    return bins.reset_index().assign(scaled=False)


def list_groups(rows: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Groups of pictures by another label: figures and gaps to the slice's other pictures."""
    if rows is None:
        return []
    return [
        {
            "name": name_group(str(row["group"])),
            "n": row["n_known"],
            "n_positive": row["n_positive"],
            "prevalence": row.get("prevalence"),
            "scores": [(row.get(key), _gap(row, f"{key}_gap")) for key, _ in GAPS],
        }
        for row in records(rows)
    ]


def _gap(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A difference in words with its interval; is_clear where that leaves out 0."""
    value, ends = row.get(key), find_ends(row, key)
    return {
        "value": None if is_undefined(value) else value,
        "text": points(value),
        "ends": write_ends(*ends, digits=1) if ends else "",
        "is_clear": excludes_zero(ends),
    }


def list_errors(rows: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Attributes whose errors come with, or avoid, this one's: the strongest correlations."""
    if rows is None:
        return []
    rows = rows.dropna(subset=["phi"])
    rows = rows.iloc[np.argsort(-rows["phi"].abs().to_numpy(), kind="stable")][:N_ERRORS]
    return records(rows)
