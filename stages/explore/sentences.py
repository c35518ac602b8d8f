"""What the tables say, in sentences with numbers, true for any attributes and partitions."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.common.tables import PARTITIONS
from stages.explore.words import (
    write_count,
    write_counted,
    write_list,
    write_number,
    write_percent,
    write_signed,
)

FREQUENT, RARE = 0.70, 0.05
MAX_ALPHA = 0.05
#: Cohen calls h = 0.2 small; below, a difference can be certain and still not matter.
SMALL_EFFECT = 0.2
#: One attribute nearly always brings the other where P(b | a) and phi are at least these.
NEARLY_ALWAYS, CLEAR_PHI = 0.95, 0.1


def describe_size(partition: NDArray[np.object_], known: NDArray[np.bool_]) -> Iterator[str]:
    """How many images each partition has, and how many labels are missing."""
    sizes = [
        f"{write_count(n)} {name}" for name in PARTITIONS if (n := int((partition == name).sum()))
    ]
    images, n_missing = write_counted(len(partition), "image"), int((~known).sum())
    missing = "no label is missing"
    if n_missing:
        labels = write_counted(n_missing, "label is missing", "labels are missing")
        missing = f"{labels} ({write_percent(n_missing / known.size)})"
    attributes = write_counted(known.shape[1], "attribute")
    yield f"{images} ({', '.join(sizes)}) with {attributes}; {missing}."


def describe_frequency(imbalance: pd.DataFrame, has_all_labels: bool) -> Iterator[str]:
    """Which attributes most images bear and which hardly any."""
    table = imbalance.dropna(subset="prevalence").sort_values("prevalence", kind="stable")
    if table.empty:
        yield "Skipped: everything about labels, as none is known."
        return
    common, rare = (
        table[table["prevalence"] > FREQUENT].iloc[::-1],
        table[table["prevalence"] < RARE],
    )
    for rows, limit in (
        (common, f"more than {100 * FREQUENT:.0f} %"),
        (rare, f"less than {100 * RARE:.0f} %"),
    ):
        subject = f"{len(rows) or 'None'} of {write_counted(len(table), 'attribute')}"
        verb = "are" if len(rows) > 1 else "is"
        names = [f"{row.attribute} ({write_percent(row.prevalence)})" for row in rows.itertuples()]
        where = "images" if has_all_labels else "images whose label is known"
        yield f"{subject} {verb} in {limit} of the {where}{': ' * bool(names)}{write_list(names)}."


def describe_imbalance(imbalance: pd.DataFrame, has_all_labels: bool) -> Iterator[str]:
    """How far the commoner value of each attribute outweighs the rarer."""
    table = imbalance.dropna(subset="majority_share")
    if table.empty:
        return
    rare = int((table["majority_share"] > 0.9).sum())
    yield (
        "Always guessing each attribute's commoner value is right for "
        f"{write_percent(table['majority_share'].mean())} of the labels, the mean over "
        f"{write_counted(len(table), 'attribute')}; in {rare} of them the rarer value has less "
        "than 10 %."
    )
    ranked = table.dropna(subset="imbalance_ratio").sort_values("imbalance_ratio", kind="stable")
    if len(ranked) >= 2:
        low, high = ranked.iloc[0], ranked.iloc[-1]
        yield (
            f"The most imbalanced attribute is {high['attribute']} "
            f"({high['imbalance_ratio']:,.1f} images with the commoner value for each with the "
            f"rarer), the most balanced {low['attribute']} ({low['imbalance_ratio']:,.2f})."
        )
    constant = table.loc[table["imbalance_ratio"].isna(), "attribute"].tolist()
    if constant:
        where = "image" if has_all_labels else "image whose label is known"
        yield f"The same value in every {where}: {write_list(constant)}."


def describe_cardinality(cardinality: pd.DataFrame, has_all_labels: bool) -> Iterator[str]:
    """How many attributes an image bears."""
    if cardinality.empty:
        return
    counts, n = cardinality["n_positive"], cardinality["n_images"]
    mean, low, high = np.average(counts, weights=n), counts.min(), counts.max()
    median = np.median(np.repeat(counts, n))
    by_partition = [
        f"{name} {np.average(rows['n_positive'], weights=rows['n_images']):.2f}"
        for name in PARTITIONS
        if len(rows := cardinality[cardinality["partition"] == name])
    ]
    unknown = "" if has_all_labels else ", unknown labels not counted"
    yield (
        f"An image bears {mean:.2f} attributes on average, {low} to {high}, median {median:g} "
        f"({', '.join(by_partition)}){unknown}."
    )


def describe_shifts(shifts: pd.DataFrame) -> Iterator[str]:
    """Attributes whose prevalence differs between two partitions beyond chance."""
    if shifts.empty:
        yield "Skipped: comparing partitions, as there is only one."
    for (first, second), rows in shifts.groupby(["first", "second"], sort=False):
        tests = rows.dropna(subset="p_corrected")
        if tests.empty:
            if shifts["p_corrected"].notna().any():  # else all about labels was skipped already
                yield f"Skipped: comparing {first} and {second}, as no attribute is known in both."
            continue
        tests = tests.loc[tests["effect"].abs().sort_values(ascending=False, kind="stable").index]
        sure = tests[tests["p_corrected"] < MAX_ALPHA]
        how = (
            f"(two-proportion z-test, p < {MAX_ALPHA} after Holm's correction for "
            f"{write_counted(len(tests), 'test')})"
        )
        of_all = f"of {write_counted(len(tests), 'attribute')}"
        if sure.empty:
            yield f"From {first} to {second} none {of_all} differs beyond chance {how}."
            continue
        n_large = int((sure["effect"].abs() >= SMALL_EFFECT).sum())
        yield (
            f"From {first} to {second} {len(sure)} {of_all} "
            f"{'differs' if len(sure) == 1 else 'differ'} beyond chance {how}, "
            f"{n_large or 'none'} of them by at least a small effect (Cohen's |h| of "
            f"{SMALL_EFFECT} or more)."
        )
        for word, some in (("More", sure[sure["z"] > 0]), ("Less", sure[sure["z"] < 0])):
            names = [
                f"{row.attribute} ({write_number(row.p_first)} to {write_percent(row.p_second)})"
                for row in some.itertuples()
            ]
            if names:
                yield f"{word} frequent in {second} than in {first}: {write_list(names)}."
        if sure["p_identities"].notna().any():
            names = sure.loc[sure["p_identities"] < MAX_ALPHA, "attribute"].tolist()
            yield (
                f"With identities, not images, as what was drawn at random (images of one "
                f"identity are alike), {len(names) or 'none'} of these {len(sure)} "
                f"{'remain' if len(names) > 1 else 'remains'}{': ' * bool(names)}"
                f"{write_list(names)}."
            )


def describe_pairs(cooccurrence: pd.DataFrame, n_pairs: int = 3) -> Iterator[str]:
    """The pairs of attributes that go together most, and those that exclude each other most."""
    table = cooccurrence.dropna(subset="phi").sort_values("phi", kind="stable")
    for word, rows in (
        ("Strongest pairs", table[table["phi"] > 0].iloc[::-1]),
        ("Strongest exclusions", table[table["phi"] < 0]),
    ):
        named = [
            f"{row.attribute_a} and {row.attribute_b} ({write_signed(row.phi)})"
            for row in rows.head(n_pairs).itertuples()
        ]
        if named:
            yield f"{word} (phi): {', '.join(named)}."
    clear = table[table["phi"] >= CLEAR_PHI]
    given = [
        (share, f"with {a} {write_percent(share)} bear {b}")
        for row in clear.itertuples()
        for a, b, share in (
            (row.attribute_a, row.attribute_b, row.p_b_given_a),
            (row.attribute_b, row.attribute_a, row.p_a_given_b),
        )
        if share >= NEARLY_ALWAYS
    ]
    if given:
        given.sort(key=lambda entry: (-entry[0], entry[1]))
        yield f"Of the images {write_list([text for _, text in given], 5)}."


def describe_identities(
    sizes: pd.DataFrame, shared: tuple[int, int], consistency: pd.DataFrame, n_partitions: int
) -> Iterator[str]:
    """How many images identities have, in how many partitions, and on what they agree."""
    if sizes.empty:
        yield "Skipped: everything about identities, as none is named."
        return
    images = np.repeat(sizes["n_images"].to_numpy(), sizes["n_identities"].to_numpy())
    single = int((images == 1).sum())
    one = "has one image only" if single == 1 else "have one image only"
    low, high = int(images.min()), int(images.max())
    each = f"{write_count(low)} to {write_count(high)} images, median {np.median(images):g}; "
    each += f"{write_count(single) if single else 'none'} of them {one}"
    if low == high:
        each = f"{write_counted(low, 'image')} each"
    yield f"{write_counted(len(images), 'identity', 'identities')} with {each}."
    if shared[0]:
        occurs = write_counted(shared[0], "identity occurs", "identities occur")
        yield f"{occurs} in more than one partition, with {write_counted(shared[1], 'image')}."
    elif n_partitions > 1:
        yield "No identity occurs in more than one partition."
    table = consistency.dropna(subset="agreement").sort_values("agreement", kind="stable")
    if len(table) >= 2:
        least, most = table.iloc[0], table.iloc[-1]
        yield (
            f"Images of one identity agree most about {most['attribute']} "
            f"({write_percent(most['agreement'])} share the commoner value) and least about "
            f"{least['attribute']} ({write_percent(least['agreement'])})."
        )


def describe_pixels(pixels: pd.DataFrame, n_missing: int, n_unreadable: int) -> Iterator[str]:
    """Sizes, brightness and sharpness, and which pictures could not be measured."""
    gone = [
        write_count(n) + word
        for n, word in ((n_missing, " missing"), (n_unreadable, " unreadable"))
        if n
    ]
    if pixels.empty:
        why = f" ({', '.join(gone)})" if gone else ""
        yield f"Skipped: sizes, brightness and sharpness, as no picture can be read{why}."
        return
    row = pixels.set_index("statistic")
    height, width, light = (row.loc[name] for name in ("height_px", "width_px", "brightness"))
    n, median = write_count(row["n"].iloc[0]), f"{width['p50']:g} x {height['p50']:g}"
    if height["min"] == height["max"] and width["min"] == width["max"]:
        size = f"All {n} sampled images measure {median} pixels"
    else:
        widths = f"{width['min']:g} to {width['max']:g}"
        heights = f"{height['min']:g} to {height['max']:g}"
        size = f"{n} sampled images measure {widths} x {heights} pixels (median {median})"
    sharp = row.loc["sharpness"]
    yield (
        f"{size}, {row.loc['bytes', 'mean'] / 1000:,.1f} KB on average; nine in ten have a mean "
        f"brightness between {light['p05']:.0f} and {light['p95']:.0f} of 255 and a sharpness "
        f"(variance of the Laplacian) between {sharp['p05']:,.0f} and {sharp['p95']:,.0f}."
    )
    if gone:
        yield f"Left out of these, as they cannot be read: {' and '.join(gone)}."
