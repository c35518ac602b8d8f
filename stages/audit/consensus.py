"""What a person's other images and a picture's copies say about a label, never the image itself."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_VOTES = 3  # copies: more votes than this say no more


def code_identities(identity: Sequence[object]) -> NDArray[np.int64]:
    """Codes (N,) of people from 0; an image without a name is a person of its own."""
    codes: dict[object, int] = {}
    keys = [value if isinstance(value, str) else k for k, value in enumerate(identity)]
    return np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)


def count_people(person: NDArray[np.int64]) -> float:
    """How many people of equal numbers of images would be as varied: (sum n)^2 / sum n^2."""
    sizes = np.bincount(person).astype(float)
    return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1))


def sum_others(
    values: NDArray[np.floating], groups: NDArray[np.int64]
) -> NDArray[np.float32]:  # fmt: skip
    """Sum (N, A) over the other members of each row's group; groups (N,) are codes from 0."""
    total = np.zeros((int(groups.max(initial=-1)) + 1, values.shape[1]), np.float64)
    np.add.at(total, groups, values)
    return (total[groups] - values).astype(np.float32)


def measure_stability(
    targets: NDArray[np.float32], known: NDArray[np.bool_], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Intraclass correlation (A,) of each attribute within people, in [0, 1].

    The ANOVA estimator for unequal groups (Donner, International Statistical Review 54, 1986): 1 =
    a person's images all bear the same value, 0 = no more alike than those of strangers, or
    nothing to measure it by.
    """
    n_attributes, n_groups = targets.shape[1], int(groups.max(initial=-1)) + 1
    stability = np.zeros(n_attributes)
    for a in range(n_attributes):
        seen = known[:, a]
        size = np.bincount(groups[seen], minlength=n_groups).astype(float)
        total = np.bincount(groups[seen], targets[seen, a], minlength=n_groups)
        square = float(np.square(targets[seen, a], dtype=np.float64).sum())
        used = size > 0
        n, k = size.sum(), int(used.sum())
        if k < 2 or n <= k:
            continue
        between_sum = float((total[used] ** 2 / size[used]).sum())
        within = (square - between_sum) / (n - k)
        between = (between_sum - total.sum() ** 2 / n) / (k - 1)
        mean_size = (n - (size**2).sum() / n) / (k - 1)
        variance = within * (mean_size - 1) + between
        if variance > 1e-12 and mean_size > 1:
            stability[a] = np.clip((between - within) / variance, 0, 1)
    return stability


def ask_others(
    targets: NDArray[np.float32],
    known: NDArray[np.bool_],
    groups: NDArray[np.int64],
    fitted: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Log odds (N, A) that a person's other images add to an attribute's own.

    A beta-binomial: with intraclass correlation r of the attribute the others' votes are joined by
    (1 - r) / r votes of the average; a stable attribute (Male) thus listens to a single other
    image, an unstable one (Smiling) to none. 0 = no others.

    Args:
        targets: (N, A) float32 in [0, 1].
        known: (N, A) bool.
        groups: (N,) code of the person.
        fitted: (N,) bool; stability and shares are measured on these.
    """
    stability = measure_stability(targets[fitted], known[fitted], groups[fitted])
    stability = np.clip(stability, 0.01, 0.98)
    prior_votes = (1 - stability) / stability
    n_known = known[fitted].sum(0)
    share = ((targets * known)[fitted].sum(0) + 0.5) / (n_known + 1)
    positive = sum_others(targets * known, groups)
    votes = sum_others(known.astype(np.float32), groups)
    mean = (positive + prior_votes * share) / (votes + prior_votes)
    mean = np.clip(mean, 1e-3, 1 - 1e-3)
    share = np.clip(share, 1e-3, 1 - 1e-3)
    return (np.log(mean / (1 - mean)) - np.log(share / (1 - share))).astype(np.float32)


def ask_copies(
    pairs: NDArray[np.int64], targets: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Votes (N, A) of a picture's copies for the attribute minus those against, at most MAX_VOTES.

    Args:
        pairs: (M, 2) rows that are copies of one another.
        targets: (N, A) float32 in [0, 1].
        known: (N, A) bool.
    """
    votes = np.zeros(targets.shape, np.float32)
    signed = np.where(known, 2 * targets - 1, 0)
    for one, other in ((0, 1), (1, 0)):
        np.add.at(votes, pairs[:, one], signed[pairs[:, other]])
    return np.clip(votes, -MAX_VOTES, MAX_VOTES)
