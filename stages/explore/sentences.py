"""What the tables say, in sentences with numbers."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.tables import PARTITIONS
from stages.explore.labels import divide
from stages.explore.shifts import find_shifts

#: Cohen calls h = 0.2 small; below, a difference can be certain and still not matter.
SMALL_EFFECT = 0.2
MAX_ALPHA = 0.01
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")


def describe_balance(prevalence: pd.DataFrame) -> Iterator[str]:
    """How unbalanced the attributes are, and which are the rarest and the commonest."""
    known, positive = (
        sum(
            (prevalence[f"{kind}_{name}"] for name in PARTITIONS if f"{kind}_{name}" in prevalence),
            start=pd.Series(0, index=prevalence.index),
        )
        for kind in ("n_known", "n_positive")
    )
    share = pd.Series(divide(positive.to_numpy(), known.to_numpy()), prevalence["attribute"])
    share = share.dropna().sort_values(kind="stable")
    if share.empty:
        return
    majority = np.maximum(share, 1 - share)
    rare = int((np.minimum(share, 1 - share) < 0.1).sum())
    yield (
        f"Always guessing each attribute's commoner value is right for {majority.mean():.1%} of "
        f"the labels; in {rare} of {len(share)} attributes the rarer value has less than 10 %."
    )
    ends = [f"{name} ({value:.1%})" for name, value in share.items()]
    yield f"Rarest attributes: {', '.join(ends[:3])}."
    yield f"Most frequent attributes: {', '.join(ends[::-1][:3])}."


def describe_pairs(cooccurrence: pd.DataFrame, n_pairs: int = 3) -> Iterator[str]:
    """The pairs of attributes that go together most, and those that exclude each other most."""
    table = cooccurrence.dropna(subset="phi").sort_values("phi", kind="stable")
    for word, rows in (
        ("Strongest pairs", table[table["phi"] > 0].iloc[::-1]),
        ("Strongest exclusions", table[table["phi"] < 0]),
    ):
        named = [
            f"{row.attribute_a} and {row.attribute_b} ({row.phi:+.2f})"
            for row in rows.head(n_pairs).itertuples()
        ]
        if named:
            yield f"{word} (phi): {', '.join(named)}."


def describe_shifts(prevalence: pd.DataFrame, n_named: int = 5) -> Iterator[str]:
    """Attributes whose prevalence differs between partitions, surely and noticeably."""
    tests = find_shifts(prevalence)
    if not tests:
        return
    sure = [shift for shift in tests if shift.p_value < MAX_ALPHA]
    large = [shift for shift in sure if abs(shift.effect) >= SMALL_EFFECT]
    yield (
        f"Of {len(tests)} comparisons of prevalence between two partitions {len(sure)} differ "
        f"significantly (two-proportion z-test, Holm-corrected p < {MAX_ALPHA}), {len(large)} of "
        f"them by at least a small effect (Cohen's |h| >= {SMALL_EFFECT})."
    )
    for shift in large[:n_named]:
        yield (
            f"{shift.attribute} shifts from {shift.p_first:.1%} in {shift.first} to "
            f"{shift.p_second:.1%} in {shift.second} (h = {shift.effect:+.2f})."
        )


def describe_identities(sizes: pd.DataFrame, consistency: pd.DataFrame) -> Iterator[str]:
    """How many images identities have, and the attributes they agree about most and least."""
    if sizes.empty:
        yield "No identities are known: tables about identities are empty."
        return
    images = np.repeat(sizes["n_images"].to_numpy(), sizes["n_identities"].to_numpy())
    yield (
        f"{len(images)} identities with {images.min()} to {images.max()} images, median "
        f"{np.median(images):g}; {int((images == 1).sum())} of them have one image only."
    )
    table = consistency.dropna(subset="agreement").sort_values("agreement", kind="stable")
    if len(table) >= 2:
        low, high = table.iloc[0], table.iloc[-1]
        yield (
            f"Images of one identity agree most about {high['attribute']} "
            f"({high['agreement']:.1%}) and least about {low['attribute']} "
            f"({low['agreement']:.1%})."
        )


def describe_contradictions(
    labels: NDArray[np.uint8],
    known: NDArray[np.bool_],
    identity: NDArray[np.object_],
    attributes: Sequence[str],
) -> Iterator[str]:
    """Labels of Male that other labels, or the identity's other images, contradict."""
    if "Male" not in attributes:
        return
    place = {name: k for k, name in enumerate(attributes)}
    male, has_male = labels[:, place["Male"]] == 1, known[:, place["Male"]]
    beards = [place[name] for name in BEARDS if name in place]
    if beards:
        bearded = ((labels[:, beards] == 1) & known[:, beards]).any(1)
        n_odd = int((bearded & has_male & ~male).sum())
        names = ", ".join(attributes[k] for k in beards)
        yield f"{n_odd} of {int(bearded.sum())} images with {names} are labelled not Male."
    named = np.array([isinstance(value, str) for value in identity], bool) & has_male
    if named.any():
        codes, names_of = pd.factorize(identity[named])
        n_all = np.bincount(codes, minlength=len(names_of))
        n_male = np.bincount(codes, weights=male[named], minlength=len(names_of))
        minority = np.minimum(n_male, n_all - n_male).astype(int)
        yield (
            f"{int((minority > 0).sum())} identities hold both values of Male "
            f"({int(minority.sum())} images on the minority side)."
        )


def describe_pixels(pixels: pd.DataFrame) -> Iterator[str]:
    """Sizes and the usual range of brightness, or that there were no pictures to measure."""
    if pixels.empty:
        yield "No images to measure: statistics of pixels were skipped."
        return
    row = pixels.set_index("statistic")
    height, width = row.loc["height_px"], row.loc["width_px"]
    n, median = row["n"].iloc[0], f"{width['p50']:g} x {height['p50']:g}"
    if height["min"] == height["max"] and width["min"] == width["max"]:
        size = f"All {n} sampled images measure {median} pixels"
    else:
        widths = f"{width['min']:g} to {width['max']:g}"
        heights = f"{height['min']:g} to {height['max']:g}"
        size = f"{n} sampled images measure {widths} x {heights} pixels (median {median})"
    light = row.loc["brightness"]
    yield (
        f"{size}, {row.loc['bytes', 'mean'] / 1000:.1f} KB on average; nine in ten have a mean "
        f"brightness between {light['p05']:.0f} and {light['p95']:.0f} of 255."
    )
