"""Sentences that are true for any data: numbers as readers write them, singular and plural."""

import numpy as np
import pandas as pd
import pytest

from stages.explore import sentences, words
from stages.explore.doubts import describe_doubts
from stages.explore.labels import (
    count_cardinality,
    measure_consistency,
    measure_cooccurrence,
    measure_imbalance,
)
from stages.explore.shifts import measure_shifts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.write_counted(3200, "image"), "3,200 images"),
        (words.write_counted(1, "identity", "identities"), "1 identity"),
        (words.write_percent(0.1532), "15.3 %"),
        (words.write_percent(0), "0.0 %"),
        (words.write_percent(1), "100.0 %"),
        (words.write_percent(0.00018), "0.02 %"),
        (words.write_percent(0.99964), "99.96 %"),
        (words.write_percent(0.9991), "99.91 %"),
        (words.write_percent(1e-12), "0.000000 %"),
        (words.write_signed(-0.236), "\u22120.24"),
        (words.write_signed(0.4), "+0.40"),
        (words.write_list(["a", "b", "c"], 2), "a, b and 1 more"),
        (words.write_list(["a", "b"]), "a, b"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert text == expected


def as_array(rows: list[list[int | None]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mask; None is unknown."""
    table = pd.DataFrame(rows, dtype=object)
    return table.eq(1).to_numpy().astype(np.uint8), table.notna().to_numpy()


def test_frequencies_and_imbalance_name_the_attributes() -> None:
    labels = np.zeros((100, 4), np.uint8)
    labels[:71, 0] = labels[:4, 1] = labels[:50, 2] = 1
    table = measure_imbalance(labels, np.ones((100, 4), bool), ["Often", "Rare", "Half", "Never"])
    assert list(sentences.describe_frequency(table, True)) == [
        "1 of 4 attributes is in more than 70 % of the images: Often (71.0 %).",
        "2 of 4 attributes are in less than 5 % of the images: Never (0.0 %), Rare (4.0 %).",
    ]
    assert list(sentences.describe_imbalance(table, True)) == [
        "Always guessing each attribute's commoner value is right for 79.2 % of the labels, the "
        "mean over 4 attributes; in 2 of them the rarer value has less than 10 %.",
        "The most imbalanced attribute is Rare (24.0 images with the commoner value for each with "
        "the rarer), the most balanced Half (1.00).",
        "The same value in every image: Never.",
    ]
    only_half = table[table["attribute"] == "Half"]
    assert list(sentences.describe_frequency(only_half, True)) == [
        "None of 1 attribute is in more than 70 % of the images.",
        "None of 1 attribute is in less than 5 % of the images.",
    ]
    assert len(list(sentences.describe_imbalance(only_half, True))) == 1


def test_nothing_is_said_about_labels_that_nobody_knows() -> None:
    labels, known = np.zeros((3, 2), np.uint8), np.zeros((3, 2), bool)
    partition = np.array(["train", "train", "test"], object)
    nobody = np.full(3, None, object)
    table = measure_imbalance(labels, known, ["A", "Male"])
    assert list(sentences.describe_frequency(table, True)) == [
        "Skipped: everything about labels, as none is known."
    ]
    shifts = measure_shifts(labels, known, partition, nobody, ["A", "Male"])
    said = [
        *sentences.describe_imbalance(table, True),
        *sentences.describe_cardinality(count_cardinality(labels, known, partition), False),
        *sentences.describe_shifts(shifts),
        *sentences.describe_pairs(measure_cooccurrence(labels, known, ["A", "Male"])),
        *describe_doubts(labels, known, nobody, ["A", "Male"]),
    ]
    assert said == []
    assert list(sentences.describe_size(partition, known)) == [
        "3 images (2 train, 1 test) with 2 attributes; 6 labels are missing (100.0 %)."
    ]


def test_cardinality_over_all_and_by_partition() -> None:
    table = pd.DataFrame(
        [("train", 1, 1), ("train", 3, 1), ("test", 4, 2)],
        columns=["partition", "n_positive", "n_images"],
    )
    assert list(sentences.describe_cardinality(table, True)) == [
        "An image bears 3.00 attributes on average, 1 to 4, median 3.5 (train 2.00, test 4.00)."
    ]


def test_shifts_in_both_directions_largest_first() -> None:
    rng = np.random.default_rng(0)
    partition = np.repeat(np.array(["train", "test"], object), 4000)
    rates = np.array([(0.2, 0.5), (0.2, 0.3), (0.5, 0.3), (0.4, 0.4)])
    labels = (rng.random((8000, 4)) < np.repeat(rates.T, 4000, axis=0)).astype(np.uint8)
    identity = np.arange(8000).astype(str).astype(object)
    known = np.ones((8000, 4), bool)
    table = measure_shifts(labels, known, partition, identity, ["Most", "More", "Less", "Same"])
    lines = list(sentences.describe_shifts(table))
    assert lines[0] == (
        "From train to test 3 of 4 attributes differ beyond chance (two-proportion z-test, "
        "p < 0.05 after Holm's correction for 4 tests), 3 of them by at least a small effect "
        "(Cohen's |h| of 0.2 or more)."
    )
    shares = [f"{100 * labels[rows].mean(0)[0]:.1f}" for rows in (slice(4000), slice(4000, None))]
    assert lines[1].startswith(f"More frequent in test than in train: Most ({shares[0]} to ")
    assert lines[1].split("Most (")[1].startswith(f"{shares[0]} to {shares[1]} %), More (")
    assert lines[2].startswith("Less frequent in test than in train: Less (")
    assert lines[3].endswith("3 of these 3 remain: Most, Less, More.")
    same = table[table["attribute"] == "Same"]
    assert list(sentences.describe_shifts(same)) == [
        "From train to test none of 1 attribute differs beyond chance (two-proportion z-test, "
        "p < 0.05 after Holm's correction for 1 test)."
    ]
    assert list(sentences.describe_shifts(table[:0])) == [
        "Skipped: comparing partitions, as there is only one."
    ]


def test_pairs_and_what_one_attribute_brings() -> None:
    labels = np.zeros((100, 3), np.uint8)
    labels[:20, 0] = labels[:40, 1] = labels[40:, 2] = 1
    table = measure_cooccurrence(labels, np.ones((100, 3), bool), ["Goatee", "Male", "Lipstick"])
    assert list(sentences.describe_pairs(table)) == [
        "Strongest pairs (phi): Goatee and Male (+0.61).",
        "Strongest exclusions (phi): Male and Lipstick (\u22121.00), Goatee and Lipstick "
        "(\u22120.61).",
        "Of the images with Goatee 100.0 % bear Male.",
    ]


def test_identities_are_counted_where_there_are_any() -> None:
    identity = np.array(["1", "1", "2"], object)
    labels, known = as_array([[1, 0], [0, 0], [1, 1]])
    consistency = measure_consistency(labels, known, identity, ["A", "B"])
    sizes = pd.DataFrame({"n_images": [1, 2], "n_identities": [1, 1]})
    assert list(sentences.describe_identities(sizes, (1, 2), consistency, 2)) == [
        "2 identities with 1 to 2 images, median 1.5; 1 of them has one image only.",
        "1 identity occurs in more than one partition, with 2 images.",
        "Images of one identity agree most about B (100.0 % share the commoner value) and least "
        "about A (50.0 %).",
    ]
    equal = sizes[sizes["n_images"] == 2]
    assert list(sentences.describe_identities(equal, (0, 0), consistency, 2))[:2] == [
        "1 identity with 2 images each.",
        "No identity occurs in more than one partition.",
    ]
    assert len(list(sentences.describe_identities(equal, (0, 0), consistency, 1))) == 2
    assert list(sentences.describe_identities(sizes[:0], (0, 0), consistency, 2)) == [
        "Skipped: everything about identities, as none is named."
    ]


def test_beards_and_both_values_of_male() -> None:
    attributes = ["Male", "No_Beard", "Goatee", "Mustache"]
    labels, known = as_array(
        [
            [0, 0, 1, 1],
            [0, 1, 0, 0],
            [0, 1, 1, None],
            [1, 0, 1, 0],
            [1, 1, 0, 0],
            [None, 0, 1, 1],
        ]
    )
    identity = np.array(["1", "1", "2", "1", "2", "2"], object)
    assert list(describe_doubts(labels, known, identity, attributes)) == [
        "1 of 3 images labelled not Male has No_Beard = no (33.3 %), which is 50.0 % of the "
        "2 images with No_Beard = no.",
        "2 of 3 images with Goatee or Mustache are labelled not Male (66.7 %): Goatee 2, "
        "Mustache 1.",
        "2 of 2 identities hold both values of Male, a wrong label or a wrong identity: 2 images "
        "on the minority side (1 labelled Male where most are not, 0 labelled not Male where most "
        "are, 1 where both are as many).",
    ]
    one_each = np.array(["1", "1", "1", "2", "2", None], object)
    assert list(describe_doubts(labels, known, one_each, attributes))[-1] == (
        "None of 2 identities holds both values of Male."
    )
    assert list(describe_doubts(labels[:, 1:], known[:, 1:], identity, attributes[1:])) == []


PIXELS = pd.DataFrame(
    [
        ("height_px", 1200, 218, 0, 218, 218, 218, 218, 218),
        ("width_px", 1200, 178, 0, 178, 178, 178, 178, 178),
        ("bytes", 1200, 6900, 0, 1, 1, 1, 1, 1),
        ("brightness", 1200, 110, 9, 1, 63.8, 110, 178.2, 250),
        ("sharpness", 1200, 400, 9, 1, 40, 400, 1234, 2000),
    ],
    columns=["statistic", "n", "mean", "std", "min", "p05", "p50", "p95", "max"],
)


def test_pictures_measured_and_left_out() -> None:
    lines = list(sentences.describe_pixels(PIXELS, 3, 1))
    assert lines == [
        "All 1,200 sampled images measure 178 x 218 pixels, 6.9 KB on average; nine in ten have a "
        "mean brightness between 64 and 178 of 255 and a sharpness (variance of the Laplacian) "
        "between 40 and 1,234.",
        "Left out of these, as they cannot be read: 3 missing and 1 unreadable.",
    ]
    assert list(sentences.describe_pixels(PIXELS[:0], 1202, 0)) == [
        "Skipped: sizes, brightness and sharpness, as no picture can be read (1,202 missing)."
    ]
