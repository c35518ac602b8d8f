"""Runs in order of their accuracy, and only where that is fair: same images, same attributes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import count_confusion, mean_defined, score_confusion
from stages.compare.answers import THRESHOLD
from stages.compare.data import Data, describe_set
from stages.compare.differences import Difference, Drawn
from stages.compare.runs import Run, iter_partitions

#: Above this many runs differences are of each run and the base, no longer of all pairs.
ALL_PAIRS = 12
#: A mean from predictions and the one in metrics.json, of six digits, may differ by this.
ROUNDING = 2e-6
SCORES = ("accuracy", "majority_accuracy", "gain")


@dataclass(frozen=True)
class Row:
    """A run's figures on one partition at THRESHOLD (else at `threshold`, which is then said).

    figures: accuracy, majority_accuracy and gain, each with _low and _high; roc_auc, f1 (means
        over attributes) and micro_roc_auc; NaN where undefined or not known.
    table: a row per attribute: attribute, n_known, prevalence, and SCORES with _low and _high.
    """

    run: Run
    partition: str
    n_images: int
    threshold: float
    figures: dict[str, float]
    table: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ranking:
    """Rows that may be ranked, best first: same data, partition, images, attributes, threshold."""

    partition: str
    attributes: tuple[str, ...]
    n_images: int
    threshold: float
    rows: list[Row]


@dataclass(frozen=True)
class Pair:
    """A difference of two runs on a partition."""

    partition: str
    a: Run
    b: Run
    difference: Difference


@dataclass(frozen=True)
class Group:
    """All about one source of data.

    rankings: valid's first; in each partition those with most runs first.
    base: the run that others are compared with; None where none was evaluated.
    is_named: the user named the base.
    pairs: differences; all pairs up to ALL_PAIRS runs, else those with the base.
    """

    data: Data
    runs: list[Run]
    rankings: list[Ranking]
    base: Run | None
    is_named: bool
    pairs: list[Pair]

    def find_pair(self, partition: str, a: Run, b: Run) -> Difference | None:
        """The difference a - b, or None."""
        for pair in self.pairs:
            if pair.partition == partition and pair.a is a and pair.b is b:
                return pair.difference
        return None


def group_runs(
    runs: Sequence[Run], base: str | None, n_resamples: int, confidence: float, seed: int
) -> list[Group]:
    """Runs by their data; those with the most runs first."""
    sizes = Counter(run.data.digest for run in runs)
    digests = sorted(sizes, key=lambda digest: -sizes[digest])
    groups = []
    for digest in digests:
        mine = [run for run in runs if run.data.digest == digest]
        rankings, pairs = [], []
        drawn = {
            partition: Drawn(n_resamples, confidence, (seed, k))
            for k, partition in enumerate(("valid", "test"))
        }
        for partition in iter_partitions(mine):
            rankings += rank_runs(mine, partition, drawn[partition])
        chosen = next((run for run in mine if run.name == base), None)
        reference = chosen or find_reference(rankings)
        for partition in iter_partitions(mine):
            pairs += compare_runs(mine, reference, partition, drawn[partition])
        # Of several digests' manifests one may be missing in the cache.
        data = next((run.data for run in mine if run.data.extent is not None), mine[0].data)
        groups.append(Group(data, mine, rankings, reference, chosen is not None, pairs))
    return groups


def find_reference(rankings: Sequence[Ranking]) -> Run | None:
    """The best run of the first ranking whose answers are there to be compared, else the best."""
    if not rankings:
        return None
    runs = [row.run for row in rankings[0].rows]
    return next((run for run in runs if rankings[0].partition in run.answers), runs[0])


def rank_runs(runs: Sequence[Run], partition: str, drawn: Drawn) -> list[Ranking]:
    """Rankings of one partition: runs with the same images, attributes and threshold together."""
    sets: dict[tuple[Any, ...], list[Row]] = {}
    for run in runs:
        if partition in run.metrics:
            row = score_run(run, partition, drawn)
            same = describe_set(run.params, partition)
            key = (row.n_images, row.threshold, frozenset(run.attributes), same)
            sets.setdefault(key, []).append(row)
    rankings = [
        Ranking(
            partition,
            rows[0].run.attributes,
            rows[0].n_images,
            rows[0].threshold,
            sorted(rows, key=lambda row: (-_or_lowest(row.figures["accuracy"]), row.run.name)),
        )
        for rows in sets.values()
    ]
    return sorted(rankings, key=lambda one: (-len(one.rows), -len(one.attributes), -one.n_images))


def compare_runs(runs: Sequence[Run], base: Run | None, partition: str, drawn: Drawn) -> list[Pair]:
    """Differences of runs with answers for a partition, each pair in both directions."""
    able = [run for run in runs if partition in run.answers]
    is_all = compares_all(runs, partition)
    found = []
    for k, a in enumerate(able):
        for b in able[k + 1 :]:
            if not is_all and base is not a and base is not b:
                continue
            for one, other in ((a, b), (b, a)):
                difference = drawn.compare(one.answers[partition], other.answers[partition])
                if difference is not None:
                    found.append(Pair(partition, one, other, difference))
    return found


def compares_all(runs: Sequence[Run], partition: str) -> bool:
    """Whether all pairs of runs with answers for a partition are compared, or each and the base."""
    return sum(partition in run.answers for run in runs) <= ALL_PAIRS


def score_run(run: Run, partition: str, drawn: Drawn) -> Row:
    """A run's figures: from its answers where they are there, else from what git holds."""
    told = run.metrics[partition]
    table = run.table[run.table["partition"] == partition].reset_index(drop=True)
    threshold = float(run.params.get("evaluate", {}).get("threshold", THRESHOLD))
    notes: list[str] = []
    figures = {name: _number(told.get(name)) for name in (*SCORES, "f1", "roc_auc")}
    figures["micro_roc_auc"] = _number(told.get("micro_roc_auc"))
    interval = told.get("interval", {})
    for name in SCORES:
        for end in ("low", "high"):
            figures[f"{name}_{end}"] = _number(interval.get(f"{name}_{end}"))
    answers = run.answers.get(partition)
    if answers is None or "majority_class" not in table:
        scores = [f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")]
        table = table.reindex(columns=["attribute", "n_known", "prevalence", *scores])
        if threshold != THRESHOLD:
            notes.append(f"its figures are at threshold {threshold:g}")
        return Row(run, partition, int(told["n_images"]), threshold, figures, table, tuple(notes))
    scored = drawn.score(answers, table["majority_class"].to_numpy(np.uint8))
    columns: dict[str, Any] = {
        "attribute": list(answers.attributes),
        "n_known": answers.mask.sum(0),
        "prevalence": table["prevalence"],
    }
    for name, one in zip(SCORES, scored, strict=True):
        columns |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        figures |= {name: one.mean, f"{name}_low": one.mean_low, f"{name}_high": one.mean_high}
    counts = count_confusion(answers.positive, answers.labels, answers.mask)
    figures["f1"] = mean_defined(score_confusion(counts)["f1"])
    if threshold == THRESHOLD and abs(figures["accuracy"] - _number(told["accuracy"])) > ROUNDING:
        notes.append(
            f"metrics.json says {told['accuracy']:.6f} on {partition}, its predictions "
            f"{figures['accuracy']:.6f}"
        )
    elif threshold != THRESHOLD:
        notes.append(f"evaluated at threshold {threshold:g}, compared at {THRESHOLD:g}")
    n_images = len(answers.image_ids)
    return Row(run, partition, n_images, THRESHOLD, figures, pd.DataFrame(columns), tuple(notes))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _or_lowest(value: float) -> float:
    return float("-inf") if value != value else value
