"""The evaluation stage: predict once, derive every figure from the predictions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
from stages.common.metrics import majority_class
from stages.common.params import EvaluateParams
from stages.common.shards import read_partition
from stages.common.tables import (
    ISSUES,
    ISSUES_SCHEMA,
    PREDICTIONS,
    predictions_schema,
    read_table,
    write_table,
)
from stages.common.tracking import log_evaluation
from stages.evaluate.doubts import collect_doubts, score_without
from stages.evaluate.predict import load_model, predict
from stages.evaluate.tables import score_attributes, summarise, trace_curves

log = logging.getLogger(__name__)


def run(
    params: EvaluateParams, prepare: Path, train: Path, audit: Path, out: Path, reports: Path
) -> str:
    """Write predictions.parquet to `out`; metrics.json, per_attribute.csv, curves.csv to `reports`.

    Partitions that the set lacks are skipped. The majority class is that of the known labels of
    the set's training partition, or where it has none, of the one the model learned from. Beside
    the official figures, over all images, stand those without what the audit flagged.

    Raises:
        FacetError: the set has other attributes or sizes than the model, or no image to evaluate.
    """
    network, model = load_model(train / "model")
    manifest = read_manifest(prepare)
    check_set(prepare, manifest, model)
    attributes: list[str] = model["attributes"]
    columns = [manifest["attributes"].index(name) for name in attributes]
    partitions = choose_partitions(params.partitions, prepare, manifest["n_by_partition"])
    doubts = collect_doubts(read_table(audit / ISSUES, ISSUES_SCHEMA))
    data_hash = hash_file(prepare / MANIFEST)
    is_own_set = data_hash == model["data_sha256"]  # the one the model learned from
    learned_ids: set[str] | None = None
    if manifest["n_by_partition"]["train"]:
        learned = read_partition(prepare, "train", pixels=False)
        majority = majority_class(learned.labels, learned.mask)[columns]
        learned_ids = set(learned.image_ids) if is_own_set else None
    else:
        majority = np.array(model["majority_class"], np.uint8)
    predictions, rows, curves = [], [], []
    metrics: dict[str, Any] = {}
    for partition in partitions:
        part = read_partition(prepare, partition)
        labels, mask = part.labels[:, columns], part.mask[:, columns]
        probs = predict(network, model["network"], part.pixels, params.batch_size)
        table = pd.DataFrame(probs, columns=attributes)
        table.insert(0, "image_id", part.image_ids)
        table.insert(1, "partition", partition)
        predictions.append(table)
        scores = score_attributes(probs, labels, mask, majority, attributes, params.threshold)
        metrics[partition] = summarise(scores, probs, labels, mask, params.threshold)
        metrics[partition] |= score_without(
            doubts, part.image_ids, probs, labels, mask, majority, attributes, params.threshold,
            learned_ids,
        )  # fmt: skip
        scores.insert(0, "partition", partition)
        rows.append(scores)
        curve = trace_curves(probs, labels, mask, attributes)
        curve.insert(0, "partition", partition)
        curves.append(curve)
    with fresh_folder(out) as folder, fresh_folder(reports) as tables:
        write_table(pd.concat(predictions), folder / PREDICTIONS, predictions_schema(attributes))
        write_manifest(folder, {"weights_sha256": model["weights_sha256"], "key": model["key"]})
        write_json(tables / "metrics.json", metrics)
        write_text(tables / "per_attribute.csv", to_csv(pd.concat(rows)))
        write_text(tables / "curves.csv", to_csv(pd.concat(curves)))
    tracked = params.model_dump(mode="json")
    if not is_own_set:
        tracked["data_sha256"] = data_hash  # a second evaluation, beside that of the model's set
    log_evaluation(model, tracked, reports, out)
    shown = ", ".join(
        f"{name} {value['accuracy']:.4f} (majority {value['majority_accuracy']:.4f})"
        for name, value in metrics.items()
        if value["accuracy"] is not None
    )
    return f"evaluate: mean accuracy {shown}"


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


def to_csv(table: pd.DataFrame) -> str:
    """CSV with six digits; undefined values are empty fields."""
    text: str = table.replace([np.inf, -np.inf], np.nan).to_csv(
        index=False, float_format="%.6g", lineterminator="\n"
    )
    return text
