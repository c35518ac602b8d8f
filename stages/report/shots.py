"""The pictures beside an attribute's figures: mistakes, a sample, and labels in doubt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.tables import SCORES, read_table, scores_schema
from stages.report.answers import Answers
from stages.report.inputs import Inputs
from stages.report.pictures import Heat
from stages.report.words import percent

#: Findings of the audit that are about one label.
LABEL_CHECKS = ("mislabel", "label_conflict", "label_rule")
GALLERIES = (
    ("false_positive", "Surest false alarms", "Labelled no, answered yes with most certainty."),
    ("false_negative", "Surest misses", "Labelled yes, answered no with most certainty."),
    ("random", "Drawn at random", "From all pictures with a known label, right and wrong answers."),
)


@dataclass(frozen=True)
class Shot:
    """One picture with its label and answer; heat None where there is no heat map.

    is_right is None, and probability NaN, where the label is not known. score: the audit's.
    """

    image_id: str
    partition: str
    label: bool
    probability: float
    is_right: bool
    is_doubted: bool
    heat: Heat | None = None
    score: float | None = None
    detail: str = ""

    @property
    def alt(self) -> str:
        """What the picture is, for those who do not see it."""
        said = "yes" if self.label else "no"
        verdict = "right" if self.is_right else "wrong"
        return (
            f"{self.image_id}: labelled {said}, probability given {percent(self.probability)}, "
            f"{verdict}"
        )


@dataclass(frozen=True)
class Doubts:
    """Findings of the audit about labels, each label once, the most suspicious first.

    by_attribute: image_id, partition, score, flagged, detail. flagged: pairs of image_id and
    attribute.
    """

    by_attribute: Mapping[str, pd.DataFrame]
    flagged: frozenset[tuple[str, str]]


def collect_doubts(inputs: Inputs) -> Doubts:
    """Sort the audit's findings about labels."""
    issues = inputs.audited.issues
    issues = issues[issues["check"].isin(LABEL_CHECKS) & issues["attribute"].notna()]
    where = inputs.annotations.set_index("image_id")["partition"]
    table = pd.DataFrame(
        {
            "image_id": issues["image_id"],
            "attribute": issues["attribute"],
            "partition": where.reindex(issues["image_id"]).to_numpy(),
            "score": issues["score"].astype(float),
            "flagged": issues["flagged"].astype(bool),
            "detail": issues["detail"].fillna("").astype(str),
        }
    )
    table = table.sort_values(
        ["flagged", "score", "image_id"], ascending=[False, True, True], kind="stable"
    ).drop_duplicates(["image_id", "attribute"])
    flagged = table[table["flagged"]]
    return Doubts(
        {str(name): rows for name, rows in table.groupby("attribute", sort=False)},
        frozenset(zip(flagged["image_id"], flagged["attribute"], strict=True)),
    )


def take_shots(
    answers: Answers,
    rows: Sequence[int],
    attribute: str,
    column: int,
    threshold: float,
    doubts: Doubts,
    heats: Mapping[str, Heat],
) -> list[Shot]:
    """Pictures of one partition, by their rows among its answers."""
    shots = []
    for row in rows:
        image_id = str(answers.image_ids[row])
        label, prob = bool(answers.labels[row, column]), float(answers.probs[row, column])
        doubted = (image_id, attribute) in doubts.flagged
        right = (prob > threshold) == label
        heat = heats.get(image_id)
        shots.append(Shot(image_id, answers.partition, label, prob, right, doubted, heat))
    return shots


def take_doubted(
    every: Mapping[str, Answers],
    places: Mapping[str, tuple[str, int]],
    attribute: str,
    column: int,
    threshold: float,
    doubts: Doubts,
    qualities: Mapping[str, NDArray[np.float32]],
    limit: int,
) -> list[Shot]:
    """The evaluated pictures whose label of the attribute the audit doubts most.

    First what it found, flagged before the rest, then the labels of the lowest quality.

    Args:
        every: Answers by partition.
        places: image_id to its partition and row there.
        attribute: Its name.
        column: Its place among the answers.
        threshold: In use.
        doubts: The audit's.
        qualities: Label quality (N, A) by partition, beside its answers; NaN where not judged.
        limit: At most so many.
    """
    chosen: dict[tuple[str, int], tuple[float, bool, str]] = {}
    found = doubts.by_attribute.get(attribute)
    if found is not None:
        for entry in found[found["partition"].isin(list(every))].itertuples():
            if entry.image_id in places and len(chosen) < limit:
                said = (float(entry.score), bool(entry.flagged), tidy(entry.detail))
                chosen[places[entry.image_id]] = said
    lowest: list[tuple[float, str, int]] = []
    for partition, quality in qualities.items():
        mine = quality[:, column].astype(np.float64)
        order = np.argsort(np.where(np.isnan(mine), 2.0, mine), kind="stable")[:limit]
        lowest += [(float(mine[row]), partition, int(row)) for row in order]
    for score, partition, row in sorted(entry for entry in lowest if entry[0] == entry[0]):
        if len(chosen) < limit:
            chosen.setdefault((partition, row), (score, False, ""))
    shots = []
    for (partition, row), (score, is_flagged, detail) in chosen.items():
        answers = every[partition]
        if answers.known[row, column]:
            label, prob = bool(answers.labels[row, column]), float(answers.probs[row, column])
            shots.append(
                Shot(
                    str(answers.image_ids[row]), partition, label, prob,
                    (prob > threshold) == label, is_flagged, None, score, detail,
                )
            )  # fmt: skip
    return shots


def read_qualities(
    audit: Path, inputs: Inputs, every: Mapping[str, Answers]
) -> dict[str, NDArray[np.float32]]:
    """The audit's scores of labels (N, A) by partition, beside the answers; 1 = fine, NaN = none.

    Raises:
        FacetError: scores.parquet is missing or has other columns.
    """
    table = read_table(audit / SCORES, scores_schema(inputs.attributes)).set_index("image_id")
    table = table[inputs.trained.model["attributes"]]
    return {
        name: table.reindex(answers.image_ids).to_numpy(np.float32)
        for name, answers in every.items()
    }


def tidy(detail: str) -> str:
    """The audit's reasons without the first, which repeats the label."""
    return "; ".join(part.strip() for part in detail.split(";")[1:]) or detail


def find_places(every: Mapping[str, Answers]) -> dict[str, tuple[str, int]]:
    """image_id -> partition, row among its answers."""
    return {
        str(image_id): (name, row)
        for name, answers in every.items()
        for row, image_id in enumerate(answers.image_ids)
    }


def count_contradicted(
    every: Mapping[str, Answers],
    places: Mapping[str, tuple[str, int]],
    flagged: pd.DataFrame,
    column: int,
    threshold: float,
) -> int:
    """Of flagged labels of evaluated pictures, those that the model answers otherwise."""
    n = 0
    for answers, row in _find_rows(every, places, flagged):
        said = answers.probs[row, column] > threshold
        n += bool(answers.known[row, column] and said != answers.labels[row, column])
    return n


def score_without(
    answers: Answers, flagged: pd.DataFrame, column: int, threshold: float
) -> dict[str, Any]:
    """Accuracy on one partition without the labels that the audit flags; None without any left."""
    trusted = answers.known[:, column].copy()
    doubted = np.isin(answers.image_ids, flagged["image_id"].to_numpy(object))
    n = int((trusted & doubted).sum())
    trusted &= ~doubted
    said = answers.probs[trusted, column] > threshold
    right = said == answers.labels[trusted, column]
    accuracy = float(right.mean()) if len(right) else None
    return {"partition": answers.partition, "n": n, "accuracy": accuracy}


def _find_rows(
    every: Mapping[str, Answers], places: Mapping[str, tuple[str, int]], flagged: pd.DataFrame
) -> Iterator[tuple[Answers, int]]:
    for image_id in flagged["image_id"]:
        if image_id in places:
            partition, row = places[image_id]
            yield every[partition], row
