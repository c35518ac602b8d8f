"""Which images an epoch shows, and in which order: functions of seed and epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.common.errors import FacetError
from stages.train.draws import make_rng

#: Classes count as equally often when their weights differ by less than this share.
TOLERANCE = 1e-4
MAX_ROUNDS = 200
#: Images that a streamed epoch takes from the shuffle buffer at a time.
BLOCK_IMAGES = 512


@dataclass(frozen=True)
class StreamOrder:
    """A streamed epoch: what is read, and what leaves the buffer when.

    groups: row groups in order of reading. order (n,): draws in order of use. slots: for each
    block, the places of the buffer that it empties, which the next arrivals fill; the buffer has
    n_slots places, filled first from 0 on.
    """

    groups: np.ndarray
    order: np.ndarray
    slots: list[np.ndarray]
    n_slots: int


def sample_images(n_images: int, weights: np.ndarray | None, seed: int, epoch: int) -> np.ndarray:
    """The images (n_images,) of an epoch's draws, ascending: each once, or by weight.

    With weights (n_images,), which sum to 1, draws are independent of each other, with
    replacement.
    """
    if weights is None:
        return np.arange(n_images)
    u = np.sort(make_rng("sample", seed, epoch).random(n_images))
    edges = np.cumsum(weights)
    return np.searchsorted(edges / edges[-1], u, side="right")


def shuffle(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation (n,) of an epoch's draws."""
    return make_rng("order", seed, epoch).permutation(n)


def shuffle_stream(
    images: np.ndarray, group_sizes: Sequence[int], n_slots: int, seed: int, epoch: int
) -> StreamOrder:
    """The order of an epoch whose pictures are read by row group, each group once.

    Row groups come in random order into a buffer. As long as more arrive, each block of
    BLOCK_IMAGES is drawn evenly from the whole buffer; what is left at the end is shuffled. Two
    images of a batch are from the same row group with a probability of about 1 / (2 G - 1) where
    the buffer holds G row groups, against 1 / (row groups in all) in a full shuffle, which a
    buffer of all images is.

    Args:
        images: (n,) image of each draw, ascending.
        group_sizes: Images of each row group.
        n_slots: Images that the buffer holds, or all, if there are fewer.
        seed: Of the training.
        epoch: From 1.
    """
    rng = make_rng("order", seed, epoch)
    bounds = np.searchsorted(images, np.concatenate([[0], np.cumsum(group_sizes)]))
    groups = rng.permutation(len(group_sizes))
    arrivals = np.concatenate([np.arange(bounds[g], bounds[g + 1]) for g in groups])
    n_slots = min(n_slots, len(images))
    n_block = min(BLOCK_IMAGES, n_slots)
    held = arrivals[:n_slots].copy()
    order, slots = [], []
    for start in range(n_slots, len(arrivals), n_block):
        coming = arrivals[start : start + n_block]
        slots.append(rng.permutation(n_slots)[: len(coming)].copy())  # not the whole of it
        order.append(held[slots[-1]])
        held[slots[-1]] = coming
    rest = rng.permutation(n_slots)
    slots += [rest[start : start + n_block] for start in range(0, n_slots, n_block)]
    return StreamOrder(groups, np.concatenate([*order, held[rest]]), slots, n_slots)


def balance_weights(
    labels: np.ndarray, mask: np.ndarray, attributes: Sequence[str], balance: Sequence[str]
) -> np.ndarray | None:
    """Probability (N,) of each image, such that both classes of every named attribute are equal.

    Found by raking (Deming & Stephan, 1940): the known labels of one attribute after the other get
    equal halves of their weight, until all are equal. An image whose label is not known keeps its
    weight there. None without names.

    Args:
        labels: (N, A) in {0, 1}.
        mask: (N, A) bool, False = label unknown.
        attributes: Names of the A columns.
        balance: Names of the attributes to balance.

    Raises:
        FacetError: an unknown attribute, one without known labels of both classes, or attributes
            that cannot be equal at the same time, such as three that exclude each other.
    """
    if not balance:
        return None
    check_balance(attributes, balance)
    classes = []
    for name in balance:
        column = list(attributes).index(name)
        known = mask[:, column].astype(bool)
        classes.append((known & (labels[:, column] == 1), known & (labels[:, column] == 0)))
        n_present, n_absent = (int(members.sum()) for members in classes[-1])
        if min(n_present, n_absent) == 0:
            raise FacetError(
                f"train.balance: expected training images with and without {name}; got "
                f"{n_present} with and {n_absent} without"
            )
    weights = np.full(len(labels), 1 / len(labels))
    for _ in range(MAX_ROUNDS):
        worst = 0.0
        for members in classes:
            sums = [weights[one].sum() for one in members]
            worst = max(worst, abs(sums[0] - sums[1]) / sum(sums))
            for one, total in zip(members, sums, strict=True):
                weights[one] *= sum(sums) / 2 / total
        if worst < TOLERANCE:
            return weights / weights.sum()
    raise FacetError(
        "train.balance: expected attributes whose classes can be drawn equally at the same time; "
        f"got {', '.join(balance)}, which cannot: name fewer of them"
    )


def check_balance(attributes: Sequence[str], balance: Sequence[str]) -> None:
    """Refuse names that the data does not have.

    Raises:
        FacetError: an unknown attribute.
    """
    for name in balance:
        if name not in attributes:
            raise FacetError(
                f"train.balance: expected attributes of the prepared set; got {name}. It has "
                f"{', '.join(attributes)}"
            )
