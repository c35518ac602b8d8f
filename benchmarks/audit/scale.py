"""What the check for copies costs at the size of CelebA, and whether it still finds them there.

No 202,599 pictures are at hand that are no copies of each other, so the full size is made of
blends of two real pictures each, among them the exam with its planted copies. How many pairs of
real pictures the verification gets is measured at three sizes and extended by the square of the
size.

    python -m benchmarks.audit.scale
"""

import argparse
import os
import resource
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.audit.exam import Planted, build_exam, read_names
from stages.audit.hashes import hash_pictures
from stages.audit.lookalikes import find_covered, find_look_alikes
from stages.audit.pictures import HASH_SIDE_PX, Pictures, Reduced, reduce_files
from stages.audit.resize import shrink_pictures
from stages.audit.search import find_pairs
from stages.audit.verification import compare_pictures
from stages.common.params import load_params

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = 4096
Answer = TypeVar("Answer")


def main() -> None:
    """Measure, print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--celeba", type=Path, default=ROOT.parent / "shared/celeba-16k")
    parser.add_argument("--n_images", type=int, default=202_599)
    options = parser.parse_args()
    params = load_params(ROOT / "params.yaml").audit
    with zipfile.ZipFile(options.celeba / "img_align_celeba.zip") as archive:
        names = read_names(archive, options.celeba / "list_eval_partition.txt")
        files = [archive.read(name) for name in names]
    real, cost = measure(lambda: reduce_all(files))
    n_files, n_all = len(files), options.n_images
    files.clear()
    print(f"{os.cpu_count()} cores. Estimates are of CPU seconds at {n_all} pictures.\n")
    print("| step | pictures | seconds | CPU seconds | estimate |\n|---|---|---|---|---|")
    total = report("decode, hash, shrink", f"{n_files} real", cost, n_all / n_files)

    exam = build_exam(options.celeba, seed=7)
    crowd = join(reduce_all(exam.blobs), blend(real, n_all - len(exam.blobs)))
    for name, queries in (("", crowd.hashes), ("mirrored ", crowd.mirrored)):
        pairs, cost = measure(partial(find_pairs, queries, crowd.hashes, 10))
        check_pairs(pairs, queries, crowd.hashes)
        report(f"{name}hashes within 10 bits: {len(pairs)} pairs", f"{n_all} blends", cost, None)
    candidates, near = set(), set()
    for mirrored in (False, True):
        way = "mirrored" if mirrored else "upright"
        found = []
        for name, function in list_steps(crowd, mirrored, params.near_radius_bits).items():
            pairs, cost = measure(function)
            total += report(f"{way} {name}: {len(pairs)} pairs", f"{n_all} blends", cost, 1)
            found.append(pairs)
        alike = np.unique(np.concatenate(found[:2]), axis=0)
        for pairs, is_in_place in ((alike, False), (found[2], True)):
            similar, cost = measure(
                partial(compare_pictures, crowd.thumbs, pairs, mirrored, is_in_place)
            )
            report(f"{way} verification of {len(pairs)} pairs", f"{n_all} blends", cost, None)
            candidates |= set(map(tuple, pairs.tolist()))
            near |= set(map(tuple, pairs[similar >= params.near_similarity].tolist()))
    for n in (n_files // 4, n_files // 2, n_files):
        part = take(real, n)
        pairs_of = {
            way: np.unique(np.concatenate([step() for step in steps.values()]), axis=0)
            for way in (False, True)
            for steps in [list_steps(part, way, params.near_radius_bits)]
        }
        _, cost = measure(partial(compare_both, part.thumbs, pairs_of))
        n_pairs = sum(map(len, pairs_of.values()))
        name = f"verification of {n_pairs} pairs, {n_pairs / n**2:.1e} per square"
        verify = report(name, f"{n} real", cost, (n_all / n) ** 2)
    print(f"| **all** | | | | **{total + verify:.0f}** |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of this process: {peak:.0f} MB.\n")
    print_recall(exam.planted, candidates, near)


def list_steps(
    pictures: Pictures, mirrored: bool, radius_bits: int
) -> dict[str, Callable[[], NDArray[np.int64]]]:
    """The searches for candidates, not yet run."""
    queries = pictures.mirrored if mirrored else pictures.hashes
    return {
        "candidates by hash": lambda: find_pairs(queries, pictures.hashes, radius_bits),
        "candidates by look-alikes": lambda: find_look_alikes(pictures.thumbs, mirrored),
        "candidates by parts not covered": lambda: find_covered(pictures.thumbs, mirrored),
    }


def report(name: str, size: str, cost: tuple[float, float], factor: float | None) -> float:
    """Print a row; the estimated CPU seconds, where this step is a part of the whole."""
    estimate = cost[1] * (factor or 0)
    last = f"{estimate:.0f}" if factor else "-"
    print(f"| {name} | {size} | {cost[0]:.1f} | {cost[1]:.1f} | {last} |", flush=True)
    return estimate


def measure(function: Callable[[], Answer]) -> tuple[Answer, tuple[float, float]]:
    """The answer, and the seconds and CPU seconds it took."""
    started, cpu = time.monotonic(), time.process_time()
    answer = function()
    return answer, (time.monotonic() - started, time.process_time() - cpu)


def reduce_all(files: list[bytes]) -> Pictures:
    """All files on all cores, as read_pictures does."""
    parts = [files[k : k + 32] for k in range(0, len(files), 32)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        reduced = list(chain.from_iterable(pool.map(reduce_files, parts)))
    good = [picture for picture in reduced if isinstance(picture, Reduced)]
    return Pictures(
        np.arange(len(good)),
        np.array([str(k) for k in range(len(good))], object),
        np.array([picture.digest for picture in good], object),
        np.array([picture.hash for picture in good]),
        np.array([picture.mirrored for picture in good]),
        np.stack([picture.thumb for picture in good]),
        {},
    )


def compare_both(
    thumbs: NDArray[np.uint8], pairs_of: dict[bool, NDArray[np.int64]]
) -> list[NDArray[np.floating]]:
    """Similarities of the pairs found upright (False) and mirrored (True)."""
    return [compare_pictures(thumbs, pairs, way) for way, pairs in pairs_of.items()]


def blend(real: Pictures, n: int) -> Pictures:
    """Pictures that are a half to four fifths one real picture, the rest another."""
    rng = np.random.default_rng(3)
    thumbs = np.empty((n, *real.thumbs.shape[1:]), np.uint8)
    hashes, mirrored = np.empty(n, np.uint64), np.empty(n, np.uint64)
    for start in range(0, n, BLOCK):
        block = slice(start, min(start + BLOCK, n))
        size = block.stop - block.start
        first, second = rng.integers(0, len(real.thumbs), (2, size))
        share = rng.uniform(0.2, 0.5, (size, 1, 1)).astype(np.float32)
        thumbs[block] = real.thumbs[first] * (1 - share) + real.thumbs[second] * share
        small = shrink_pictures(thumbs[block], HASH_SIDE_PX, "lanczos")
        hashes[block] = hash_pictures(small).hashes
        mirrored[block] = hash_pictures(small[:, :, ::-1]).hashes
    nothing = np.array([f"{k} blend" for k in range(n)], object)
    return Pictures(np.arange(n), nothing, nothing, hashes, mirrored, thumbs, {})


def join(first: Pictures, second: Pictures) -> Pictures:
    """One collection of two."""
    columns = ("sha1", "pixels", "hashes", "mirrored", "thumbs")
    parts: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in (first, second)]) for name in columns
    }
    return replace(first, row=np.arange(len(parts["sha1"])), **parts)


def take(pictures: Pictures, n: int) -> Pictures:
    """The first n."""
    columns = ("row", "sha1", "pixels", "hashes", "mirrored", "thumbs")
    parts: dict[str, Any] = {name: getattr(pictures, name)[:n] for name in columns}
    return replace(pictures, **parts)


def check_pairs(
    pairs: NDArray[np.int64], queries: NDArray[np.uint64], hashes: NDArray[np.uint64]
) -> None:
    """Compare what was found for 1,000 members with all their distances.

    Raises:
        AssertionError: a pair is missing or too many.
    """
    chosen = np.random.default_rng(0).choice(len(hashes), min(1000, len(hashes)), replace=False)
    expected = set()
    for k in chosen.tolist():
        one, other = (np.bitwise_count(a[k] ^ b) for a, b in ((queries, hashes), (hashes, queries)))
        near = np.flatnonzero(np.minimum(one, other) <= 10)
        expected |= {(min(k, j), max(k, j)) for j in near.tolist() if j != k}
    is_chosen = np.isin(pairs, chosen).any(1)
    assert set(map(tuple, pairs[is_chosen].tolist())) == expected


def print_recall(
    planted: list[Planted], candidates: set[tuple[int, int]], near: set[tuple[int, int]]
) -> None:
    """Which share of the planted pairs were candidates, and found, among all pictures."""
    print("| kind | pairs | candidates | found |\n|---|---|---|---|")
    kinds = dict.fromkeys(pair.kind for pair in planted if not pair.is_exact)
    for kind in [*kinds, None]:
        pairs = [(p.first, p.second) for p in planted if not p.is_exact and kind in (None, p.kind)]
        shares = [sum(pair in found for pair in pairs) / len(pairs) for found in (candidates, near)]
        print(f"| {kind or 'all'} | {len(pairs)} | {shares[0]:.3f} | {shares[1]:.3f} |")


if __name__ == "__main__":
    main()
