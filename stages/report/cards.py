"""Findings as cards that a person can judge: what to look at, why, and which verdicts fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from stages.report.people import People
from stages.report.words import counted, decimal, percent

#: Checks in the order in which a reviewer's hour is best spent, with a heading each.
KINDS = (
    ("mislabel", "Labels that are probably wrong"),
    ("label_conflict", "Copies with different labels"),
    ("label_rule", "Labels that contradict each other"),
    ("faceless", "Pictures without a face"),
    ("identity_outlier", "Unlike the others of their identity"),
    ("identity_conflict", "Copies under different identities"),
    ("leak", "Leaks between partitions"),
    ("near_duplicate", "Near-duplicates"),
    ("exact_duplicate", "Identical files"),
)
#: Of these the least certain come first, as the others hardly need a look.
COPY_CHECKS = ("leak", "near_duplicate", "exact_duplicate", "identity_conflict")
LABEL_CHOICES = ("wrong", "flip", "fine", "drop")
IMAGE_CHOICES = ("fine", "drop")
N_COMPANIONS = 2  # other pictures of the same person beside a doubted one


@dataclass(frozen=True)
class Target:
    """What a verdict can be given on: a label, or (attribute None) a whole image.

    Copies of one picture are judged together: labels then says what each of image_ids bears, and
    what is right for one decides for all.
    """

    image_ids: tuple[str, ...]
    attribute: str | None
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """One picture of a card. odd: the facts in which it differs, of partition and identity.

    labels: (attribute, label in words, whether it is the one in doubt).
    """

    image_id: str
    partition: str
    identity: str | None
    odd: tuple[str, ...] = ()
    labels: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True)
class Card:
    """One finding, or several about the same: its pictures, score, reasons and verdicts."""

    check: str
    shots: tuple[Shot, ...]
    score: float
    flagged: bool
    claim: str
    reasons: tuple[str, ...]
    targets: tuple[Target, ...]

    @property
    def attribute(self) -> str:
        """The attributes in doubt, '' where it is about the picture."""
        return ", ".join(
            sorted({name for shot in self.shots for name, _, odd in shot.labels if odd})
        )


def take_shot(
    people: People,
    image_id: str,
    labels: Sequence[tuple[str, bool]] = (),
    odd: tuple[str, ...] = (),
) -> Shot:
    """A picture with the labels of some attributes; True marks the one in doubt."""
    said = tuple((name, people.label(image_id, name), doubted) for name, doubted in labels)
    return Shot(image_id, people.partition(image_id), people.identity(image_id), odd, said)


def find_targets(
    people: People, image_id: str, attribute: str | None, choices: tuple[str, ...]
) -> list[Target]:
    """What prepare would apply a verdict to: training images only."""
    is_train = people.partition(image_id) == "train"
    return [Target((image_id,), attribute, choices)] if is_train else []


def list_cards(check: str, issues: pd.DataFrame, people: People) -> list[Card]:
    """All cards of a check, those that can be judged first, then the most telling.

    Args:
        check: One of KINDS.
        issues: The audit's findings (ISSUES_SCHEMA).
        people: Facts about the images.
    """
    rows = issues[issues["check"] == check]
    if check == "mislabel":
        cards = list(_list_mislabels(rows, people))
    elif check == "label_rule":
        cards = list(_list_rule_breaks(rows, people))
    elif check == "label_conflict":
        cards = list(_list_conflicts(rows, people))
    elif check in COPY_CHECKS:
        cards = list(_list_copies(check, rows, people))
    else:
        cards = list(_list_pictures(check, rows, people))
    sign = -1 if check in COPY_CHECKS else 1
    return sorted(
        cards,
        key=lambda card: (
            not card.targets,
            not card.flagged,
            sign * card.score,
            [shot.image_id for shot in card.shots],
            card.attribute,
        ),
    )


def _rows(rows: pd.DataFrame) -> Iterator[tuple[str, str, str, float, bool, str]]:
    """image_id, attribute, related_id, score, flagged, detail; '' for null."""
    names = ("image_id", "attribute", "related_id", "score", "flagged", "detail")
    for image, attribute, related, score, flagged, detail in zip(
        *(rows[name] for name in names), strict=True
    ):
        texts = ("" if pd.isna(text) else str(text) for text in (attribute, related, detail))
        name, other, why = texts
        yield image, name, other, float(score), bool(flagged), why


def _split(detail: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in detail.split(";") if part.strip())


def _list_mislabels(rows: pd.DataFrame, people: People) -> Iterator[Card]:
    """The doubted picture beside others of the same person that bear the usual label."""
    for image, attribute, _, score, flagged, detail in _rows(rows):
        others = people.companions(image)
        said = {other: people.label(other, attribute) for other in others}
        known = [label for label in said.values() if label != "unknown"]
        usual = max(("yes", "no"), key=known.count) if known else ""
        shown = [other for other in others if said[other] == usual][:N_COMPANIONS]
        shots = (
            take_shot(people, image, [(attribute, True)]),
            *(take_shot(people, other, [(attribute, False)]) for other in shown),
        )
        sure = "over " if score < 0.005 else ""  # nothing is certain
        claim = f"wrong with a probability of {sure}{percent(min(1 - score, 0.99), 0)}"
        targets = find_targets(people, image, attribute, LABEL_CHOICES)
        yield Card("mislabel", shots, score, flagged, claim, _split(detail), tuple(targets))


def _list_rule_breaks(rows: pd.DataFrame, people: People) -> Iterator[Card]:
    """One card per image and rule, with all labels involved."""
    broken: dict[tuple[str, str], list[tuple[str, float, bool]]] = {}
    for image, attribute, _, score, flagged, detail in _rows(rows):
        broken.setdefault((image, detail), []).append((attribute, score, flagged))
    for (image, detail), found in broken.items():
        names = sorted({name for name, _, _ in found if name})
        score = min(score for _, score, _ in found)
        rule, _, rest = detail.partition(":")
        rule, claim = rule.replace("_", " "), rest.rpartition("; ")[2]
        targets = [
            target
            for name in names  # one button to drop the image is enough
            for target in find_targets(
                people, image, name, LABEL_CHOICES if name == names[-1] else LABEL_CHOICES[:-1]
            )
        ]
        flagged = any(flag for _, _, flag in found)
        shot = take_shot(people, image, [(name, True) for name in names])
        yield Card("label_rule", (shot,), score, flagged, claim, (rule,), tuple(targets))


def _list_conflicts(rows: pd.DataFrame, people: People) -> Iterator[Card]:
    """One card per pair of copies, with every attribute on which the two differ."""
    pairs: dict[tuple[str, str], list[tuple[str, float, bool, str]]] = {}
    for image, attribute, other, score, flagged, detail in _rows(rows):
        pair = (min(image, other), max(image, other))
        pairs.setdefault(pair, []).append((attribute, score, flagged, detail))
    for pair, found in pairs.items():
        names = sorted({name for name, *_ in found})
        shots = tuple(
            take_shot(people, image, [(name, True) for name in names]) for image in pair if image
        )
        ours = tuple(image for image in pair if people.partition(image) == "train")
        targets = [
            Target(ours, name, labels=tuple(people.label(image, name) for image in ours))
            for name in names
            if ours
        ]
        score = min(score for _, score, *_ in found)
        how = found[0][3].rpartition(": ")[2]
        claim = f"{counted(len(names), 'label')} differ{'s' if len(names) == 1 else ''}"
        flagged = any(flag for _, _, flag, _ in found)
        reasons = (how,) if how else ()
        yield Card("label_conflict", shots, score, flagged, claim, reasons, tuple(targets))


def _list_copies(check: str, rows: pd.DataFrame, people: People) -> Iterator[Card]:
    """The picture a finding is about, beside its copy; in what they differ is marked."""
    seen: set[tuple[str, str]] = set()
    for image, _, other, score, flagged, detail in _rows(rows):
        pair = (min(image, other), max(image, other))
        if not other or (check == "identity_conflict" and pair in seen):
            continue
        seen.add(pair)
        facts = {"partition": people.partition, "identity": people.identity}
        odd = tuple(name for name, look in facts.items() if look(image) != look(other))
        differing = [(name, True) for name in people.differing(image, other)]
        shots = tuple(take_shot(people, name, differing, odd) for name in (image, other))
        how = detail.rpartition(": ")[2] or f"similarity {decimal(1 - score)}"
        claim = "one picture, two identities" if check == "identity_conflict" else how
        targets = find_targets(people, image, None, IMAGE_CHOICES)
        if check == "identity_conflict":
            targets += find_targets(people, other, None, IMAGE_CHOICES)
        reasons = () if how == claim else (how,)
        yield Card(check, shots, score, flagged, claim, reasons, tuple(targets))


def _list_pictures(check: str, rows: pd.DataFrame, people: People) -> Iterator[Card]:
    """One picture; unlike the others of its identity, beside some of them."""
    for image, _, _, score, flagged, detail in _rows(rows):
        beside = people.companions(image)[:N_COMPANIONS] if check == "identity_outlier" else []
        shots = take_shot(people, image), *(take_shot(people, other) for other in beside)
        targets = tuple(find_targets(people, image, None, IMAGE_CHOICES))
        claim = f"score {decimal(score, 2)}, where 1 is fine"
        yield Card(check, shots, score, flagged, claim, _split(detail), targets)
