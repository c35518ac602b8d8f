"""Images per second into the model: our feed beside what is commonly used.

Every program gives batches of the same normalised float pictures, 128x128 from a centred crop of
178, with the same augmentation: torchvision.datasets.CelebA and a folder of JPEGs, both through a
DataLoader of two workers with torchvision's v2 transforms on Pillow's pictures, webdataset with
two workers (`pip install webdataset`; left out if it is missing), and our feed from memory and
streamed. Programs run in turn, each in processes of its own; figures are medians. Other programs
may share the cores, so look at the ratios, and at images per second of processor time, which the
others change less. Memory is the highest proportional share (PSS) of a program's processes.

    python -m benchmarks.input.feed                          # celeba-16k: 12,000 training images
    python -m benchmarks.input.feed --n_images 202599        # as many links to the same files
    python -m benchmarks.input.feed --device cuda            # a training on a GPU; needs no data
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.input.sources import (
    ROOT,
    repeat_shards,
    size_of,
    write_celeba,
    write_shards,
    write_tars,
)

PROGRAMS = ("torchvision", "folder", "webdataset", "facet-host", "facet-stream")
VARIANTS = ("none", "flip", "affine and jitter")
NAMES = {
    "torchvision": "torchvision CelebA, 2 workers",
    "folder": "folder of JPEGs, 2 workers",
    "webdataset": "webdataset, 2 workers",
    "facet-host": "Facet, in memory",
    "facet-stream": "Facet, streamed",
}


def main() -> None:
    """Build the sources, run the programs in turn, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared"
    parser.add_argument("--celeba", type=Path, default=shared / "celeba-16k")
    parser.add_argument("--n_images", type=int, help="repeat the pictures up to this number")
    parser.add_argument("--size_px", type=int, default=128)
    parser.add_argument("--batch_sizes", type=int, nargs="*", default=[32, 100])
    parser.add_argument("--programs", nargs="*", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--n_runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    options = parser.parse_args()
    if options.device == "cuda":
        from benchmarks.input.gpu import measure_gpu

        print(measure_gpu())
        return
    programs = list(options.programs)
    if "webdataset" in programs and importlib.util.find_spec("webdataset") is None:
        print("webdataset is not installed (pip install webdataset): left out")
        programs.remove("webdataset")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        n_images = build_sources(
            folder, options.celeba, options.n_images, options.size_px, programs
        )
        runs = [
            (variant, batch_size, program)
            for _ in range(options.n_runs)
            for variant in options.variants
            for batch_size in options.batch_sizes
            for program in programs
        ]
        figures: dict[tuple[str, int, str], list[dict[str, float]]] = {}
        for run in runs:
            figure = run_program(*run, folder, options.size_px, options.seconds)
            figures.setdefault(run, []).append(figure)
            print(run, {key: round(value, 1) for key, value in figure.items()}, file=sys.stderr)
        disk = {
            "torchvision": size_of(folder / "celeba"),
            "folder": size_of(folder / "celeba"),
            "webdataset": size_of(folder / "tars") if "webdataset" in programs else 0,
            "facet-host": size_of(folder / "prepare", "train-*"),
            "facet-stream": size_of(folder / "prepare", "train-*"),
        }
    print(
        f"\n{n_images:,} images, {options.size_px}x{options.size_px}, medians of {options.n_runs} "
        f"runs, {os.cpu_count()} cores"
    )
    print_table(figures, options.variants, options.batch_sizes, programs, disk)


def build_sources(
    folder: Path, celeba: Path, n_images: int | None, size_px: int, programs: Sequence[str]
) -> int:
    """Write what the programs read into `folder`; returns the number of training images."""
    names = write_celeba(folder, celeba, n_images)
    if "webdataset" in programs:
        write_tars(folder / "tars", folder / "celeba")
    made = folder / "made"
    made.mkdir()
    write_shards(made, celeba, size_px)
    if n_images is None:
        (made / "prepare").rename(folder / "prepare")
    else:
        repeat_shards(folder / "prepare", made / "prepare", n_images)
    return len(names)


def run_program(
    variant: str, batch_size: int, program: str, folder: Path, size_px: int, seconds: float
) -> dict[str, float]:
    """Start-up in seconds, rates, and peak memory in MB of one program's processes."""
    command = [
        sys.executable, "-m", "benchmarks.input.programs", program, str(folder),
        "--variant", variant, "--batch_size", str(batch_size), "--size_px", str(size_px),
        "--seconds", str(seconds), "--started", str(time.monotonic()),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(map(read_pss, [process.pid, *find_children(process.pid)])))
        time.sleep(0.2)
    assert process.stdout is not None
    text = process.stdout.read()
    if process.returncode:
        sys.exit(f"benchmarks.input.feed: {program} ended with {process.returncode}")
    return {**json.loads(text.splitlines()[-1]), "peak_mb": peak}


def find_children(pid: int) -> list[int]:
    """Processes that a process has started."""
    with suppress(OSError):
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def read_pss(pid: int) -> float:
    """MB of a process, of shared pages its share; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def print_table(
    figures: dict[tuple[str, int, str], list[dict[str, float]]],
    variants: Sequence[str],
    batch_sizes: Sequence[int],
    programs: Sequence[str],
    disk: dict[str, int],
) -> None:
    """One row per variant, batch size and program; ratios are to torchvision in the same turn."""
    print(
        "| augmentation | batch | program | images/s | times torchvision | per core and s | "
        "times torchvision | start-up, s | memory, MB | disk, MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for variant in variants:
        for batch_size in batch_sizes:
            for program in programs:
                rows = figures[variant, batch_size, program]
                cells = []
                for key in ("images_per_s", "images_per_cpu_s"):
                    cells.append(f"{statistics.median(row[key] for row in rows):,.0f}")
                    peers = figures.get((variant, batch_size, "torchvision"), rows)
                    ratios = [a[key] / b[key] for a, b in zip(rows, peers, strict=True)]
                    cells.append(f"{statistics.median(ratios):.1f}")
                start, peak = (
                    statistics.median(row[key] for row in rows) for key in ("start_s", "peak_mb")
                )
                cells += [f"{start:.1f}", f"{peak:.0f}", f"{disk[program] / 1e6:,.0f}"]
                print(f"| {variant} | {batch_size} | {NAMES[program]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
