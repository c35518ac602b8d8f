"""What the audit's findings do to training images: drop them, mask a label, or nothing."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stages.common.params import PolicyParams

#: Findings of copies: one of each group stays.
COPY_CHECKS = ("exact_duplicate", "near_duplicate")

#: Findings about one label of an image; all others are about the picture.
LABEL_CHECKS = ("label_conflict", "label_rule", "mislabel")

#: What is dropped, or masked, for several reasons is counted under the first of these.
ORDER = (
    "leak",
    "faceless",
    "exact_duplicate",
    "near_duplicate",
    "identity_conflict",
    "identity_outlier",
    "label_conflict",
    "label_rule",
    "mislabel",
)


@dataclass(frozen=True)
class Decisions:
    """Training images to drop, by reason; labels (image_id, attribute) to mask, by check."""

    dropped: dict[str, set[str]] = field(default_factory=dict)
    masked: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def dropped_ids(self) -> set[str]:
        """All dropped images."""
        return set().union(*self.dropped.values())


def decide(
    issues: pd.DataFrame,
    train_ids: set[str],
    policy: PolicyParams,
    dropped: frozenset[str] = frozenset(),
) -> Decisions:
    """Apply the policy to flagged findings about the selected training images.

    Of a group of copies one image stays: the group's first where it is selected for training,
    else the first selected copy. Findings about valid and test images change nothing.

    Args:
        issues: Table of tables.ISSUES_SCHEMA, sorted by image_id.
        train_ids: The selected training images.
        policy: drop, mask or keep for each check.
        dropped: Training images that are left out already; of their copies one stays.
    """
    ours = _select_flagged(issues, train_ids)
    rules: dict[str, str] = policy.model_dump()
    gone = set(dropped)
    decisions = Decisions()
    for check in ORDER:
        found = ours[ours["check"] == check]
        if rules[check] == "drop":
            ids = (
                _surplus_copies(found, train_ids - gone)
                if check in COPY_CHECKS
                else set(found["image_id"])
            )
            decisions.dropped[check] = ids - gone
            gone |= ids
    for check in ORDER:
        if rules[check] == "mask":
            found = ours[(ours["check"] == check) & ours["attribute"].notna()]
            pairs = zip(found["image_id"], found["attribute"], strict=True)
            decisions.masked[check] = {pair for pair in pairs if pair[0] not in gone}
    return decisions


def count_flagged(issues: pd.DataFrame, train_ids: set[str]) -> dict[str, dict[str, Any]]:
    """Flagged findings about training images, whatever the policy makes of them.

    Returns:
        Per check in ORDER the number of images, and of labels for checks about labels.
    """
    ours = _select_flagged(issues, train_ids)
    counts: dict[str, dict[str, Any]] = {}
    for check in ORDER:
        found = ours[ours["check"] == check]
        counts[check] = {"images": int(found["image_id"].nunique())}
        if check in LABEL_CHECKS:
            counts[check]["labels"] = len(found[["image_id", "attribute"]].drop_duplicates())
    return counts


def _select_flagged(issues: pd.DataFrame, train_ids: set[str]) -> pd.DataFrame:
    """Flagged findings about training images; `isin` would copy the ids, which are many."""
    ours = [image_id in train_ids for image_id in issues["image_id"].tolist()]
    return issues[issues["flagged"] & np.array(ours, bool)]


def _surplus_copies(found: pd.DataFrame, present: set[str]) -> set[str]:
    """Copies whose group keeps another training image."""
    surplus: set[str] = set()
    for first, group in found.groupby("related_id"):
        copies = [image_id for image_id in group["image_id"] if image_id in present]
        surplus.update(copies if first in present else copies[1:])
    return surplus
