"""Heat maps: attributes by runs, and runs by runs; every cell bears its value as text."""

from typing import Any

from stages.compare.differences import Difference, excludes_zero
from stages.compare.published import read_published_by_attribute
from stages.compare.ranking import Group, Ranking, compares_all

#: A cell's colour is full from this on: points of difference; gains by the largest of the table.
FULL_POINTS = 0.05
#: Strength of a full colour in per cent: text in the page's ink stays readable on it.
STRONGEST = 46


def describe_difference(one: Difference) -> dict[str, Any]:
    """The mean difference, its interval and whether that excludes 0 (None: undefined)."""
    interval = one.interval
    return {
        "mean": interval.mean,
        "low": interval.mean_low,
        "high": interval.mean_high,
        "is_clear": excludes_zero(interval.mean_low, interval.mean_high),
        "n_images": one.n_images,
    }


def build_gains(ranking: Ranking, numbers: dict[str, int], official: bool) -> dict[str, Any]:
    """The heat map of gains over the majority class: an attribute per row, a run per column."""
    columns = [{"name": row.run.name, "number": numbers[row.run.name]} for row in ranking.rows]
    tables = [row.table.set_index("attribute") for row in ranking.rows]
    gains = [table["gain"].to_dict() for table in tables]
    base = tables[0]["majority_accuracy"].to_dict()
    if official:
        for system, column in read_published_by_attribute().items():
            columns.append({"name": str(system), "number": None})
            gains.append({name: value - base[name] for name, value in column.items()})
    full = max((abs(v) for gain in gains for v in gain.values() if v == v), default=0.0)
    names = sorted(
        ranking.attributes, key=lambda name: (gains[0][name] != gains[0][name], -gains[0][name])
    )
    rows = [
        {
            "attribute": name,
            "majority": base[name],
            "cells": [_cell(gain[name], full) for gain in gains],
        }
        for name in names
    ]
    return {"columns": columns, "rows": rows}


def build_differences(
    group: Group, ranking: Ranking, numbers: dict[str, int]
) -> dict[str, Any] | None:
    """The heat map of differences to the base, with intervals; None where there are none."""
    base = group.base
    found = []
    for row in ranking.rows:
        one = base and group.find_pair(ranking.partition, row.run, base)
        if one:
            found.append((row.run, one))
    if base is None or not found:
        return None
    rows: list[dict[str, Any]] = []
    for name in ranking.attributes:
        cells: list[dict[str, Any]] = []
        for _, one in found:
            if name not in one.attributes:
                cells.append(_cell(float("nan"), FULL_POINTS))
                continue
            k = one.attributes.index(name)
            interval = one.interval
            low, high = float(interval.low[k]), float(interval.high[k])
            cells.append(
                {
                    **_cell(float(interval.value[k]), FULL_POINTS),
                    "low": low,
                    "high": high,
                    "is_clear": excludes_zero(low, high),
                }
            )
        values = [cell["value"] for cell in cells if cell["value"] == cell["value"]]
        counts = [
            one.n_labels[one.attributes.index(name)] for _, one in found if name in one.attributes
        ]
        rows.append(
            {
                "attribute": name,
                "cells": cells,
                "n_labels": int(max(counts, default=0)),
                "mean": sum(values) / len(values) if values else float("inf"),
            }
        )
    rows.sort(key=lambda row: row["mean"])
    n_clear = sum(int(bool(cell.get("is_clear"))) for row in rows for cell in row["cells"])
    return {
        "columns": [{"name": run.name, "number": numbers[run.name]} for run, _ in found],
        "rows": rows,
        "base": base,
        "n_clear": n_clear,
        "n_cells": sum(len(row["cells"]) for row in rows),
    }


def build_pairs(group: Group, ranking: Ranking, numbers: dict[str, int]) -> dict[str, Any] | None:
    """All differences of a ranking's runs, row less column; None where not all were compared.

    Nor is there a table of fewer than three runs: the forest says what it would.
    """
    runs = [row.run for row in ranking.rows]
    if not compares_all(group.runs, ranking.partition):
        return None
    rows: list[dict[str, Any]] = []
    for a in runs:
        found = [(a is not b and group.find_pair(ranking.partition, a, b)) or None for b in runs]
        cells = [
            {**_cell(one.interval.mean, FULL_POINTS), **describe_difference(one)} if one else None
            for one in found
        ]
        rows.append({"run": a, "number": numbers[a.name], "cells": cells})
    if len(runs) < 3 or not any(cell for row in rows for cell in row["cells"]):
        return None
    return {"columns": [{"name": r.name, "number": numbers[r.name]} for r in runs], "rows": rows}


def _cell(value: float, full: float) -> dict[str, Any]:
    """A value with the strength of its colour in per cent."""
    # By the root: one attribute that gains 40 points must not pale the many that gain 3.
    share = 0.0 if value != value or full <= 0 else min(1.0, abs(value) / full) ** 0.5
    return {
        "value": value,
        "strength": round(STRONGEST * share),
        "is_negative": value < 0,
        "is_clear": None,
    }
