"""What the page's template needs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.compare.charts import draw_cost, draw_curves, draw_differences
from stages.compare.costs import Cost, count_operations
from stages.compare.differences import Difference, excludes_zero
from stages.compare.heat import (
    build_differences,
    build_gains,
    build_pairs,
    describe_difference,
)
from stages.compare.published import is_official, read_published
from stages.compare.ranking import Group, Ranking, Row, compares_all
from stages.compare.runs import Collected, Run
from stages.compare.tables import Costs
from stages.report.words import counted, listed, percent, points


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
        "is_base_only": not compares_all(group.runs, ranking.partition),
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
