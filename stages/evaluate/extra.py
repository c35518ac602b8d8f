"""A second data set, answered by the same model: `evaluate.extra`."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from stages.common.errors import FacetError
from stages.common.files import MANIFEST, hash_file, read_manifest
from stages.common.inference import predict
from stages.common.metrics import majority_class
from stages.common.pixels import prepare_files
from stages.common.shards import read_partition
from stages.common.tables import (
    ANNOTATIONS,
    PARTITIONS,
    iter_images,
    label_arrays,
    read_annotations,
)
from stages.evaluate.part import Part

log = logging.getLogger(__name__)

NAME = "extra"
#: Pictures decoded before they are answered.
BLOCK_IMAGES = 2048


@dataclass(frozen=True)
class Extra:
    """The second set's figures are of `part`.

    partitions: (N,) the partition of each image in its own set. facts: n_images, n_left_out
    (unreadable), n_attributes that the set knows of the model's, majority_from (train or itself)
    and data_sha256, of its manifest.
    """

    part: Part
    partitions: list[str]
    facts: dict[str, Any]


def answer_extra(folder: Path, network: nn.Module, model: dict[str, Any], batch_size: int) -> Extra:
    """Predict the second set's test images or, where it has none, all of its images.

    The set is a data/download folder, whose pictures are cropped and resized as the model's were,
    or a data/prepare folder of the model's size. Attributes that it lacks have no known label, and
    others than the model's are left out. The majority class is that of its own training images; of
    a set without those or without test images, of the evaluated images themselves, which no
    constant answer surpasses.

    Raises:
        FacetError: no such folder, no attribute of the model's, another size, or no image.
    """
    manifest = read_manifest(folder)
    attributes: list[str] = model["attributes"]
    shared = [name for name in attributes if name in manifest.get("attributes", ())]
    if not shared:
        raise FacetError(
            f"evaluate.extra: expected a set with some of the model's attributes "
            f"({', '.join(attributes[:3])}, ...); got {folder} with "
            f"{', '.join(manifest.get('attributes', ())[:3]) or 'none'}"
        )
    read = read_canonical if (folder / ANNOTATIONS).is_file() else read_prepared
    found = read(folder, manifest, network, model, batch_size)
    if not len(found.part.probs):
        raise FacetError(f"evaluate.extra: expected images; got {folder} without readable ones")
    facts = {
        "n_images": len(found.part.probs),
        "n_attributes": len(shared),
        **found.facts,
        "data_sha256": hash_file(folder / MANIFEST),
    }
    return Extra(found.part, found.partitions, facts)


def read_prepared(
    folder: Path, manifest: dict[str, Any], network: nn.Module, model: dict[str, Any], batch: int
) -> Extra:
    """Answer a data/prepare folder.

    Raises:
        FacetError: its pictures have another size than the model's.
    """
    for name in ("height_px", "width_px"):
        if manifest.get(name) != model[name]:
            raise FacetError(
                f"evaluate.extra: expected {name} {model[name]}, as the model was trained on; got "
                f"{manifest.get(name)} in {folder}; prepare it with that, or name its data/download"
            )
    n_by_partition = manifest["n_by_partition"]
    chosen = ["test"] if n_by_partition["test"] else [p for p in PARTITIONS if n_by_partition[p]]
    train = None
    if chosen == ["test"] and n_by_partition["train"]:
        learned = read_partition(folder, "train", pixels=False)
        train = [_arrange(x, manifest, model) for x in (learned.labels, learned.mask)]
    n_attributes = len(manifest["attributes"])
    ids: list[str] = []
    identities: list[str | None] = []
    partitions: list[str] = []
    probs = [np.empty((0, len(model["attributes"])), np.float32)]
    labels, mask = [np.empty((0, n_attributes), np.uint8)], [np.empty((0, n_attributes), bool)]
    for name in chosen:
        read = read_partition(folder, name)
        ids += read.image_ids
        identities += read.identities
        partitions += [name] * len(read.image_ids)
        probs.append(predict(network, model["network"], read.pixels, batch))
        labels.append(read.labels)
        mask.append(read.mask)
    truth = [_arrange(np.concatenate(x), manifest, model) for x in (labels, mask)]
    part = _make_part(model, ids, identities, np.concatenate(probs), truth, train)
    return Extra(part, partitions, {"n_left_out": 0, "majority_from": _source(train)})


def read_canonical(
    folder: Path, manifest: dict[str, Any], network: nn.Module, model: dict[str, Any], batch: int
) -> Extra:
    """Answer a data/download folder; pictures that cannot be read are counted and left out."""
    annotations, _ = read_annotations(folder)
    is_test = annotations["partition"] == "test"
    train = None
    if is_test.any():
        learned = annotations[
            (annotations["partition"] == "train") & (annotations["status"] == "ok")
        ]
        if len(learned):
            train = [_arrange(x, manifest, model) for x in _labels(learned, manifest)]
        annotations = annotations[is_test]
    wanted = set(annotations.loc[annotations["status"] == "ok", "image_id"])
    answers: dict[str, np.ndarray] = {}
    for image_ids, pixels in _decode(folder, wanted, model):
        probs = predict(network, model["network"], pixels, batch)
        answers |= dict(zip(image_ids, probs, strict=True))
    rows = annotations[annotations["image_id"].isin(answers.keys())]
    n_left_out = len(annotations) - len(rows)
    if n_left_out:
        log.info("evaluate: %d images of %s cannot be read and are left out", n_left_out, folder)
    ids = rows["image_id"].tolist()
    identities = rows["identity"].astype(object).where(rows["identity"].notna(), None).tolist()
    truth = [_arrange(x, manifest, model) for x in _labels(rows, manifest)]
    probs = np.array([answers[image_id] for image_id in ids], np.float32).reshape(truth[0].shape)
    part = _make_part(model, ids, identities, probs, truth, train)
    facts = {"n_left_out": n_left_out, "majority_from": _source(train)}
    return Extra(part, rows["partition"].tolist(), facts)


def _decode(
    folder: Path, wanted: set[str], model: dict[str, Any]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield ids and pixels (n, H, W, 3) uint8, cropped and resized for the model."""
    crop = tuple(model["crop_px"]) if model["crop_px"] else None
    size = model["height_px"], model["width_px"]
    ids: list[str] = []
    pictures: list[np.ndarray] = []
    for batch in iter_images(folder):
        for image_id, data in zip(batch["image_id"].to_pylist(), batch["bytes"], strict=True):
            if image_id not in wanted:
                continue
            pixels = np.empty((1, *size, 3), np.uint8)
            try:
                prepare_files([image_id], [data.as_py()], crop, pixels)
            except FacetError:  # cannot be decoded
                continue
            pictures.append(pixels[0])
            ids.append(image_id)
        if len(ids) >= BLOCK_IMAGES:
            yield ids, np.stack(pictures)
            ids, pictures = [], []
    if ids:
        yield ids, np.stack(pictures)


def _labels(rows: Any, manifest: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return label_arrays(rows, manifest["attributes"])


def _arrange(values: np.ndarray, manifest: dict[str, Any], model: dict[str, Any]) -> np.ndarray:
    """Columns in the model's order; 0 or False where the set lacks an attribute."""
    theirs: list[str] = manifest["attributes"]
    arranged = np.zeros((len(values), len(model["attributes"])), values.dtype)
    for column, name in enumerate(model["attributes"]):
        if name in theirs:
            arranged[:, column] = values[:, theirs.index(name)]
    return arranged


def _make_part(
    model: dict[str, Any],
    image_ids: list[str],
    identities: list[str | None],
    probs: np.ndarray,
    truth: list[np.ndarray],
    train: list[np.ndarray] | None,
) -> Part:
    labels, mask = truth
    majority = majority_class(*(train or truth))
    return Part(NAME, model["attributes"], image_ids, identities, probs, labels, mask, majority)


def _source(train: list[np.ndarray] | None) -> str:
    return "itself" if train is None else "train"
