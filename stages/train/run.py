"""The training stage: shards in, model and history out; the loop itself is in loop.py."""

import csv
import io
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from stages.common.errors import FacetError
from stages.common.files import (
    MANIFEST,
    fresh_folder,
    hash_file,
    read_manifest,
    write_json,
    write_text,
)
from stages.common.metrics import majority_accuracy, majority_class, mean_defined
from stages.common.networks import (
    build_network,
    count_parameters,
    find_kind,
    read_structure,
)
from stages.common.params import NAMED_WEIGHTS, TrainParams, read_yaml, resolve_path
from stages.common.shards import read_partition
from stages.common.tracking import start_training
from stages.train.checkpoint import Checkpoint, training_key
from stages.train.layers import freeze_layers
from stages.train.loop import Epoch, fit, make_fabric

log = logging.getLogger(__name__)


def run(params: TrainParams, prepare: Path, out: Path, reports: Path) -> str:
    """Train; write model/ to `out`, history.csv and summary.json to `reports`.

    Raises:
        FacetError: a set without training or validation images, weights that do not fit, a loss
            that is not finite, not enough memory.
    """
    kind = find_kind(params.network)  # an unknown name is refused before anything is read
    manifest = read_manifest(prepare)
    check_partitions(prepare, manifest["n_by_partition"])
    data_hash = hash_file(prepare / MANIFEST)
    key = training_key(params, data_hash)
    train, valid = read_partition(prepare, "train"), read_partition(prepare, "valid")
    fabric = make_fabric(
        params
    )  # seeds and settings first, so that the weights' start is seeded too
    weights = params.weights
    network = build_network(
        params.network,
        len(manifest["attributes"]),
        manifest["height_px"],
        manifest["width_px"],
        params.dropout,
        weights if weights in NAMED_WEIGHTS else resolve_path(weights),
        **read_structure(params.model_dump()),
    )
    freeze_layers(network, params.freeze)
    majority = majority_class(train.labels, train.mask)
    valid_majority = mean_defined(majority_accuracy(majority, valid.labels, valid.mask))
    whole = (
        read_yaml(path)
        if (path := Path("params.yaml")).is_file()
        else {"train": params.model_dump()}
    )
    with Checkpoint(key) as checkpoint:
        state = checkpoint.load()
        with start_training(
            key, whole, {"facet.data": data_hash}, resume=state is not None
        ) as tracked:

            def report_epoch(epoch: Epoch) -> None:
                tracked.log_epoch(epoch.epoch, epoch.metrics())

            result = fit(fabric, network, train, valid, params, checkpoint, state, report_epoch)
            with fresh_folder(out) as folder, fresh_folder(reports) as tables:
                model = folder / "model"
                model.mkdir()
                save_file(result.weights, model / "weights.safetensors")
                weights_hash = hash_file(model / "weights.safetensors")
                description = {
                    "format": 1,
                    "key": key,
                    "network": params.network,
                    "attributes": manifest["attributes"],
                    "height_px": manifest["height_px"],
                    "width_px": manifest["width_px"],
                    "crop_px": manifest["crop_px"],
                    "mean": list(kind.mean),
                    "std": list(kind.std),
                    "threshold": 0.5,
                    "majority_class": majority.tolist(),
                    "n_parameters": count_parameters(network),
                    "train": params.model_dump(mode="json"),
                    "data_sha256": data_hash,
                    "weights_sha256": weights_hash,
                }
                write_json(model / "model.json", description)
                write_text(tables / "history.csv", format_history(result.history, valid_majority))
                summary = {
                    "key": key,
                    "network": params.network,
                    "weights": params.weights,
                    "n_parameters": description["n_parameters"],
                    "n_train": len(train.image_ids),
                    "n_valid": len(valid.image_ids),
                    "best_epoch": result.best_epoch,
                    "n_epochs_run": len(result.history),
                    "valid_accuracy": rounded(result.history[result.best_epoch - 1].valid_accuracy),
                    "valid_majority": rounded(valid_majority),
                    "weights_sha256": weights_hash,
                }
                write_json(tables / "summary.json", summary)
            tracked.finish(out / "model", reports, weights_hash)
    accuracy = summary["valid_accuracy"]
    shown = "no known labels" if accuracy is None else f"mean accuracy on valid {accuracy:.4f}"
    return f"train: {len(result.history)} epochs, best is {result.best_epoch}: {shown}"


def check_partitions(prepare: Path, n_by_partition: dict[str, int]) -> None:
    """Refuse a set that cannot be trained on, before anything of it is read.

    Raises:
        FacetError: fewer than 2 training images, or no validation images.
    """
    n_train, n_valid = n_by_partition["train"], n_by_partition["valid"]
    if n_train == 0:
        raise FacetError(
            f"{prepare} holds no training images: this set can be evaluated, not trained on; run "
            "`python -m stages.evaluate` with --train naming a model that was trained elsewhere"
        )
    if n_train < 2:
        raise FacetError(f"{prepare}: expected at least 2 training images; got {n_train}")
    if n_valid == 0:
        raise FacetError(
            f"{prepare} holds no validation images: set prepare.resplit.valid to the share of "
            "train that they shall be, such as 0.1"
        )


def rounded(value: float) -> float | None:
    """Six digits; None where the value is undefined."""
    return None if value != value else round(value, 6)


def format_history(history: list[Epoch], valid_majority: float) -> str:
    """history.csv: one row per epoch; an undefined value is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "lr", "train_loss", "valid_loss", "valid_accuracy", "valid_majority"])
    for row in history:
        values: list[Any] = [
            row.lr,
            row.train_loss,
            row.valid_loss,
            row.valid_accuracy,
            valid_majority,
        ]
        writer.writerow(
            [row.epoch, *("" if value != value else f"{value:.6g}" for value in values)]
        )
    return text.getvalue()
