from typing import Any

import numpy as np
import pytest
from scipy import stats

from stages.common.errors import FacetError
from stages.train.draws import PURPOSES, make_rng
from stages.train.sampler import balance_weights, sample_images, shuffle
from tests.train_fabric import make_feed, make_params, number_pictures

NAMES = ("a0", "a1", "a2")


def draw_labels(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, 3) of which the second depends on the first, and a mask that hides one in ten."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.03
    second = rng.random(n) < np.where(first, 0.9, 0.2)
    third = rng.random(n) < 0.6
    return np.stack([first, second, third], 1).astype(np.uint8), rng.random((n, 3)) < 0.9


def test_every_stream_of_numbers_is_another() -> None:
    starts = [
        make_rng(purpose, seed, epoch).random()
        for purpose in PURPOSES
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(starts)) == 4 * len(PURPOSES)
    assert make_rng("order", 1, 2).random() == make_rng("order", 1, 2).random()


def test_a_plain_epoch_shows_each_image_once_in_an_order_of_its_own() -> None:
    assert np.array_equal(sample_images(50, None, 7, 1), np.arange(50))
    orders = [shuffle(50, 7, epoch) for epoch in (1, 1, 2)]
    assert np.array_equal(np.sort(orders[0]), np.arange(50))
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    first = [int(shuffle(20, 7, epoch)[0]) for epoch in range(1, 2001)]
    assert stats.chisquare(np.bincount(first, minlength=20)).pvalue > 1e-3


@pytest.mark.parametrize("balance", [["a0"], ["a2", "a0"], ["a0", "a1", "a2"]])
def test_both_classes_of_every_named_attribute_weigh_the_same(balance: list[str]) -> None:
    labels, mask = draw_labels(20_000)
    weights = balance_weights(labels, mask, NAMES, balance)
    assert weights is not None
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() > 0
    drawn = sample_images(20_000, weights, 7, 1)
    assert len(drawn) == 20_000
    for column, name in enumerate(NAMES):
        known = mask[:, column]
        share = weights[known & (labels[:, column] == 1)].sum() / weights[known].sum()
        assert (abs(share - 0.5) < 1e-4) == (name in balance)
        rows = drawn[known[drawn]]
        expected = 0.5 if name in balance else share
        assert labels[rows, column].mean() == pytest.approx(expected, abs=0.015)


def test_an_image_without_the_label_keeps_its_chance() -> None:
    labels, mask = draw_labels(5000)
    weights = balance_weights(labels, mask, NAMES, ["a0"])
    assert weights is not None
    assert weights[~mask[:, 0]] == pytest.approx(1 / 5000, rel=1e-4)
    known = [weights[mask[:, 0] & (labels[:, 0] == value)] for value in (0, 1)]
    assert [len(set(values)) for values in known] == [1, 1]
    assert known[0].sum() == pytest.approx(known[1].sum(), rel=1e-4)


def test_draws_follow_the_weights() -> None:
    weights = np.array([0.5, 0.0, 0.3, 0.2])
    counts = sum(
        np.bincount(sample_images(4, weights, 7, epoch), minlength=4) for epoch in range(1, 2001)
    )
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 8000 * weights[[0, 2, 3]]).pvalue > 1e-3
    again = [sample_images(4, weights, 7, 5) for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.parametrize("memory", ["host", "stream"])
def test_a_balanced_feed_shows_both_classes_equally_often(memory: str) -> None:
    labels, mask = draw_labels(1200)
    params = make_params(balance=["a0"], batch_size=30, memory=memory, stream_images=200)
    feed = make_feed(number_pictures(1200, 16, 16), params, 64, labels, mask)
    seen = [(batch.labels, batch.mask) for epoch in (1, 2, 3) for batch in feed.epoch(epoch)]
    positive = sum(float((a * m)[:, 0].sum()) for a, m in seen)
    known = sum(float(m[:, 0].sum()) for _, m in seen)
    assert len(seen) == 3 * 40
    assert positive / known == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("labels", "balance", "expected"),
    [
        pytest.param([[0, 1], [1, 0]], ["a5"], "got a5. It has a0, a1", id="unknown attribute"),
        pytest.param([[1, 0], [1, 1]], ["a0"], "got 2 with and 0 without", id="one class"),
        pytest.param([[0, 0], [0, 1]], ["a1", "a0"], "with and without a0", id="the other class"),
        pytest.param(
            [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]],
            ["a0", "a1", "a2"],
            "a0, a1, a2, which cannot",
            id="three that exclude each other",
        ),
    ],
)
def test_what_cannot_be_balanced(labels: Any, balance: list[str], expected: str) -> None:
    table = np.array(labels, np.uint8)
    names = [f"a{i}" for i in range(table.shape[1])]
    with pytest.raises(FacetError, match=r"train\.balance: expected") as caught:
        balance_weights(table, np.ones(table.shape, bool), names, balance)
    assert expected in str(caught.value)


def test_labels_that_are_not_known_make_no_class() -> None:
    labels, mask = np.array([[0], [1], [1]]), np.array([[True], [False], [True]])
    assert balance_weights(labels, mask, ["a"], ["a"]) is not None
    with pytest.raises(FacetError, match="got 0 with and 1 without"):
        balance_weights(labels, mask & (labels == 0), ["a"], ["a"])
