"""What a model answered, beside the labels: from DVC's cache or the workspace."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from stages.common.files import read_json
from stages.common.results import Results
from stages.common.shards import read_partition
from stages.common.tables import (
    ANNOTATIONS,
    PREDICTIONS,
    label_arrays,
    predictions_schema,
    read_table,
)

#: Of the field's protocol; a probability above it decides for 1.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Answers:
    """Answers of one model for one partition of N images, by image_id.

    attributes: A names. image_ids: (N,) sorted. identities: (N,), None where unknown.
    right: (N, A) bool, the answer at THRESHOLD is the label's.
    positive: (N, A) bool, the answer. labels: (N, A) uint8. mask: (N, A) bool, label known.
    """

    attributes: tuple[str, ...]
    image_ids: np.ndarray
    identities: np.ndarray
    positive: np.ndarray
    labels: np.ndarray
    mask: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N, A) bool: label known, and answered so."""
        return (self.positive == self.labels.astype(bool)) & self.mask


def read_answers(
    results: Results, partitions: Sequence[str], attributes: Sequence[str]
) -> tuple[dict[str, Answers], list[str]]:
    """Answers per partition, and sentences about what is missing for them."""
    predictions = results.fetch(f"data/evaluate/{PREDICTIONS}")
    manifest = results.fetch("data/evaluate/manifest.json")
    if predictions is None or manifest is None:
        return {}, ["its predictions are not in DVC’s cache: no intervals of differences"]
    if read_json(manifest).get("weights_sha256") != results.weights_sha256:
        return {}, ["its predictions are of other weights: no intervals of differences"]
    names = tuple(pq.read_schema(predictions).names[2:])
    if set(names) != set(attributes):
        return {}, ["its predictions are of other attributes: no intervals of differences"]
    table = read_table(predictions, predictions_schema(names))
    answers = {}
    for partition in partitions:
        rows = table[table["partition"] == partition].sort_values("image_id")
        found = read_labels(results, partition, rows["image_id"], attributes)
        if found is None:
            return {}, ["its labels are not in DVC’s cache: no intervals of differences"]
        identities, labels, mask = found
        answers[partition] = Answers(
            tuple(attributes),
            rows["image_id"].to_numpy(),
            identities,
            rows[list(attributes)].to_numpy() > THRESHOLD,
            labels,
            mask,
        )
    return answers, []


def read_labels(
    results: Results, partition: str, image_ids: pd.Series, attributes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Identities (N,), labels (N, A) and mask (N, A) of some images, as evaluate saw them.

    From prepare's shards or, where those are gone, the source's annotations, which say the same of
    valid and test.
    """
    prepare = results.fetch("data/prepare")
    if prepare is not None:
        part = read_partition(prepare, partition, pixels=False)
        columns = [
            read_json(prepare / "manifest.json")["attributes"].index(name) for name in attributes
        ]
        place = {image_id: row for row, image_id in enumerate(part.image_ids)}
        rows = [place[image_id] for image_id in image_ids]
        identities = np.array([part.identities[row] for row in rows], object)
        return identities, part.labels[rows][:, columns], part.mask[rows][:, columns]
    annotations = results.fetch(f"data/download/{ANNOTATIONS}")
    if annotations is None:
        return None
    names = ["image_id", "identity", *attributes]
    table = pq.read_table(annotations, columns=names).to_pandas().set_index("image_id")
    table = table.loc[image_ids]
    labels, mask = label_arrays(table, attributes)
    people = table["identity"].astype(object)
    return people.where(people.notna(), None).to_numpy(), labels, mask
