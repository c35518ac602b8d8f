"""How well planted wrong labels and wrong identities are found, beside cleanlab alone.

Real photographs, 3 % of the labels of every attribute flipped by a planter of its own; also errors
that are not random: on doubtful labels only (the half of the flips where a probe is least sure),
and half of the attributes at another rate. Natural errors of CelebA count as false alarms.

    python -m benchmarks.audit.labels --data ../shared/celeba-16k
    python -m benchmarks.audit.labels --data ../shared/celeba-16k --n_images 3440
    python -m benchmarks.audit.labels --data ../shared/celeba-16k --n_images 3440 --fine_tune 5

With --fine_tune only random flips are planted, as every set of flips needs networks of its own.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from stages.audit.backbone import load_backbone
from stages.audit.consensus import code_identities
from stages.audit.copies import Copies
from stages.audit.evidence import LabelSet, gather_evidence
from stages.audit.features import Features, extract_features
from stages.audit.folds import make_folds
from stages.audit.identities import score_identities
from stages.audit.selfcheck import (
    check_itself,
    count_doubt,
    measure_calibration,
    measure_ranking,
    rate_cleanlab,
    weigh_rules,
)
from stages.audit.tune import ask_tuned, join_answers
from stages.common.params import AuditParams, load_params
from stages.common.tables import label_arrays, read_annotations
from stages.download.run import run as download

SHARE = 0.03
RANDOM = "3 % at random (seen kind)"
COLUMNS = (
    "average_precision", "macro_average_precision", "precision_first_1000", "n_flagged",
    "precision", "recall",
)  # fmt: skip


def main() -> None:
    """Plant, score, print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CelebA files, official layout")
    parser.add_argument("--n_images", type=int, help="of train, whole people; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--fine_tune", type=int, default=0, help="epochs; default: 0")
    options = parser.parse_args()
    params = load_params()
    audit = params.audit.model_copy(update={"fine_tune": options.fine_tune})
    with tempfile.TemporaryDirectory() as name:
        source = params.download.model_copy(
            update={"source": "files", "path": str(options.data.resolve())}
        )
        download(source, Path(name) / "download")
        folder = Path(name) / "download"
        data, attributes, features, seconds = prepare(folder, options.n_images, audit)
        print(
            f"{len(data.labels)} training images, {len(attributes)} attributes, "
            f"{len(np.unique(data.person))} people; features took {seconds:.0f} s\n"
        )
        print(f"| flips | seed | method | {' | '.join(COLUMNS)} | s |")
        print("|" + "---|" * (len(COLUMNS) + 4))
        for seed in options.seeds:
            for kind, flips in plant(data, seed).items():
                if not audit.fine_tune:
                    examine(kind, seed, data, attributes, flips, audit)
                elif kind == RANDOM:
                    tuned = tune(data, features, flips, folder, audit)
                    examine(f"{kind}, fine-tuned", seed, tuned, attributes, flips, audit)
    if audit.fine_tune:
        return
    print("\n| wrong identities | average_precision | chance | precision at n planted |")
    print("|---|---|---|---|")
    for share in (0.01, 0.03):
        examine_identities(data, features, share, options.seeds[0])


def tune(
    clean: LabelSet, features: Features, flips: np.ndarray, folder: Path, params: AuditParams
) -> LabelSet:
    """The answers of networks fine-tuned on the flipped labels beside the features."""
    start = time.perf_counter()
    image_ids = np.sort(read_annotations(folder)[0]["image_id"].to_numpy(object))
    labels = (clean.labels ^ flips).astype(np.uint8)
    answers = ask_tuned(params, folder, image_ids, features.row, labels, clean.known, clean.folds)
    print(f"| | | fine-tuning took {time.perf_counter() - start:.0f} s | | | | | | | |")
    return replace(clean, x=join_answers(features.matrix, answers))


def prepare(
    folder: Path, n_images: int | None, params: AuditParams
) -> tuple[LabelSet, list[str], Features, float]:
    """Features, labels and folds of training images, as many whole people as fit."""
    annotations, attributes = read_annotations(folder)
    annotations = annotations.sort_values("image_id", ignore_index=True)
    labels, known = label_arrays(annotations, attributes)
    identity = annotations["identity"].to_numpy(object)
    train = (annotations["partition"] == "train").to_numpy()
    rows = np.flatnonzero(train)
    if n_images is not None:
        people = np.random.default_rng(5).permutation(np.unique(identity[rows].astype(str)))
        sizes = annotations.loc[rows, "identity"].value_counts()[people].cumsum()
        kept = set(sizes.index[sizes <= n_images])
        rows = np.array([row for row in rows if identity[row] in kept])
        train = np.isin(np.arange(len(train)), rows)
    start = time.perf_counter()
    backbone = load_backbone(params)
    found = extract_features(
        folder, annotations["image_id"].to_numpy(object), rows, train, backbone, params.seed
    )
    assert found is not None
    seconds = time.perf_counter() - start
    features = found[0]
    folds = make_folds(
        identity, Copies([], [], []), labels, known, rows, params.n_folds, params.seed
    )
    data = LabelSet(
        torch.from_numpy(features.matrix), labels[rows], known[rows],
        code_identities(identity[rows]), np.zeros((0, 2), np.int64), folds[rows],
    )  # fmt: skip
    return data, attributes, features, seconds


def plant(data: LabelSet, seed: int) -> dict[str, np.ndarray]:
    """Flips (N, A) bool by kind; the audit's own planter makes random ones of one rate only."""
    rng = np.random.default_rng(seed)
    n, n_attributes = data.labels.shape
    uniform = np.zeros((n, n_attributes), bool)
    uneven, doubtful = uniform.copy(), uniform.copy()
    clean = gather_evidence(data)
    margin = np.where(data.labels == 1, clean.stacked, -clean.stacked)
    for a in range(n_attributes):
        uniform[rng.choice(n, round(SHARE * n), replace=False), a] = True
        share = 0.01 if a % 2 else 0.08
        uneven[rng.choice(n, round(share * n), replace=False), a] = True
        unsure = np.argsort(margin[:, a])[: n // 2]
        doubtful[rng.choice(unsure, round(SHARE * n), replace=False), a] = True
    return {
        RANDOM: uniform,
        "8 % and 1 % by turns (unseen)": uneven,
        "3 %, all on the less sure half (unseen)": doubtful,
    }


def examine(
    kind: str,
    seed: int,
    clean: LabelSet,
    attributes: list[str],
    flips: np.ndarray,
    params: AuditParams,
) -> None:
    """Print a row per method for one set of flips."""
    start = time.perf_counter()
    data = replace(clean, labels=(clean.labels ^ flips).astype(np.uint8))
    evidence = gather_evidence(data)
    check = check_itself(data, attributes, params.self_check, params.flag_above, params.seed)
    wrong = check.combiner.judge(
        count_doubt(evidence, data.labels, data.known), weigh_rules(data, attributes)
    )
    seconds = time.perf_counter() - start
    probe = 1 / (1 + np.exp(-evidence.probe))
    stacked = 1 / (1 + np.exp(-evidence.stacked))
    methods = {
        "facet": wrong,
        "cleanlab on our probe": 1 - rate_cleanlab(probe, data.labels),
        "cleanlab on our stacked probabilities": 1 - rate_cleanlab(stacked, data.labels),
    }
    for name, values in methods.items():
        row = measure_ranking(values, flips, data.known, params.flag_above)
        cells = " | ".join(str(row[column]) for column in COLUMNS)
        took = f"{seconds:.0f}" if name == "facet" else ""
        print(f"| {kind} | {seed} | {name} | {cells} | {took} |", flush=True)
    bins = measure_calibration(wrong, flips, data.known)
    said = ", ".join(f"{one['said']:.2f}: {one['was']:.2f}" for one in bins["calibration"])
    rates, low, high = check.combiner.rates()
    covered = ((low <= flips.mean(0)) & (flips.mean(0) <= high)).mean()
    print(
        f"| | | said: was | {said}; error {bins['calibration_error']}; rate {rates.mean():.4f} "
        f"of {flips.mean():.4f}, {covered:.0%} of the intervals cover theirs; self-check said "
        f"AP {check.summary['average_precision']} | | | | | | |"
    )


def examine_identities(data: LabelSet, features: Features, share: float, seed: int) -> None:
    """Print how well images moved to another person are found."""
    rng = np.random.default_rng([seed, 1])
    person = data.person.copy()
    moved = rng.choice(len(person), round(share * len(person)), replace=False)
    for row in moved:
        others = np.flatnonzero((data.folds == data.folds[row]) & (data.person != data.person[row]))
        person[row] = data.person[rng.choice(others)]
    wrong = np.isin(np.arange(len(person)), moved)
    logits = gather_evidence(replace(data, person=person)).probe
    score = score_identities(features.matrix, logits, person, data.folds, seed)
    assert score is not None
    judged = ~np.isnan(score)
    ap = average_precision_score(wrong[judged], score[judged])
    first = np.argsort(-np.nan_to_num(score))[: len(moved)]
    print(f"| {share:.0%} | {ap:.3f} | {wrong[judged].mean():.3f} | {wrong[first].mean():.3f} |")


if __name__ == "__main__":
    main()
