"""Do partitions differ in an attribute's prevalence beyond chance? Tests of two proportions."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisher_exact, norm, t

from stages.common.tables import PARTITIONS
from stages.explore.labels import divide

#: The z-test is an approximation; below so many expected images in a cell Fisher's exact test
#: takes its place (Cochran, 1954).
MIN_EXPECTED = 5

COLUMNS = [
    "attribute",
    "first",
    "second",
    "p_first",
    "p_second",
    "difference",
    "z",
    "p_value",
    "p_corrected",
    "p_identities",
    "effect",
]


def measure_shifts(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    partition: NDArray[np.object_],
    identity: NDArray[np.object_],
    attributes: Sequence[str],
) -> pd.DataFrame:
    """Test every attribute between every two partitions that have images.

    z and p_value are the pooled two-proportion z-test (Fisher's exact test where few images are
    expected in a cell), which takes images as independent. Those of one identity are alike, so
    that test finds too much: p_identities comes from Welch's t-test with whole identities as
    what was drawn at random (variance by the ratio estimator of cluster sampling; Cochran,
    Sampling Techniques, 1977, 6.4). Identities that are in both partitions count as different
    ones.

    Args:
        labels: (N, A) uint8 in {0, 1}.
        known: (N, A) bool.
        partition: (N,) names.
        identity: (N,) names or None.
        attributes: A names.

    Returns:
        COLUMNS, A rows for each pair of partitions, in order: prevalences; their difference, z and
        Cohen's h (2 asin sqrt(p_second) - 2 asin sqrt(p_first)), all above 0 where the second is
        higher; p_value, and p_corrected and p_identities by Holm over the attributes of the same
        pair. NaN where a test is undefined: no known labels, or no identities.
    """
    columns = labels.astype(bool) & known
    parts = {name: np.flatnonzero(partition == name) for name in PARTITIONS}
    parts = {name: rows for name, rows in parts.items() if len(rows)}
    n_known = {name: known[rows].sum(0) for name, rows in parts.items()}
    n_positive = {name: columns[rows].sum(0) for name, rows in parts.items()}
    drawn = {
        name: estimate_variance(columns[rows], known[rows], identity[rows])
        for name, rows in parts.items()
    }
    tables = []
    for first, second in combinations(parts, 2):
        n1, n2, k1, k2 = n_known[first], n_known[second], n_positive[first], n_positive[second]
        p1, p2 = divide(k1, n1), divide(k2, n2)
        pooled = divide(k1 + k2, n1 + n2)
        error = np.sqrt(pooled * (1 - pooled) * (divide(1, n1) + divide(1, n2)))
        z = _divide_by_error(p2 - p1, error)
        p_value = 2 * norm.sf(np.abs(z))
        for column in np.flatnonzero(_expect_few(n1, n2, k1 + k2)):
            counts = [[k1[column], n1[column] - k1[column]], [k2[column], n2[column] - k2[column]]]
            p_value[column] = fisher_exact(counts).pvalue
        p_identities = compare_identities(p2 - p1, *drawn[first], *drawn[second])
        table: dict[str, Any] = {
            "attribute": list(attributes),
            "first": first,
            "second": second,
            "p_first": p1,
            "p_second": p2,
            "difference": p2 - p1,
            "z": z,
            "p_value": p_value,
            "p_corrected": correct_holm(p_value),
            "p_identities": correct_holm(p_identities),
            "effect": 2 * np.arcsin(np.sqrt(p2)) - 2 * np.arcsin(np.sqrt(p1)),
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _expect_few(
    n_1: NDArray[np.int64], n_2: NDArray[np.int64], n_positive: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(A,) True where by chance a cell would hold fewer than MIN_EXPECTED, and any images are."""
    n = n_1 + n_2
    smaller = np.minimum(n_1, n_2) * np.minimum(n_positive, n - n_positive)
    return (np.minimum(n_1, n_2) > 0) & (smaller < MIN_EXPECTED * n)


def estimate_variance(
    positive: NDArray[np.bool_], known: NDArray[np.bool_], identity: NDArray[np.object_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Variance of each prevalence where whole identities are drawn at random.

    Args:
        positive: (N, A) bool, only where known.
        known: (N, A) bool.
        identity: (N,) names or None; an image without a name is an identity of its own.

    Returns:
        (A,) variances, NaN where no identity is named or fewer than two have a known label, and
        (A,) counts of the identities with a known label.
    """
    variances = np.full(known.shape[1], np.nan)
    n_groups = np.zeros(known.shape[1], np.int64)
    named = np.array([isinstance(value, str) for value in identity], bool)
    if not named.any():
        return variances, n_groups
    codes = np.empty(len(identity), np.int64)
    codes[named], names = pd.factorize(identity[named])
    codes[~named] = len(names) + np.arange((~named).sum())
    for column in range(known.shape[1]):
        sizes = np.bincount(codes, weights=known[:, column])
        counts = np.bincount(codes, weights=positive[:, column])
        n, groups = sizes.sum(), int((sizes > 0).sum())
        n_groups[column] = groups
        if groups >= 2:
            residuals = counts - sizes * counts.sum() / n
            variances[column] = (residuals**2).sum() / n**2 * groups / (groups - 1)
    return variances, n_groups


def compare_identities(
    difference: NDArray[np.float64],
    variance_1: NDArray[np.float64],
    n_1: NDArray[np.int64],
    variance_2: NDArray[np.float64],
    n_2: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Two-sided p values of Welch's t-test (1947) from variances of means; NaN where undefined."""
    variance = variance_1 + variance_2
    freedom = divide(variance**2, divide(variance_1**2, n_1 - 1) + divide(variance_2**2, n_2 - 1))
    score = _divide_by_error(difference, np.sqrt(variance))
    return np.where(score == 0, 1.0, 2 * t.sf(np.abs(score), freedom))


def correct_holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction (1979) over the defined values, in the given order."""
    corrected = np.full(len(p_values), np.nan)
    defined = np.flatnonzero(~np.isnan(p_values))
    order = defined[np.argsort(p_values[defined], kind="stable")]
    raised = p_values[order] * (len(order) - np.arange(len(order)))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return corrected


def _divide_by_error(
    difference: NDArray[np.float64], error: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Difference in standard errors; 0 where nothing varies and nothing differs."""
    same = (difference == 0) & (error == 0)
    return np.where(same, 0.0, divide(difference, error))
