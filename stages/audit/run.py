"""The stage: read data/download, compare, write issues.parquet and the tables of counts."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.audit.copies import find_copies
from stages.audit.findings import (
    group_near,
    list_exact,
    list_identity_conflicts,
    list_label_conflicts,
    list_leaks,
    list_near,
    list_rule_breaks,
    list_unreadable,
    tabulate_findings,
)
from stages.audit.pictures import read_pictures
from stages.audit.suspects import Suspects, find_suspects, rate_attributes
from stages.common.files import fresh_folder, write_json, write_manifest, write_text
from stages.common.params import AuditParams
from stages.common.rules import RuleResult, apply_rules, read_rules
from stages.common.tables import (
    CHECKS,
    ISSUES,
    ISSUES_SCHEMA,
    SCORES,
    label_arrays,
    read_annotations,
    scores_schema,
    write_table,
)


def run(params: AuditParams, download: Path, out: Path, reports: Path) -> str:
    """Audit a data/download folder; write data/audit and reports/audit.

    Returns:
        A line of counts.

    Raises:
        FacetError: the folder is not complete, or its tables do not fit together.
    """
    annotations, attributes = read_annotations(download)
    annotations = annotations.sort_values("image_id", ignore_index=True)
    labels, known = label_arrays(annotations, attributes)
    partition = annotations["partition"].to_numpy(object)
    pictures = read_pictures(download, annotations)
    copies = find_copies(pictures, partition, params)
    readable, unreadable = pictures.row, pictures.unreadable
    del pictures  # 1 GB for the whole of CelebA
    suspects = find_suspects(
        download, annotations, attributes, labels, known, readable, copies, params
    )
    rules = apply_rules(read_rules(), attributes, labels, known, partition == "train")
    findings = [
        *list_unreadable(unreadable),
        *list_exact(copies),
        *list_near(copies),
        *list_leaks(copies, partition),
        *list_label_conflicts(copies, attributes, labels, known),
        *list_identity_conflicts(copies, annotations["identity"].to_numpy(object)),
        *list_rule_breaks(rules, attributes, suspects.labels),
        *suspects.findings,
    ]
    issues = tabulate_findings(findings, annotations["image_id"].to_numpy(object))
    by_check = count_checks(issues)
    leaks = issues.loc[issues["check"] == "leak", "detail"].str.split(":").str[0]
    with fresh_folder(out) as folder, fresh_folder(reports) as tables:
        write_table(issues, folder / ISSUES, ISSUES_SCHEMA)
        scores = tabulate_scores(annotations["image_id"], suspects, attributes)
        write_table(scores, folder / SCORES, scores_schema(attributes))
        write_manifest(
            folder,
            {"n_images": len(annotations), "n_findings": len(issues), "by_check": by_check},
        )
        summary = {
            "n_images": len(annotations),
            "by_check": by_check,
            "n_groups_exact": len(copies.exact),
            "n_groups_near": len(group_near(copies)),
            "leaks_by_pair": {
                pair: int((leaks == pair).sum())
                for pair in ("train-valid", "train-test", "valid-test")
            },
            "skipped": suspects.skipped,
        }
        write_json(tables / "summary.json", summary)
        write_text(tables / "rules.csv", _format_rules(rules))
        rates = rate_attributes(suspects, attributes)
        write_text(tables / "by_attribute.csv", _format_attributes(issues, attributes, rates))
        check = suspects.self_check
        write_json(tables / "self_check.json", check.summary if check else None)
        write_text(tables / "self_check.csv", _format_check(check.by_attribute if check else []))
    counts = ", ".join(f"{entry['flagged']} {check}" for check, entry in by_check.items())
    n_flagged = sum(entry["flagged"] for entry in by_check.values())
    line = f"audit: {len(annotations)} images, {n_flagged} findings flagged ({counts})"
    line += f" and {len(issues) - n_flagged} suspects"
    if suspects.skipped:
        line += f"; skipped: {', '.join(suspects.skipped)}"
    return line + (f"; {describe_check(check.summary)}" if check else "")


def describe_check(summary: dict[str, Any]) -> str:
    """The self-check in a clause for the closing line."""
    recall, precision = (
        "none" if summary[name] is None else f"{summary[name]:.0%}"
        for name in ("recall", "precision")
    )
    return (
        f"self-check: of {summary['n_flipped']} random flips in a copy {recall} were flagged, "
        f"{precision} of the flagged were flips (random flips flatter every method)"
    )


def tabulate_scores(
    image_ids: pd.Series, suspects: Suspects, attributes: list[str]
) -> pd.DataFrame:
    """scores.parquet: 1 - the probability of being wrong, null where not judged."""
    columns = {"face": suspects.face, "identity": suspects.identity}
    columns |= {name: suspects.labels[:, a] for a, name in enumerate(attributes)}
    scores = {name: (1 - values).round(5) for name, values in columns.items()}
    return pd.DataFrame({"image_id": image_ids, **scores})


def count_checks(issues: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Findings, images concerned and flagged findings of every check, in the order of CHECKS."""
    counts = {}
    for check in CHECKS:
        rows = issues[issues["check"] == check]
        counts[check] = {
            "findings": len(rows),
            "images": int(rows["image_id"].nunique()),
            "flagged": int(rows["flagged"].astype(bool).sum()),
        }
    return counts


def _format_rules(results: list[RuleResult]) -> str:
    """rules.csv: images a rule applies to and those that break it, in all; support in train."""
    rows = [
        [
            result.rule.name,
            int(np.count_nonzero(result.applicable)),
            int(np.count_nonzero(result.broken)),
            "" if result.shown is None else round(result.shown, 6),
        ]
        for result in results
    ]
    return _format_csv(["rule", "n_applicable", "n_violations", "support"], rows)


def _format_attributes(
    issues: pd.DataFrame, attributes: list[str], rates: dict[str, dict[str, Any]]
) -> str:
    """by_attribute.csv: images with a finding per attribute and check, suspected error rates.

    Of mislabels the flagged ones count. The rate is of errors that look like random flips.
    """
    checks = ("label_conflict", "label_rule", "mislabel")
    counted = issues[(issues["check"] != "mislabel") | issues["flagged"].astype(bool)]
    images = counted.groupby(["check", "attribute"])["image_id"].nunique().to_dict()
    names = ("error_rate", "error_rate_low", "error_rate_high")
    rows = [
        [
            name,
            *(images.get((check, name), 0) for check in checks),
            *(rates.get(name, {}).get(key, "") for key in names),
        ]
        for name in attributes
    ]
    return _format_csv(["attribute", *(f"n_{check}" for check in checks), *names], rows)


CHECK_COLUMNS = ("attribute", "n_flipped", "n_flagged", "average_precision", "precision", "recall")


def _format_check(rows: list[dict[str, Any]]) -> str:
    """self_check.csv: how well flips of each attribute were found; a header only if skipped."""
    values = [["" if row[key] is None else row[key] for key in CHECK_COLUMNS] for row in rows]
    return _format_csv(list(CHECK_COLUMNS), values)


def _format_csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()
