"""What a reviewer's verdicts do: they go before the policy, on training images only."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.common.errors import FacetError
from stages.common.reviews import Verdict
from stages.prepare.policy import LABEL_CHECKS

Label = tuple[str, str]


@dataclass(frozen=True)
class Review:
    """The verdicts on training images and learned attributes.

    images and labels (image_id, attribute) by verdict; n_verdicts and n_applied count lines of
    the file.
    """

    images: dict[str, frozenset[str]]
    labels: dict[str, frozenset[Label]]
    n_verdicts: int
    n_applied: dict[str, int]

    @property
    def dropped(self) -> frozenset[str]:
        """Images that the reviewer leaves out."""
        return self.images["drop"]

    def summarise(self) -> dict[str, Any]:
        """What the manifest says: lines of the file, those applied by verdict, and the others."""
        n_other = self.n_verdicts - sum(self.n_applied.values())
        return {"n_verdicts": self.n_verdicts, "applied": self.n_applied, "not_applied": n_other}


def sort_verdicts(
    verdicts: Sequence[Verdict], train: pd.DataFrame, attributes: Collection[str]
) -> Review:
    """Those verdicts that are about training images and learned attributes.

    Args:
        verdicts: The whole file.
        train: Rows of the selected training images, with their labels.
        attributes: The attributes to learn.

    Raises:
        FacetError: a label to be turned round is unknown.
    """
    place = {image_id: row for row, image_id in enumerate(train["image_id"].tolist())}
    images: dict[str, set[str]] = {name: set() for name in ("drop", "fine", "keep")}
    labels: dict[str, set[Label]] = {name: set() for name in ("wrong", "flip", "fine")}
    n_applied = dict.fromkeys(("drop", "keep", "fine", "wrong", "flip"), 0)
    for entry in verdicts:
        if entry.image_id not in place:
            continue
        if entry.attribute is None:
            images[entry.verdict].add(entry.image_id)
        elif entry.attribute in attributes:
            known = train[entry.attribute].iat[place[entry.image_id]]
            if entry.verdict == "flip" and pd.isna(known):
                raise FacetError(
                    f"{entry.where}: expected a known label to flip; got {entry.attribute} of "
                    f"{entry.image_id}, which is unknown"
                )
            labels[entry.verdict].add((entry.image_id, entry.attribute))
        else:
            continue
        n_applied[entry.verdict] += 1
    return Review(
        {name: frozenset(found) for name, found in images.items()},
        {name: frozenset(found) for name, found in labels.items()},
        len(verdicts),
        n_applied,
    )


def overrule(issues: pd.DataFrame, review: Review) -> pd.DataFrame:
    """The findings that the reviewer leaves to the policy.

    A label with a verdict is settled: findings about it neither mask it nor drop its image.
    """
    settled: set[Label] = set().union(*review.labels.values())
    about_label = issues["check"].isin(LABEL_CHECKS)
    pairs = zip(issues["image_id"], issues["attribute"], strict=True)
    is_settled = np.fromiter((pair in settled for pair in pairs), bool, len(issues))
    gone = issues["image_id"].isin(review.images["keep"])
    gone |= ~about_label & issues["image_id"].isin(review.images["fine"])
    gone |= about_label & is_settled
    return issues[~gone]


def apply_to_labels(
    review: Review,
    labels: np.ndarray,
    mask: np.ndarray,
    position: Mapping[str, int],
    column: Mapping[str, int],
) -> tuple[int, int]:
    """Mask the labels called wrong and turn the others round, in place.

    Args:
        review: Its images may have been dropped since.
        labels: (N, A) in {0, 1}.
        mask: (N, A) bool, True where the label is known.
        position: Row of each image that is left.
        column: Column of each attribute.

    Returns:
        How many labels were masked, and how many turned round.
    """
    n_masked = n_flipped = 0
    for verdict in ("wrong", "flip"):
        for image_id, attribute in sorted(review.labels[verdict]):
            if image_id not in position:
                continue
            place = position[image_id], column[attribute]
            if verdict == "flip":
                labels[place] = 1 - labels[place]
                n_flipped += 1
            else:
                n_masked += bool(mask[place])
                mask[place] = False
    return n_masked, n_flipped
