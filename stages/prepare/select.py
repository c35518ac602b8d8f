"""Which attributes and which images take part."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.common.errors import FacetError
from stages.common.params import PrepareParams
from stages.common.tables import PARTITIONS


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


def select_images(annotations: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    """Rows of the readable images that `prepare.subset` chooses, sorted by image_id.

    The choice is a pure function of seed, partition and the sorted ids.

    Raises:
        FacetError: a count larger than the partition.
    """
    chosen = []
    for index, partition in enumerate(PARTITIONS):
        rows = annotations[annotations["partition"] == partition]
        size: int | float | None = getattr(params.subset, partition)
        if size is not None:
            n = size if isinstance(size, int) else max(1, round(size * len(rows)))
            if n > len(rows):
                raise FacetError(
                    f"prepare.subset.{partition}: expected at most {len(rows)}, the readable "
                    f"images of {partition}; got {n}"
                )
            order = np.random.default_rng([params.seed, index]).permutation(len(rows))
            rows = rows.iloc[np.sort(order[:n])]
        chosen.append(rows)
    return pd.concat(chosen).sort_values("image_id", kind="stable")
