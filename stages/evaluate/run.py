"""The evaluation stage: predict once, derive every figure from the predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.common.errors import FacetError
from stages.common.files import fresh_folder, read_manifest, write_json, write_manifest, write_text
from stages.common.metrics import majority_class
from stages.common.params import EvaluateParams
from stages.common.shards import read_partition
from stages.common.tables import PREDICTIONS, predictions_schema, write_table
from stages.common.tracking import log_evaluation
from stages.evaluate.predict import load_model, predict
from stages.evaluate.tables import score_attributes, summarise, trace_curves


def run(params: EvaluateParams, prepare: Path, train: Path, out: Path, reports: Path) -> str:
    """Write predictions.parquet to `out`; metrics.json, per_attribute.csv, curves.csv to `reports`.

    The majority class is that of the training partition's known labels.

    Raises:
        FacetError: the model was trained on other attributes or sizes, or a partition is empty.
    """
    network, model = load_model(train / "model")
    manifest = read_manifest(prepare)
    for name in ("attributes", "height_px", "width_px"):
        if manifest[name] != model[name]:
            raise FacetError(f"{train}: expected {name} {manifest[name]}; got {model[name]}")
    attributes: list[str] = manifest["attributes"]
    learned = read_partition(prepare, "train", pixels=False)
    majority = majority_class(learned.labels, learned.mask)
    predictions, rows, curves = [], [], []
    metrics: dict[str, Any] = {}
    for partition in params.partitions:
        part = read_partition(prepare, partition)
        if not part.image_ids:
            raise FacetError(
                f"evaluate.partitions: expected partitions with images; {partition} has none"
            )
        probs = predict(network, model["network"], part.pixels, params.batch_size)
        table = pd.DataFrame(probs, columns=attributes)
        table.insert(0, "image_id", part.image_ids)
        table.insert(1, "partition", partition)
        predictions.append(table)
        scores = score_attributes(
            probs, part.labels, part.mask, majority, attributes, params.threshold
        )
        metrics[partition] = summarise(scores, probs, part.labels, part.mask, params.threshold)
        scores.insert(0, "partition", partition)
        rows.append(scores)
        curve = trace_curves(probs, part.labels, part.mask, attributes)
        curve.insert(0, "partition", partition)
        curves.append(curve)
    with fresh_folder(out) as folder, fresh_folder(reports) as tables:
        write_table(pd.concat(predictions), folder / PREDICTIONS, predictions_schema(attributes))
        write_manifest(folder, {"weights_sha256": model["weights_sha256"], "key": model["key"]})
        write_json(tables / "metrics.json", metrics)
        write_text(tables / "per_attribute.csv", to_csv(pd.concat(rows)))
        write_text(tables / "curves.csv", to_csv(pd.concat(curves)))
    log_evaluation(model, params.model_dump(mode="json"), reports, out)
    shown = ", ".join(
        f"{name} {value['accuracy']:.4f} (majority {value['majority_accuracy']:.4f})"
        for name, value in metrics.items()
        if value["accuracy"] is not None
    )
    return f"evaluate: mean accuracy {shown}"


def to_csv(table: pd.DataFrame) -> str:
    """CSV with six digits; undefined values are empty fields."""
    text: str = table.replace([np.inf, -np.inf], np.nan).to_csv(
        index=False, float_format="%.6g", lineterminator="\n"
    )
    return text
