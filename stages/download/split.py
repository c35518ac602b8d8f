"""Partitions for a source that has none: seeded, disjoint in identities, stratified."""

from dataclasses import replace

import numpy as np
import pandas as pd

from stages.common.errors import FacetError
from stages.common.params import SplitParams
from stages.common.stratify import stratify
from stages.common.tables import PARTITIONS
from stages.download.source import Labels


def make_partitions(labels: Labels, params: SplitParams) -> Labels:
    """Labels with partitions, a pure function of the labels sorted by image_id and the seed.

    All images of an identity go to one partition; an image without identity counts as a person of
    its own. Attributes are balanced by iterative stratification (stages/common/stratify.py).

    Raises:
        FacetError: so few images or identities that a partition stays empty.
    """
    n = len(labels.image_ids)
    valid, test = round(params.valid * n), round(params.test * n)
    groups = number_groups(labels.identities)
    values = labels.values
    parts = stratify(
        (values == 1).astype(np.uint8),
        values >= 0,
        groups,
        (n - valid - test, valid, test),
        params.seed,
    )
    counts = np.bincount(parts, minlength=3)
    if (counts == 0).any():
        raise FacetError(
            f"download.split: expected images for train, valid and test; got {counts.tolist()} of "
            f"{n} images of {len(set(groups.tolist()))} people: make the shares larger, or give "
            "partitions"
        )
    return replace(labels, partitions=[PARTITIONS[part] for part in parts])


def number_groups(identities: list[str | None]) -> np.ndarray:
    """(N,) codes: one per identity, and one for every image without."""
    codes, names = pd.factorize(np.array(identities, object))
    alone = codes < 0
    codes[alone] = len(names) + np.arange(alone.sum())
    return codes.astype(np.int64)


def describe_split(labels: Labels, params: SplitParams) -> str:
    """The statement of the split, for the log."""
    assert labels.partitions is not None
    sizes = ", ".join(f"{labels.partitions.count(name)} {name}" for name in PARTITIONS)
    people = (
        "no person is in two of them"
        if any(labels.identities)
        else "identities are unknown, so one person may be in two of them"
    )
    return (
        f"the source has no partitions; made {sizes} with seed {params.seed} "
        f"(download.split), stratified on the attributes; {people}"
    )
