"""Validation images out of train, in place of the source's own."""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.common.errors import FacetError
from stages.common.params import PrepareParams
from stages.common.stratify import group_rows, stratify
from stages.common.tables import PARTITIONS, label_arrays
from stages.prepare.policy import COPY_CHECKS

log = logging.getLogger(__name__)


def resplit_valid(
    rows: pd.DataFrame, issues: pd.DataFrame, attributes: Sequence[str], params: PrepareParams
) -> pd.DataFrame:
    """Move `prepare.resplit.valid` of the training images to valid, which loses its own images.

    Both sides resemble each other in all `attributes`. Copies of one picture stay on one side,
    so no leak arises; with `by_identity` all images of a person do too. As far as these groups
    allow it, the share is exact.

    Args:
        rows: Selected images, sorted by image_id.
        issues: Table of tables.ISSUES_SCHEMA.
        attributes: Attributes to learn.
        params: resplit.valid is a share.

    Raises:
        FacetError: there is nothing to divide, or one group holds it all.
    """
    share = params.resplit.valid
    assert share is not None
    rows = rows[rows["partition"] != "valid"].copy()
    is_train = (rows["partition"] == "train").to_numpy()
    train = rows[is_train]
    n = len(train)
    if n < 2:
        raise FacetError(
            f"prepare.resplit.valid: expected at least 2 training images to divide; got {n}"
        )
    if params.resplit.by_identity and train["identity"].isna().all():
        log.warning("prepare.resplit.by_identity has no effect, as no identity is known")
    groups = group_images(train, issues, params.resplit.by_identity)
    n_valid = min(max(1, round(share * n)), n - 1)
    labels, known = label_arrays(train, attributes)
    # Another seed than that of any partition's subset.
    part = stratify(labels, known, groups, (n - n_valid, n_valid), (params.seed, len(PARTITIONS)))
    if part.min() == part.max():
        raise FacetError(
            f"prepare.resplit: expected {n} training images to divide into {n - n_valid} and "
            f"{n_valid}; got a group of {np.bincount(groups).max()} images of one person or "
            "picture; try another share, or by_identity: false"
        )
    rows.loc[is_train, "partition"] = np.where(part == 1, "valid", "train")
    return rows


def group_images(train: pd.DataFrame, issues: pd.DataFrame, by_identity: bool) -> np.ndarray:
    """Group (N,) of each training image: copies belong together, and images of a person if asked.

    Two copies of a third picture belong together even where that picture takes no part.
    """
    is_copy = issues["check"].isin(COPY_CHECKS) & issues["related_id"].notna()
    found = issues[issues["flagged"] & is_copy]
    row_of = {image_id: row for row, image_id in enumerate(train["image_id"])}
    pairs = [
        [row_of.setdefault(image_id, len(row_of)) for image_id in pair]
        for pair in zip(found["image_id"], found["related_id"], strict=True)
    ]
    persons: list[str | None] = [None] * len(row_of)
    if by_identity:
        for row, identity in enumerate(train["identity"]):
            persons[row] = identity if isinstance(identity, str) else None  # NaN would be a person
    groups = group_rows(persons, pairs=np.array(pairs, np.int64).reshape(-1, 2))
    return groups[: len(train)]
