"""The summary for print: what fits on five pages of A4, out of the other pages."""

from typing import Any

from stages.report.charts_evaluation import draw_against_majority
from stages.report.inputs import Inputs
from stages.report.measures import ACCURACY, AP, AUC, BALANCED, ECE, F1, GAIN, MAJORITY, list_facts
from stages.report.page_data_card import Topic
from stages.report.page_evaluation import find_weakest, list_without
from stages.report.page_index import build_index, describe_failures, main_partition
from stages.report.page_model_card import build_model_card
from stages.report.page_slices import build_groups
from stages.report.sentences_audit import describe_audit
from stages.report.sentences_evaluation import (
    describe_contradictions,
    describe_errors,
    describe_shift,
    describe_tuned,
)
from stages.report.terms import find_terms
from stages.report.tuning import summarise_aims
from stages.report.words import records

#: Attributes that fit on one page; of more, those on which the model does worst.
MAX_ATTRIBUTES = 44
#: Topics of the model card that are left out: they stand on other pages of the summary.
LEFT_OUT = ("attributes", "groups", "again")
MEASURES = (MAJORITY, GAIN, BALANCED, F1, AUC, AP, ECE)


def build_summary(inputs: Inputs) -> dict[str, Any]:
    """What the summary's template needs."""
    evaluated, main = inputs.evaluated, main_partition(inputs)
    card: list[Topic] = build_model_card(inputs)["topics"]
    context = build_index(inputs) | {
        "audit_sentences": describe_audit(inputs),
        "topics": [topic for topic in card if topic.key not in LEFT_OUT],
        "licence": find_terms(inputs).licence,
        "accuracy": ACCURACY,
        "measures": MEASURES,
        "facts_shown": [],
        "rows": [],
        "n_attributes": 0,
        "groups": None,
    }
    if main is None:
        return context
    metrics = evaluated.metrics[main]
    table = evaluated.per_attribute[evaluated.per_attribute["partition"] == main]
    shown = table
    if len(table) > MAX_ATTRIBUTES:
        worst = [row["attribute"] for row in find_weakest(table, MAX_ATTRIBUTES)]
        shown = table[table["attribute"].isin(worst)]
    pairs = evaluated.error_correlation
    rules = evaluated.contradictions
    aims = summarise_aims(evaluated, main)
    shift = evaluated.metrics.get("shift")
    return context | {
        "facts_shown": list_facts(metrics, len(table)),
        "rows": records(shown),
        "n_attributes": len(table),
        "failures": describe_failures(table),
        "majority_chart": draw_against_majority(shown, main),
        "weakest_rows": find_weakest(table, 10),
        "aims": aims,
        "without": list_without(metrics),
        "mistakes": [
            text
            for text in (
                describe_tuned(aims, main),
                *(describe_shift(shift) if shift else []),
                describe_errors(pairs[pairs["partition"] == main].dropna(subset=["phi"])),
                describe_contradictions(metrics, rules[rules["partition"] == main]),
            )
            if text
        ],
        "groups": build_groups(inputs, main),
    }
