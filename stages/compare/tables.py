"""The three tables: comparison.csv, differences.csv and per_attribute.csv, six digits each."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stages.compare.columns import COMPARISON, COUNTS, DIFFERENCES, FIGURES, PER_ATTRIBUTE
from stages.compare.costs import Cost, count_operations
from stages.compare.differences import excludes_zero
from stages.compare.published import is_official, read_published
from stages.compare.ranking import Group, Ranking, Row
from stages.compare.runs import Run

Costs = Mapping[tuple[str, str], Cost]


def list_comparison(groups: Sequence[Group], costs: Costs) -> pd.DataFrame:
    """COMPARISON's rows: of every ranking, then of published systems, then what has no figures."""
    rows: list[dict[str, Any]] = []
    number = 0
    is_beside = False
    for group in groups:
        for ranking in group.rankings:
            number += 1
            mine = [
                {**describe_run(row.run, costs), **_describe_row(row, ranking), "ranking": number}
                for row in ranking.rows
            ]
            if is_official(group, ranking):
                is_beside = True
                mine += [{**one, "ranking": number} for one in list_published()]
            rows += _rank(mine)
        for run in group.runs:
            if not run.metrics:
                rows.append(describe_run(run, costs))
    if not is_beside:
        rows += _rank([{**one, "ranking": number + 1} for one in list_published()])
    table = pd.DataFrame(rows, columns=list(COMPARISON))
    return table.astype(dict.fromkeys(COUNTS, "Int64"))  # without decimals, though some are unknown


def describe_run(run: Run, costs: Costs) -> dict[str, Any]:
    """What a row says of the run itself, its cost and its command."""
    cost = costs.get((run.key, run.weights_sha256), Cost())
    summary, origin = run.summary, run.origin
    return {
        "kind": "ours",
        "run": run.name,
        "data": run.data.title,
        "data_digest": run.data.digest,
        "recipe": origin.recipe,
        "changes": "; ".join(f"{key}: {old} -> {new}" for key, old, new in origin.changes),
        "network": summary["network"],
        "weights": summary.get("weights"),
        "n_train": summary.get("n_train"),
        "n_epochs_run": summary.get("n_epochs_run"),
        "best_epoch": summary.get("best_epoch"),
        "seconds": cost.seconds,
        "images_per_s": cost.images_per_s,
        "device": cost.device,
        "n_parameters": summary.get("n_parameters"),
        "multiply_adds": count_operations(run.model),
        "commit": origin.commit,
        "command": " && ".join(origin.commands),
        "source": run.commit or "workspace",
        "notes": "; ".join(run.notes),
    }


def list_published() -> list[dict[str, Any]]:
    """Published systems as rows."""
    return [
        {
            "kind": "published",
            "run": one.system,
            "partition": "test",
            "data": "CelebA, official test partition",
            "n_images": 19_962,
            "n_attributes": 40,
            "threshold": 0.5,
            "accuracy": one.accuracy,
            "majority_accuracy": one.accuracy - one.gain,
            "gain": one.gain,
            "source": one.source,
            "notes": one.remark,
        }
        for one in read_published()
    ]


def _describe_row(row: Row, ranking: Ranking) -> dict[str, Any]:
    notes = "; ".join([*row.run.notes, *row.notes])
    return {
        "partition": row.partition,
        "n_images": row.n_images,
        "n_attributes": len(ranking.attributes),
        "threshold": row.threshold,
        **{name: row.figures[name] for name in FIGURES},
        "notes": notes,
    }


def _rank(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ordered = sorted(rows, key=lambda row: (row["accuracy"] != row["accuracy"], -row["accuracy"]))
    return [{**row, "rank": rank} for rank, row in enumerate(ordered, 1)]


def list_differences(groups: Sequence[Group]) -> pd.DataFrame:
    """DIFFERENCES' rows; of two directions of a pair the first one."""
    tables = []
    for group in groups:
        seen = set()
        for pair in group.pairs:
            key = (pair.partition, frozenset((pair.a.name, pair.b.name)))
            if key in seen:
                continue
            seen.add(key)
            one, interval = pair.difference, pair.difference.interval
            head = {
                "data": group.data.title,
                "partition": pair.partition,
                "run_a": pair.a.name,
                "run_b": pair.b.name,
                "n_attributes": len(one.attributes),
                "n_images": one.n_images,
                "n_identities": one.n_identities,
            }
            mean = {
                **head,
                "attribute": "",
                "n_labels": int(one.n_labels.sum()),
                "accuracy_a": _mean(one.accuracy_a),
                "accuracy_b": _mean(one.accuracy_b),
                "difference": interval.mean,
                "difference_low": interval.mean_low,
                "difference_high": interval.mean_high,
            }
            by_attribute = {
                **head,
                "attribute": list(one.attributes),
                "n_labels": one.n_labels,
                "accuracy_a": one.accuracy_a,
                "accuracy_b": one.accuracy_b,
                "difference": interval.value,
                "difference_low": interval.low,
                "difference_high": interval.high,
            }
            tables += [pd.DataFrame([mean]), pd.DataFrame(by_attribute)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    table = table.reindex(columns=list(DIFFERENCES))
    table["excludes_zero"] = [
        excludes_zero(low, high)
        for low, high in zip(table["difference_low"], table["difference_high"], strict=True)
    ]
    return table


def list_attributes(groups: Sequence[Group]) -> pd.DataFrame:
    """PER_ATTRIBUTE's rows."""
    tables = []
    for group in groups:
        for ranking in group.rankings:
            for row in ranking.rows:
                table = row.table.assign(
                    data=group.data.title, partition=row.partition, run=row.run.name
                )
                base = group.base
                one = base and group.find_pair(row.partition, row.run, base)
                if base is not None and one:
                    interval = one.interval
                    ends = pd.DataFrame(
                        {
                            "attribute": one.attributes,
                            "base": base.name,
                            "difference": interval.value,
                            "difference_low": interval.low,
                            "difference_high": interval.high,
                        }
                    )
                    table = table.merge(ends, on="attribute", how="left")
                tables.append(table.reindex(columns=list(PER_ATTRIBUTE)))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=PER_ATTRIBUTE)


def to_csv(table: pd.DataFrame) -> str:
    """CSV with six digits; undefined values are empty fields."""
    text: str = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    return text


def _mean(values: Any) -> float:
    defined = values[values == values]
    return float(defined.mean()) if len(defined) else float("nan")
