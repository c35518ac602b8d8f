"""Labels of Male that the beard or the identity's other images contradict, in sentences."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.explore.words import write_count, write_counted, write_percent

BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")


def describe_doubts(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    identity: NDArray[np.object_],
    attributes: Sequence[str],
) -> Iterator[str]:
    """Beards on images labelled not Male, and identities that hold both values of Male.

    Nothing where the attributes in question, by CelebA's names, are not there.
    """
    if "Male" not in attributes:
        return
    place = {name: k for k, name in enumerate(attributes)}
    male, has_male = labels[:, place["Male"]] == 1, known[:, place["Male"]]
    yield from _describe_no_beard(labels, known, male, has_male, place)
    yield from _describe_beards(labels, known, male, has_male, place)
    yield from _describe_both_values(male, has_male, identity)


def _describe_no_beard(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    male: NDArray[np.bool_],
    has_male: NDArray[np.bool_],
    place: dict[str, int],
) -> Iterator[str]:
    if "No_Beard" not in place:
        return
    both = has_male & known[:, place["No_Beard"]]
    bearded = both & (labels[:, place["No_Beard"]] == 0)
    n_odd, n_not_male = int((bearded & ~male).sum()), int((both & ~male).sum())
    if n_not_male and bearded.any():
        yield (
            f"{write_count(n_odd)} of {write_counted(n_not_male, 'image')} labelled not Male "
            f"{'has' if n_odd == 1 else 'have'} No_Beard = no ({write_percent(n_odd / n_not_male)})"
            f", which is {write_percent(n_odd / bearded.sum())} of the "
            f"{write_counted(int(bearded.sum()), 'image')} with No_Beard = no."
        )


def _describe_beards(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    male: NDArray[np.bool_],
    has_male: NDArray[np.bool_],
    place: dict[str, int],
) -> Iterator[str]:
    names = [name for name in BEARDS if name in place]
    columns = [place[name] for name in names]
    beards = (labels[:, columns] == 1) & known[:, columns] & has_male[:, None]
    n_bearded = int(beards.any(1).sum())
    if not n_bearded:
        return
    odd = beards & ~male[:, None]
    n_odd = int(odd.any(1).sum())
    each = [f"{name} {write_count(n)}" for name, n in zip(names, odd.sum(0), strict=True) if n]
    yield (
        f"{write_count(n_odd)} of {write_counted(n_bearded, 'image')} with "
        f"{', '.join(names[:-1])}{' or ' * (len(names) > 1)}{names[-1]} "
        f"{'is' if n_odd == 1 else 'are'} labelled not Male ({write_percent(n_odd / n_bearded)})"
        f"{': ' * (len(each) > 1)}{', '.join(each) if len(each) > 1 else ''}."
    )


def _describe_both_values(
    male: NDArray[np.bool_], has_male: NDArray[np.bool_], identity: NDArray[np.object_]
) -> Iterator[str]:
    named = np.array([isinstance(value, str) for value in identity], bool) & has_male
    if not named.any():
        return
    codes, names = pd.factorize(identity[named])
    n_all = np.bincount(codes, minlength=len(names))
    n_male = np.bincount(codes, weights=male[named], minlength=len(names)).astype(np.int64)
    n_other = n_all - n_male
    n_both = int(((n_male > 0) & (n_other > 0)).sum())
    of_all = write_counted(len(names), "identity", "identities")
    if not n_both:
        yield f"None of {of_all} holds both values of Male."
        return
    minority = np.minimum(n_male, n_other)
    n_even = int(n_male[n_male == n_other].sum())
    even = f", {write_count(n_even)} where both are as many" if n_even else ""
    yield (
        f"{write_count(n_both)} of {of_all} {'holds' if n_both == 1 else 'hold'} both values of "
        f"Male, a wrong label or a wrong identity: {write_counted(int(minority.sum()), 'image')} "
        f"on the minority side ({write_count(n_male[n_male < n_other].sum())} labelled Male where "
        f"most are not, {write_count(n_other[n_other < n_male].sum())} labelled not Male where "
        f"most are{even})."
    )
