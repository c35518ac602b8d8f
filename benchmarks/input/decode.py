"""What prepare costs beside the bare decoder and beside a loop with Pillow.

The bare decoder (simplejpeg, files and result in memory) is the limit of whatever decodes whole
pictures. Other programs may share the cores, hence images per second of CPU time, which is what one
core of its own would do, ratios of programs that ran in turn, and medians of them. Whole commands
are run at several numbers of images; their start-up is measured on 16. Memory is the highest
proportional share (PSS) of the process; pages of the output that the kernel keeps belong to none.

    python -m benchmarks.input.decode               # 12 GB of disk, all of it given back
    python -m benchmarks.input.decode --sizes 1000 --n_runs 9
"""

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image
from ruamel.yaml import YAML

from stages.common.files import write_manifest
from stages.common.params import load_params
from stages.common.tables import (
    ANNOTATIONS,
    IMAGES_SCHEMA,
    ISSUES,
    ISSUES_SCHEMA,
    annotations_schema,
    iter_images,
    read_annotations,
    write_table,
)
from stages.prepare.run import run

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = (1_000, 10_000, 50_000, 202_599)
CROP_PX, SIZE_PX = 178, 128
N_START = 16  # pictures of the run that measures start-up
MAX_REPEATED = 10_000  # larger numbers of images are run once
SHARD_IMAGES, GROUP_IMAGES = 4096, 256  # as stages.download writes them
STORED = {"compression": "none", "use_dictionary": False}

Files = dict[str, bytes]


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds, seconds of all its threads, and the peak of its memory."""

    seconds: float
    cpu_s: float
    peak_mb: float = 0.0


def main() -> None:
    """Measure in turn, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared"
    parser.add_argument("--celeba", type=Path, default=shared / "celeba-16k")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of images")
    parser.add_argument("--n_runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        params = write_params(folder / "params.yaml", options.celeba)
        (folder / "audit").mkdir()
        write_table(ISSUES_SCHEMA.empty_table(), folder / "audit" / ISSUES, ISSUES_SCHEMA)
        run_stage("download", params, out=folder / "celeba")
        files = read_files(folder / "celeba")
        print(
            f"\n{len(files)} pictures to {SIZE_PX}x{SIZE_PX}, {os.cpu_count()} cores, median of "
            f"{options.n_runs} runs"
        )
        print_rates(folder, params, files, options.n_runs)
        print_error(folder / "out", files)
        print_sizes(folder, params, options.sizes, options.n_runs)


def print_rates(folder: Path, params: Path, files: Files, n_runs: int) -> None:
    """Images per second of CPU time, and what part that is of the bare decoder's."""
    blobs = list(files.values())
    programs: dict[str, Callable[[], Cost]] = {
        "bare decoder": lambda: run_threads(decode_bare, blobs),
        "prepare": lambda: run_inside(folder, params),
        "Pillow loop": lambda: run_threads(decode_with_pillow, blobs),
    }
    run_inside(folder, params)  # imports torch
    costs = [{name: program() for name, program in programs.items()} for _ in range(n_runs)]
    print("\n| program | images/s of one core | part of the bare decoder's |\n|---|---|---|")
    for name in programs:
        rate = statistics.median(len(files) / cost[name].cpu_s for cost in costs)
        parts = sorted(cost["bare decoder"].cpu_s / cost[name].cpu_s for cost in costs)
        middle, low, high = statistics.median(parts), parts[0], parts[-1]
        print(f"| {name} | {rate:.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) |", flush=True)


def print_error(out: Path, files: Files) -> None:
    """How far the shards are from Pillow's pixels, in gray levels."""
    means, n_other, largest = [], 0, 0
    for path in sorted(out.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(512, columns=["image_id", "pixels"]):
                for image_id, data in zip(*map(pa.Array.to_pylist, batch.columns), strict=True):
                    expected = decode_with_pillow(files[image_id]).ravel().astype(np.int16)
                    error = np.abs(np.frombuffer(data, np.uint8) - expected)
                    means.append(error.mean())
                    n_other += int(np.count_nonzero(error))
                    largest = max(largest, int(error.max()))
    share = n_other / (len(means) * 3 * SIZE_PX**2)
    print(
        f"Beside Pillow: mean absolute error {np.mean(means):.4f} gray levels, worst picture "
        f"{max(means):.4f}; {share:.2%} of the values differ, by {largest} at most"
    )


def print_sizes(folder: Path, params: Path, sizes: Sequence[int], n_runs: int) -> None:
    """Cost of several numbers of images; small ones are run as often as start-up, in turn."""
    repeat_data(folder / "celeba", folder / "few", N_START)
    print(
        "\n| images | seconds | CPU seconds | start-up, s | start-up, CPU seconds "
        "| CPU, us per image after it | peak memory, MB | files, MB | shards, MB |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for n in sizes:
        repeat_data(folder / "celeba", folder / "many", n)
        starts, costs = [], []
        for _ in range(n_runs if n <= MAX_REPEATED else 1):
            starts.append(run_prepare(folder, params, "few"))
            costs.append(run_prepare(folder, params, "many"))
        start, cost = find_median(starts), find_median(costs)
        each = (cost.cpu_s - start.cpu_s) / n * 1e6
        n_mb = [count_bytes(folder / name) / 1e6 for name in ("many", "out")]
        print(
            f"| {n} | {cost.seconds:.1f} | {cost.cpu_s:.1f} | {start.seconds:.1f} "
            f"| {start.cpu_s:.1f} | {each:.0f} | {cost.peak_mb:.0f} | {n_mb[0]:.0f} "
            f"| {n_mb[1]:.0f} |",
            flush=True,
        )
        for name in ("many", "out"):
            shutil.rmtree(folder / name)


def find_median(costs: list[Cost]) -> Cost:
    """Of seconds, of CPU seconds, and of memory."""
    return Cost(*map(statistics.median, zip(*map(astuple, costs), strict=True)))


def decode_bare(data: bytes, buffer: np.ndarray) -> np.ndarray:
    """The whole picture, no copy kept."""
    return simplejpeg.decode_jpeg(data, "RGB", buffer=buffer)


def decode_with_pillow(data: bytes, buffer: np.ndarray | None = None) -> np.ndarray:
    """The usual loop: decode, crop at the centre, resize."""
    with Image.open(io.BytesIO(data)) as image:
        left, top = (image.width - CROP_PX) // 2, (image.height - CROP_PX) // 2
        cropped = image.convert("RGB").crop((left, top, left + CROP_PX, top + CROP_PX))
        return np.asarray(cropped.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))


def run_threads(decode: Callable[[bytes, np.ndarray], np.ndarray], files: list[bytes]) -> Cost:
    """Decode all files, which are in memory, on all cores."""
    n_workers = os.cpu_count() or 1

    def work(part: list[bytes]) -> None:
        buffer = np.empty(1 << 20, np.uint8)
        for data in part:
            decode(data, buffer)

    started, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(n_workers) as pool:
        list(pool.map(work, [files[k::n_workers] for k in range(n_workers)]))
    return Cost(time.monotonic() - started, time.process_time() - cpu)


def run_inside(folder: Path, params: Path) -> Cost:
    """Prepare the real pictures in this process, where everything is imported."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    values = load_params(params).prepare
    started, cpu = time.monotonic(), time.process_time()
    run(values, folder / "celeba", folder / "audit", folder / "out")
    return Cost(time.monotonic() - started, time.process_time() - cpu)


def run_prepare(folder: Path, params: Path, data: str) -> Cost:
    """Prepare a folder of canonical data to `out`."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    return run_stage(
        "prepare", params, download=folder / data, audit=folder / "audit", out=folder / "out"
    )


def run_stage(stage: str, params: Path, **paths: Path) -> Cost:
    """Run a stage in a process of its own and watch its memory."""
    options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    command = [sys.executable, "-m", f"stages.{stage}", "--params", str(params), *options]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    peak_kb, done = 0, 0
    while not done:
        with suppress(OSError):  # it ends while it is looked at
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            peak_kb = max(
                peak_kb,
                *(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")),
            )
        time.sleep(0.05)
        done, status, used = os.wait4(process.pid, os.WNOHANG)
    if status:
        sys.exit(f"benchmarks.input.decode: {' '.join(command)} ended with {status}")
    return Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, peak_kb / 1024)


def repeat_data(source: Path, out: Path, n_images: int) -> None:
    """Canonical data of any number of images, which repeats files and labels of `source`."""
    out.mkdir()
    labels, attributes = read_annotations(source)
    rows = labels.iloc[np.arange(n_images) % len(labels)].copy()
    rows["image_id"] = [f"{k + 1:06d}.jpg" for k in range(n_images)]
    write_table(rows, out / ANNOTATIONS, annotations_schema(attributes))
    batches = pa.Table.from_batches(iter_images(source, IMAGES_SCHEMA.names)).combine_chunks()
    n_files = -(-n_images // SHARD_IMAGES)
    for index in range(n_files):
        first, stop = index * SHARD_IMAGES, min(n_images, (index + 1) * SHARD_IMAGES)
        table = batches.take(np.arange(first, stop) % len(labels))
        ids = pa.array(rows["image_id"].iloc[first:stop], pa.string())
        table = table.set_column(0, IMAGES_SCHEMA.field(0), ids)
        path = out / f"images-{index:05d}-of-{n_files:05d}.parquet"
        with pq.ParquetWriter(path, IMAGES_SCHEMA, **STORED) as writer:
            writer.write_table(table, row_group_size=GROUP_IMAGES)
    write_manifest(out, {"attributes": attributes})


def write_params(path: Path, celeba: Path) -> Path:
    """The repository's parameters with these files as source and these sizes."""
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["download"] |= {"source": "files", "path": str(celeba.absolute())}
    values["prepare"] |= {"crop_height_px": CROP_PX, "crop_width_px": CROP_PX}
    values["prepare"] |= {"height_px": SIZE_PX, "width_px": SIZE_PX}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return path


def read_files(download: Path) -> Files:
    """All pictures as they are, by image_id."""
    return {
        image_id: data
        for batch in iter_images(download)
        for image_id, data in zip(*map(pa.Array.to_pylist, batch.columns), strict=True)
    }


def count_bytes(folder: Path) -> int:
    """Size of all files."""
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
