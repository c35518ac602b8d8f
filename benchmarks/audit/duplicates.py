"""How well copies are found among real pictures, beside other tools.

Plants copies among 3,440 pictures (train and valid of CelebA or of a part of it, natural copies of
the list left out), runs the audit with the parameters of params.yaml, prints tables as Markdown.

    python -m benchmarks.audit.duplicates
    python -m benchmarks.audit.duplicates --peers path/to/python    # with imagededup, cleanvision
    python -m benchmarks.audit.duplicates --rehearsal               # what thresholds are fitted by
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from benchmarks.audit.exam import Exam, build_exam, label_exam, write_exam
from benchmarks.audit.planter import DEV_KINDS, EXAM_KINDS, HELD_OUT
from stages.audit.copies import Copies, find_copies
from stages.audit.findings import list_label_conflicts, list_leaks
from stages.audit.pictures import decode_grays, hash_grays, read_pictures
from stages.common.params import AuditParams, load_params
from stages.common.tables import label_arrays, read_annotations

ROOT = Path(__file__).resolve().parent.parent.parent
Pair = tuple[int, int]


@dataclass(frozen=True)
class Result:
    """What one tool says: pairs it calls near copies, scores of all pairs it can rank, its cost."""

    tool: str
    pairs: set[Pair]
    scores: dict[Pair, float] | None
    seconds: float


def main() -> None:
    """Run the exam, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--celeba", type=Path, default=ROOT.parent / "shared/celeba-16k")
    parser.add_argument("--peers", type=Path, help="a Python with imagededup and cleanvision")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rehearsal", action="store_true")
    options = parser.parse_args()
    params = load_params(ROOT / "params.yaml").audit
    exam = build_exam(options.celeba, options.seed, options.rehearsal)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_exam(exam, folder / "download", options.seed)
        ours, copies = run_audit(folder / "download", params)
        results = [ours]
        if options.peers:
            results += run_peers(exam, folder, options.peers)
        else:
            print("Without --peers: imagededup and cleanvision are left out.\n")
        print_pairs(exam, results)
        print_kinds(exam, results)
        print_exact(exam, folder / "download", copies, options.seed)
    with zipfile.ZipFile(options.celeba / "img_align_celeba.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        print_speed([archive.read(name) for name in names])


def run_audit(download: Path, params: AuditParams) -> tuple[Result, Copies]:
    """The audit's check for copies, as the stage runs it."""
    started = time.monotonic()
    annotations, _ = read_annotations(download)
    annotations = annotations.sort_values("image_id", ignore_index=True)
    partition = annotations["partition"].to_numpy(object)
    pictures = read_pictures(download, annotations)
    copies = find_copies(pictures, partition, params)
    seconds = time.monotonic() - started
    all_ranked = find_copies(
        pictures, partition, params.model_copy(update={"near_similarity": 0.1})
    )
    return Result(
        "facet",
        {(pair.first, pair.second) for pair in copies.pairs if not pair.exact},
        {(pair.first, pair.second): pair.similarity for pair in all_ranked.pairs if not pair.exact},
        seconds,
    ), copies


def run_peers(exam: Exam, folder: Path, python: Path) -> list[Result]:
    """PHash of imagededup at its default and its best radius; near duplicates of cleanvision."""
    images, answer = folder / "images", folder / "peers.json"
    images.mkdir()
    for name, blob in zip(exam.names, exam.blobs, strict=True):
        (images / name).write_bytes(blob)
    script = Path(__file__).with_name("peers.py")
    subprocess.run([python, script, images, answer], check=True, stdout=sys.stderr)
    said = json.loads(answer.read_text(encoding="utf-8"))
    place = {name: k for k, name in enumerate(exam.names)}

    def to_pairs(pairs: Iterable[tuple[str, str]]) -> set[Pair]:
        return {tuple(sorted((place[a], place[b]))) for a, b in pairs}  # type: ignore[misc]

    dedup, vision = said["imagededup"], said["cleanvision"]
    hashes = np.array([int(dedup["hashes"][name], 16) for name in exam.names], np.uint64)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    first, second = np.nonzero(np.triu(apart <= 20, k=1))
    distance = dict(zip(zip(first.tolist(), second.tolist(), strict=True),
                        apart[first, second].tolist(), strict=True))  # fmt: skip
    scores = {pair: -float(bits) for pair, bits in distance.items()}
    by_radius = {r: {pair for pair, bits in distance.items() if bits <= r} for r in range(21)}
    best = max(by_radius, key=lambda radius: measure(exam, by_radius[radius])[2])
    default = to_pairs(dedup["pairs"])
    return [
        Result("imagededup PHash, default", default, scores, dedup["seconds"]),
        Result(f"imagededup PHash, best radius {best}", by_radius[best], scores, dedup["seconds"]),
        Result("cleanvision, near", to_pairs(vision["near"]), None, vision["seconds"]),
    ]


def measure(exam: Exam, pairs: set[Pair]) -> tuple[float, float, float]:
    """Precision, recall and F1 over pairs of near copies; exact copies are set aside."""
    truth = {(p.first, p.second) for p in exam.planted if not p.is_exact}
    pairs = pairs - {(p.first, p.second) for p in exam.planted if p.is_exact}
    right = len(pairs & truth)
    precision, recall = right / max(1, len(pairs)), right / len(truth)
    return precision, recall, 2 * right / max(1, len(pairs) + len(truth))


def measure_ranking(exam: Exam, scores: dict[Pair, float]) -> float:
    """Average precision over pairs; what has no score is never found."""
    truth = {(p.first, p.second) for p in exam.planted if not p.is_exact}
    exact = {(p.first, p.second) for p in exam.planted if p.is_exact}
    pairs = [pair for pair in scores if pair not in exact]
    hits = np.array([pair in truth for pair in pairs])
    if not hits.any():
        return 0.0
    values = [scores[pair] for pair in pairs]
    return float(average_precision_score(hits, values) * hits.sum() / len(truth))


def print_pairs(exam: Exam, results: list[Result]) -> None:
    """Precision, recall, F1, average precision, time of every tool."""
    n_near = sum(not pair.is_exact for pair in exam.planted)
    print(f"Near copies: {len(exam.names)} pictures, {n_near} pairs.\n")
    print("| tool | precision | recall | F1 | average precision | wrong pairs | seconds |")
    print("|---|---|---|---|---|---|---|")
    truth = {(p.first, p.second) for p in exam.planted}
    for result in results:
        figures = "| ".join(f"{value:.3f} " for value in measure(exam, result.pairs))
        ranking = f"{measure_ranking(exam, result.scores):.3f}" if result.scores else "-"
        n_wrong = len(result.pairs - truth)
        print(f"| {result.tool} | {figures}| {ranking} | {n_wrong} | {result.seconds:.1f} |")


def print_kinds(exam: Exam, results: list[Result]) -> None:
    """Recall per kind: of ours at seen and at held-out strengths, of all tools at all."""
    print(f"\nRecall per kind; strengths of {HELD_OUT} and more, and the kinds below the line,")
    print("were not seen while fitting.\n")
    names = " | ".join(result.tool for result in results)
    print(f"| kind | pairs | seen strengths | held-out strengths | {names} |")
    print("|---|---|---|---|" + "---|" * len(results))
    for kind in [*DEV_KINDS, None, *EXAM_KINDS, "two copies"]:
        if kind is None:
            print("|" + " |" * (4 + len(results)))
            continue
        mine = [pair for pair in exam.planted if pair.kind == kind]
        if not mine:
            continue
        seen = [pair for pair in mine if pair.strength < HELD_OUT]
        unseen = [pair for pair in mine if pair.strength >= HELD_OUT]
        cells = [_recall(results[0].pairs, part) for part in (seen, unseen)]
        cells += [_recall(result.pairs, mine) for result in results]
        print(f"| {kind} | {len(mine)} | {' | '.join(cells)} |")


def _recall(pairs: set[Pair], wanted: list) -> str:
    found = sum((pair.first, pair.second) in pairs for pair in wanted)
    return f"{found / len(wanted):.2f}" if wanted else "-"


def print_exact(exam: Exam, download: Path, copies: Copies, seed: int) -> None:
    """Exact copies, leaks and conflicting labels: planted, found, right."""
    annotations, attributes = read_annotations(download)
    annotations = annotations.sort_values("image_id", ignore_index=True)
    labels, known = label_arrays(annotations, attributes)
    partition = annotations["partition"].to_numpy(object)

    def planted(*kinds: str) -> set[Pair]:
        return {(p.first, p.second) for p in exam.planted if p.kind in kinds}

    exact = {(p.first, p.second) for p in copies.pairs if p.exact}
    by_bytes = {(p.first, p.second) for p in copies.pairs if p.how == "same bytes"}
    crossing = {pair for pair in planted("same bytes", "same pixels")
                if partition[pair[0]] != partition[pair[1]]}  # fmt: skip
    leaks = {tuple(sorted((f.row, f.related or 0))) for f in list_leaks(copies, partition)}
    found = list_label_conflicts(copies, attributes, labels, known)
    conflicts = {(*sorted((f.row, f.related or 0)), f.attribute) for f in found}
    _, flipped = label_exam(exam, seed)
    print("\n| exact | planted | found | right |\n|---|---|---|---|")
    for name, truth, said in (
        ("same bytes", planted("same bytes"), by_bytes),
        ("same pixels, other bytes", planted("same pixels"), exact - by_bytes),
        ("leaks by exact copies", crossing, leaks & exact),
        ("conflicting labels", flipped, conflicts),
    ):
        print(f"| {name} | {len(truth)} | {len(said)} | {len(truth & said)} |")


def print_speed(files: list[bytes]) -> None:
    """Files in memory to hashes on one core, beside imagehash.phash."""

    def ours() -> np.ndarray:
        hashes = []
        for start in range(0, len(files), 32):
            part = files[start : start + 32]
            grays = [gray for _, gray in decode_grays(part, with_digest=False)]
            hashes.append(hash_grays(part, grays))  # type: ignore[arg-type]
        return np.concatenate(hashes)

    def theirs() -> np.ndarray:
        bits = [imagehash.phash(Image.open(io.BytesIO(file))).hash.ravel() for file in files]
        return np.packbits(np.stack(bits), axis=1).view(np.uint64)[:, 0]

    rates: dict[str, list[float]] = {"facet": [], "imagehash.phash": []}
    with threadpool_limits(1):
        for _ in range(3):
            hashes = []
            for name, function in (("facet", ours), ("imagehash.phash", theirs)):
                started = time.process_time()
                hashes.append(function())
                rates[name].append(len(files) / (time.process_time() - started))
    apart = np.bitwise_count(hashes[0] ^ hashes[1])
    print(f"\nHashing {len(files)} JPEG files: {(apart == 0).mean():.2%} equal bits, at most "
          f"{apart.max()} bits apart.\n")  # fmt: skip
    print("| program | images per CPU second, median of 3 | ratio |\n|---|---|---|")
    base = float(np.median(rates["imagehash.phash"]))
    for name, values in rates.items():
        print(f"| {name} | {np.median(values):.0f} | {np.median(values) / base:.2f} |")


if __name__ == "__main__":
    main()
