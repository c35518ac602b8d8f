"""The evaluation stage: predict once, derive every figure from the predictions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from stages.common.datasets import Data
from stages.common.errors import FacetError
from stages.common.files import (
    MANIFEST,
    fresh_folder,
    hash_file,
    read_manifest,
    write_json,
    write_manifest,
    write_text,
)
from stages.common.inference import load_model, predict
from stages.common.metrics import majority_class
from stages.common.params import EvaluateParams, resolve_path
from stages.common.shards import read_partition
from stages.common.tables import (
    ISSUES,
    ISSUES_SCHEMA,
    SALIENCY,
    SALIENCY_SCHEMA,
    read_table,
    write_table,
)
from stages.common.tracking import log_evaluation
from stages.evaluate.columns import COLUMNS
from stages.evaluate.doubts import collect_doubts, score_without
from stages.evaluate.extra import answer_extra
from stages.evaluate.figures import Figures, derive_figures, list_tuned, tune
from stages.evaluate.outputs import gather_tables, to_csv, write_predictions
from stages.evaluate.part import Part
from stages.evaluate.saliency import choose_pictures, table_saliency
from stages.evaluate.shift import explain_loss

log = logging.getLogger(__name__)


def run(
    params: EvaluateParams, prepare: Path, train: Path, audit: Path, out: Path, reports: Path
) -> str:
    """Predict once; write predictions to `out` and the figures that follow to `reports`.

    `out` gets predictions.parquet, calibrated.parquet where valid, which temperatures are fitted
    on, is evaluated, extra.parquet where a second set is, and saliency.parquet with pictures of
    test or, where it is not evaluated, valid; `reports` gets metrics.json and the tables of
    columns.COLUMNS, header only where there is nothing to say.

    Partitions that the set lacks are skipped. The majority class is that of the known labels of
    the set's training partition, or where it has none, of the one the model learned from. Beside
    the official figures, over all images, stand those without what the audit flagged.

    Raises:
        FacetError: the set has other attributes or sizes than the model, or no image to evaluate;
            or the second set does not fit the model.
    """
    network, model = load_model(train / "model")
    manifest = read_manifest(prepare)
    check_set(prepare, manifest, model)
    attributes: list[str] = model["attributes"]
    partitions = choose_partitions(params.partitions, prepare, manifest["n_by_partition"])
    doubts = collect_doubts(read_table(audit / ISSUES, ISSUES_SCHEMA))
    data_hash = hash_file(prepare / MANIFEST)
    is_own_set = data_hash == model["data_sha256"]  # the one the model learned from
    majority, learned_ids = read_majority(prepare, manifest, model)
    parts = [
        answer_partition(prepare, name, manifest, network, model, majority, params.batch_size)
        for name in partitions
    ]
    extra = None
    if params.extra is not None:
        extra = answer_extra(resolve_path(params.extra), network, model, params.batch_size)
    valid = next((part for part in parts if part.name == "valid"), None)
    tuned = None if valid is None else tune(valid)
    figures: dict[str, Figures] = {}
    metrics: dict[str, Any] = {}
    for part in (*parts, *([extra.part] if extra else [])):
        figures[part.name] = derive_figures(part, tuned, params)
        metrics[part.name] = figures[part.name].metrics
    for part in parts:
        metrics[part.name] |= score_without(
            doubts, part.image_ids, part.probs, part.labels, part.mask, majority, attributes,
            params.threshold, learned_ids if is_own_set else None,
        )  # fmt: skip
    tables = gather_tables(figures.values())
    if valid is not None and tuned is not None:
        tables["tuned"] = list_tuned(valid, tuned)
    if "valid" in figures and "test" in figures:
        a, b = figures["valid"], figures["test"]
        shift = explain_loss(attributes, a.counts, b.counts, a.drawn, b.drawn, params.confidence)
        tables["shift"], metrics["shift"] = shift.table, shift.summary
    shown = next((part for part in parts if part.name == "test"), parts[-1])  # as headlines do
    chosen = choose_pictures(shown, params.threshold, params.n_shown, params.seed)
    pixels = read_partition(prepare, shown.name, pixels=len(chosen) > 0).pixels
    saliency = table_saliency(shown, chosen, network, model["network"], pixels, params.batch_size)
    with fresh_folder(out) as folder, fresh_folder(reports) as texts:
        write_predictions(folder, parts, figures, extra)
        write_table(saliency, folder / SALIENCY, SALIENCY_SCHEMA)
        write_manifest(
            folder,
            {
                "weights_sha256": model["weights_sha256"],
                "key": model["key"],
                "threshold": params.threshold,
                "confidence": params.confidence if params.n_resamples else None,
                "extra": extra.facts if extra else None,
            },
        )
        write_json(texts / "metrics.json", metrics)
        for name, columns in COLUMNS.items():
            table = tables.get(name, pd.DataFrame(columns=columns))
            write_text(texts / f"{name}.csv", to_csv(table[list(columns)]))
    tracked = params.model_dump(mode="json")
    if not is_own_set:
        tracked["data_sha256"] = data_hash  # a second evaluation, beside that of the model's set
    log_evaluation(model, tracked, reports, out, Data(manifest, data_hash))
    said = ", ".join(
        f"{name} {figure.metrics['accuracy']:.4f} "
        f"(majority {figure.metrics['majority_accuracy']:.4f})"
        for name, figure in figures.items()
        if figure.metrics["accuracy"] is not None
    )
    return f"evaluate: mean accuracy {said}"


def read_majority(
    prepare: Path, manifest: dict[str, Any], model: dict[str, Any]
) -> tuple[np.ndarray, set[str] | None]:
    """The majority class (A,) in the model's order, and the training images of a prepared set.

    A set without training images has None of those, and the majority class of the model's.
    """
    if not manifest["n_by_partition"]["train"]:
        return np.array(model["majority_class"], np.uint8), None
    learned = read_partition(prepare, "train", pixels=False)
    columns = [manifest["attributes"].index(name) for name in model["attributes"]]
    return majority_class(learned.labels, learned.mask)[columns], set(learned.image_ids)


def answer_partition(
    prepare: Path,
    name: str,
    manifest: dict[str, Any],
    network: nn.Module,
    model: dict[str, Any],
    majority: np.ndarray,
    batch_size: int,
) -> Part:
    """Predict one partition of a prepared set; labels in the model's order of attributes."""
    read = read_partition(prepare, name)
    columns = [manifest["attributes"].index(attribute) for attribute in model["attributes"]]
    return Part(
        name=name,
        attributes=model["attributes"],
        image_ids=read.image_ids,
        identities=read.identities,
        probs=predict(network, model["network"], read.pixels, batch_size),
        labels=read.labels[:, columns],
        mask=read.mask[:, columns],
        majority=majority,
    )


def check_set(prepare: Path, manifest: dict[str, Any], model: dict[str, Any]) -> None:
    """Refuse a prepared set that the model cannot be applied to; the attributes' order is free.

    Raises:
        FacetError: other attributes, or pictures of another size.
    """
    ours, theirs = set(manifest["attributes"]), set(model["attributes"])
    if ours != theirs:
        found = [
            f"{what} {', '.join(sorted(names))}"
            for what, names in (("without", theirs - ours), ("with also", ours - theirs))
            if names
        ]
        raise FacetError(
            f"{prepare}: expected the {len(theirs)} attributes that the model was trained on; got "
            f"a set {' and '.join(found)}; set prepare.attributes"
        )
    for name in ("height_px", "width_px"):
        if manifest[name] != model[name]:
            raise FacetError(
                f"{prepare}: expected {name} {model[name]}, as the model was trained on; got "
                f"{manifest[name]}; set prepare.{name}"
            )


def choose_partitions(
    wanted: Sequence[str], prepare: Path, n_by_partition: dict[str, int]
) -> list[str]:
    """Those of `evaluate.partitions` that hold images.

    Raises:
        FacetError: none does.
    """
    present = [name for name in wanted if n_by_partition[name]]
    if not present:
        held = [name for name, n in n_by_partition.items() if n]
        raise FacetError(
            f"evaluate.partitions: expected a partition with images; got {', '.join(wanted)}, and "
            f"{prepare} holds images of {' and '.join(held) or 'no partition'} only"
        )
    for name in wanted:
        if name not in present:
            log.info("evaluate: %s holds no images of %s, which is skipped", prepare, name)
    return present
