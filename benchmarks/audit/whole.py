"""The whole stage at the size of CelebA: seconds, CPU seconds and memory of one run.

No 202,599 pictures are at hand that are no copies of each other: each is blended from two real
ones, with the labels of the stronger one, under CelebA's own partitions and identities. Writing
them takes 2 GB of disk for as long as the run lasts.

    python -m benchmarks.audit.whole --n_images 10000
    python -m benchmarks.audit.whole
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from stages.common.files import MANIFEST, fresh_folder, write_manifest
from stages.common.tables import ANNOTATIONS, IMAGES_SCHEMA, annotations_schema, write_table

ROOT = Path(__file__).resolve().parent.parent.parent
PARTITION = ("train", "valid", "test")
N_IN_FILE, N_IN_GROUP, QUALITY = 20_000, 256, 90


def main() -> None:
    """Blend, audit, print a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--celeba", type=Path, default=ROOT.parent / "shared/celeba-16k")
    parser.add_argument("--labels", type=Path, default=ROOT.parent / "shared/celeba-labels")
    parser.add_argument("--n_images", type=int, default=202_599)
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facet-") as name:
        folder = Path(name)
        started = time.monotonic()
        write_blends(options.celeba, options.labels, options.n_images, folder / "download")
        print(f"blends written in {time.monotonic() - started:.0f} s", file=sys.stderr)
        command = [
            sys.executable, "-m", "stages.audit", "--params", options.params,
            "--download", folder / "download", "--out", folder / "audit",
            "--reports", folder / "reports",
        ]  # fmt: skip
        started = time.monotonic()
        subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    print("| pictures | cores | seconds | CPU seconds | CPU ms per picture | peak memory, GB |")
    print("|---|---|---|---|---|---|")
    per_picture = 1000 * cpu / options.n_images
    peak = usage.ru_maxrss / 2**20
    print(
        f"| {options.n_images} | {os.cpu_count()} | {seconds:.0f} | {cpu:.0f} | "
        f"{per_picture:.1f} | {peak:.2f} |"
    )


def write_blends(celeba: Path, labels: Path, n_images: int, folder: Path) -> None:
    """Write a data/download folder of `n_images` blends."""
    table = read_labels(celeba)
    attributes = list(table.columns)
    partition, identity = read_people(labels, n_images)
    rng = np.random.default_rng(3)
    n_images = len(partition)
    first, second = rng.integers(0, len(table), (2, n_images))
    share = rng.uniform(0.2, 0.5, n_images)
    names = [f"{k + 1:06d}.jpg" for k in range(n_images)]
    with zipfile.ZipFile(celeba / "img_align_celeba.zip") as archive:
        entries = {Path(name).name: name for name in archive.namelist()}
        files = [archive.read(entries[name]) for name in table.index]

    def blend(k: int) -> bytes:
        one, other = (simplejpeg.decode_jpeg(files[j[k]]) for j in (first, second))
        mixed = one * np.float32(1 - share[k]) + other * np.float32(share[k])
        return simplejpeg.encode_jpeg(mixed.astype(np.uint8), quality=QUALITY)

    values = table.to_numpy()[first] == 1
    columns = {"image_id": names, "partition": partition, "identity": identity}
    columns |= {name: values[:, a] for a, name in enumerate(attributes)}
    columns |= {"status": ["ok"] * n_images, "error": pa.nulls(n_images, pa.string())}
    with fresh_folder(folder) as out:
        schema = annotations_schema(attributes)
        write_table(pa.table(columns, schema=schema), out / ANNOTATIONS, schema)
        starts = range(0, n_images, N_IN_FILE)
        for part, start in enumerate(starts):
            path = out / f"images-{part:05d}-of-{len(starts):05d}.parquet"
            with pq.ParquetWriter(path, IMAGES_SCHEMA, compression="none") as writer:
                for rows in groups(start, min(start + N_IN_FILE, n_images)):
                    with ThreadPoolExecutor(os.cpu_count()) as pool:
                        blobs = list(pool.map(blend, rows))
                    batch = {
                        "image_id": [names[k] for k in rows],
                        "bytes": blobs,
                        "sha1": [hashlib.sha1(blob).hexdigest() for blob in blobs],
                    }
                    writer.write_table(pa.table(batch, schema=IMAGES_SCHEMA))
        write_manifest(out, {"attributes": attributes, "n_images": n_images})
    assert (folder / MANIFEST).is_file()


def groups(start: int, stop: int) -> Iterator[range]:
    """Row groups of a file."""
    for k in range(start, stop, N_IN_GROUP):
        yield range(k, min(k + N_IN_GROUP, stop))


def read_labels(celeba: Path) -> pd.DataFrame:
    """Labels in {-1, 1} by file name."""
    path = celeba / "list_attr_celeba.txt"
    return pd.read_csv(path, sep=r"\s+", skiprows=1)


def read_people(labels: Path, n_images: int) -> tuple[list[str], list[str]]:
    """Partition and identity of every n-th of CelebA's images."""
    tables = {}
    for name in ("list_eval_partition.txt", "identity_CelebA.txt"):
        tables[name] = pd.read_csv(find_text(labels, name), sep=r"\s+", header=None, index_col=0)[1]
    partition, identity = tables.values()
    chosen = np.linspace(0, len(partition) - 1, n_images).astype(int)
    codes = partition.to_numpy()[chosen]
    people = identity.loc[partition.index[chosen]].to_numpy()
    return [PARTITION[code] for code in codes], [str(person) for person in people]


def find_text(folder: Path, name: str) -> Path | zipfile.ZipExtFile:
    """A label file, as it is or from the one zip that holds it.

    Raises:
        FileNotFoundError: it is in neither.
    """
    if (folder / name).is_file():
        return folder / name
    for path in sorted(folder.glob("*.zip")):
        archive = zipfile.ZipFile(path)
        for entry in archive.namelist():
            if Path(entry).name == name:
                return archive.open(entry)  # type: ignore[return-value]
    raise FileNotFoundError(f"{folder}: expected {name} or a zip with it")


if __name__ == "__main__":
    main()
