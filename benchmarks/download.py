"""How long download takes for the whole CelebA, beside `unzip` of the same archive.

The archive is simulated: 202,599 entries that repeat the real pictures of a smaller archive, with
CelebA's complete label files. Prints one table; memory is the peak of the process (VmHWM).

    python benchmarks/download.py                     # stored entries, as in the official zip
    python benchmarks/download.py --deflated --n_runs 1
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
N_IMAGES = 202_599
LABELS = ("list_attr_celeba", "list_eval_partition", "identity_CelebA")


def main() -> None:
    """Build the archive, run both programs in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared"
    parser.add_argument("--pictures", type=Path, default=shared / "celeba-16k/img_align_celeba.zip")
    parser.add_argument("--labels", type=Path, default=shared / "celeba-labels")
    parser.add_argument("--deflated", action="store_true", help="compress the entries")
    parser.add_argument("--n_runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work: 5 GB; default: a temporary one")
    options = parser.parse_args()
    if not shutil.which("unzip"):
        sys.exit("benchmarks/download.py: expected the program unzip; it is not installed")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source = build_source(folder / "source", options.pictures, options.labels, options.deflated)
        params = write_params(folder / "params.yaml", source)
        commands = {
            "facet download": [
                sys.executable, "-m", "stages.download",
                "--params", str(params), "--out", str(folder / "out"),
            ],
            "unzip -q": [
                "unzip", "-q", str(source / "img_align_celeba.zip"), "-d", str(folder / "unzipped"),
            ],
        }  # fmt: skip
        times: dict[str, list[float]] = {key: [] for key in commands}
        peaks = dict.fromkeys(commands, 0.0)
        for _ in range(options.n_runs):
            for key, command in commands.items():
                shutil.rmtree(folder / "unzipped", ignore_errors=True)
                seconds, peak = run_measured(command)
                times[key].append(seconds)
                peaks[key] = max(peaks[key], peak)
    kind = "deflated" if options.deflated else "stored"
    print(f"\n{N_IMAGES} {kind} entries, median of {options.n_runs} runs, {os.cpu_count()} cores")
    print("| program | seconds | ratio to unzip | peak memory, MB |")
    print("|---|---|---|---|")
    medians = {key: sorted(values)[len(values) // 2] for key, values in times.items()}
    for key, seconds in medians.items():
        ratio = seconds / medians["unzip -q"]
        print(f"| {key} | {seconds:.1f} | {ratio:.2f} | {peaks[key]:.0f} |")


def build_source(folder: Path, pictures: Path, labels: Path, is_deflated: bool) -> Path:
    """Write the simulated official layout."""
    folder.mkdir()
    with zipfile.ZipFile(pictures) as archive:
        blobs = [archive.read(entry) for entry in archive.infolist() if not entry.is_dir()]
    method = zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", method) as archive:
        for number in range(1, N_IMAGES + 1):
            archive.writestr(f"img_align_celeba/{number:06d}.jpg", blobs[number % len(blobs)])
    for name in LABELS:
        with zipfile.ZipFile(labels / f"{name}.zip") as archive:
            archive.extract(f"{name}.txt", folder)
    return folder


def write_params(path: Path, source: Path) -> Path:
    """The repository's parameters with `files` as their source."""
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["download"]["source"] = "files"
    values["download"]["path"] = str(source)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return path


def run_measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of one process; its output is shown."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    peak = 0.0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]) / 1024)
        time.sleep(0.02)
    if process.wait() != 0:
        sys.exit(f"benchmarks/download.py: {command[0]} ended with {process.returncode}")
    return time.monotonic() - started, peak


if __name__ == "__main__":
    main()
