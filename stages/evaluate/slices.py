"""Figures of groups of pictures (Male, Young, ... by their labels) and the gaps between them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import (
    Confusion,
    count_confusion,
    divide,
    majority_accuracy,
    mean_defined,
    score_confusion,
)
from stages.common.resample import Resamples, find_interval
from stages.evaluate.part import Part
from stages.evaluate.scores import resample_confusion

log = logging.getLogger(__name__)

#: Scores per group and attribute, each with its gap to the rest of the slice.
GAPS = ("accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1")


@dataclass(frozen=True)
class Group:
    """The pictures whose labels are as named, such as Male=1 Young=0.

    slice: the attributes, joined by +. rows: (N,) bool. rest: (N,) bool, the slice's others.
    """

    slice: str
    name: str
    rows: np.ndarray
    rest: np.ndarray


def choose_slices(
    wanted: Sequence[str | Sequence[str]], attributes: Sequence[str]
) -> list[tuple[str, ...]]:
    """Those of `evaluate.slices` whose attributes the set has; the others are said and skipped."""
    chosen = []
    for entry in wanted:
        names = (entry,) if isinstance(entry, str) else tuple(entry)
        missing = [name for name in names if name not in attributes]
        if missing:
            log.info("evaluate: slice %s is skipped, no %s", "+".join(names), ", ".join(missing))
        else:
            chosen.append(names)
    return chosen


def split_groups(part: Part, names: tuple[str, ...]) -> list[Group]:
    """The 2 or 4 groups of one slice; pictures with an unknown label among `names` are in none."""
    columns = [list(part.attributes).index(name) for name in names]
    known = part.mask[:, columns].all(1)
    groups = []
    for values in product((1, 0), repeat=len(names)):
        rows = known & (part.labels[:, columns] == values).all(1)
        label = " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        groups.append(Group("+".join(names), label, rows, known & ~rows))
    return groups


def score_slices(
    part: Part,
    slices: Sequence[tuple[str, ...]],
    threshold: float,
    resamples: Resamples,
    confidence: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figures per group: means over attributes, then per attribute.

    A gap is the group's figure less that of the slice's other pictures: for a single attribute
    those of its other value. An attribute takes part in the mean of a gap where both sides
    define it.

    Returns:
        Means: partition, slice, group, n_images, n_identities, majority_accuracy (of the same
        constant answers), gain, then every score of GAPS with its interval and its gap's.
        Per attribute: partition, slice, group, attribute, n_known, n_positive, prevalence, then
        every score of GAPS with its gap and the gap's interval. NaN where undefined.
    """
    means, rows = [], []
    for names in slices:
        groups = split_groups(part, names)
        drawn = [resample_confusion(part, threshold, resamples, group.rows) for group in groups]
        total = Confusion(
            *(np.sum(cells, axis=0) for cells in zip(*map(_cells, drawn), strict=True))
        )
        for group, mine in zip(groups, drawn, strict=True):
            others = Confusion(*(a - b for a, b in zip(_cells(total), _cells(mine), strict=True)))
            head = {"partition": part.name, "slice": group.slice, "group": group.name}
            mean, table = _score_group(part, group, threshold, (mine, others), confidence)
            n_people = len(np.unique(resamples.clusters[group.rows]))
            n_images = int(group.rows.sum())
            means.append({**head, "n_images": n_images, "n_identities": n_people, **mean})
            for column, value in reversed(head.items()):
                table.insert(0, column, value)
            rows.append(table)
    return pd.DataFrame(means), pd.concat(rows) if rows else pd.DataFrame()


def _score_group(
    part: Part,
    group: Group,
    threshold: float,
    drawn: tuple[Confusion, Confusion],
    confidence: float,
) -> tuple[dict[str, Any], pd.DataFrame]:
    decided = part.probs > threshold
    mask = part.mask & group.rows[:, None]
    mine = count_confusion(decided, part.labels, mask)
    scores = score_confusion(mine)
    others = score_confusion(count_confusion(decided, part.labels, part.mask & group.rest[:, None]))
    drawn_scores, drawn_others = (score_confusion(confusion) for confusion in drawn)
    base = majority_accuracy(part.majority, part.labels, mask)
    mean: dict[str, Any] = {
        "majority_accuracy": mean_defined(base),
        "gain": mean_defined(scores["accuracy"] - base),
    }
    n_positive = mine.tp + mine.fn
    columns: dict[str, Any] = {
        "attribute": part.attributes,
        "n_known": mine.n,
        "n_positive": n_positive,
        "prevalence": divide(n_positive, mine.n),
    }
    for name in GAPS:
        gap, gaps = scores[name] - others[name], drawn_scores[name] - drawn_others[name]
        low, high = find_interval(gaps, confidence)
        undefined = np.isnan(gap)
        columns |= {
            name: scores[name],
            f"{name}_gap": gap,
            f"{name}_gap_low": np.where(undefined, np.nan, low),
            f"{name}_gap_high": np.where(undefined, np.nan, high),
        }
        for key, values, replicates in (
            (name, scores[name], drawn_scores[name]),
            (f"{name}_gap", gap, gaps),
        ):
            mean |= _mean_with_interval(key, values, replicates, confidence)
    return mean, pd.DataFrame(columns)


def _mean_with_interval(
    key: str, values: np.ndarray, replicates: np.ndarray, confidence: float
) -> Mapping[str, float]:
    """The mean over the attributes that are defined; in a resample, those also defined there."""
    replicates = replicates[:, ~np.isnan(values)]
    defined = ~np.isnan(replicates)
    means = divide(np.where(defined, replicates, 0.0).sum(1), defined.sum(1))
    low, high = find_interval(means, confidence)
    return {key: mean_defined(values), f"{key}_low": float(low), f"{key}_high": float(high)}


def _cells(confusion: Confusion) -> tuple[np.ndarray, ...]:
    return confusion.tp, confusion.fp, confusion.fn, confusion.tn
