"""What the page's template needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.compare.charts import draw_cost, draw_curves, draw_differences
from stages.compare.costs import Cost, count_operations
from stages.compare.differences import Difference, excludes_zero
from stages.compare.published import is_official, read_published, read_published_by_attribute
from stages.compare.ranking import Group, Ranking, Row
from stages.compare.runs import Collected, Run
from stages.compare.tables import Costs
from stages.report.words import counted, listed, percent, points

#: A cell's colour is full from this on: points of difference; gains by the largest of the table.
FULL_POINTS = 0.05
#: Strength of a full colour in per cent: text in the page's ink stays readable on it.
STRONGEST = 46


def build_page(
    collected: Collected, groups: Sequence[Group], costs: Costs, cost_note: str, base: str | None
) -> dict[str, Any]:
    """The whole page: a section per source of data, then costs and commands of all runs."""
    numbers = {
        run.name: k for k, run in enumerate((run for group in groups for run in order(group)), 1)
    }
    runs = [run for group in groups for run in order(group)]
    return {
        "numbers": numbers,
        "n_runs": len(runs),
        "story": tell_story(groups),
        "left_out": collected.left_out,
        "notes": list_notes(groups),
        "base_missing": base if base and not any(g.is_named for g in groups) else None,
        "groups": [build_group(group, k, numbers, groups) for k, group in enumerate(groups)],
        "costs": [build_cost(run, numbers[run.name], costs) for run in runs],
        "cost_note": cost_note,
        "commands": [{"run": run, "number": numbers[run.name]} for run in runs],
        "published": read_published(),
        "has_official": any(is_official(g, r) for g in groups for r in g.rankings),
        "has_test": any(r.partition == "test" for g in groups for r in g.rankings),
    }


def order(group: Group) -> list[Run]:
    """A group's runs as they are numbered: in order of valid's rankings, then the others."""
    ranked = [row.run for ranking in group.rankings for row in ranking.rows]
    unique: list[Run] = []
    for run in (*ranked, *group.runs):
        if not any(run is one for one in unique):
            unique.append(run)
    return unique


def tell_story(groups: Sequence[Group]) -> list[str]:
    """A sentence per source of data: the best on valid, and whether the next is told apart."""
    told = []
    for group in groups:
        ranking = next((one for one in group.rankings if one.partition == "valid"), None)
        if ranking is None:
            told.append(f"On {group.data.title} no run was evaluated on valid.")
            continue
        best = ranking.rows[0]
        text = (
            f"On {group.data.title}, {best.run.name} reaches "
            f"{percent(best.figures['accuracy'], 2)} on valid, "
            f"{points(best.figures['gain'], 2)} points over the majority class"
        )
        for second in (row.run for row in ranking.rows[1:]):
            one = group.find_pair("valid", best.run, second)
            if one is not None and not np.isnan(one.interval.mean_low):
                if interval_is_zero(one):
                    text += f"; {second.name} answers the same"
                    break
                is_clear = excludes_zero(one.interval.mean_low, one.interval.mean_high)
                text += (
                    f"; {points(one.interval.mean, 2)} points more than {second.name}, "
                    f"{points(one.interval.mean_low, 2)} to {points(one.interval.mean_high, 2)}"
                    f"{'' if is_clear else ': not told apart'}"
                )
                break
        told.append(f"{text}.")
    return told


def interval_is_zero(one: Difference) -> bool:
    """True where two runs are right and wrong on the same labels, as far as means tell."""
    interval = one.interval
    return interval.mean == interval.mean_low == interval.mean_high == 0


def list_notes(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """(run, sentence) about what is missing or unusual."""
    found: list[tuple[str, str]] = []
    for group in groups:
        for run in order(group):
            found += [(run.name, note) for note in run.notes]
            for ranking in group.rankings:
                for row in ranking.rows:
                    if row.run is run:
                        found += [(run.name, note) for note in row.notes]
            if run.origin.note:
                found.append((run.name, run.origin.note))
    return list(dict.fromkeys(found))


def build_group(
    group: Group, index: int, numbers: dict[str, int], groups: Sequence[Group]
) -> dict[str, Any]:
    """A section: rankings of valid, then of test."""
    titles = [other.data.title for other in groups]
    title = group.data.title
    if titles.count(title) > 1:
        title = f"{title} ({group.data.digest})"
    most = max((len(one.attributes) for one in group.rankings), default=0)
    return {
        "id": f"data{index}",
        "title": title,
        "digest": group.data.digest,
        "n_runs": len(group.runs),
        "extent": group.data.extent,
        "base": group.base,
        "is_named": group.is_named,
        "rankings": [
            build_ranking(group, ranking, f"d{index}r{k}", numbers, most)
            for k, ranking in enumerate(group.rankings)
        ],
        "n_resampled": next((pair.difference.n_identities for pair in group.pairs), 0),
    }


def build_ranking(
    group: Group, ranking: Ranking, name: str, numbers: dict[str, int], most: int
) -> dict[str, Any]:
    """A ranked table with its charts and heat maps."""
    official = is_official(group, ranking)
    rows = [build_row(group, row, numbers) for row in ranking.rows]
    if official:
        rows = sorted(
            [*rows, *({"published": one} for one in read_published())],
            key=lambda row: (
                -row["published"].accuracy if "published" in row else -row["figures"]["accuracy"]
            ),
        )
    n = len(ranking.attributes)
    of = f"{counted(ranking.n_images, 'image')}, "
    of += listed(ranking.attributes, 3) + " alone" if n < most and n <= 3 else f"{n} attributes"
    if ranking.threshold != 0.5:
        of += f", threshold {ranking.threshold:g}"
    is_valid = ranking.partition == "valid"
    return {
        "id": name,
        "partition": ranking.partition,
        "of": of,
        "is_fewer": n < most,
        "rows": rows,
        "official": official,
        "curves": draw_curves(ranking, numbers, f"{name}-curves") if is_valid else None,
        "forest": draw_differences(group, ranking, numbers, f"{name}-forest"),
        "cost": draw_cost(ranking, numbers, f"{name}-cost") if is_valid else None,
        "gains": build_gains(ranking, numbers, official),
        "differences": build_differences(group, ranking, numbers),
        "pairs": build_pairs(group, ranking, numbers),
    }


def build_row(group: Group, row: Row, numbers: dict[str, int]) -> dict[str, Any]:
    """A run in a ranked table."""
    base = group.base
    one = base and group.find_pair(row.partition, row.run, base)
    n_common = len(one.attributes) if one else 0
    return {
        "run": row.run,
        "number": numbers[row.run.name],
        "figures": row.figures,
        "is_base": row.run is base,
        "difference": describe_difference(one) if one else None,
        "n_common": n_common if one and n_common < len(base.attributes if base else ()) else 0,
    }


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
    """All differences of a ranking's runs, row less column; None for fewer than three runs."""
    runs = [row.run for row in ranking.rows]
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


def build_cost(run: Run, number: int, costs: Costs) -> dict[str, Any]:
    """A row of the table of costs."""
    size = run.model or run.params.get("prepare", {})
    return {
        "run": run,
        "number": number,
        "height_px": size.get("height_px"),
        "width_px": size.get("width_px"),
        "multiply_adds": count_operations(run.model),
        "cost": costs.get((run.key, run.weights_sha256), Cost()),
    }


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
