"""Which evaluated images and labels the audit doubts, and the figures without them.

The official figures use every image. These stand beside them: what a model could know by heart
from a copy in train, and what may be labelled wrong, flatters or blames it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.evaluate.tables import score_attributes, summarise

#: Findings that leave an image out: of copies the first stays, unless it leaks.
IMAGE_CHECKS = ("exact_duplicate", "near_duplicate", "faceless")
#: Findings that hide one label.
LABEL_CHECKS = ("label_conflict", "label_rule", "mislabel")
#: What is said of an evaluation with something left out.
FIGURES = (
    "accuracy",
    "majority_accuracy",
    "gain",
    "balanced_accuracy",
    "average_precision",
    "micro_roc_auc",
)
_LEAK = re.compile(r"(train|valid|test)-(train|valid|test)\b")


@dataclass(frozen=True)
class Doubts:
    """What the flagged findings say about a data set.

    train_copies: images with a copy in the source's training partition, and those copies.
    images: images that a finding leaves out. labels: (image_id, attribute) that one hides.
    """

    train_copies: Mapping[str, frozenset[str]]
    images: frozenset[str]
    labels: frozenset[tuple[str, str]]


def collect_doubts(issues: pd.DataFrame) -> Doubts:
    """Sort the flagged findings of tables.ISSUES_SCHEMA.

    A leak stands at its member of the earlier partition; its detail begins with the source's
    partitions of both, as in 'train-test: same bytes'. Without them the member is of train.
    """
    found = issues[issues["flagged"].astype(bool)]
    copies: dict[str, set[str]] = {}
    images: set[str] = set()
    leaks = found[found["check"] == "leak"]
    for a, b, detail in zip(leaks["image_id"], leaks["related_id"], leaks["detail"], strict=True):
        match = _LEAK.match(detail) if isinstance(detail, str) else None
        first, second = match.groups() if match else ("train", "")
        if not isinstance(b, str):
            continue
        images |= {a, b}
        if first == "train":
            copies.setdefault(b, set()).add(a)
        if second == "train":
            copies.setdefault(a, set()).add(b)
    images |= set(found.loc[found["check"].isin(IMAGE_CHECKS), "image_id"])
    about = found[found["check"].isin(LABEL_CHECKS) & found["attribute"].notna()]
    return Doubts(
        {image_id: frozenset(others) for image_id, others in copies.items()},
        frozenset(images),
        frozenset(zip(about["image_id"], about["attribute"], strict=True)),
    )


def score_without(
    doubts: Doubts,
    image_ids: Sequence[str],
    probs: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    majority: np.ndarray,
    attributes: list[str],
    threshold: float,
    learned: Collection[str] | None,
) -> dict[str, dict[str, Any]]:
    """Figures of one partition without its leaked images, and without all that is flagged.

    Args:
        doubts: The audit's.
        image_ids: (N,) images of the partition.
        probs: (N, A) in [0, 1].
        labels: (N, A) in {0, 1}.
        mask: (N, A) bool, True where the label is known.
        majority: (A,) majority class of the training partition.
        attributes: Names.
        threshold: A probability above this decides for 1.
        learned: The images that the model learned from; None where they are not known.

    Returns:
        without_leaks and without_flagged: n_images and n_labels that are left, FIGURES over them
        (null = undefined). without_leaks also counts n_leaked, the images left out, and
        n_learned, those of them with a copy among `learned` (null where that is unknown).
    """
    leaked = [doubts.train_copies.get(image_id, frozenset()) for image_id in image_ids]
    is_leaked = np.array([bool(copies) for copies in leaked], bool)
    is_doubted = np.array([image_id in doubts.images for image_id in image_ids], bool)
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    column_of = {name: column for column, name in enumerate(attributes)}
    trusted = mask.copy()
    for image_id, attribute in doubts.labels:
        if image_id in row_of and attribute in column_of:
            trusted[row_of[image_id], column_of[attribute]] = False

    def score(left: np.ndarray, known: np.ndarray) -> dict[str, Any]:
        part = probs[left], labels[left], known[left]
        table = score_attributes(*part, majority, attributes, threshold)
        values = summarise(table, *part, threshold)
        counts = {"n_images": int(left.sum()), "n_labels": int(known[left].sum())}
        return counts | {name: values[name] for name in FIGURES}

    n_learned = None
    if learned is not None:
        n_learned = sum(not copies.isdisjoint(learned) for copies in leaked)
    return {
        "without_leaks": {
            "n_leaked": int(is_leaked.sum()),
            "n_learned": n_learned,
            **score(~is_leaked, mask),
        },
        "without_flagged": score(~(is_leaked | is_doubted), trusted),
    }
