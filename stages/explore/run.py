"""The stage: read data/download, write the tables of reports/explore."""

import logging
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common.files import fresh_folder, write_json, write_text
from stages.common.params import ExploreParams
from stages.common.tables import PARTITIONS, label_arrays, read_annotations
from stages.explore import sentences
from stages.explore.doubts import describe_doubts
from stages.explore.labels import (
    count_cardinality,
    count_identities,
    count_shared_identities,
    measure_consistency,
    measure_cooccurrence,
    measure_imbalance,
    measure_prevalence,
)
from stages.explore.pixels import sample_images, summarise_pixels
from stages.explore.shifts import measure_shifts

log = logging.getLogger(__name__)


def run(params: ExploreParams, download: Path, out: Path) -> str:
    """Describe a data/download folder in tables; pictures may be absent, labels may be unknown.

    Returns:
        A line of counts.

    Raises:
        FacetError: the folder is not complete, or a table has another schema.
    """
    annotations, attributes = read_annotations(download)
    annotations = annotations.sort_values("image_id", ignore_index=True)
    labels, known = label_arrays(annotations, attributes)
    identity = annotations["identity"].to_numpy(object)
    partition = annotations["partition"].to_numpy(object)
    status = annotations["status"].to_numpy(object)
    readable = annotations.loc[status == "ok", "image_id"].to_numpy(object)

    prevalence = measure_prevalence(labels, known, partition, attributes)
    imbalance = measure_imbalance(labels, known, attributes)
    has_all_labels = bool(known.all())
    cardinality = count_cardinality(labels, known, partition)
    shifts = measure_shifts(labels, known, partition, identity, attributes)
    cooccurrence = measure_cooccurrence(labels, known, attributes)
    sizes = count_identities(identity)
    shared = count_shared_identities(identity, partition)
    consistency = measure_consistency(labels, known, identity, attributes)
    values = sample_images(download, readable, params.n_images, params.seed)
    pixels = summarise_pixels(values)
    n_by_partition = {name: int((partition == name).sum()) for name in PARTITIONS}
    n_partitions = sum(n > 0 for n in n_by_partition.values())
    findings = {
        "labels": [
            *sentences.describe_size(partition, known),
            *sentences.describe_frequency(imbalance, has_all_labels),
            *sentences.describe_imbalance(imbalance, has_all_labels),
            *sentences.describe_cardinality(cardinality, has_all_labels),
        ],
        "partitions": [*sentences.describe_shifts(shifts)],
        "pairs": [*sentences.describe_pairs(cooccurrence)],
        "identities": [
            *sentences.describe_identities(sizes, shared, consistency, n_partitions),
            *describe_doubts(labels, known, identity, attributes),
        ],
        "pictures": [
            *sentences.describe_pixels(
                pixels, int((status == "missing").sum()), int((status == "unreadable").sum())
            )
        ],
    }
    for sentence in chain.from_iterable(findings.values()):
        log.info("%s", sentence)
    n_labelled = int(known.any(1).sum())
    n_positive = int((labels.astype(bool) & known).sum())
    summary = {
        "n_images": len(annotations),
        "n_identities": int(sizes["n_identities"].sum()),
        "n_identities_shared": shared[0],
        "n_by_partition": n_by_partition,
        "attributes": attributes,
        "n_missing_labels": int((~known).sum()),
        "label_cardinality": round(n_positive / n_labelled, 6) if n_labelled else None,
        "images_sampled": len(values),
        "findings": findings,
    }
    with fresh_folder(out) as folder:
        write_csv(prevalence, folder / "prevalence.csv")
        write_csv(imbalance, folder / "imbalance.csv")
        write_csv(cardinality, folder / "cardinality.csv")
        write_csv(shifts, folder / "shifts.csv")
        write_csv(cooccurrence, folder / "cooccurrence.csv")
        write_csv(sizes, folder / "identities.csv")
        write_csv(consistency, folder / "consistency.csv")
        write_csv(pixels, folder / "images.csv")
        write_json(folder / "summary.json", summary)
    return (
        f"explore: {len(annotations):,} images, {len(attributes)} attributes, "
        f"{summary['n_identities']:,} identities, {len(values):,} images measured"
    )


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with floats rounded to 6 digits; undefined values are empty.

    Probabilities of chance (columns p_value, p_corrected, p_identities) keep 6 significant digits.
    """
    rounded = table.copy()
    for column in rounded.select_dtypes("floating"):
        if column in ("p_value", "p_corrected", "p_identities"):
            rounded[column] = [float(f"{value:.5e}") for value in rounded[column]]
        else:
            rounded[column] = np.round(rounded[column], 6) + 0.0  # no -0.0
    write_text(path, rounded.to_csv(index=False, lineterminator="\n"))
