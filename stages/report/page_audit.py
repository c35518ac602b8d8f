"""The page about what is wrong with the data (audit)."""

from typing import Any

from stages.common.tables import PARTITIONS
from stages.report.charts_data import draw_doubted_labels
from stages.report.gallery import build_galleries
from stages.report.inputs import Inputs
from stages.report.page_index import CHECK_NAMES, count_left_out
from stages.report.selfcheck import run_selfcheck
from stages.report.words import bar_share, count, counted, listed, records

CHECK_MEANINGS = {
    "exact_duplicate": "Files with the same bytes.",
    "near_duplicate": "The same picture re-encoded, resized, cropped or mirrored.",
    "label_conflict": "Copies of one picture that disagree on an attribute.",
    "leak": "Copies of one picture in different partitions.",
    "label_rule": "Labels that cannot both be right, such as a goatee and no beard.",
    "identity_conflict": "Copies of one picture filed under different people.",
    "unreadable": "Pictures that cannot be decoded.",
}


def build_audit(inputs: Inputs, n_gallery: int) -> dict[str, Any]:
    """What the audit page's template needs.

    Args:
        inputs: All inputs.
        n_gallery: Pairs of pictures shown per kind of finding.
    """
    audited = inputs.audited
    by_check = audited.summary["by_check"]
    most = max((counts["findings"] for counts in by_check.values()), default=0)
    largest = max(audited.rules["n_violations"].max(), 1) if len(audited.rules) else 1
    doubted = audited.by_attribute.assign(
        total=audited.by_attribute[["n_label_conflict", "n_label_rule"]].sum(axis=1)
    )
    doubted = doubted[doubted["total"] > 0].sort_values("total", ascending=False, kind="stable")
    return {
        "sentences": describe_audit(inputs),
        "checks": [
            {
                "check": check,
                "name": CHECK_NAMES.get(check, check),
                "meaning": CHECK_MEANINGS.get(check, ""),
                "bar": bar_share(counts["findings"], most),
                **counts,
            }
            for check, counts in by_check.items()
        ],
        "leaks": list(audited.summary["leaks_by_pair"].items()),
        "rules": [
            {**row, "bar": bar_share(row["n_violations"], largest)}
            for row in records(audited.rules)
        ],
        "doubted": records(doubted),
        "doubted_chart": draw_doubted_labels(audited.by_attribute),
        "galleries": build_galleries(inputs, n_gallery) if n_gallery else [],
        "selfcheck": run_selfcheck(inputs.folder, audited.issues) if inputs.is_demo else None,
        "check_names": CHECK_NAMES,
        "policy": inputs.prepared["policy"],
        "dropped": inputs.prepared["dropped"],
        "masked": inputs.prepared["masked"],
        "partitions": PARTITIONS,
    }


def describe_audit(inputs: Inputs) -> list[str]:
    """The audit's findings and what became of them, as sentences."""
    summary, n_images = inputs.audited.summary, inputs.audited.summary["n_images"]
    by_check = summary["by_check"]

    def findings(check: str) -> int:
        return int(by_check.get(check, {}).get("findings", 0))

    def images(check: str) -> int:
        return int(by_check.get(check, {}).get("images", 0))

    sentences = []
    if not any(findings(check) for check in by_check):
        sentences.append(f"The audit found nothing wrong with {counted(n_images, 'image')}.")
    if images("exact_duplicate") or images("near_duplicate"):
        sentences.append(
            f"{counted(n_images, 'image')} hold {count(findings('exact_duplicate'))} surplus "
            f"byte-identical {'copy' if findings('exact_duplicate') == 1 else 'copies'} "
            f"({counted(summary['n_groups_exact'], 'group')}) and "
            f"{counted(findings('near_duplicate'), 'pair')} of near-duplicates "
            f"({counted(summary['n_groups_near'], 'group')})."
        )
    if findings("leak"):
        pairs = [
            f"{n:,} {name.replace('-', '–')}" for name, n in summary["leaks_by_pair"].items() if n
        ]
        sentences.append(
            f"{counted(findings('leak'), 'pair')} of copies "
            f"{'lies' if findings('leak') == 1 else 'lie'} across partitions ({listed(pairs)}): "
            "a model could know the answer."
        )
    if findings("label_conflict"):
        sentences.append(
            f"Copies of one picture disagree in {counted(findings('label_conflict'), 'label')}."
        )
    if findings("identity_conflict"):
        sentences.append(
            f"{counted(images('identity_conflict'), 'image')} "
            f"{'is' if images('identity_conflict') == 1 else 'are'} filed under another identity "
            "than a copy."
        )
    if findings("label_rule"):
        sentences.append(
            f"{counted(images('label_rule'), 'image')} "
            f"{'bears' if images('label_rule') == 1 else 'bear'} labels that contradict each other."
        )
    if findings("unreadable"):
        sentences.append(f"{counted(images('unreadable'), 'picture')} cannot be decoded.")
    n_left_out, n_masked = count_left_out(inputs), sum(inputs.prepared["masked"].values())
    if n_left_out or n_masked:
        sentences.append(
            f"Following the policy, {counted(n_left_out, 'image')} "
            f"{'was' if n_left_out == 1 else 'were'} left out and {counted(n_masked, 'label')} "
            "masked in train; valid and test are not touched."
        )
    return sentences
