"""The page about how well the model does: a section per evaluated partition, test first."""

from typing import Any

import numpy as np
import pandas as pd

from stages.common.tables import label_arrays
from stages.report.charts_evaluation import (
    draw_against_majority,
    draw_against_prevalence,
    draw_reliability,
    draw_thresholds,
)
from stages.report.charts_mistakes import draw_error_map, draw_loss
from stages.report.inputs import Inputs
from stages.report.measures import GROUPS, list_facts
from stages.report.page_explore import choose_mapped
from stages.report.page_index import describe_failures, describe_subset, main_partition
from stages.report.sentences_evaluation import (
    describe_contradictions,
    describe_errors,
    describe_extra,
    describe_shift,
    describe_tuned,
)
from stages.report.tuning import list_thresholds, summarise_aims
from stages.report.words import bar_share, count, counted, is_undefined, records

N_BINS = 10
#: Pairs of attributes whose errors are listed, the strongest correlation first.
N_PAIRS = 20


def build_evaluation(inputs: Inputs) -> dict[str, Any]:
    """What the evaluation page's template needs."""
    evaluated = inputs.evaluated
    order = (*reversed(evaluated.partitions), *(p for p in evaluated.parts if p == "extra"))
    return {
        "groups": GROUPS,
        "sections": [_build_section(inputs, part) for part in order],
        "confidence": evaluated.confidence,
        "main": main_partition(inputs),
        **_build_choices(inputs),
        **_build_mistakes(inputs),
    }


def _build_section(inputs: Inputs, partition: str) -> dict[str, Any]:
    evaluated = inputs.evaluated
    metrics = evaluated.metrics[partition]
    table = _of(evaluated.per_attribute, partition)
    curves = _of(evaluated.curves, partition)
    known = table[table["n_known"] > 0]
    bins, scaled = pool_bins(evaluated.reliability, partition)
    if bins.empty and partition in evaluated.partitions:
        bins = bin_probabilities(inputs, partition)
    threshold = float(inputs.trained.model["threshold"])
    is_extra = partition == "extra"
    return {
        "partition": partition,
        "title": "The second data set" if is_extra else f"{partition[0].upper()}{partition[1:]}",
        "metrics": metrics,
        "facts": list_facts(metrics, len(known)),
        "subset": "" if is_extra else describe_subset(inputs, partition),
        "about": describe_extra(evaluated.extra, metrics) if is_extra else "",
        "failures": describe_failures(table),
        "without": list_without(metrics) if "without_leaks" in metrics else [],
        "leak_note": describe_leaks(metrics, partition) if "without_leaks" in metrics else "",
        "rows": list_rows(known if is_extra else table),
        "weakest": find_weakest(table),
        "majority_chart": draw_against_majority(table, partition),
        "ap_chart": draw_against_prevalence(
            table, "average_precision", "Average precision", partition
        ),
        "f1_chart": draw_against_prevalence(table, "f1", "F1", partition),
        "threshold_chart": draw_thresholds(curves, threshold, partition),
        "reliability_chart": draw_reliability(bins, scaled, partition),
    }


def _build_choices(inputs: Inputs) -> dict[str, Any]:
    """What was chosen on valid, and how much of valid's accuracy test keeps."""
    evaluated, main = inputs.evaluated, main_partition(inputs)
    aims = summarise_aims(evaluated, main) if main else []
    summary = evaluated.metrics.get("shift")
    table = evaluated.shift.dropna(subset=["loss"])
    return {
        "aims": aims,
        "aims_sentence": describe_tuned(aims, main or ""),
        "thresholds": list_thresholds(evaluated, main) if main else [],
        "shift": describe_shift(summary) if summary else [],
        "shift_rows": records(table.sort_values("loss", ascending=False, kind="stable")),
        "shift_chart": draw_loss(table) if summary else None,
    }


def _build_mistakes(inputs: Inputs) -> dict[str, Any]:
    """Mistakes that come together and answers that contradict each other, of the main partition."""
    evaluated, main = inputs.evaluated, main_partition(inputs)
    pairs = _of(evaluated.error_correlation, main).dropna(subset=["phi"])
    pairs = pairs.loc[pairs["phi"].abs().sort_values(ascending=False, kind="stable").index]
    rules = _of(evaluated.contradictions, main)
    attributes = [name for name in inputs.attributes if name in inputs.trained.model["attributes"]]
    return {
        "error_chart": draw_error_map(pairs, choose_mapped(pairs, attributes)),
        "error_pairs": records(pairs[:N_PAIRS]),
        "errors_sentence": describe_errors(pairs),
        "contradictions": records(rules),
        "contradictions_sentence": describe_contradictions(
            evaluated.metrics[main] if main else {}, rules
        ),
    }


def _of(table: pd.DataFrame, partition: str | None) -> pd.DataFrame:
    return table[table["partition"] == partition]


def list_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table of attributes, with a bar for the gain and whether it is one at all."""
    largest = table["gain"].abs().max()
    rows = []
    for row in records(table):
        gain = row["gain"]
        known = not is_undefined(gain)
        bar = bar_share(abs(gain) if known else None, largest)
        rows.append({**row, "bar": bar, "behind": known and gain <= 0})
    return rows


def list_without(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The official figures beside those without leaks and without all that is flagged."""
    named = (
        ("All", "the official figures", metrics),
        ("Without leaks", "no copy in the source’s train", metrics["without_leaks"]),
        (
            "Without what the audit flags",
            "leaks, copies, pictures without a face; doubted labels masked",
            metrics["without_flagged"],
        ),
    )
    return [{"name": name, "meaning": meaning, **values} for name, meaning, values in named]


def describe_leaks(metrics: dict[str, Any], partition: str) -> str:
    """How many evaluated images have a copy in train, and whether the model learned from it."""
    found = metrics["without_leaks"]
    n, n_learned = found["n_leaked"], found["n_learned"]
    if not n:
        return f"No image of {partition} has a copy in train."
    has = f"{counted(n, 'image')} of {partition} {'has' if n == 1 else 'have'} a copy in train"
    if n_learned is None:
        return f"{has}; whether the model learned from it is unknown."
    if not n_learned:
        return f"{has}, from which the model did not learn: prepare left it out."
    return f"{has}; the model learned from the copies of {count(n_learned)}."


def find_weakest(table: pd.DataFrame, limit: int = 20) -> list[dict[str, Any]]:
    """Attributes by the share of the majority class's errors that the model avoids, least first.

    errors_gone is gain / (1 - majority accuracy): 1 where no error is left, 0 where as many are,
    below 0 where there are more. Attributes on which the majority class never errs are left out.
    """
    table = table[table["majority_accuracy"] < 1].dropna(subset=["gain"])
    table = table.assign(errors_gone=table["gain"] / (1 - table["majority_accuracy"]))
    table = table.sort_values("errors_gone", kind="stable")[:limit]
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def bin_probabilities(inputs: Inputs, partition: str) -> pd.DataFrame:
    """Known labels of a partition in N_BINS bins of equal width by the probability given.

    Returns:
        One row per bin: n labels, mean_probability, observed share of positives (NaN where n = 0).
    """
    predictions = inputs.evaluated.predictions
    predictions = predictions[predictions["partition"] == partition]
    names = [name for name in predictions.columns[2:] if name in inputs.attributes]
    rows = inputs.annotations.set_index("image_id").reindex(predictions["image_id"])
    labels, known = label_arrays(rows, names)
    probs = predictions[names].to_numpy(np.float64)[known]
    places = np.clip((probs * N_BINS).astype(int), 0, N_BINS - 1)
    n = np.bincount(places, minlength=N_BINS)
    sums = np.bincount(places, weights=probs, minlength=N_BINS)
    positive = np.bincount(places, weights=labels[known], minlength=N_BINS)
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"n": n, "mean_probability": sums / n, "observed": positive / n})


def pool_bins(
    reliability: pd.DataFrame, partition: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Bins of all attributes together, raw and after temperature scaling; None without it.

    Returns:
        Each one row per bin: n labels, mean_probability, observed share of positives.
    """
    found = []
    mine = reliability[reliability["partition"] == partition]
    for scaled in (False, True):
        rows = mine[mine["scaled"].astype(str) == str(scaled)]
        weighted = pd.DataFrame(
            {
                "bin": rows["bin"],
                "n": rows["n"],
                "mean_probability": rows["mean_probability"] * rows["n"],
                "observed": rows["share_positive"] * rows["n"],
            }
        )
        sums = weighted.groupby("bin").sum()
        for name in ("mean_probability", "observed"):
            sums[name] = sums[name] / sums["n"]
        found.append(sums)
    return found[0], found[1] if len(found[1]) else None
