"""Tests of two proportions against scipy's chi-square, by hand and by simulation."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ttest_ind

from stages.explore.shifts import COLUMNS, correct_holm, estimate_variance, measure_shifts

NAMES = ["A", "B", "C", "Never"]
NAN = float("nan")


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = (rng.random((900, 4)) < (0.3, 0.5, 0.05, 0)).astype(np.uint8)
    partition = rng.choice(np.array(["train", "valid", "test"], object), 900, p=(0.6, 0.2, 0.2))
    labels[partition == "test", 1] |= rng.random((partition == "test").sum()) < 0.4
    return {
        "labels": labels,
        "known": rng.random((900, 4)) < 0.9,
        "partition": partition,
        "identity": rng.integers(0, 250, 900).astype(str).astype(object),
    }


def test_each_pair_is_tested_like_chi_square_and_corrected_by_itself(data) -> None:
    table = measure_shifts(**data, attributes=NAMES)
    assert list(table) == COLUMNS
    assert [*zip(table["first"], table["second"], strict=True)][::4] == [
        ("train", "valid"), ("train", "test"), ("valid", "test"),
    ]  # fmt: skip
    for (first, second), rows in table.groupby(["first", "second"], sort=False):
        raw = []
        for column, row in enumerate(rows.head(3).itertuples()):
            counts = []
            for name in (first, second):
                mine = (data["partition"] == name) & data["known"][:, column]
                values = data["labels"][mine, column]
                counts.append([values.sum(), (1 - values.astype(int)).sum()])
            p1, p2 = (a / (a + b) for a, b in counts)
            expected = chi2_contingency(counts, correction=False)
            raw.append(expected.pvalue)
            assert row.p_value == pytest.approx(expected.pvalue)
            assert row.z**2 == pytest.approx(expected.statistic)
            assert (row.p_first, row.p_second) == (pytest.approx(p1), pytest.approx(p2))
            assert row.difference == pytest.approx(p2 - p1)
            assert np.sign(row.z) == np.sign(row.effect) == np.sign(p2 - p1)
            effect = 2 * np.arcsin(np.sqrt(p2)) - 2 * np.arcsin(np.sqrt(p1))
            assert row.effect == pytest.approx(effect)
        # the attribute that never occurs differs nowhere, and is one of the tests
        assert rows["p_corrected"].tolist() == pytest.approx(correct_holm(np.array([*raw, 1.0])))
    found = table[table["p_corrected"] < 0.01]
    assert set(found["attribute"]) == {"B"}
    assert set(found["second"]) == {"test"}


def test_images_that_are_identities_of_their_own_are_tested_like_welch(data) -> None:
    known = np.ones_like(data["known"])
    identity = np.arange(900).astype(str).astype(object)
    arguments = {**data, "known": known, "identity": identity}
    table = measure_shifts(**arguments, attributes=NAMES)
    rows = table[(table["first"] == "train") & (table["second"] == "test")]
    one, other = (data["labels"][data["partition"] == name, :3] for name in ("train", "test"))
    expected = ttest_ind(one.astype(float), other.astype(float), equal_var=False).pvalue
    assert rows["p_identities"].tolist() == pytest.approx(
        correct_holm(np.array([*expected, 1.0])), rel=1e-6
    )


def test_a_difference_between_few_people_is_no_difference_between_partitions() -> None:
    """Ten people a side with fifty images each, half of whom always smile on either side.

    The test on images finds that six instead of four of ten people are more; it is chance.
    """
    smiles = np.repeat(np.arange(20) % 10 < np.where(np.arange(20) < 10, 4, 6), 50)
    table = measure_shifts(
        smiles[:, None].astype(np.uint8),
        np.ones((1000, 1), bool),
        np.repeat(np.array(["train", "test"], object), 500),
        np.repeat(np.arange(20), 50).astype(str).astype(object),
        ["Smiling"],
    )
    assert table["p_corrected"][0] < 1e-6
    assert 0.3 < table["p_identities"][0] < 0.5


def test_variance_by_identities_is_that_of_repeated_draws() -> None:
    """Against the spread of the estimate over 4,000 draws of identities."""
    rng = np.random.default_rng(3)
    sizes, rates = rng.integers(1, 12, 400), rng.random(400)
    spread = []
    for _ in range(4000):
        drawn = rng.integers(0, 400, 120)
        spread.append(rng.binomial(sizes[drawn], rates[drawn]).sum() / sizes[drawn].sum())
    drawn = rng.integers(0, 400, 120)
    identity = np.repeat(np.arange(120), sizes[drawn]).astype(str).astype(object)
    values = rng.random(len(identity)) < np.repeat(rates[drawn], sizes[drawn])
    known = np.ones((len(identity), 1), bool)
    variance, n_groups = estimate_variance(values[:, None], known, identity)
    assert n_groups.tolist() == [120]
    assert variance[0] == pytest.approx(np.var(spread), rel=0.3)
    assert variance[0] > 2 * values.mean() * (1 - values.mean()) / len(values)


@pytest.mark.parametrize(
    ("change", "defined"),
    [
        pytest.param({}, (True, True), id="all known"),
        pytest.param({"identity": np.full(900, None, object)}, (True, False), id="no identities"),
        pytest.param({"known": np.zeros((900, 4), bool)}, (False, False), id="no labels"),
    ],
)
def test_what_is_undefined_is_nan(data, change, defined) -> None:
    table = measure_shifts(**{**data, **change}, attributes=NAMES)
    assert len(table) == 12
    for column, expected in zip(("p_corrected", "p_identities"), defined, strict=True):
        assert table[column].notna().all() == expected
        assert table[column].isna().all() != expected


def test_one_partition_leaves_nothing_to_compare(data) -> None:
    table = measure_shifts(**{**data, "partition": np.full(900, "train", object)}, attributes=NAMES)
    assert list(table) == COLUMNS
    assert table.empty


def test_holm_steps_down_keeps_the_order_and_passes_over_the_undefined() -> None:
    assert correct_holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert correct_holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert correct_holm(np.array([])).tolist() == []
    with_gap = correct_holm(np.array([0.04, NAN, 0.01, 0.03]))
    assert with_gap == pytest.approx([0.06, NAN, 0.03, 0.06], nan_ok=True)
