"""Mistakes that come together: errors of two attributes on one picture, and impossible answers."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from stages.common.metrics import divide
from stages.common.rules import apply_rules, read_rules
from stages.evaluate.part import Part


def correlate_errors(part: Part, threshold: float) -> pd.DataFrame:
    """How often two attributes are wrong on the same picture, per pair of attributes.

    Returns:
        partition, attribute_a, attribute_b, n_known (pictures where both labels are known), n_a,
        n_b and n_both (those of them on which a, b and both are wrong), n_chance (n_a * n_b /
        n_known, expected of independent errors) and phi, the correlation of the errors: NaN where
        either attribute is never, or always, wrong.
    """
    known = part.mask.astype(np.float64)
    wrong = ((part.probs > threshold) != part.labels.astype(bool)) * known
    n, n_both, n_a = known.T @ known, wrong.T @ wrong, wrong.T @ known
    n_b = n_a.T
    with np.errstate(invalid="ignore"):
        phi = divide(n * n_both - n_a * n_b, np.sqrt(n_a * (n - n_a)) * np.sqrt(n_b * (n - n_b)))
    rows: list[dict[str, Any]] = []
    for a, b in combinations(range(len(part.attributes)), 2):
        rows.append(
            {
                "partition": part.name,
                "attribute_a": part.attributes[a],
                "attribute_b": part.attributes[b],
                "n_known": int(n[a, b]),
                "n_a": int(n_a[a, b]),
                "n_b": int(n_b[a, b]),
                "n_both": int(n_both[a, b]),
                "n_chance": n_a[a, b] * n_b[a, b] / n[a, b] if n[a, b] else np.nan,
                "phi": phi[a, b],
            }
        )
    names = ["partition", "attribute_a", "attribute_b", "n_known", "n_a", "n_b", "n_both",
             "n_chance", "phi"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def count_contradictions(part: Part, threshold: float) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Pictures whose answers, and whose labels, break a rule between attributes.

    The rules are those that the audit tries on labels (stages/common/rules). Labels break them too,
    and a model learns that: its contradictions stand beside the labels'.

    Returns:
        Per rule whose attributes the model has: partition, rule, n_images, n_applicable and
        n_contradictions among the answers, n_applicable_labels and n_contradictions_labels among
        the labels. Then over all rules: n_images, n_rules, and the shares of pictures with at least
        one contradiction among the answers (share) and labels (share_labels); null without images.
    """
    n = len(part.probs)
    everything, learned = np.ones(part.mask.shape, bool), np.ones(n, bool)
    rules, names = read_rules(), list(part.attributes)
    decided = (part.probs > threshold).astype(np.uint8)
    answers = apply_rules(rules, names, decided, everything, learned)
    labels = apply_rules(rules, names, part.labels, part.mask, learned)
    rows = [
        {
            "partition": part.name,
            "rule": answer.rule.name,
            "n_images": n,
            "n_applicable": int(answer.applicable.sum()),
            "n_contradictions": int(answer.broken.sum()),
            "n_applicable_labels": int(label.applicable.sum()),
            "n_contradictions_labels": int(label.broken.sum()),
        }
        for answer, label in zip(answers, labels, strict=True)
    ]
    columns = ["partition", "rule", "n_images", "n_applicable", "n_contradictions",
               "n_applicable_labels", "n_contradictions_labels"]  # fmt: skip
    summary: dict[str, Any] = {"n_rules": len(rows)}
    for key, results in (("share", answers), ("share_labels", labels)):
        broken = np.logical_or.reduce([result.broken for result in results]) if results else None
        summary[key] = round(float(broken.mean()), 6) if broken is not None and n else None
    return pd.DataFrame(rows, columns=columns), summary
