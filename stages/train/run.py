"""The training stage: shards in, model and history out; the loop itself is in loop.py."""

import csv
import io
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import nn

from stages.common.datasets import Data
from stages.common.errors import FacetError
from stages.common.files import (
    MANIFEST,
    fresh_folder,
    hash_file,
    read_manifest,
    write_json,
    write_text,
)
from stages.common.losses import weigh_classes
from stages.common.metrics import majority_accuracy, majority_class, mean_defined
from stages.common.networks import build_network, count_parameters, find_kind, read_structure
from stages.common.params import NAMED_WEIGHTS, TrainParams, read_yaml, resolve_path
from stages.common.shards import GroupReader, PixelSet, read_partition
from stages.common.tables import PREVIEW, PREVIEW_SCHEMA, write_table
from stages.common.tracking import TrainingRun, start_training
from stages.train.checkpoint import Checkpoint, training_key
from stages.train.feed import Feed, Held
from stages.train.generations import fit_generations
from stages.train.launch import make_fabric
from stages.train.layers import freeze_layers
from stages.train.loop import Epoch, Fitted
from stages.train.memory import agree_memory, choose_memory
from stages.train.preview import draw_preview
from stages.train.sampler import check_balance
from stages.train.schedule import format_schedule

log = logging.getLogger(__name__)


def run(params: TrainParams, prepare: Path, out: Path, reports: Path) -> str:
    """Train; write model/ and preview.parquet to `out`, tables and summary.json to `reports`.

    Raises:
        FacetError: a set without training or validation images, attributes that cannot be
            balanced, augmentations that do not fit the pictures, weights that do not fit, a loss
            or weights that are not finite, not enough memory, no compiler for `train.compile`.
    """
    kind = find_kind(params.network)  # an unknown name is refused before anything is read
    manifest = read_manifest(prepare)
    check_partitions(prepare, manifest["n_by_partition"])
    check_balance(manifest["attributes"], params.balance)
    data_hash = hash_file(prepare / MANIFEST)
    key = training_key(params, data_hash)
    train, valid = (read_partition(prepare, name, pixels=False) for name in ("train", "valid"))
    # Seeds and settings first, so that the weights' start is seeded too.
    fabric = make_fabric(params)
    fabric.launch()
    is_first = fabric.is_global_zero
    if not is_first:
        logging.getLogger("stages").setLevel(logging.WARNING)  # one process speaks for all
    feed, held = open_pixels(prepare, train, valid, manifest["attributes"], params, fabric)
    factors = weigh_classes(torch.from_numpy(train.labels), torch.from_numpy(train.mask), params)
    whole = {"train": params.model_dump()}
    if Path("params.yaml").is_file():
        whole = read_yaml(Path("params.yaml"))
    with ExitStack() as stack:
        checkpoint = stack.enter_context(Checkpoint(key)) if is_first else None
        state = fabric.broadcast(checkpoint.load() if checkpoint else None)
        tracked = TrainingRun()
        if is_first:
            data = Data(manifest, data_hash)
            start = start_training(key, whole, data, resume=state is not None)
            tracked = stack.enter_context(start)

        def log_epoch(generation: int, epoch: Epoch) -> None:
            step = (generation - 1) * params.n_epochs + epoch.epoch
            tracked.log_epoch(step, epoch.metrics())

        descent = fit_generations(
            fabric,
            lambda: build_start(manifest, params),
            feed,
            held,
            params,
            factors,
            checkpoint,
            state,
            log_epoch,
        )
        result = descent.fitted
        if not is_first:
            return ""
        majority = majority_class(train.labels, train.mask)
        valid_majority = mean_defined(majority_accuracy(majority, valid.labels, valid.mask))
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
            "n_parameters": count_parameters(descent.network),
            "train": params.model_dump(mode="json"),
            "data_sha256": data_hash,
        }
        summary = {
            "key": key,
            "network": params.network,
            "weights": params.weights,
            "n_parameters": description["n_parameters"],
            "n_train": len(train.image_ids),
            "n_valid": len(valid.image_ids),
            "generations": [
                {"best_epoch": epoch, "valid_accuracy": rounded(accuracy)}
                for epoch, accuracy in descent.best
            ],
            "best_epoch": result.best_epoch,
            "n_epochs_run": len(result.history),
            "valid_accuracy": rounded(result.history[result.best_epoch - 1].valid_accuracy),
            "valid_majority": rounded(valid_majority),
        }
        tables = {
            "history.csv": format_history(result.history, valid_majority),
            "schedule.csv": format_schedule(
                params, feed.n_steps // params.accumulate, result.history
            ),
        }
        preview = draw_preview(feed, train.image_ids, params)
        weights_hash = write_results(result, description, summary, tables, preview, out, reports)
        tracked.finish(out / "model", reports, weights_hash)
    accuracy = summary["valid_accuracy"]
    shown = "no known labels" if accuracy is None else f"mean accuracy on valid {accuracy:.4f}"
    return f"train: {len(result.history)} epochs, best is {result.best_epoch}: {shown}"


def build_start(manifest: dict[str, Any], params: TrainParams) -> nn.Module:
    """The network before it learns, its frozen parts marked."""
    network = build_network(
        params.network,
        len(manifest["attributes"]),
        manifest["height_px"],
        manifest["width_px"],
        params.dropout,
        params.weights if params.weights in NAMED_WEIGHTS else resolve_path(params.weights),
        **read_structure(params.model_dump()),
    )
    freeze_layers(network, params.freeze)
    return network


def write_results(
    result: Fitted,
    description: dict[str, Any],
    summary: dict[str, Any],
    tables: dict[str, str],
    preview: pa.Table,
    out: Path,
    reports: Path,
) -> str:
    """Write model/, preview and tables; returns the weights' SHA-256, which stands in both."""
    with fresh_folder(out) as folder, fresh_folder(reports) as numbers:
        model = folder / "model"
        model.mkdir()
        save_file(result.weights, model / "weights.safetensors")
        weights_hash = hash_file(model / "weights.safetensors")
        write_json(model / "model.json", description | {"weights_sha256": weights_hash})
        write_table(preview, folder / PREVIEW, PREVIEW_SCHEMA)
        for name, text in tables.items():
            write_text(numbers / name, text)
        write_json(numbers / "summary.json", summary | {"weights_sha256": weights_hash})
    return weights_hash


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


def open_pixels(
    prepare: Path,
    train: PixelSet,
    valid: PixelSet,
    attributes: list[str],
    params: TrainParams,
    fabric: Fabric,
) -> tuple[Feed, Held]:
    """The pixels of both partitions, where `train.memory` wants them.

    Raises:
        FacetError: see `Feed`, or pixels that do not fit where they shall lie.
    """
    readers = GroupReader(prepare, "train"), GroupReader(prepare, "valid")
    n_bytes = sum(reader.n_images * reader.height * reader.width * 3 for reader in readers)
    memory = choose_memory(params.memory, n_bytes, fabric.device, params.devices)
    memory = agree_memory(memory, fabric)
    kind = find_kind(params.network)
    feed = Feed(
        readers[0],
        train,
        attributes,
        params,
        (kind.mean, kind.std),
        fabric.device,
        memory,
        fabric.global_rank,
        fabric.world_size,
    )
    return feed, Held(readers[1], valid, fabric.device, memory)


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
