"""How sure the audit of labels is: known errors planted in a copy of the user's own labels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from stages.audit.combine import Combiner, fit_combiner
from stages.audit.evidence import Evidence, LabelSet, gather_evidence
from stages.common.rules import apply_rules, read_rules

N_FIRST = 1000
BINS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CAVEAT = (
    "Random flips flatter every method: people err on doubtful faces, flips hit clear ones too. "
    "precision is a lower bound, as labels that were wrong from the start count as false alarms."
)

TUNED_CAVEAT = (
    " The fine-tuned networks learned the labels before the flips, which therefore never misled "
    "them: this flatters too."
)


@dataclass(frozen=True)
class SelfCheck:
    """combiner: fitted on all planted errors. summary: for self_check.json.

    by_attribute: rows for self_check.csv.
    """

    combiner: Combiner
    summary: dict[str, Any]
    by_attribute: list[dict[str, Any]]


def count_doubt(
    evidence: Evidence, labels: NDArray[np.uint8], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Logits (P, A) against each label as it stands, 0 where it is unknown."""
    doubt = np.where(labels == 1, -evidence.stacked, evidence.stacked)
    return np.where(known, doubt, 0).astype(np.float32)


def weigh_rules(data: LabelSet, attributes: list[str]) -> NDArray[np.float32]:
    """Log odds (P, A), at least 0, of the firmest rule that each label helps to break."""
    strength = np.zeros(data.labels.shape, np.float32)
    for result in apply_rules(read_rules(), attributes, data.labels, data.known, data.train):
        odds = result.support / max(1 - result.support, 1e-3)
        for name, rows in result.involved.items():
            column = strength[:, attributes.index(name)]
            column[rows] = np.maximum(column[rows], max(0.0, np.log(odds)))
    return strength


def plant_flips(
    known: NDArray[np.bool_], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which labels (P, A) to flip: the share of every attribute's known ones, at random."""
    flips = np.zeros(known.shape, bool)
    for a in range(known.shape[1]):
        rows = np.flatnonzero(known[:, a])
        flips[rng.choice(rows, round(share * len(rows)), replace=False), a] = True
    return flips


def keep_train(data: LabelSet) -> LabelSet:
    """The training images alone."""
    train = data.train
    place = np.cumsum(train) - 1
    inside = train[data.pairs].all(1) if len(data.pairs) else np.zeros(0, bool)
    return LabelSet(
        data.x[torch.from_numpy(np.flatnonzero(train))],
        data.labels[train],
        data.known[train],
        data.person[train],
        place[data.pairs[inside]].reshape(-1, 2),
        data.folds[train],
    )


def check_itself(
    data: LabelSet,
    attributes: list[str],
    share: float,
    flag_above: float,
    seed: int,
    is_tuned: bool = False,
) -> SelfCheck:
    """Flip labels in a copy of the training images, score them anew, learn and measure.

    What is measured of an image comes from a combination fitted on other people's images.

    Args:
        data: All readable pictures; only training images are used.
        attributes: The A attributes.
        share: Of every attribute's labels to flip.
        flag_above: Probability from which a label is flagged.
        seed: Of the flips.
        is_tuned: Networks learned the labels before the flips; it is said in the summary.
    """
    original = keep_train(data)
    flips = plant_flips(original.known, share, np.random.default_rng([seed, 1]))
    copy = replace(original, labels=(original.labels ^ flips).astype(np.uint8))
    evidence = gather_evidence(copy, share)
    doubt = count_doubt(evidence, copy.labels, copy.known)
    extra = weigh_rules(copy, attributes)

    def fit(rows: NDArray[np.bool_]) -> Combiner:
        return fit_combiner(doubt[rows], extra[rows], flips[rows], copy.known[rows], share, seed)

    wrong, planted = np.zeros(doubt.shape, np.float32), np.zeros(doubt.shape, np.float32)
    for half in (0, 1):
        rows = copy.folds % 2 == half
        combiner = fit(~rows)
        wrong[rows] = combiner.judge(doubt[rows], extra[rows], share)
        planted[rows] = combiner.guess_planted(doubt[rows], extra[rows], share)
    probe = 1 / (1 + np.exp(-np.clip(evidence.probe, -30, 30)))
    summary = {
        "share_flipped": share,
        "n_images": len(doubt),
        "n_labels": int(copy.known.sum()),
        "n_flipped": int(flips.sum()),
        "flag_above": flag_above,
        **measure_ranking(wrong, flips, copy.known, flag_above),
        "cleanlab_average_precision": measure_ranking(
            1 - rate_cleanlab(probe, copy.labels), flips, copy.known, flag_above
        )["average_precision"],
        **measure_calibration(planted, flips, copy.known),
        "is_tuned": is_tuned,
        "caveat": CAVEAT + (TUNED_CAVEAT if is_tuned else ""),
    }
    rows_ = []
    for a, name in enumerate(attributes):
        one = (slice(None), slice(a, a + 1))
        values = measure_ranking(wrong[one], flips[one], copy.known[one], flag_above)
        kept = ("n_flagged", "average_precision", "precision", "recall")
        rows_.append(
            {"attribute": name, "n_flipped": int(flips[:, a].sum())}
            | {key: values[key] for key in kept}
        )
    everyone = np.ones(len(doubt), bool)
    return SelfCheck(fit(everyone), summary, rows_)


def rate_cleanlab(probs: NDArray[np.floating], labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Quality (P, A) of every label by cleanlab, from probabilities: its self-confidence.

    The self-check shows it beside our own. cleanlab fits no further: its scores take one vector of
    probabilities and know neither the image's other labels, nor people, nor copies.
    """
    quality = np.zeros(probs.shape, np.float32)
    for a in range(probs.shape[1]):
        both = np.stack([1 - probs[:, a], probs[:, a]], 1)
        quality[:, a] = get_label_quality_scores(labels[:, a].astype(int), both)
    return quality


def measure_ranking(
    wrong: NDArray[np.floating],
    truth: NDArray[np.bool_],
    known: NDArray[np.bool_],
    flag_above: float,
) -> dict[str, Any]:
    """How well probabilities (P, A) find the true errors among known labels; None = undefined."""
    score, error = wrong[known], truth[known]
    n_errors = int(error.sum())
    flagged = score >= flag_above
    n_flagged, n_hits = int(flagged.sum()), int((flagged & error).sum())
    first = np.argsort(-score, kind="stable")[:N_FIRST]
    by_attribute = [
        average_precision_score(truth[known[:, a], a], wrong[known[:, a], a])
        for a in range(truth.shape[1])
        if truth[known[:, a], a].any()
    ]
    return {
        "n_flagged": n_flagged,
        "average_precision": _round(average_precision_score(error, score)) if n_errors else None,
        "macro_average_precision": _round(np.mean(by_attribute)) if by_attribute else None,
        "precision_first_1000": _round(error[first].mean()) if n_errors else None,
        "precision": _round(n_hits / n_flagged) if n_flagged else None,
        "recall": _round(n_hits / n_errors) if n_errors else None,
    }


def measure_calibration(
    probs: NDArray[np.floating], truth: NDArray[np.bool_], known: NDArray[np.bool_]
) -> dict[str, Any]:
    """Bins of the probability that a label was planted, and the expected calibration error."""
    prob, error = probs[known], truth[known]
    place = np.clip(np.digitize(prob, BINS) - 1, 0, len(BINS) - 2)
    bins, off = [], 0.0
    for k in np.unique(place):
        here = place == k
        said, was = float(prob[here].mean()), float(error[here].mean())
        off += abs(said - was) * int(here.sum()) / len(prob)
        bins.append({"said": _round(said), "was": _round(was), "n": int(here.sum())})
    return {"calibration_error": _round(off), "calibration": bins}


def _round(value: float) -> float:
    return round(float(value), 4)
