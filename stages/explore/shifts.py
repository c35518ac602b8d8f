"""Do partitions differ in an attribute's prevalence? Two-proportion z-tests, corrected."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm

from stages.common.tables import PARTITIONS


@dataclass(frozen=True)
class Shift:
    """One attribute in two partitions: prevalences, Cohen's h and Holm's corrected p value."""

    attribute: str
    first: str
    second: str
    p_first: float
    p_second: float
    effect: float
    p_value: float


def find_shifts(prevalence: pd.DataFrame) -> list[Shift]:
    """Test every attribute between every two partitions, with Holm's correction over all tests.

    Args:
        prevalence: Table of measure_prevalence.

    Returns:
        All tests that are defined, largest absolute effect first. Cohen's h is
        2 asin(sqrt(p1)) - 2 asin(sqrt(p2)); 0.2 counts as small, 0.5 as medium. The test takes
        images as independent; those of one identity are not, so p is too small and the effect
        decides what is worth telling.
    """
    present = [name for name in PARTITIONS if f"n_known_{name}" in prevalence]
    tests: list[tuple[str, str, str, float, float, float]] = []
    for first, second in combinations(present, 2):
        for row in prevalence.to_dict("records"):
            n1, n2 = row[f"n_known_{first}"], row[f"n_known_{second}"]
            k1, k2 = row[f"n_positive_{first}"], row[f"n_positive_{second}"]
            if not n1 or not n2:
                continue
            pooled = (k1 + k2) / (n1 + n2)
            error = np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
            p_value = 2 * norm.sf(abs(k1 / n1 - k2 / n2) / error) if error else 1.0
            tests.append((row["attribute"], first, second, k1 / n1, k2 / n2, float(p_value)))
    corrected = correct_holm([test[5] for test in tests])
    shifts = [
        Shift(*test[:5], _cohen_h(test[3], test[4]), p_value)
        for test, p_value in zip(tests, corrected, strict=True)
    ]
    return sorted(shifts, key=lambda shift: -abs(shift.effect))


def correct_holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979), in the given order."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    raised = np.array(p_values)[order] * (n - np.arange(n)) if n else np.zeros(0)
    corrected = np.empty(n)
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1) if n else raised
    return corrected.tolist()


def _cohen_h(p1: float, p2: float) -> float:
    return float(2 * np.arcsin(np.sqrt(p1)) - 2 * np.arcsin(np.sqrt(p2)))
