"""MixUp and CutMix: one weight per batch; the partner of an image is that from the other end."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stages.common.params import AugmentParams
from stages.train.draws import make_rng


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed: the first image's weight; CutMix's box or None for MixUp.

    The box is top, bottom, left, right in pixels, what comes from the partner.
    """

    weight: float
    box: tuple[int, int, int, int] | None


def draw_mixes(
    params: AugmentParams, height: int, width: int, n_steps: int, seed: int, epoch: int
) -> list[Mix | None]:
    """The mix of every batch of an epoch, a function of seed, epoch and step; None is no mix.

    MixUp (Zhang et al., 2018): the weight is from Beta(alpha, alpha). CutMix (Yun et al., 2019,
    eq. 2): the box has the share 1 - weight of the area, its middle is anywhere, it ends at the
    edge, and the weight becomes the share that is left. With both, each has half the batches.
    """
    if params.mixup_alpha == 0 and params.cutmix_alpha == 0:
        return [None] * n_steps
    rng = make_rng("mix", seed, epoch)
    mixes: list[Mix | None] = []
    for _ in range(n_steps):
        coin, y, x = rng.random(3)
        is_cut = params.mixup_alpha == 0 or (params.cutmix_alpha > 0 and coin < 0.5)
        alpha = params.cutmix_alpha if is_cut else params.mixup_alpha
        weight = float(rng.beta(alpha, alpha))
        if is_cut:
            top, bottom = cut_side(y, weight, height)
            left, right = cut_side(x, weight, width)
            share = 1 - (bottom - top) * (right - left) / (height * width)
            mixes.append(Mix(share, (top, bottom, left, right)))
        else:
            mixes.append(Mix(weight, None))
    return mixes


def cut_side(middle: float, weight: float, length: int) -> tuple[int, int]:
    """First pixel and the one past the last of a box's side around `middle` (0 to 1)."""
    half = length * np.sqrt(1 - weight) / 2
    return round(max(0.0, middle * length - half)), round(min(length, middle * length + half))


def mix_images(images: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """(B, ...) float32 mixed with `partners`, image by image; H and W are dimensions 1 and 2."""
    if mix.box is None:
        return partners.lerp(images, mix.weight)
    top, bottom, left, right = mix.box
    mixed = images.clone()
    mixed[:, top:bottom, left:right] = partners[:, top:bottom, left:right]
    return mixed
