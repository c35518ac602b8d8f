"""One page per attribute, and the overview that leads to them."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.common.files import read_manifest
from stages.report.answers import Answers, Ladder, build_ladder, read_answers
from stages.report.charts_attribute import draw_spark
from stages.report.inputs import Inputs
from stages.report.page_index import describe_subset
from stages.report.part_attribute import GAPS, SCORES, Grouped, build_part, group_tables
from stages.report.pictures import (
    Small,
    choose_rows,
    count_shown,
    encode_heats,
    encode_small,
    place_seen,
    read_saliency,
)
from stages.report.sentences_attribute import describe_doubts
from stages.report.shots import (
    GALLERIES,
    Doubts,
    Shot,
    collect_doubts,
    count_contradicted,
    find_places,
    read_qualities,
    score_without,
    take_doubted,
    take_shots,
)
from stages.report.words import bar_share, counted, is_undefined, records

#: The order in which partitions stand on a page.
PARTS = ("test", "valid", "extra")
SLUG_CHARS = 40


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind."""

    kind: str
    heading: str
    note: str
    shots: list[Shot]


@dataclass(frozen=True)
class Page:
    """One attribute: its file, and what the template needs."""

    attribute: str
    file: str
    context: dict[str, Any]


@dataclass(frozen=True)
class Material:
    """What all pages are made from, each thing read once."""

    inputs: Inputs
    attributes: list[str]
    files: dict[str, str]
    threshold: float
    answers: dict[str, Answers]
    places: dict[str, tuple[str, int]]
    tables: Grouped
    doubts: Doubts
    galleries: dict[str, list[Gallery]]
    doubted: dict[str, list[Shot]]
    pictures: dict[str, Small]
    has_heat: bool


def name_files(attributes: Sequence[str]) -> dict[str, str]:
    """A file name per attribute: its place, which no other has, and what is plain of its name."""
    width = len(str(len(attributes)))
    files = {}
    for place, name in enumerate(attributes, 1):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        slug = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:SLUG_CHARS].strip("-")
        files[name] = f"attribute-{place:0{width}d}{'-' if slug else ''}{slug}.html"
    return files


def gather(inputs: Inputs, evaluate: Path, audit: Path) -> Material:
    """Choose the pictures of all pages and decode each once.

    Args:
        inputs: Of the report.
        evaluate: The folder data/evaluate, for the heat maps and the threshold in use.
        audit: The folder data/audit, for the quality of labels.
    """
    attributes: list[str] = inputs.trained.model["attributes"]
    threshold = read_manifest(evaluate).get("threshold", inputs.trained.model["threshold"])
    answers = {p: read_answers(inputs, p) for p in PARTS if p in inputs.evaluated.partitions}
    shown = next(iter(answers.values()), None)
    places, doubts = find_places(answers), collect_doubts(inputs)
    qualities = read_qualities(audit, inputs, answers)
    saliency, n = read_saliency(evaluate), count_shown(len(attributes))
    galleries: dict[str, list[Gallery]] = {}
    doubted: dict[str, list[Shot]] = {}
    for column, name in enumerate(attributes):
        rows = saliency.get(name)
        heats = encode_heats(rows)
        chosen = choose_rows(shown, column, threshold, rows, n) if shown else {}
        galleries[name] = [
            Gallery(kind, heading, note, take_shots(
                shown, chosen[kind], name, column, threshold, doubts, heats
            ))
            for kind, heading, note in GALLERIES
            if shown is not None
        ]  # fmt: skip
        doubted[name] = take_doubted(answers, places, name, column, threshold, doubts, qualities, n)
    every = [*(g.shots for found in galleries.values() for g in found), *doubted.values()]
    wanted = {shot.image_id for shots in every for shot in shots}
    return Material(
        inputs=inputs,
        attributes=attributes,
        files=name_files(attributes),
        threshold=float(threshold),
        answers=answers,
        places=places,
        tables=group_tables(inputs),
        doubts=doubts,
        galleries=galleries,
        doubted=doubted,
        pictures=encode_small(inputs.folder, wanted),
        has_heat=any(rows["heat"].notna().any() for rows in saliency.values()),
    )


def build_pages(material: Material) -> Iterator[Page]:
    """Yield the page of every attribute that was evaluated, in the model's order."""
    names = material.attributes if material.inputs.evaluated.parts else []
    for column, name in enumerate(names):
        yield Page(name, material.files[name], _build_page(material, column, name))


def _build_page(material: Material, column: int, name: str) -> dict[str, Any]:
    inputs, files, names = material.inputs, material.files, material.attributes
    crop_px = inputs.trained.model["crop_px"]
    galleries, doubted = material.galleries[name], material.doubted[name]
    ids = dict.fromkeys(s.image_id for s in [s for g in galleries for s in g.shots] + doubted)
    pictures = {
        image_id: {
            "key": f"picture-{k}",
            "small": material.pictures[image_id],
            "seen": place_seen(material.pictures[image_id], crop_px),
        }
        for k, image_id in enumerate(i for i in ids if i in material.pictures)
    }
    found = material.doubts.by_attribute.get(name)
    flagged = pd.DataFrame(columns=["image_id", "partition"])
    if found is not None:
        flagged = found[found["flagged"]]
    contradicted, without = None, None
    shown = next(iter(material.answers.values()), None)
    if shown is not None:
        contradicted = count_contradicted(
            material.answers, material.places, flagged, column, material.threshold
        )
        without = score_without(shown, flagged, column, material.threshold)
    return {
        "attribute": name,
        "place": column + 1,
        "n_attributes": len(names),
        "previous": (names[column - 1], files[names[column - 1]]) if column else None,
        "next": (names[column + 1], files[names[column + 1]]) if column + 1 < len(names) else None,
        "files": files,
        "threshold": material.threshold,
        "parts": [
            {
                **build_part(
                    part, name, material.tables, material.answers.get(part), column,
                    material.threshold,
                ),
                "subset": "" if part == "extra" else describe_subset(inputs, part),
            }
            for part in PARTS
            if part in inputs.evaluated.parts
        ],
        "gaps": GAPS,
        "scores": SCORES,
        "galleries": galleries,
        "shown": shown.partition if shown else None,
        "doubts": describe_doubts(flagged, contradicted, without),
        "doubted": doubted,
        "pictures": pictures,
        "has_heat": material.has_heat,
    }  # fmt: skip


def build_overview(material: Material) -> dict[str, Any]:
    """The table of all attributes on the partition that headlines speak of."""
    inputs = material.inputs
    part = next((p for p in PARTS if p in inputs.evaluated.parts), None)
    rows = []
    table = inputs.evaluated.per_attribute
    flagged = pd.Series([name for _, name in material.doubts.flagged], dtype=object).value_counts()
    if part is not None:
        table = table[table["partition"] == part]
        largest = table["gain"].abs().max()
        column_of = {name: k for k, name in enumerate(material.attributes)}
        for row in records(table):
            name, gain = row["attribute"], row["gain"]
            ladder = _find_ladder(material.answers.get(part), column_of[name])
            rows.append(
                {
                    **row,
                    "file": material.files[name],
                    "bar": bar_share(None if is_undefined(gain) else abs(gain), largest),
                    "behind": not is_undefined(gain) and gain <= 0,
                    "spark": draw_spark(ladder) if ladder else "",
                    "n_flagged": int(flagged.get(name, 0)),
                }
            )
    clear = table.dropna(subset=["gain_low"]) if part else table[:0]
    return {
        "part": part,
        "rows": rows,
        "n_pages": counted(len(rows), "attribute"),
        "n_clear": int((clear["gain_low"] > 0).sum()),
        "has_interval": len(clear) > 0,
    }


def _find_ladder(answers: Answers | None, column: int) -> Ladder | None:
    if answers is None:
        return None
    known = answers.known[:, column]
    return build_ladder(answers.probs[known, column], answers.labels[known, column])
