"""From copies, rules and unreadable images to the rows of issues.parquet."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.audit.copies import Copies, Pair, join_pairs
from stages.common.rules import MIN_SUPPORT, RuleResult
from stages.common.tables import ISSUES_SCHEMA, PARTITIONS


@dataclass(frozen=True)
class Finding:
    """One row of issues.parquet, with rows of annotations in place of image ids."""

    row: int
    check: str
    attribute: str | None
    related: int | None
    score: float
    flagged: bool
    detail: str | None


def list_unreadable(unreadable: dict[int, str]) -> Iterator[Finding]:
    """One finding per image that cannot be read, with the reason."""
    for row, reason in unreadable.items():
        yield Finding(row, "unreadable", None, None, 0.0, True, reason)


def list_exact(copies: Copies) -> Iterator[Finding]:
    """Every member of an exact group but its first, which it is related to."""
    how = {(pair.first, pair.second): pair.how for pair in copies.pairs}
    for first, *others in copies.exact:
        for row in others:
            yield Finding(row, "exact_duplicate", None, first, 0.0, True, how[first, row])


def list_near(copies: Copies) -> Iterator[Finding]:
    """Every near pair, at its later member; exact copies of a member make pairs of their own.

    Pair by pair, not group by group: what remains when all these images are dropped holds no
    pair of copies, and no image is called a copy of one that it merely resembles through others.
    """
    for pair in copies.pairs:
        if pair.exact:
            continue
        score = 1 - pair.similarity
        yield Finding(pair.second, "near_duplicate", None, pair.first, score, True, pair.how)


def group_near(copies: Copies) -> list[list[int]]:
    """Pictures joined by near pairs, directly or through others; ascending rows."""
    rows = sorted({row for pair in copies.near for row in (pair.first, pair.second)})
    place = {row: k for k, row in enumerate(rows)}
    first = np.array([place[pair.first] for pair in copies.near], np.int64)
    second = np.array([place[pair.second] for pair in copies.near], np.int64)
    groups: dict[int, list[int]] = defaultdict(list)
    for row, group in zip(rows, join_pairs(first, second, len(rows)), strict=True):
        groups[int(group)].append(row)
    return list(groups.values())


def list_leaks(copies: Copies, partition: NDArray[np.object_]) -> Iterator[Finding]:
    """Every pair of copies in two partitions, at the member of the earlier one (train first)."""
    rank = {name: k for k, name in enumerate(PARTITIONS)}
    for pair in copies.pairs:
        here, there = sorted((pair.first, pair.second), key=lambda row: rank[str(partition[row])])
        if partition[here] != partition[there]:
            detail = f"{partition[here]}-{partition[there]}: {pair.how}"
            yield Finding(here, "leak", None, there, 1 - pair.similarity, True, detail)


def list_label_conflicts(
    copies: Copies,
    attributes: Sequence[str],
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
) -> Iterator[Finding]:
    """Both members of each pair of copies with unlike labels, once per image and attribute."""
    for column, attribute in enumerate(attributes):
        values = [
            str(value) if is_known else None
            for value, is_known in zip(labels[:, column], known[:, column], strict=True)
        ] if copies.pairs else []  # fmt: skip
        yield from _list_conflicts("label_conflict", attribute, copies.pairs, values)


def list_identity_conflicts(copies: Copies, identity: NDArray[np.object_]) -> Iterator[Finding]:
    """Both members of each pair of copies under different identities, once per image."""
    values = [value if isinstance(value, str) else None for value in identity]
    yield from _list_conflicts("identity_conflict", None, copies.pairs, values)


def _list_conflicts(
    check: str, attribute: str | None, pairs: Iterable[Pair], values: Sequence[str | None]
) -> Iterator[Finding]:
    """Score: share of an image's copies, itself included, that bear its value.

    An unknown value never conflicts. The related image is the surest copy with another
    value, of equals the first.
    """
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    rival: dict[int, tuple[float, int, str]] = {}
    for pair in pairs:
        for row, related in ((pair.first, pair.second), (pair.second, pair.first)):
            mine, theirs = values[row], values[related]
            if mine is None or theirs is None:
                continue
            votes[row][theirs] += 1
            if mine != theirs:
                candidate = (-pair.similarity, related, pair.how)
                rival[row] = min(rival.get(row, candidate), candidate)
    for row, (_, related, how) in rival.items():
        mine = values[row]
        agree = votes[row][str(mine)] + 1
        score = agree / (sum(votes[row].values()) + 1)
        detail = f"{mine} here, {values[related]} there: {how}"
        yield Finding(row, check, attribute, related, score, True, detail)


def list_rule_breaks(
    results: Iterable[RuleResult], attributes: Sequence[str], wrong: NDArray[np.floating]
) -> Iterator[Finding]:
    """One finding per broken rule, image and attribute involved.

    Score: the share that disobeys the rule, times the probability that this label is right. So
    among the breaks of one rule those come first whose labels all other evidence speaks against.

    Args:
        results: Of all rules.
        attributes: The A attributes of the columns.
        wrong: (N, A) probability that a label is wrong, NaN where not judged.
    """
    right = 1 - np.nan_to_num(wrong)
    column = {name: k for k, name in enumerate(attributes)}
    for result in results:
        for attribute, rows in result.involved.items():
            for row in np.flatnonzero(rows):
                names = [name for name, breaks in result.involved.items() if breaks[row]]
                obeyed = f"a rule that {100 * result.support:.1f} % of the images obey"
                detail = f"{result.rule.name}: {', '.join(sorted(names))}; {obeyed}"
                flagged = result.support >= MIN_SUPPORT
                score = (1 - result.support) * float(right[row, column[attribute]])
                yield Finding(int(row), "label_rule", attribute, None, score, flagged, detail)


def tabulate_findings(findings: Iterable[Finding], image_ids: NDArray[np.object_]) -> pd.DataFrame:
    """Findings with image ids, sorted by image, check, attribute, related image and detail."""
    rows = [
        (
            image_ids[finding.row],
            finding.check,
            finding.attribute,
            None if finding.related is None else image_ids[finding.related],
            round(finding.score, 4),
            finding.flagged,
            finding.detail,
        )
        for finding in findings
    ]
    rows.sort(key=lambda row: tuple(row[k] or "" for k in (0, 1, 2, 3, 6)))
    return pd.DataFrame(rows, columns=ISSUES_SCHEMA.names)
