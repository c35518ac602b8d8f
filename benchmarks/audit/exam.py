"""An exam: real pictures with planted copies of some of them, and what is a copy of what."""

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.audit.planter import DEV_KINDS, EXAM_KINDS, HELD_OUT, plant, save
from stages.common.files import fresh_folder, write_manifest
from stages.common.tables import ANNOTATIONS, IMAGES_SCHEMA, annotations_schema, write_table

N_IMAGES = 3440
N_PER_DEV_KIND, N_PER_EXAM_KIND = 30, 20
N_TRIPLES, N_SAME_BYTES, N_SAME_PIXELS = 20, 40, 20
ORDER_SEED = 20
PNG = b"\x89PNG"
ATTRIBUTES = ["Blond_Hair", "Male", "Smiling"]
NATURAL = Path(__file__).parent / "natural_copies.csv"


@dataclass(frozen=True)
class Planted:
    """A pair of copies, places in the exam; what the later one is, and how strongly changed."""

    first: int
    second: int
    kind: str
    strength: float

    @property
    def is_exact(self) -> bool:
        """Same bytes or same pixels."""
        return self.kind in ("same bytes", "same pixels")


@dataclass(frozen=True)
class Exam:
    """Files under names that say nothing, a partition each, and all pairs of copies among them."""

    names: list[str]
    blobs: list[bytes]
    partition: list[str]
    planted: list[Planted]


def read_names(archive: zipfile.ZipFile, partitions: Path) -> list[str]:
    """Entries of train and valid without listed natural copies, in an order of the exam's own."""
    with partitions.open(encoding="utf-8") as file:
        chosen = {line.split()[0] for line in file if line.split()[1] in ("0", "1")}
    with NATURAL.open(encoding="utf-8") as file:
        chosen -= {row["second"] for row in csv.DictReader(file)}
    names = sorted(name for name in archive.namelist() if Path(name).name in chosen)
    return [names[k] for k in np.random.default_rng(ORDER_SEED).permutation(len(names))]


def build_exam(folder: Path, seed: int, is_rehearsal: bool = False) -> Exam:
    """Draw the exam's pictures and plant the copies.

    Args:
        folder: CelebA in its official layout, or a part of it.
        seed: Strengths, and which picture gets which copy.
        is_rehearsal: Other pictures than the exam's, seen kinds and strengths only: to fit by.
    """
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in DEV_KINDS for _ in range(N_PER_DEV_KIND * (3 if is_rehearsal else 1))]
    if not is_rehearsal:
        kinds += [kind for kind in EXAM_KINDS for _ in range(N_PER_EXAM_KIND)]
    n_exact = N_SAME_BYTES + N_SAME_PIXELS
    n_originals = N_IMAGES - len(kinds) - N_TRIPLES - n_exact
    with zipfile.ZipFile(folder / "img_align_celeba.zip") as archive:
        names = read_names(archive, folder / "list_eval_partition.txt")
        names = names[N_IMAGES:] if is_rehearsal else names[:N_IMAGES]
        originals = [archive.read(name) for name in names[:n_originals]]

    blobs, pairs = list(originals), []
    chosen = iter(rng.permutation(n_originals).tolist())

    def add(original: int, kind: str) -> int:
        image = Image.open(io.BytesIO(originals[original])).convert("RGB")
        strength = float(rng.uniform(0, HELD_OUT if is_rehearsal else 1))
        blobs.append(plant(image, kind, strength, rng))
        pairs.append(Planted(original, len(blobs) - 1, kind, strength))
        return len(blobs) - 1

    for kind in kinds:
        add(next(chosen), kind)
    for k in range(N_TRIPLES):  # a second copy of some that have one
        first = pairs[k * len(kinds) // N_TRIPLES]
        second = add(first.first, str(rng.choice(list(DEV_KINDS))))
        strength = max(first.strength, pairs[-1].strength)
        pairs.append(Planted(first.second, second, "two copies", strength))
    for k in range(n_exact):
        original, is_same_file = next(chosen), k < N_SAME_BYTES
        image = Image.open(io.BytesIO(originals[original]))
        blobs.append(originals[original] if is_same_file else save(image, 100, "PNG"))
        kind = "same bytes" if is_same_file else "same pixels"
        pairs.append(Planted(original, len(blobs) - 1, kind, 0.0))
    return _shuffle(blobs, pairs, rng)


def _shuffle(blobs: list[bytes], pairs: list[Planted], rng: np.random.Generator) -> Exam:
    """In an order that tells originals and copies not apart."""
    order = rng.permutation(len(blobs))
    place = np.argsort(order)
    planted = []
    for pair in pairs:
        first, second = sorted((int(place[pair.first]), int(place[pair.second])))
        planted.append(Planted(first, second, pair.kind, pair.strength))
    return Exam(
        names=[f"{k:05d}{'.png' if blobs[j][:4] == PNG else '.jpg'}" for k, j in enumerate(order)],
        blobs=[blobs[k] for k in order],
        partition=rng.choice(["train", "valid", "test"], len(blobs), p=[0.8, 0.1, 0.1]).tolist(),
        planted=planted,
    )


def label_exam(exam: Exam, seed: int) -> tuple[np.ndarray, set[tuple[int, int, str]]]:
    """Labels that copies share, but for one label of every other copy with the same bytes.

    Returns:
        (N, A) bool, and the conflicts as (first, second, attribute).
    """
    rng = np.random.default_rng(seed)
    labels = rng.random((len(exam.names), len(ATTRIBUTES))) < 0.5
    for pair in sorted(exam.planted, key=lambda pair: pair.first):
        labels[pair.second] = labels[pair.first]
    flipped = set()
    for pair in [pair for pair in exam.planted if pair.kind == "same bytes"][::2]:
        column = int(rng.integers(len(ATTRIBUTES)))
        labels[pair.second, column] ^= True
        flipped.add((pair.first, pair.second, ATTRIBUTES[column]))
    return labels, flipped


def write_exam(exam: Exam, folder: Path, seed: int) -> None:
    """Write the exam as a data/download folder; rows of annotations are places in the exam."""
    labels, _ = label_exam(exam, seed)
    n = len(exam.names)
    table = {"image_id": exam.names, "partition": exam.partition, "identity": [None] * n}
    table |= {name: labels[:, k].tolist() for k, name in enumerate(ATTRIBUTES)}
    table |= {"status": ["ok"] * n, "error": [None] * n}
    digests = [hashlib.sha1(blob).hexdigest() for blob in exam.blobs]
    images = {"image_id": exam.names, "bytes": exam.blobs, "sha1": digests}
    with fresh_folder(folder) as out:
        schema = annotations_schema(ATTRIBUTES)
        write_table(pa.table(table, schema=schema), out / ANNOTATIONS, schema)
        path = out / "images-00000-of-00001.parquet"
        pq.write_table(pa.table(images, schema=IMAGES_SCHEMA), path, row_group_size=256)
        write_manifest(out, {"attributes": ATTRIBUTES, "n_images": n})
