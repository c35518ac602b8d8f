"""The demo: drawn people in CelebA's official layout, with planted faults in a truth file."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import simplejpeg

from stages.common.errors import FacetError
from stages.common.progress import track
from stages.common.tables import TRUTH, TRUTH_SCHEMA, write_table
from stages.download.demo_faces import GEOMETRY, draw_faceless, draw_portrait
from stages.download.demo_labels import ATTRIBUTES, MAX_PERSON_IMAGES, People, draw_people

NEAR_KINDS = ("reencoded", "resized", "cropped", "brightness", "mirrored")
COPIES = ("byte_copy", "near_copy", "conflict_copy", "leak_copy")
MIN_IMAGES = 200
MAX_COPIES = 0.3  # of all images, so that enough are left that no copy involves
PARTITION_NAMES = ("train", "valid", "test")
CHUNK = 64  # pictures a worker draws at a time


@dataclass(frozen=True)
class Picture:
    """One picture to draw: the face's number, its labels as drawn, and what is done to a copy."""

    seed: int
    face: int
    person: int
    labels: np.ndarray  # (40,) bool
    kind: str = ""  # one of NEAR_KINDS, faceless, or nothing


@dataclass(frozen=True)
class Plan:
    """The whole demo before a pixel is drawn, one entry or row per image in order of image_id."""

    pictures: list[Picture]
    labels: np.ndarray  # (N, 40) bool, as written to the label file
    identity: np.ndarray  # (N,) int
    partition: np.ndarray  # (N,) int: 0 train, 1 valid, 2 test
    truth: pd.DataFrame


def write_demo(
    folder: Path,
    n_images: int,
    seed: int,
    faults: Mapping[str, float],
    n_workers: int | None = None,
) -> None:
    """Write img_align_celeba.zip, the three text files and truth.parquet to an empty folder.

    A pure function of n_images, seed and faults: every picture has a generator of its own, so the
    number of workers changes nothing.

    Args:
        folder: An existing empty folder.
        n_images: Images in all, planted copies included.
        seed: Any whole number from 0.
        faults: Shares of n_images: byte_copy, near_copy, conflict_copy, leak_copy, wrong_identity,
            faceless; flipped_labels is a share of all labels.
        n_workers: Processes; all cores if None.

    Raises:
        FacetError: n_images below MIN_IMAGES, or more than MAX_COPIES copies.
    """
    if n_images < MIN_IMAGES:
        raise FacetError(f"download.demo.n_images: expected at least {MIN_IMAGES}; got {n_images}")
    plan = plan_demo(n_images, seed, faults)
    names = name_images(n_images)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        pictures = draw_all(plan.pictures, n_workers or os.cpu_count() or 1)
        for name, data in zip(names, track(pictures, "demo", n_images), strict=True):
            entry = zipfile.ZipInfo(f"img_align_celeba/{name}", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, data)
    values = np.where(plan.labels, " 1", "-1")
    rows = [f"{name} {' '.join(row)}\n" for name, row in zip(names, values, strict=True)]
    head = f"{n_images}\n{' '.join(ATTRIBUTES)} \n"
    (folder / "list_attr_celeba.txt").write_text(head + "".join(rows))
    for file, column in (
        ("list_eval_partition.txt", plan.partition),
        ("identity_CelebA.txt", plan.identity),
    ):
        lines = [f"{name} {value}\n" for name, value in zip(names, column, strict=True)]
        (folder / file).write_text("".join(lines))
    write_table(plan.truth, folder / TRUTH, TRUTH_SCHEMA)


def name_images(n_images: int) -> list[str]:
    """File names as CelebA numbers them, from 000001.jpg."""
    return [f"{number:06d}.jpg" for number in range(1, n_images + 1)]


# ---- planning -----------------------------------------------------------------------------------
def plan_demo(n_images: int, seed: int, faults: Mapping[str, float]) -> Plan:
    """Draw people and labels, plant the faults, number the images by partition in mixed order."""
    rng = np.random.default_rng([seed, 0])
    n_planted = {name: round(faults[name] * n_images) for name in COPIES}
    if sum(n_planted.values()) > MAX_COPIES * n_images:
        raise FacetError(
            f"download.demo.faults: expected at most {MAX_COPIES:.0%} copies in all; "
            f"got {sum(n_planted.values())} of {n_images} images"
        )
    people = draw_people(n_images - sum(n_planted.values()), rng)
    seen, labels = people.labels, people.labels.copy()
    identity, partition = people.identity.copy(), people.partition
    originals, others = choose_originals(people, sum(n_planted.values()), rng)
    truth: list[tuple[int, str, str | None, int | None, str | None]] = []  # by number of the face
    kinds = [""] * len(labels)

    n_odd = {name: round(faults[name] * n_images) for name in ("faceless", "wrong_identity")}
    for face in others[: n_odd["faceless"]]:
        kinds[face] = "faceless"
        truth.append((face, "faceless", None, None, None))
    for face in others[n_odd["faceless"] :]:
        n_images_of = np.bincount(identity)  # nobody gets more than thirty
        strangers = others[
            (partition[others] == partition[face])
            & (identity[others] != identity[face])
            & (n_images_of[identity[others]] < MAX_PERSON_IMAGES - 2)
        ]
        if n_odd["wrong_identity"] and len(strangers):
            n_odd["wrong_identity"] -= 1
            identity[face] = people.identity[rng.choice(strangers)]
            swap = f"is {people.identity[face]}, labelled {identity[face]}"
            truth.append((face, "wrong_identity", None, None, swap))
        if not n_odd["wrong_identity"]:
            break
    n_flips = round(faults["flipped_labels"] * n_images * len(ATTRIBUTES))
    places = rng.choice(len(others) * len(ATTRIBUTES), n_flips, replace=False)
    for row, column in zip(*np.divmod(places, len(ATTRIBUTES)), strict=True):
        face = others[row]
        labels[face, column] ^= True
        truth.append((face, "flipped_label", ATTRIBUTES[column], None, None))

    pictures = [
        Picture(seed, face, int(people.identity[face]), seen[face], kinds[face])
        for face in range(len(labels))
    ]
    copy_labels, copy_partition = labels[originals], partition[originals].copy()
    faults_of_copies = np.repeat(COPIES, list(n_planted.values()))
    for k, (original, fault) in enumerate(zip(originals, faults_of_copies, strict=True)):
        number, kind, columns = len(labels) + k, "", []
        detail: str | None = None
        if fault == "near_copy":
            kind = detail = NEAR_KINDS[k % len(NEAR_KINDS)]
        elif fault == "conflict_copy":
            columns = sorted(rng.choice(len(ATTRIBUTES), rng.integers(1, 5), replace=False))
            copy_labels[k, columns] ^= True
        elif fault == "leak_copy":
            copy_partition[k] = (partition[original] + rng.integers(1, 3)) % 3
            kind = "reencoded" if rng.random() < 0.25 else ""
            sides = sorted((partition[original], copy_partition[k]))
            detail = "-".join(PARTITION_NAMES[side] for side in sides)
        for column in columns or [None]:
            name = None if column is None else ATTRIBUTES[column]
            truth.append((number, str(fault), name, int(original), detail))
        picture = pictures[original]
        pictures.append(Picture(seed, picture.face, picture.person, picture.labels, kind))

    partition = np.concatenate([partition, copy_partition])
    order = mix_images(partition, originals, rng)
    names = np.empty(n_images, object)
    names[order] = name_images(n_images)
    table = pd.DataFrame(truth, columns=TRUTH_SCHEMA.names)
    table["image_id"] = names[table["image_id"].astype(int)]
    related = table["related_id"]
    table["related_id"] = [None if pd.isna(face) else names[int(face)] for face in related]
    return Plan(
        [pictures[face] for face in order],
        np.concatenate([labels, copy_labels])[order],
        np.concatenate([identity, identity[originals]])[order],
        partition[order],
        table.sort_values(["image_id", "fault", "attribute"], kind="stable"),
    )


def mix_images(
    partition: np.ndarray, originals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A mixed order (N,) of all images by partition, in which no copy stands next to its original.

    The copies are the last of the N images, in the order of `originals`.
    """
    n_images = len(partition)
    while True:
        order = rng.permutation(n_images)
        order = order[np.argsort(partition[order], kind="stable")]
        place = np.argsort(order)
        if (np.abs(place[originals] - place[n_images - len(originals) :]) > 1).all():
            return order


def choose_originals(
    people: People, n_copies: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Faces to copy, at most two of a person, and the faces that no copy involves, both mixed."""
    mixed = rng.permutation(len(people.labels))
    nth = pd.Series(people.identity[mixed]).groupby(people.identity[mixed]).cumcount().to_numpy()
    ranked = mixed[np.argsort(nth >= 2, kind="stable")]
    return ranked[:n_copies], rng.permutation(ranked[n_copies:])


# ---- drawing ------------------------------------------------------------------------------------
def draw_all(pictures: list[Picture], n_workers: int) -> Iterator[bytes]:
    """Yield every picture's JPEG in order, drawn by so many processes."""
    chunks = [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]
    if n_workers == 1:
        for chunk in chunks:
            yield from draw_chunk(chunk)
        return
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        for drawn in pool.map(draw_chunk, chunks):
            yield from drawn


def draw_chunk(pictures: list[Picture]) -> list[bytes]:
    """Draw pictures one after another on one core."""
    cv2.setNumThreads(1)
    return [draw_picture(picture) for picture in pictures]


def draw_picture(picture: Picture) -> bytes:
    """JPEG of one picture, a function of its fields alone."""
    rng = np.random.default_rng([picture.seed, 1, picture.face])
    if picture.kind == "faceless":
        return simplejpeg.encode_jpeg(draw_faceless(rng), quality=92)
    person = np.random.default_rng([picture.seed, 2, picture.person])
    shape = dict(zip(GEOMETRY, person.normal(size=len(GEOMETRY)).clip(-2, 2), strict=True))
    pixels = draw_portrait(shape, draw_cues(picture.labels, rng), rng)
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=92)
    return alter_copy(data, picture.kind, rng) if picture.kind else data


def draw_cues(labels: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """How strongly each attribute shows, 0 to 1: some positives are faint, some negatives hint."""
    there = rng.normal(0.95, 0.12, len(labels))
    absent = np.abs(rng.normal(0, 0.04, len(labels)))
    return dict(zip(ATTRIBUTES, np.where(labels, there, absent).clip(0, 1).tolist(), strict=True))


def alter_copy(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """A near copy of a JPEG, of one of NEAR_KINDS."""
    pixels: Any = simplejpeg.decode_jpeg(data)
    height, width = pixels.shape[:2]
    quality = 92
    if kind == "reencoded":
        quality = int(rng.integers(40, 71))
    elif kind == "resized":
        scale = rng.uniform(0.6, 0.8)
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    elif kind == "cropped":
        cut = rng.uniform(0.02, 0.08)
        top, left = (round(cut * side * rng.random()) for side in (height, width))
        kept = pixels[top : top + round((1 - cut) * height), left : left + round((1 - cut) * width)]
        pixels = cv2.resize(kept, (width, height), interpolation=cv2.INTER_LINEAR)
    elif kind == "brightness":
        factor = rng.uniform(0.75, 0.92) if rng.random() < 0.5 else rng.uniform(1.08, 1.25)
        pixels = cv2.convertScaleAbs(pixels, alpha=factor)
    else:
        pixels = pixels[:, ::-1]
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality)
