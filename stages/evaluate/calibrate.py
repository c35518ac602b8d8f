"""Temperature scaling: a number per attribute, fitted on valid, that makes probabilities right."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from stages.common.metrics import bin_probabilities
from stages.evaluate.part import Part

#: Factors on the logit, 1 / temperature, within which the best is sought.
SHARPNESS = (0.01, 100.0)
#: float32 has no probability between this one and 1, so that none becomes an infinite logit.
NEAREST = 2.0**-24


def to_logits(probs: np.ndarray) -> np.ndarray:
    """Logits float64 of raw sigmoids, at most 16.6 away from 0 (NEAREST)."""
    inside = np.clip(probs.astype(np.float64), NEAREST, 1 - NEAREST)
    return np.log(inside) - np.log1p(-inside)


def to_probs(logits: np.ndarray) -> np.ndarray:
    """Sigmoids float32."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature whose sigmoids of logits / temperature have the lowest cross entropy.

    The loss is convex in the sharpness 1 / temperature (Guo et al., ICML 2017, of two classes), so
    its minimum is where the slope is 0, or an end of SHARPNESS.

    Args:
        logits: (n,) float64.
        labels: (n,) in {0, 1}.

    Returns:
        The temperature; NaN without both classes, for any answer would be fitted to one of them.
    """
    if not len(labels) or labels.min() == labels.max():
        return float("nan")

    def slope(sharpness: float) -> float:
        with np.errstate(over="ignore"):
            probs = 1 / (1 + np.exp(-sharpness * logits))
        return float(logits @ (probs - labels))

    low, high = SHARPNESS
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    return 1 / float(brentq(slope, low, high, xtol=1e-10))


def fit_temperatures(valid: Part) -> np.ndarray:
    """Temperatures (A,) of the known labels of valid, six digits; NaN where undefined."""
    logits = to_logits(valid.probs)
    return np.array(
        [
            float(f"{fit_temperature(logits[known, k], valid.labels[known, k]):.6g}")
            for k, known in enumerate(valid.mask.T)
        ]
    )


def scale(probs: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Calibrated probabilities (N, A) float32; NaN where the attribute has no temperature."""
    return to_probs(to_logits(probs) / temperatures)


def list_reliability(part: Part, scaled: np.ndarray, n_bins: int) -> pd.DataFrame:
    """Reliability curves per attribute, raw and scaled, in bins of equal width; filled bins only.

    Returns:
        partition, attribute, scaled, bin (from 0), n, mean_probability, share_positive.
    """
    tables = []
    for is_scaled, probs in ((False, part.probs), (True, scaled)):
        usable = part.mask & ~np.isnan(probs)
        rows, columns = np.nonzero(usable)
        table = pd.DataFrame(
            {
                "column": columns,
                "bin": bin_probabilities(probs[rows, columns], n_bins),
                "prob": probs[rows, columns].astype(np.float64),
                "label": part.labels[rows, columns].astype(np.float64),
            }
        )
        groups = table.groupby(["column", "bin"])
        bins = groups.agg(
            n=("prob", "size"), mean_probability=("prob", "mean"), share_positive=("label", "mean")
        ).reset_index()
        bins.insert(0, "scaled", is_scaled)
        tables.append(bins)
    found = pd.concat(tables).sort_values(["column", "scaled", "bin"])
    names: Sequence[str] = list(part.attributes)
    found.insert(0, "partition", part.name)
    found.insert(1, "attribute", [names[k] for k in found["column"]])
    return found.drop(columns="column")
