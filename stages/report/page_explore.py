"""The page about what the data is: labels, partitions, identities, pictures (explore)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from stages.common.tables import PARTITIONS
from stages.report.charts_data import (
    draw_agreement,
    draw_cooccurrence,
    draw_identities,
    draw_prevalence,
)
from stages.report.charts_labels import draw_cardinality, draw_conditional, draw_shifts
from stages.report.inputs import Inputs
from stages.report.words import records

N_PAIRS = 12
#: Rows of the table of all pairs; with more, those of the largest |phi|.
MAX_PAIRS = 800
#: Attributes on the maps of pairs; with more, those of the strongest pairs.
MAX_MAPPED = 60
#: The test's level, which is the explore stage's too.
MAX_ALPHA = 0.05

TOPICS = {
    "labels": "Labels",
    "partitions": "Partitions",
    "pairs": "Pairs of attributes",
    "identities": "Identities",
    "pictures": "Pictures",
}

STATISTIC_NAMES = {
    "height_px": ("height", "px"),
    "width_px": ("width", "px"),
    "bytes": ("file size", "bytes"),
    "brightness": ("brightness", "mean gray, 0 to 255"),
    "contrast": ("contrast", "standard deviation of gray"),
    "sharpness": ("sharpness", "variance of the Laplacian"),
    "colorfulness": ("colourfulness", "Hasler and Süsstrunk"),
}


def build_explore(inputs: Inputs) -> dict[str, Any]:
    """What the explore page's template needs."""
    explored = inputs.explored
    partitions = [p for p in PARTITIONS if f"prevalence_{p}" in explored.prevalence.columns]
    pairs = explored.cooccurrence.dropna(subset=["phi"])
    pairs = pairs.loc[pairs["phi"].abs().sort_values(ascending=False, kind="stable").index]
    mapped = choose_mapped(pairs, inputs.attributes)
    identities = explored.identities
    consistency = explored.consistency.dropna(subset=["agreement"])
    imbalance = explored.imbalance.dropna(subset=["prevalence"])
    return {
        "topics": [
            (TOPICS.get(topic, topic), lines)
            for topic, lines in explored.summary["findings"].items()
            if lines
        ],
        "partitions": partitions,
        "prevalence": records(explored.prevalence),
        "prevalence_chart": draw_prevalence(explored.prevalence) if len(imbalance) else None,
        "imbalance": records(
            imbalance.sort_values("majority_share", ascending=False, kind="stable")
        ),
        "shifts_chart": draw_shifts(explored.shifts, MAX_ALPHA),
        "shifts": describe_pairs_of_partitions(explored.shifts),
        "cardinality_chart": draw_cardinality(explored.cardinality),
        "cardinality": describe_cardinality(explored.cardinality),
        "cooccurrence_chart": draw_cooccurrence(pairs, mapped) if len(pairs) else None,
        "conditional_chart": draw_conditional(pairs, mapped) if len(pairs) else None,
        "n_mapped": len(mapped),
        "together": records(pairs[pairs["phi"] > 0][:N_PAIRS]),
        "apart": records(pairs[pairs["phi"] < 0][:N_PAIRS]),
        "pairs": records(pairs[:MAX_PAIRS]),
        "n_pairs": len(pairs),
        "identities_chart": draw_identities(identities)
        if len(identities) and identities["n_identities"].sum()
        else None,
        "agreement_chart": draw_agreement(consistency) if len(consistency) else None,
        "people": describe_people(identities),
        "steady": _by_agreement(consistency, ascending=False),
        "unsteady": _by_agreement(consistency, ascending=True),
        "images": [
            {**row, "name": STATISTIC_NAMES.get(row["statistic"], (row["statistic"], ""))}
            for row in records(explored.images)
        ],
    }


def choose_mapped(pairs: pd.DataFrame, attributes: Sequence[str]) -> list[str]:
    """At most MAX_MAPPED of the attributes, those of the strongest pairs, in their own order."""
    if len(attributes) <= MAX_MAPPED:
        return list(attributes)
    ranked = pairs[["attribute_a", "attribute_b"]].to_numpy().ravel()
    strongest = set(pd.unique(ranked)[:MAX_MAPPED])
    return [name for name in attributes if name in strongest]


def describe_pairs_of_partitions(shifts: pd.DataFrame) -> list[dict[str, Any]]:
    """The tests of each pair of partitions, largest effect first, and how many found something."""
    described = []
    for (first, second), rows in shifts.groupby(["first", "second"], sort=False):
        tests = rows.dropna(subset=["p_corrected"])
        order = tests["effect"].abs().sort_values(ascending=False, kind="stable").index
        named = tests["p_identities"].notna().any()
        sure = tests[tests["p_corrected"] < MAX_ALPHA]
        described.append(
            {
                "first": first,
                "second": second,
                "rows": records(tests.loc[order]),
                "n_tests": len(tests),
                "n_sure": len(sure),
                "n_sure_identities": int((sure["p_identities"] < MAX_ALPHA).sum())
                if named
                else None,
            }
        )
    return [entry for entry in described if entry["n_tests"]]


def describe_cardinality(cardinality: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean, median and range of the attributes of an image, per partition and over all."""
    parts = [(p, cardinality[cardinality["partition"] == p]) for p in PARTITIONS]
    parts = [(p, rows) for p, rows in parts if len(rows)]
    if len(parts) > 1:
        parts.append(("all", cardinality))
    return [{"partition": p, **_summarise_counts(rows)} for p, rows in parts]


def _summarise_counts(rows: pd.DataFrame) -> dict[str, Any]:
    values = rows["n_positive"].repeat(rows["n_images"])
    return {
        "n_images": len(values),
        "mean": values.mean(),
        "std": values.std(ddof=0),
        "low": values.min(),
        "median": values.median(),
        "high": values.max(),
    }


def describe_people(identities: pd.DataFrame) -> dict[str, Any]:
    """Count of identities, their median and largest number of images, those with a single one."""
    sizes = identities["n_images"].repeat(identities["n_identities"])
    return {
        "n": len(sizes),
        "median": sizes.median() if len(sizes) else None,
        "most": sizes.max() if len(sizes) else None,
        "single": int((sizes == 1).sum()),
    }


def _by_agreement(consistency: pd.DataFrame, ascending: bool) -> list[str]:
    ranked = consistency.sort_values("agreement", ascending=ascending, kind="stable")
    return list(ranked["attribute"][:4])
