"""The same pictures as each program wants them: files and lists, tars, shards."""

import csv
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from stages.common.files import MANIFEST, read_manifest, write_json
from stages.common.shards import SHARD_IMAGES
from stages.common.tables import ISSUES, ISSUES_SCHEMA, write_table

ROOT = Path(__file__).resolve().parent.parent.parent
CROP_PX = 178
TAR_IMAGES = 1000

Rows = dict[str, list[str]]


def read_list(path: Path, n_header: int) -> tuple[list[list[str]], Rows]:
    """A list of CelebA's: its header lines, and each image's other columns."""
    with path.open(newline="") as file:
        lines = list(csv.reader(file, delimiter=" ", skipinitialspace=True))
    return lines[:n_header], {line[0]: line[1:] for line in lines[n_header:] if line}


def write_celeba(folder: Path, celeba: Path, n_images: int | None) -> list[str]:
    """Files and lists as torchvision.datasets.CelebA reads them, training images only.

    Boxes and landmarks, which it insists on, are zeros. Beyond the archive's own images, names are
    further links to the same files. Returns the names.
    """
    headers, labels = read_list(celeba / "list_attr_celeba.txt", 2)
    _, partitions = read_list(celeba / "list_eval_partition.txt", 0)
    known = [name for name, (partition,) in partitions.items() if partition == "0"]
    n_images = len(known) if n_images is None else n_images
    base = folder / "celeba"
    images = base / "img_align_celeba"
    images.mkdir(parents=True)
    with zipfile.ZipFile(celeba / "img_align_celeba.zip") as archive:
        for name in known[:n_images]:
            (images / name).write_bytes(archive.read(f"img_align_celeba/{name}"))
    sources = {name: name for name in known[:n_images]}
    for number in range(len(sources), n_images):
        name = f"r{number:06d}.jpg"
        sources[name] = known[number % len(known)]
        os.link(images / sources[name], images / name)
    tables: dict[str, tuple[list[list[str]], Rows]] = {
        "list_attr_celeba": (
            [[str(n_images)], headers[1]],
            {name: labels[source] for name, source in sources.items()},
        ),
        "list_eval_partition": ([], {name: ["0"] for name in sources}),
        "identity_CelebA": ([], {name: ["1"] for name in sources}),
        "list_bbox_celeba": (
            [[str(n_images)], ["image_id", "x_1", "y_1", "width", "height"]],
            {name: ["0"] * 4 for name in sources},
        ),
        "list_landmarks_align_celeba": (
            [[str(n_images)], [f"point_{i}" for i in range(10)]],
            {name: ["0"] * 10 for name in sources},
        ),
    }
    for table, (head, rows) in tables.items():
        with (base / f"{table}.txt").open("w") as file:
            file.writelines(" ".join(line) + "\n" for line in head)
            file.writelines(f"{name} {' '.join(values)}\n" for name, values in rows.items())
    return list(sources)


def write_tars(folder: Path, celeba: Path) -> None:
    """What webdataset reads: tars of pictures and labels, from the folder of `write_celeba`."""
    folder.mkdir()
    _, labels = read_list(celeba / "list_attr_celeba.txt", 2)
    names = list(labels)
    for start in range(0, len(names), TAR_IMAGES):
        with tarfile.open(folder / f"{start // TAR_IMAGES:05d}.tar", "w") as tar:
            for name in names[start : start + TAR_IMAGES]:
                values = io.BytesIO()
                np.save(values, (np.array(labels[name], np.int8) > 0).astype(np.uint8))
                picture = (celeba / "img_align_celeba" / name).read_bytes()
                for suffix, data in (("jpg", picture), ("npy", values.getvalue())):
                    entry = tarfile.TarInfo(f"{Path(name).stem}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))


def write_shards(folder: Path, celeba: Path, size_px: int) -> None:
    """folder/prepare, made by our own stages from the official layout."""
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["download"] |= {"source": "files", "path": str(celeba)}
    values["prepare"] |= {"crop_height_px": CROP_PX, "crop_width_px": CROP_PX}
    values["prepare"] |= {"height_px": size_px, "width_px": size_px}
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    (folder / "audit").mkdir()
    write_table(ISSUES_SCHEMA.empty_table(), folder / "audit" / ISSUES, ISSUES_SCHEMA)
    for stage, paths in {
        "download": ["--out", "download"],
        "prepare": ["--download", "download", "--audit", "audit", "--out", "prepare"],
    }.items():
        subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", "--params", "params.yaml", *paths],
            cwd=folder,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder)},
        )


def repeat_shards(folder: Path, prepare: Path, n_images: int) -> None:
    """A prepared set of `n_images`: links to the first, full shard of `prepare`, and its rest."""
    folder.mkdir()
    first = min(prepare.glob("train-*.parquet"))
    n_full, n_rest = divmod(n_images, SHARD_IMAGES)
    n_shards = n_full + (n_rest > 0)
    for index in range(n_full):
        os.link(first, folder / f"train-{index:05d}-of-{n_shards:05d}.parquet")
    if n_rest:
        path = folder / f"train-{n_full:05d}-of-{n_shards:05d}.parquet"
        with pq.ParquetFile(first) as source:
            options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
            with pq.ParquetWriter(path, source.schema_arrow, **options) as writer:
                for group in range(source.num_row_groups):
                    table = source.read_row_group(group).slice(0, n_rest)
                    n_rest -= len(table)
                    if len(table):
                        writer.write_table(table)
    facts = read_manifest(prepare)
    counts = {"train": n_images, "valid": 0, "test": 0}
    keys = ("attributes", "height_px", "width_px", "crop_px")
    known = {**{key: facts[key] for key in keys}, "n_by_partition": counts}
    write_json(folder / MANIFEST, {**known, "files": {}})  # hashes would only take time


def size_of(folder: Path, pattern: str = "*") -> int:
    """Bytes of a folder's files, links counted as files of their own."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())
