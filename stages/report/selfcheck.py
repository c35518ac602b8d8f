"""Was what the demo planted found? The only module of the pipeline that opens the truth file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.common.tables import TRUTH, TRUTH_SCHEMA, read_table

#: Fault of the demo -> the check that should find it.
EXPECTED = {
    "byte_copy": "exact_duplicate",
    "near_copy": "near_duplicate",
    "conflict_copy": "label_conflict",
    "leak_copy": "leak",
}
#: Faults in one image or label, which need features to be found -> the check that should.
DOUBTED = {
    "flipped_label": "mislabel",
    "wrong_identity": "identity_outlier",
    "faceless": "faceless",
}
#: Checks whose findings name two images that are said to show the same picture.
PAIR_CHECKS = ("exact_duplicate", "near_duplicate", "label_conflict", "leak")
DUPLICATE_CHECKS = ("exact_duplicate", "near_duplicate")


@dataclass(frozen=True)
class Found:
    """How many faults of one kind were planted and found; `by_check` counts every pair check."""

    fault: str
    check: str
    n_planted: int
    n_found: int
    by_check: dict[str, int]
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Claimed:
    """Pairs that a check of duplicates reported, and those among them that nobody planted."""

    check: str
    n_pairs: int
    n_false: int
    false_pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Doubted:
    """Faults in single images or labels: planted, flagged, and how many of both.

    average_precision is that of the ranking by score, None without a planted fault.
    """

    fault: str
    check: str
    n_planted: int
    n_flagged: int
    n_found: int
    average_precision: float | None


@dataclass(frozen=True)
class SelfCheck:
    """Recall per planted fault, precision per check of duplicates, faults in single images.

    not_checked names the faults of DOUBTED that the audit did not look for, with their number.
    """

    found: tuple[Found, ...]
    claimed: tuple[Claimed, ...]
    doubted: tuple[Doubted, ...]
    not_checked: tuple[tuple[str, int], ...]


class Groups:
    """Images joined into groups by pairs (disjoint sets)."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._parent: dict[str, str] = {}
        for a, b in pairs:
            self._parent[self._root(a)] = self._root(b)

    def joined(self, a: str, b: str) -> bool:
        """True where both images belong to one group."""
        return self._root(a) == self._root(b)

    def _root(self, image: str) -> str:
        while (parent := self._parent.get(image, image)) != image:
            self._parent[image] = self._parent.get(parent, parent)
            image = parent
        return image


def run_selfcheck(download: Path, issues: pd.DataFrame) -> SelfCheck | None:
    """Compare the findings with what the demo planted; None where there is no truth file.

    A planted copy counts as found by a check where that check's pairs join it with its original,
    directly or through other copies. For leak and label_conflict, which report only some pairs of
    a group, it counts where the check names the copy and any pair of the audit joins the two.

    Args:
        download: The folder data/download.
        issues: The audit's findings (ISSUES_SCHEMA).

    Raises:
        FacetError: the truth file has another schema.
    """
    path = download / TRUTH
    if not path.exists():
        return None
    truth = read_table(path, TRUTH_SCHEMA)
    copies = truth[truth["fault"].isin(EXPECTED) & truth["related_id"].notna()]
    planted = Groups(_pairs(copies))
    pairs = {check: _pairs(issues[issues["check"] == check]) for check in PAIR_CHECKS}
    by_bytes = Groups(pairs["exact_duplicate"])
    near = Groups(pairs["exact_duplicate"] | pairs["near_duplicate"])
    everything = Groups(set().union(*pairs.values()))
    named = {check: {image for pair in found for image in pair} for check, found in pairs.items()}

    def is_found(check: str, copy: str, original: str) -> bool:
        if check == "exact_duplicate":
            return by_bytes.joined(copy, original)
        if check == "near_duplicate":
            return near.joined(copy, original) and not by_bytes.joined(copy, original)
        return copy in named[check] and everything.joined(copy, original)

    found = []
    for fault, check in EXPECTED.items():
        rows = sorted(_ordered(copies[copies["fault"] == fault]))
        hits = {
            other: [copy for copy, original in rows if is_found(other, copy, original)]
            for other in PAIR_CHECKS
        }
        missed = tuple(copy for copy, _ in rows if copy not in set(hits[check]))
        by_check = {other: len(images) for other, images in hits.items()}
        found.append(Found(fault, check, len(rows), len(hits[check]), by_check, missed))
    claimed = []
    for check in DUPLICATE_CHECKS:
        false = sorted(pair for pair in pairs[check] if not planted.joined(*pair))
        claimed.append(Claimed(check, len(pairs[check]), len(false), tuple(false)))
    ran = set(issues["check"])
    doubted = [
        _judge(fault, check, truth, issues) for fault, check in DOUBTED.items() if check in ran
    ]
    not_checked = tuple(
        (fault, len(_subjects(truth[truth["fault"] == fault])))
        for fault, check in DOUBTED.items()
        if check not in ran
    )
    return SelfCheck(tuple(found), tuple(claimed), tuple(doubted), not_checked)


def _judge(fault: str, check: str, truth: pd.DataFrame, issues: pd.DataFrame) -> Doubted:
    """One fault of single images or labels against the findings of its check.

    The average precision is over the findings, ranked by score; what is no finding was not found.
    """
    planted = _subjects(truth[truth["fault"] == fault])
    rows = issues[issues["check"] == check].sort_values("score", kind="stable")
    flagged = _subjects(rows[rows["flagged"].astype(bool)])
    ranked = list(dict.fromkeys(_subjects(rows)))
    hits, total = 0, 0.0
    for rank, subject in enumerate(ranked, 1):
        if subject in planted:
            hits += 1
            total += hits / rank
    found = sum(subject in planted for subject in flagged)
    average = total / len(planted) if planted else None
    return Doubted(fault, check, len(planted), len(flagged), found, average)


def _subjects(rows: pd.DataFrame) -> dict[tuple[str, str], None]:
    """Images, or labels where an attribute is named, each once and in order."""
    names = rows["attribute"].fillna("")
    return dict.fromkeys(zip(rows["image_id"], names, strict=True))


def _ordered(rows: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(rows["image_id"], rows["related_id"], strict=True))


def _pairs(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Pairs of images that the rows name, each once and in order."""
    rows = rows[rows["related_id"].notna()]
    return {(min(pair), max(pair)) for pair in _ordered(rows) if pair[0] != pair[1]}
