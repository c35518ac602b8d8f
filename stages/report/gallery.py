"""Galleries of cards: capped by rank, within what a page may weigh."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from stages.report.cards import KINDS, Card, Target, list_cards
from stages.report.inputs import Inputs
from stages.report.people import People
from stages.report.thumbnails import Thumbnail, encode_thumbnails

#: All cards of a page together: pages stay below 3 MB. A card weighs its pictures' data URIs and
#: about so much text.
BUDGET_CHARS = 2_400_000
CARD_CHARS = 1_300


@dataclass(frozen=True)
class Gallery:
    """Cards of one kind: n_all that the audit made, n_decided that a reviewer has judged."""

    check: str
    heading: str
    cards: tuple[Card, ...]
    n_all: int
    n_decided: int


def build_galleries(
    inputs: Inputs, n_cards: int
) -> tuple[list[Gallery], dict[str, Thumbnail | None]]:
    """Galleries of every kind that has cards, at most `n_cards` each, and their pictures.

    Cards on which all verdicts are given already make room for the next ones. The budget is
    spent rank by rank over all kinds; what does not fit is left out.
    """
    people = People(inputs.annotations, inputs.attributes)
    decided = {(entry.image_id, entry.attribute): entry.verdict for entry in inputs.verdicts}
    every = {check: list_cards(check, inputs.audited.issues, people) for check, _ in KINDS}
    left = {
        check: [card for card in cards if not is_decided(card.targets, decided)]
        for check, cards in every.items()
    }
    shown = {check: cards[:n_cards] for check, cards in left.items()}
    ids = {shot.image_id for cards in shown.values() for card in cards for shot in card.shots}
    pictures = encode_thumbnails(inputs.folder, ids)
    weights = {name: len(picture.uri) if picture else 0 for name, picture in pictures.items()}
    budget = BUDGET_CHARS
    kept: dict[str, list[Card]] = {check: [] for check in shown}
    for rank in range(max(map(len, shown.values()), default=0)):
        for check, cards in shown.items():
            if rank < len(cards):
                cost = CARD_CHARS
                cost += sum(weights.get(shot.image_id, 0) for shot in cards[rank].shots)
                if cost <= budget:
                    budget -= cost
                    kept[check].append(cards[rank])
    galleries = [
        Gallery(
            check,
            heading,
            tuple(kept[check]),
            len(every[check]),
            len(every[check]) - len(left[check]),
        )
        for check, heading in KINDS
        if every[check]
    ]
    return galleries, pictures


def is_decided(targets: Collection[Target], decided: Mapping[tuple[str, str | None], str]) -> bool:
    """True where each thing to judge has a verdict: its own, or drop or keep of its image."""
    return bool(targets) and all(
        (image_id, target.attribute) in decided or decided.get((image_id, None)) in ("drop", "keep")
        for target in targets
        for image_id in target.image_ids
    )
