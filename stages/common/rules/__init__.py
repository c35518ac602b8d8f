"""Rules between attributes, written as data in rules.csv, and the labels that break them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.errors import FacetError

RULES = Path(__file__).with_name("rules.csv")
COLUMNS = ["rule", "kind", "if_attribute", "if_value", "attributes", "source"]
#: Images that obey are added to each count, so that three violations in three images break no rule.
PRIOR = 20
MIN_SUPPORT = 0.5  # what most images disobey is no rule of this data set: found, not flagged


@dataclass(frozen=True)
class Rule:
    """At most one of `attributes` is positive; or none of them where `condition` has its value."""

    name: str
    condition: tuple[str, bool] | None
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class RuleResult:
    """One rule on N images: which it applies to, which break it, through which attributes.

    applicable: (N,) bool, at least one of the attributes positive, or the condition met.
    broken: (N,) bool. involved: attribute to (N,) bool. support: share of applicable
    training images that obey, smoothed by PRIOR; shown: the same as measured, None without any.
    """

    rule: Rule
    applicable: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    involved: dict[str, NDArray[np.bool_]]
    support: float
    shown: float | None


def read_rules(path: Path = RULES) -> list[Rule]:
    """Read a table of rules.

    Raises:
        FacetError: another header, an unknown kind, a value other than 0 or 1, a rule named twice.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != COLUMNS:
        raise FacetError(f"{path}: expected columns {COLUMNS}; got {list(table.columns)}")
    rules: list[Rule] = []
    for line, row in enumerate(table.itertuples(index=False), start=2):
        where, attributes = f"{path}:{line}", tuple(str(row.attributes).split())
        if not attributes or row.rule in {rule.name for rule in rules}:
            raise FacetError(f"{where}: expected a new rule with attributes; got '{row.rule}'")
        if row.kind == "at_most_one":
            condition = None
        elif row.kind == "none_of" and row.if_attribute and row.if_value in ("0", "1"):
            condition = (str(row.if_attribute), row.if_value == "1")
        else:
            raise FacetError(
                f"{where}: expected kind at_most_one, or none_of with if_attribute and if_value "
                f"0 or 1; got '{row.kind}', '{row.if_attribute}', '{row.if_value}'"
            )
        rules.append(Rule(str(row.rule), condition, attributes))
    return rules


def apply_rules(
    rules: Sequence[Rule],
    attributes: Sequence[str],
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    train: NDArray[np.bool_],
) -> list[RuleResult]:
    """Try every rule whose attributes the data has; an unknown label breaks none.

    Args:
        rules: Rules.
        attributes: The A attributes of the columns.
        labels: (N, A) uint8 in {0, 1}.
        known: (N, A) bool.
        train: (N,) bool; support is measured on these.
    """
    column = {name: k for k, name in enumerate(attributes)}
    positive = (labels == 1) & known
    results = []
    for rule in rules:
        present = [name for name in rule.attributes if name in column]
        places = [column[name] for name in present]
        if rule.condition is None:
            if len(present) < 2:
                continue
            applicable = positive[:, places].any(1)
            broken = positive[:, places].sum(1) > 1
        else:
            name, value = rule.condition
            if not present or name not in column:
                continue
            applicable = known[:, column[name]] & (labels[:, column[name]] == value)
            broken = applicable & positive[:, places].any(1)
        involved = {name: broken & positive[:, column[name]] for name in present}
        if rule.condition is not None:
            involved[rule.condition[0]] = broken
        n_train, n_broken = int((applicable & train).sum()), int((broken & train).sum())
        support = (n_train - n_broken + PRIOR) / (n_train + PRIOR)
        shown = (n_train - n_broken) / n_train if n_train else None
        results.append(RuleResult(rule, applicable, broken, involved, support, shown))
    return results
