from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy import stats

from stages.train.loop import batch_loss
from stages.train.mix import Mix, draw_mixes, mix_images
from tests.train_fabric import draw_pictures, make_augment, make_feed, make_params


def test_mixup_is_its_formula_with_the_partner_from_the_other_end() -> None:
    pixels = draw_pictures(40)
    plain = make_feed(pixels, make_params(make_augment(flip=0.5), batch_size=8))
    mixed = make_feed(pixels, make_params(make_augment(flip=0.5, mixup_alpha=0.7), batch_size=8))
    weights = []
    for ours, theirs in zip(mixed.epoch(2), plain.epoch(2), strict=True):
        images, weight = theirs.images.double(), ours.weight
        expected = weight * images + (1 - weight) * images.flip(0)
        assert (ours.images - expected).abs().max() < 1e-5
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.other_labels is not None
        assert torch.equal(ours.other_labels, theirs.labels.flip(0))
        weights.append(weight)
    assert len(set(weights)) == 5


def test_cutmix_pastes_a_box_and_weighs_by_what_is_left() -> None:
    pixels = draw_pictures(40)
    plain = make_feed(pixels, make_params(batch_size=8))
    mixed = make_feed(pixels, make_params(make_augment(cutmix_alpha=1.0), batch_size=8))
    for ours, theirs in zip(mixed.epoch(1), plain.epoch(1), strict=True):
        from_partner = (ours.images == theirs.images.flip(0)).all(1)
        from_own = (ours.images == theirs.images).all(1)
        assert (from_partner | from_own).all()
        pasted = (from_partner & ~from_own).any(0).numpy()
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        n_inside = len(rows) and (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert ours.weight == pytest.approx(1 - n_inside / pasted.size)


def test_weights_and_boxes_follow_their_distributions() -> None:
    mixes = draw_mixes(make_augment(mixup_alpha=0.2), 50, 80, 3000, 7, 1)
    weights = [mix.weight for mix in mixes if mix is not None and mix.box is None]
    assert len(weights) == 3000
    assert stats.kstest(weights, stats.beta(0.2, 0.2).cdf).pvalue > 1e-3
    shares, middles = [], []
    for mix in draw_mixes(make_augment(cutmix_alpha=1.0), 500, 800, 3000, 7, 1):
        assert mix is not None
        assert mix.box is not None
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 500
        assert 0 <= left <= right <= 800
        assert mix.weight == 1 - (bottom - top) * (right - left) / 400_000
        if top > 0 and bottom < 500 and left > 0 and right < 800:  # not cut off by the edge
            shares.append(((bottom - top) / 500, (right - left) / 800))
            middles.append((top + bottom) / 1000)
    tall, wide = np.array(shares).T
    assert np.abs(tall - wide).max() < 0.01  # the picture's own proportions
    assert len(middles) > 300
    assert np.mean(middles) == pytest.approx(0.5, abs=0.05)


def test_the_box_has_the_share_of_the_area_that_the_weight_leaves() -> None:
    """The published form with the generator's own numbers, at the places that hold the box."""
    from stages.train.mix import cut_side

    for weight in (0.19, 0.51, 0.75, 0.99):
        low, high = cut_side(0.5, weight, 10_000)
        assert ((high - low) / 10_000) ** 2 == pytest.approx(1 - weight, abs=1e-3)
        assert (low + high) / 2 == pytest.approx(5000, abs=1)
    assert cut_side(0.0, 0.0, 100) == (0, 50)
    assert cut_side(1.0, 0.0, 100) == (50, 100)
    assert cut_side(0.3, 1.0, 100) == (30, 30)


def test_with_both_mixes_half_the_batches_take_each() -> None:
    mixes = draw_mixes(make_augment(mixup_alpha=0.2, cutmix_alpha=1.0), 50, 80, 2000, 7, 1)
    n_cut = sum(mix is not None and mix.box is not None for mix in mixes)
    assert 900 < n_cut < 1100
    assert draw_mixes(make_augment(), 50, 80, 3, 7, 1) == [None] * 3


def test_a_mix_is_a_function_of_seed_epoch_and_step() -> None:
    params = make_augment(mixup_alpha=0.2, cutmix_alpha=0.5)

    def draw(n_steps: int, seed: int, epoch: int) -> list[Any]:
        return draw_mixes(params, 50, 80, n_steps, seed, epoch)

    assert draw(30, 7, 1)[:10] == draw(10, 7, 1)
    assert draw(10, 7, 2) != draw(10, 7, 1)
    assert draw(10, 8, 1) != draw(10, 7, 1)


def test_boxes_are_of_rows_then_columns() -> None:
    images, partners = torch.zeros(2, 6, 8, 3), torch.ones(2, 6, 8, 3)
    mixed = mix_images(images, partners, Mix(0.5, (1, 3, 4, 8)))
    assert mixed.sum() == 2 * 2 * 4 * 3
    assert (mixed[:, 1:3, 4:8] == 1).all()
    assert (images == 0).all()


@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_a_mixed_loss_is_both_losses_each_over_its_own_known_labels(loss: str) -> None:
    rng = np.random.default_rng(3)
    n, weight = 12, 0.3
    mask = rng.random((n, 2)) < 0.6
    params = make_params(
        make_augment(mixup_alpha=0.4), batch_size=n, loss=loss, focal_gamma=2.0, focal_alpha=0.25
    )
    feed = make_feed(draw_pictures(n), params, mask=mask)
    batch = next(feed.epoch(1))
    weight = batch.weight
    logits = rng.normal(0, 2, (n, 2))
    probs = 1 / (1 + np.exp(-logits))
    labels, known = batch.labels.numpy(), batch.mask.numpy()
    assert 0 < known.sum() < known.size
    expected = 0.0
    for share, truth, counts in (
        (weight, labels, known),
        (1 - weight, labels[::-1], known[::-1]),
    ):
        p_t = np.where(truth == 1, probs, 1 - probs)
        values = -np.log(p_t)
        if loss == "focal":
            values = 0.25 * (1 - p_t) ** 2 * values
        expected += share * (values * counts).sum() / counts.sum()
    tensor = torch.tensor(logits, requires_grad=True)
    result = batch_loss(tensor, batch, params, None, Fabric(accelerator="cpu", devices=1))
    assert result.item() == pytest.approx(expected, rel=1e-5)
    result.backward()
    assert tensor.grad is not None
    hidden = (known == 0) & (known[::-1] == 0)
    assert ((tensor.grad.numpy() == 0) == hidden).all()
