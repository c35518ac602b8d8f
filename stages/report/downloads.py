"""Tables that lie beside the pages: what a page shows a part of, in full."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.common.files import write_text
from stages.report.inputs import Inputs
from stages.report.people import People


@dataclass(frozen=True)
class Download:
    """A CSV file in the site's folder."""

    name: str
    title: str
    n_rows: int


def write_downloads(inputs: Inputs, folder: Path) -> dict[str, Download]:
    """Write all findings, the leaks among them and the table of attributes; by key.

    Findings come as the audit sorted them, with the facts that a reviewer needs beside them;
    scores: 1 = fine, 0 = certainly wrong.
    """
    issues = list_findings(inputs)
    leaks = issues[issues["check"] == "leak"].drop(columns=["attribute", "label"])
    tables = {
        "issues": ("issues.csv", "All findings", issues),
        "leaks": ("leaks.csv", "All leaks", leaks),
        "attributes": ("attributes.csv", "Doubts by attribute", inputs.audited.by_attribute),
    }
    for name, _, table in tables.values():
        write_text(folder / name, table.to_csv(index=False, lineterminator="\n"))
    return {key: Download(name, title, len(table)) for key, (name, title, table) in tables.items()}


def list_findings(inputs: Inputs) -> pd.DataFrame:
    """issues.parquet with partition, identity and label of each image, and its relative's."""
    issues = inputs.audited.issues
    people = People(inputs.annotations, inputs.attributes)
    related = [other if isinstance(other, str) else "" for other in issues["related_id"]]
    names = [name if isinstance(name, str) else "" for name in issues["attribute"]]
    ids = issues["image_id"].tolist()
    return pd.DataFrame(
        {
            "image_id": ids,
            "partition": [people.partition(image_id) for image_id in ids],
            "identity": [people.identity(image_id) for image_id in ids],
            "check": issues["check"],
            "attribute": names,
            "label": [
                people.label(image_id, name) if name else ""
                for image_id, name in zip(ids, names, strict=True)
            ],
            "related_id": related,
            "related_partition": [people.partition(other) if other else "" for other in related],
            "related_identity": [people.identity(other) if other else None for other in related],
            "score": issues["score"].astype(float).round(4),
            "flagged": issues["flagged"].astype(bool),
            "detail": issues["detail"],
        }
    )
