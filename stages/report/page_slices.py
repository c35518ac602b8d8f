"""The page about groups of pictures: how far the model's figures differ between them."""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from stages.report.charts_mistakes import draw_gap_map, draw_slices
from stages.report.inputs import Inputs
from stages.report.measures import ACCURACY, BALANCED, F1, PRECISION, RECALL, SPECIFICITY, Measure
from stages.report.page_index import main_partition
from stages.report.words import (
    between,
    count,
    decimal,
    is_undefined,
    listed,
    percent,
    points,
    records,
)

#: A group of fewer images or people than this is marked as small: its figures say little.
SMALL_IMAGES, SMALL_PEOPLE = 100, 30
#: A group's recall of an attribute is worth a sentence from this many positives on.
MIN_POSITIVES = 30
N_SENTENCES = 6
#: Scores of a group, shown with their gaps.
SCORES = (ACCURACY, BALANCED, RECALL, SPECIFICITY, PRECISION, F1)
GAPS = tuple(
    Measure(f"{m.key}_gap", f"{m.heading} gap", f"{m.heading.lower()} less that of the others",
            "points")
    for m in SCORES
)  # fmt: skip


def build_slices(inputs: Inputs) -> dict[str, Any]:
    """What the slices page's template needs: a section per evaluated partition, test first."""
    evaluated, main = inputs.evaluated, main_partition(inputs)
    order = (*reversed(evaluated.partitions), *(p for p in evaluated.parts if p == "extra"))
    sections = [groups for part in order if (groups := build_groups(inputs, part))]
    table = evaluated.slices_by_attribute
    table = name_groups(table[table["partition"] == main])
    table = table[(table["n_known"] > 0) & ~table["is_complement"]]
    order = table["accuracy_gap"].sort_values(kind="stable").index
    return {
        "sections": sections,
        "main": main,
        "confidence": evaluated.confidence,
        "scores": SCORES,
        "gaps": GAPS,
        "by_attribute": records(table.loc[order]),
        "by_attribute_gaps": [gap for gap in GAPS if gap.key not in ("precision_gap", "f1_gap")],
        "gap_chart": draw_gap_map(table),
        "attribute_sentences": describe_attribute_gaps(table, evaluated.confidence),
        "small": f"fewer than {SMALL_IMAGES} images or {SMALL_PEOPLE} people",
    }


def build_groups(inputs: Inputs, partition: str) -> dict[str, Any] | None:
    """Chart, rows and sentences about the groups of one partition; None where there are none."""
    slices = inputs.evaluated.slices
    groups = name_groups(slices[slices["partition"] == partition])
    if groups.empty:
        return None
    return {
        "partition": partition,
        "rows": records(groups),
        "chart": draw_slices(groups, partition),
        "sentences": describe_gaps(groups),
    }


def name_groups(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a label in words per group, whether it is small, and whether it is the rest.

    is_complement: the second group of a slice by one attribute, whose gaps are those of the first
    with the other sign. is_small: only where the table counts images and people.
    """
    values = [parse_group(group) for group in table["group"]]
    table = table.assign(
        label=[label_group(pairs) for pairs in values],
        is_complement=[len(pairs) == 1 and not pairs[0][1] for pairs in values],
    )
    if "n_images" in table.columns:
        few = (table["n_images"] < SMALL_IMAGES) | (table["n_identities"] < SMALL_PEOPLE)
        table = table.assign(is_small=few)
    return table


def parse_group(group: str) -> list[tuple[str, bool]]:
    """'Male=1 Young=0' as pairs of a name and whether it is borne."""
    return [(name, value == "1") for name, value in re.findall(r"(.+?)=([01])(?: |$)", group)]


def label_group(pairs: Sequence[tuple[str, bool]]) -> str:
    """The group in words: 'Male & not Young'."""
    return " & ".join(name if borne else f"not {name}" for name, borne in pairs)


def find_behind(groups: pd.DataFrame) -> pd.DataFrame:
    """Groups whose mean accuracy is clearly below that of the slice's other pictures, worst first.

    Clearly: the interval of the gap lies below zero.
    """
    return groups[groups["accuracy_gap_high"] < 0].sort_values("accuracy_gap", kind="stable")


def describe_gaps(groups: pd.DataFrame) -> list[str]:
    """Where the model fails, group by group, in sentences."""
    behind = find_behind(groups)
    found = []
    for row in records(behind[:N_SENTENCES]):
        small = " It is a small group." if row["is_small"] else ""
        found.append(
            f"Clearly worse on {row['label']}: {percent(row['accuracy'], 2)} mean accuracy, "
            f"{decimal(-100 * row['accuracy_gap'], 2)} points less than on the others (interval "
            f"{between(row, 'accuracy_gap', 2)}).{small}"
        )
    if len(behind) > N_SENTENCES:
        found.append(f"{len(behind) - N_SENTENCES} more groups are clearly behind: see the table.")
    if behind.empty:
        found.append("No group is clearly behind the others in mean accuracy.")
    low, high = groups["accuracy_gap_low"], groups["accuracy_gap_high"]
    unclear = groups[(low <= 0) & (high >= 0) & ~groups["is_complement"]]["label"]
    if len(unclear):
        found.append(f"Differences that could be chance: {listed(unclear.tolist())}.")
    known = groups.dropna(subset=["gain"])
    if len(known):
        worst = known.loc[known["gain"].idxmin()]
        found.append(
            f"Least is gained over the majority class on {worst['label']}: "
            f"{points(worst['gain'], 2)} points."
        )
    return found


def describe_attribute_gaps(table: pd.DataFrame, confidence: float | None) -> list[str]:
    """The largest clear gaps of single attributes, and how many would be clear by chance."""
    known = table.dropna(subset=["accuracy_gap_low", "accuracy_gap_high"])
    if known.empty:
        return []
    n_clear = int(((known["accuracy_gap_low"] > 0) | (known["accuracy_gap_high"] < 0)).sum())
    text = f"Of {count(len(known))} gaps of accuracy, {count(n_clear)} exclude zero"
    if confidence is not None:
        text += f"; about {count(round((1 - confidence) * len(known)))} would by chance alone"
    found = [f"{text}."]
    for key, word in (("recall", "found less often"), ("specificity", "named wrongly more often")):
        n = table["n_positive"] if key == "recall" else table["n_known"] - table["n_positive"]
        gaps = table[(table[f"{key}_gap_high"] < 0) & (n >= MIN_POSITIVES)]
        gaps = gaps.sort_values(f"{key}_gap", kind="stable")[:3]
        said = [
            f"{row['attribute']} on {row['label']} ({points(row[f'{key}_gap'])} points)"
            for row in records(gaps)
            if not is_undefined(row[f"{key}_gap"])
        ]
        if said:
            what = "Positives" if key == "recall" else "Negatives"
            found.append(f"{what} {word} than on the others: {listed(said)}.")
    return found
