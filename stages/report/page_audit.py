"""The page about what is wrong with the data (audit)."""

import json
from typing import Any

import pandas as pd

from stages.common.files import hash_file
from stages.common.reviews import IMAGE_VERDICTS, LABEL_VERDICTS
from stages.common.tables import ANNOTATIONS, PARTITIONS
from stages.report.cards import COPY_CHECKS
from stages.report.charts_audit import draw_calibration, draw_doubted_labels, draw_error_rates
from stages.report.gallery import build_galleries
from stages.report.inputs import Inputs
from stages.report.page_index import CHECK_NAMES
from stages.report.selfcheck import run_selfcheck
from stages.report.sentences_audit import describe_audit, describe_self_check
from stages.report.words import bar_share, is_undefined, records

CHECK_MEANINGS = {
    "mislabel": "Labels that picture, person and other labels speak against.",
    "label_conflict": "Copies of one picture that disagree on an attribute.",
    "label_rule": "Labels that cannot both be right, such as a goatee and no beard.",
    "faceless": "Noise, plain colour, background, or a face that is covered.",
    "identity_outlier": "Pictures unlike the others filed under the same person.",
    "identity_conflict": "Copies of one picture filed under different people.",
    "leak": "Copies of one picture in different partitions.",
    "exact_duplicate": "Files with the same bytes or the same pixels.",
    "near_duplicate": "The same picture re-encoded, resized, cropped or mirrored.",
    "unreadable": "Pictures that cannot be decoded.",
}
#: Rows of the list of leaks on the page; all of them stand in leaks.csv.
MAX_LEAKS = 200


def build_audit(inputs: Inputs, n_gallery: int) -> dict[str, Any]:
    """What the audit page's template needs.

    Args:
        inputs: All inputs.
        n_gallery: Cards shown per kind of finding.
    """
    audited, prepared = inputs.audited, inputs.prepared
    by_check = audited.summary["by_check"]
    galleries, pictures = build_galleries(inputs, n_gallery) if n_gallery else ([], {})
    dropped, masked = prepared["dropped"], prepared["masked"]
    reasons = [*dropped, *(reason for reason in masked if reason not in dropped)]
    rates = find_rates(audited.by_attribute)
    return {
        "sentences": describe_audit(inputs),
        "checks": list_checks(inputs, {gallery.check for gallery in galleries}),
        "skipped": list(find_skipped(audited.summary).items()),
        "leaks": list(audited.summary["leaks_by_pair"].items()),
        "leak_rows": list_leaks(audited.issues),
        "n_leaks": int(by_check.get("leak", {}).get("findings", 0)),
        "rules": list_rules(audited.rules),
        "doubted": list_doubted(audited.by_attribute),
        "has_rates": rates is not None,
        "rates_chart": None if rates is None else draw_error_rates(rates),
        "doubted_chart": draw_doubted_labels(audited.by_attribute),
        "trust": describe_self_check(audited.self_check),
        "trust_by_attribute": records(audited.self_check_by_attribute),
        "calibration_chart": draw_calibration(audited.self_check.get("calibration") or []),
        "galleries": galleries,
        "pictures": pictures,
        "selfcheck": run_selfcheck(inputs.folder, audited.issues) if inputs.is_demo else None,
        "check_names": CHECK_NAMES | {"review": "reviewer’s verdicts", "subset": "not chosen"},
        "prepared_rows": [
            {"reason": reason, "dropped": dropped.get(reason, {}), "masked": masked.get(reason, 0)}
            for reason in reasons
        ],
        "n_flipped": prepared["reviews"]["n_flipped"],
        "partitions": PARTITIONS,
        "label_meanings": LABEL_VERDICTS,
        "image_meanings": IMAGE_VERDICTS,
        "verdicts_json": json.dumps(
            [[entry.image_id, entry.attribute or "", entry.verdict] for entry in inputs.verdicts]
        ),
        "n_verdicts": len(inputs.verdicts),
        # Decisions are remembered per data set, so that those about other images never mix in.
        "copy_checks": COPY_CHECKS,
        "review_key": hash_file(inputs.folder / ANNOTATIONS)[:16],
    }


def list_checks(inputs: Inputs, shown: set[str]) -> list[dict[str, Any]]:
    """A row per check of the audit, those about labels first, with the policy that applies.

    Args:
        inputs: All inputs.
        shown: Checks that have a gallery.
    """
    by_check, policy = inputs.audited.summary["by_check"], inputs.prepared["policy"]
    order = [*CHECK_MEANINGS, *(check for check in by_check if check not in CHECK_MEANINGS)]
    most = max((counts["findings"] for counts in by_check.values()), default=0)
    return [
        {
            "check": check,
            "name": CHECK_NAMES.get(check, check),
            "meaning": CHECK_MEANINGS.get(check, ""),
            "policy": policy.get(check, "left out" if check == "unreadable" else ""),
            "has_gallery": check in shown,
            "bar": bar_share(by_check[check]["findings"], most),
            **by_check[check],
        }
        for check in order
        if check in by_check
    ]


def find_skipped(summary: dict[str, Any]) -> dict[str, str]:
    """Checks that the audit did not run, with the reason."""
    skipped = summary.get("skipped") or {}
    return {str(check): str(why) for check, why in skipped.items()}


def find_rates(table: pd.DataFrame) -> pd.DataFrame | None:
    """The suspected error rates, None where the audit estimated none."""
    return None if table["error_rate"].isna().all() else table


def list_leaks(issues: pd.DataFrame) -> list[dict[str, Any]]:
    """The first leaks, the surest first: both images, their partitions, how they are alike."""
    leaks = issues[issues["check"] == "leak"].sort_values(
        ["score", "image_id", "related_id"], kind="stable"
    )[:MAX_LEAKS]
    rows = []
    for row in records(leaks):
        detail = "" if is_undefined(row["detail"]) else str(row["detail"])
        where, _, how = detail.partition(": ")
        rows.append({**row, "where": where.replace("-", " – "), "how": how or detail})
    return rows


def list_rules(rules: pd.DataFrame) -> list[dict[str, Any]]:
    """Rules as the template takes them."""
    largest = max(rules["n_violations"].max(), 1) if len(rules) else 1
    return [{**row, "bar": bar_share(row["n_violations"], largest)} for row in records(rules)]


def list_doubted(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Attributes with a suspected error rate or a finding, the most doubted first."""
    columns = ("n_mislabel", "n_label_conflict", "n_label_rule")
    rates = ("error_rate", "error_rate_low", "error_rate_high")
    table = table[["attribute", *columns, *rates]].copy()
    table["total"] = table[list(columns)].fillna(0).sum(axis=1)
    table = table[(table["total"] > 0) | table["error_rate"].notna()]
    order = ["error_rate", "total"]
    return records(table.sort_values(order, ascending=False, kind="stable", na_position="last"))
