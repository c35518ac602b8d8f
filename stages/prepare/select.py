"""Which attributes and which images take part."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.common.errors import FacetError
from stages.common.params import PrepareParams
from stages.common.stratify import stratify
from stages.common.tables import PARTITIONS, label_arrays


def select_attributes(wanted: str | Sequence[str], available: Sequence[str]) -> list[str]:
    """The attributes to learn, in the source's order.

    Raises:
        FacetError: an attribute that the data does not have.
    """
    if wanted == "all":
        return list(available)
    unknown = sorted(set(wanted) - set(available))
    if unknown:
        raise FacetError(
            f"prepare.attributes: expected attributes of the data ({', '.join(available)}); "
            f"got {', '.join(unknown)}"
        )
    return [name for name in available if name in wanted]


def select_images(
    annotations: pd.DataFrame, attributes: Sequence[str], params: PrepareParams
) -> pd.DataFrame:
    """Rows of the readable images that `prepare.subset` chooses, sorted by image_id.

    What is chosen of a partition resembles it in all `attributes`. The choice is a pure function
    of seed, partition, and the labels in order of image_id.

    Raises:
        FacetError: a count larger than the partition.
    """
    rows = annotations.sort_values("image_id", kind="stable")
    is_chosen = np.ones(len(rows), bool)
    for index, partition in enumerate(PARTITIONS):
        size: int | float | None = getattr(params.subset, partition)
        if size is None:
            continue
        here = np.flatnonzero(rows["partition"] == partition)
        n = size if isinstance(size, int) else min(max(1, round(size * len(here))), len(here))
        if n > len(here):
            raise FacetError(
                f"prepare.subset.{partition}: expected at most {len(here)}, the readable "
                f"images of {partition}; got {n}"
            )
        labels, known = label_arrays(rows.iloc[here], attributes)
        part = stratify(labels, known, here, (n, len(here) - n), (params.seed, index))
        is_chosen[here[part == 1]] = False
    return rows[is_chosen]
