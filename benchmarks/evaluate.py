"""What the figures of an evaluation cost: CelebA's test partition and its intervals.

Labels and answers of 20,000 pictures and 40 attributes are drawn, once with as many pictures per
person as in CelebA's test partition (19,962 of 1,000 people), once without identities, which costs
most: every picture is a person of its own. Everything that `evaluate` derives from predictions is
timed, the prediction itself is not. One resample by scikit-learn's metrics is timed beside it.

    python benchmarks/evaluate.py
"""

import argparse
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics as sk

from stages.common.params import EvaluateParams, load_params
from stages.common.resample import Resamples
from stages.evaluate.figures import derive_figures, tune
from stages.evaluate.part import Part
from stages.evaluate.scores import resample_scores

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n_images", type=int, default=20_000)
    parser.add_argument("--n_people", type=int, default=1_000)
    options = parser.parse_args()
    params = load_params(ROOT / "params.yaml").evaluate
    n = options.n_images
    print(f"{n} images, 40 attributes, {params.n_resamples} resamples, {os.cpu_count()} cores\n")
    print("| what | people | seconds | CPU seconds |\n|---|---|---|---|")
    for n_people in (options.n_people, n):
        part = draw_part(n, n_people)
        report("intervals of all scores", n_people, partial(score, part, params))
        report("all figures of a partition", n_people, partial(derive, part, params))
    report("scikit-learn, 3 resamples", options.n_people, partial(score_by_sklearn, part, 3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:.0f} MiB")


def draw_part(n_images: int, n_people: int) -> Part:
    """Answers about as good as a trained network's; as many identities as asked for."""
    rng = np.random.default_rng(7)
    names = ["Male", "Young", "Pale_Skin", "Blurry", "Eyeglasses", *(f"a{k}" for k in range(35))]
    labels = (rng.random((n_images, 40)) < rng.uniform(0.02, 0.8, 40)).astype(np.uint8)
    logits = 4.0 * labels - 2.5 + rng.normal(scale=1.5, size=labels.shape)
    people = np.arange(n_images) % n_people
    return Part(
        name="test",
        attributes=names,
        image_ids=[str(k) for k in range(n_images)],
        identities=[str(person) for person in people],
        probs=(1 / (1 + np.exp(-logits))).astype(np.float32),
        labels=labels,
        mask=np.ones(labels.shape, bool),
        majority=(labels.mean(0) > 0.5).astype(np.uint8),
    )


def score(part: Part, params: EvaluateParams) -> None:
    """The bootstrap of every score per attribute, their means and micro values."""
    resamples = Resamples(part.identities, params.n_resamples, [params.seed])
    resample_scores(part, part.probs, params.threshold, params.n_bins, resamples)


def derive(part: Part, params: EvaluateParams) -> None:
    """Everything of a partition: also thresholds, slices, curves and mistakes."""
    derive_figures(part, tune(part), params)


def score_by_sklearn(part: Part, n_resamples: int) -> None:
    """The same scores of a few resamples, one attribute at a time, with sample weights."""
    resamples = Resamples(part.identities, n_resamples, [7])
    functions = (
        sk.accuracy_score,
        sk.balanced_accuracy_score,
        sk.precision_score,
        sk.recall_score,
        sk.f1_score,
        sk.matthews_corrcoef,
    )
    for block in resamples.iter_weights():
        for weights in block[:, resamples.clusters]:
            for truth, probs in zip(part.labels.T, part.probs.T, strict=True):
                for function in functions:
                    function(truth, probs > 0.5, sample_weight=weights)
                sk.roc_auc_score(truth, probs, sample_weight=weights)
                sk.average_precision_score(truth, probs, sample_weight=weights)
                sk.brier_score_loss(truth, probs, sample_weight=weights)


def report(what: str, n_people: int, work: Callable[[], Any]) -> None:
    """Print a row of the table."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    print(f"| {what} | {n_people} | {seconds:.1f} | {cpu_seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
