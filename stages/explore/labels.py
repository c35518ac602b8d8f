"""Tables about labels: prevalence, imbalance, cardinality, pairs of attributes, identities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.tables import PARTITIONS


def measure_prevalence(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    partition: NDArray[np.object_],
    attributes: Sequence[str],
) -> pd.DataFrame:
    """Known and positive labels and their ratio, per attribute and partition present.

    Args:
        labels: (N, A) uint8 in {0, 1}.
        known: (N, A) bool.
        partition: (N,) names.
        attributes: A names.

    Returns:
        A rows; prevalence is NaN where no label is known.
    """
    table: dict[str, Any] = {"attribute": list(attributes)}
    for name in PARTITIONS:
        here = partition == name
        if not here.any():
            continue
        n_known = known[here].sum(0)
        n_positive = (labels[here].astype(bool) & known[here]).sum(0)
        table[f"n_known_{name}"] = n_known
        table[f"n_positive_{name}"] = n_positive
        table[f"prevalence_{name}"] = divide(n_positive, n_known)
    return pd.DataFrame(table)


def measure_cooccurrence(
    labels: NDArray[np.uint8], known: NDArray[np.bool_], attributes: Sequence[str]
) -> pd.DataFrame:
    """All pairs of attributes over the images where both are known.

    Returns:
        A * (A - 1) / 2 rows: n_known, phi coefficient, P(b | a), P(a | b), and lift
        P(a and b) / (P(a) P(b)); NaN where undefined (an attribute that is constant there).
    """
    # Counts up to 2**24 are exact in float32, whose product is many times faster than that of
    # integers; blocks keep the counts below.
    n_attributes = len(attributes)
    both, only, each = (np.zeros((n_attributes, n_attributes)) for _ in range(3))
    for start in range(0, len(labels), 1 << 16):
        mask = known[start : start + (1 << 16)].astype(np.float32)
        positive = labels[start : start + (1 << 16)] * mask
        both += positive.T @ positive
        only += positive.T @ mask  # [a, b]: a positive where b is known
        each += mask.T @ mask
    names = np.array(attributes, object)
    first, second = np.triu_indices(n_attributes, k=1)
    n11, n_known = both[first, second], each[first, second]
    n_a, n_b = only[first, second], only[second, first]
    spread = np.sqrt(n_a * (n_known - n_a) * n_b * (n_known - n_b))
    return pd.DataFrame(
        {
            "attribute_a": names[first],
            "attribute_b": names[second],
            "n_known": n_known.astype(np.int64),
            "phi": divide(n_known * n11 - n_a * n_b, spread),
            "p_b_given_a": divide(n11, n_a),
            "p_a_given_b": divide(n11, n_b),
            "lift": divide(n11 * n_known, n_a * n_b),
        }
    )


def measure_imbalance(
    labels: NDArray[np.uint8], known: NDArray[np.bool_], attributes: Sequence[str]
) -> pd.DataFrame:
    """How unequal the two values of each attribute are, over all partitions.

    Returns:
        A rows: n_known, n_positive, prevalence, majority_share (share of the commoner value) and
        imbalance_ratio (images with the commoner value for each with the rarer); NaN where no
        label is known, the ratio also where there is one value only.
    """
    n_known = known.sum(0)
    n_positive = (labels.astype(bool) & known).sum(0)
    n_major = np.maximum(n_positive, n_known - n_positive)
    return pd.DataFrame(
        {
            "attribute": list(attributes),
            "n_known": n_known,
            "n_positive": n_positive,
            "prevalence": divide(n_positive, n_known),
            "majority_share": divide(n_major, n_known),
            "imbalance_ratio": divide(n_major, n_known - n_major),
        }
    )


def count_cardinality(
    labels: NDArray[np.uint8], known: NDArray[np.bool_], partition: NDArray[np.object_]
) -> pd.DataFrame:
    """How many images of each partition bear how many attributes.

    Images without any known label take no part; an unknown label counts as none.

    Returns:
        Columns partition, n_positive, n_images; the counts that occur, in order.
    """
    n_positive = (labels.astype(bool) & known).sum(1)
    labelled = known.any(1)
    rows = []
    for name in PARTITIONS:
        values, n_images = np.unique(n_positive[labelled & (partition == name)], return_counts=True)
        rows += [(name, int(a), int(b)) for a, b in zip(values, n_images, strict=True)]
    return pd.DataFrame(rows, columns=["partition", "n_positive", "n_images"])


def count_shared_identities(
    identity: NDArray[np.object_], partition: NDArray[np.object_]
) -> tuple[int, int]:
    """Identities with images in more than one partition, and the images of these identities."""
    frame = pd.DataFrame({"identity": identity, "partition": partition}).dropna()
    groups = frame.groupby("identity")["partition"].agg(["nunique", "size"])
    shared = groups[groups["nunique"] > 1]
    return len(shared), int(shared["size"].sum())


def count_identities(identity: NDArray[np.object_]) -> pd.DataFrame:
    """How many identities have how many images: columns n_images, n_identities."""
    named = [value for value in identity if isinstance(value, str)]
    sizes = pd.Series(named, dtype=object).value_counts().to_numpy(np.int64)
    n_images, n_identities = np.unique(sizes, return_counts=True)
    return pd.DataFrame({"n_images": n_images, "n_identities": n_identities})


def measure_consistency(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    identity: NDArray[np.object_],
    attributes: Sequence[str],
) -> pd.DataFrame:
    """How far the images of one identity agree about each attribute.

    Returns:
        A rows: identities with at least two known images, and the mean over them of the share of
        the commoner value; NaN without any such identity.
    """
    has_name = np.array([isinstance(value, str) for value in identity], bool)
    codes, names = pd.factorize(identity[has_name])
    rows = []
    for column, attribute in enumerate(attributes):
        mask = known[has_name, column]
        n_known = np.bincount(codes[mask], minlength=len(names))
        values = labels[has_name, column][mask]
        n_positive = np.bincount(codes[mask], weights=values, minlength=len(names))
        enough = n_known >= 2
        share = np.maximum(n_positive, n_known - n_positive)[enough] / n_known[enough]
        rows.append((attribute, int(enough.sum()), share.mean() if enough.any() else np.nan))
    return pd.DataFrame(rows, columns=["attribute", "n_identities", "agreement"])


def divide(top: NDArray | float, bottom: NDArray) -> NDArray[np.float64]:
    """Top / bottom, NaN where the bottom is 0."""
    bottom = np.asarray(bottom, np.float64)
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom != 0)
