"""The page about how well the model does."""

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
from stages.report.inputs import Inputs
from stages.report.page_index import describe_failures, describe_subset
from stages.report.words import bar_share, count, counted, is_undefined

N_BINS = 10

#: Columns of the table per attribute: key, heading, explanation.
MEASURES = (
    ("balanced_accuracy", "Balanced", "mean of the accuracies on positives and on negatives"),
    ("precision", "Precision", "share of the images named positive that are"),
    ("recall", "Recall", "share of the positive images that are named"),
    ("f1", "F1", "harmonic mean of precision and recall"),
    ("roc_auc", "AUC", "area under the ROC curve: 50 % is guessing"),
    ("average_precision", "AP", "average precision: guessing reaches the prevalence"),
)


def build_evaluation(inputs: Inputs) -> dict[str, Any]:
    """What the evaluation page's template needs: a section per evaluated partition, test first."""
    evaluated = inputs.evaluated
    return {
        "measures": MEASURES,
        "sections": [
            _build_section(inputs, partition) for partition in reversed(evaluated.partitions)
        ],
    }


def _build_section(inputs: Inputs, partition: str) -> dict[str, Any]:
    evaluated = inputs.evaluated
    table = evaluated.per_attribute[evaluated.per_attribute["partition"] == partition]
    curves = evaluated.curves[evaluated.curves["partition"] == partition]
    largest = table["gain"].abs().max()
    rows = []
    for row in table.to_dict("records"):
        gain = row["gain"]
        behind = not is_undefined(gain) and gain <= 0
        rows.append(
            {
                **row,
                "bar": bar_share(None if is_undefined(gain) else abs(gain), largest),
                "behind": behind,
            }
        )
    bins = bin_probabilities(inputs, partition)
    threshold = float(inputs.trained.model["threshold"])
    return {
        "partition": partition,
        "metrics": evaluated.metrics[partition],
        "subset": describe_subset(inputs, partition),
        "failures": describe_failures(table),
        "without": list_without(evaluated.metrics[partition]),
        "leak_note": describe_leaks(evaluated.metrics[partition], partition),
        "rows": rows,
        "weakest": find_weakest(table),
        "majority_chart": draw_against_majority(table, partition),
        "ap_chart": draw_against_prevalence(
            table, "average_precision", "Average precision", partition
        ),
        "f1_chart": draw_against_prevalence(table, "f1", "F1", partition),
        "threshold_chart": draw_thresholds(curves, threshold, partition),
        "reliability_chart": draw_reliability(bins, partition),
        "calibration_error": calibration_error(bins),
    }


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


def calibration_error(bins: pd.DataFrame) -> float | None:
    """Expected calibration error over the bins (Naeini et al., AAAI 2015); None without labels."""
    filled = bins[bins["n"] > 0]
    if filled.empty:
        return None
    gap = (filled["mean_probability"] - filled["observed"]).abs()
    return float((gap * filled["n"]).sum() / filled["n"].sum())
