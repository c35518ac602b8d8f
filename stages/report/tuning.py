"""What thresholds chosen on valid bring: a summary per aim, and a row per attribute."""

from dataclasses import dataclass
from typing import Any

from stages.report.inputs import Evaluated
from stages.report.words import is_undefined, records

#: What a threshold is chosen for (the evaluate stage's aims), in words.
AIM_NAMES = {"accuracy": "Accuracy", "f1": "F1", "balanced_accuracy": "Balanced accuracy"}


@dataclass(frozen=True)
class Aim:
    """Means over attributes of what the thresholds were chosen for, before and after.

    n_better, n_worse: attributes whose interval of the change lies above, or below, zero.
    """

    key: str
    name: str
    before: float | None
    after: float | None
    change: float | None
    n_better: int
    n_worse: int


def summarise_aims(evaluated: Evaluated, partition: str) -> list[Aim]:
    """One entry per aim; empty where no thresholds were chosen."""
    tuned = evaluated.metrics[partition].get("tuned") or {}
    table = evaluated.thresholds[evaluated.thresholds["partition"] == partition]
    aims = []
    for key, name in AIM_NAMES.items():
        if is_undefined(tuned.get(key)):
            continue
        rows, after, change = table[table["aim"] == key], tuned[key], tuned[f"{key}_change"]
        aims.append(
            Aim(
                key,
                name,
                None if is_undefined(change) else after - change,
                after,
                change,
                int((rows["change_low"] > 0).sum()),
                int((rows["change_high"] < 0).sum()),
            )
        )
    return aims


def list_thresholds(evaluated: Evaluated, partition: str) -> list[dict[str, Any]]:
    """Per attribute its temperature, and per aim the threshold and what it changes.

    Returns:
        attribute, temperature, aims: by aim's key a row of thresholds.csv; empty without any.
    """
    table = evaluated.thresholds[evaluated.thresholds["partition"] == partition]
    rows: dict[str, dict[str, Any]] = {}
    for row in records(table):
        rows.setdefault(row["attribute"], {})[row["aim"]] = row
    temperatures = dict(
        zip(evaluated.tuned["attribute"], evaluated.tuned["temperature"], strict=True)
    )
    return [
        {"attribute": name, "temperature": temperatures.get(name), "aims": aims}
        for name, aims in rows.items()
    ]
