from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from stages.common.errors import FacetError
from stages.common.networks import NETWORKS, normalise
from stages.common.params import AugmentParams
from stages.train import colour, geometry
from stages.train.augment import Augmenter, erase, mix_axes
from stages.train.draws import BANK_STARTS, draw_augmentations, draw_noise_bank
from tests.train_fabric import EVERYTHING, SCALE, draw_pictures, make_augment

CPU = torch.device("cpu")
AXES = np.array([[14.0, 1.0, 0.2], [13.0, -0.4, -0.5], [13.5, -0.7, 0.3]])


def make_augmenter(params: AugmentParams, height: int, width: int, seed: int = 7) -> Augmenter:
    return Augmenter(params, height, width, *SCALE, AXES, seed, CPU)


def augment(
    pixels: np.ndarray, params: AugmentParams, order: np.ndarray, batch_size: int, epoch: int = 1
) -> torch.Tensor:
    """What becomes of the images of an epoch in `order`, by image."""
    augmenter = make_augmenter(params, *pixels.shape[1:3])
    draws = augmenter.draw(epoch, order)
    parts = []
    for start in range(0, len(order), batch_size):
        stop = min(len(order), start + batch_size)
        rows = torch.from_numpy(pixels[order[start:stop]])
        parts.append(augmenter.apply(rows, draws, start, stop))
    result = torch.empty(pixels.shape)
    result[torch.from_numpy(order)] = torch.cat(parts)
    return result


def one_image(values: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row 0 and its values, in place of what chance drew."""
    return torch.tensor([0]), torch.tensor([values])


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_an_image_is_the_same_in_any_batch(n_threads: int) -> None:
    border = ("reflect", "black")[n_threads - 1]
    pixels = draw_pictures(24, 61, 53)  # odd, and enough for two threads to share the work
    params = make_augment(**EVERYTHING, border=border)
    order = np.arange(24)
    expected = augment(pixels, params, order, 24)
    rng = np.random.default_rng(1)
    for batch_size in (1, 5, 18):
        result = augment(pixels, params, rng.permutation(24), batch_size)
        assert torch.equal(result, expected), f"batches of {batch_size}"
    assert torch.equal(augment(pixels, params, order, 24, epoch=1), expected)
    other = augment(pixels, params, order, 24, epoch=2)
    assert all(not torch.equal(a, b) for a, b in zip(other, expected, strict=True))


def test_one_augmentation_does_not_change_the_others_draws() -> None:
    order = np.arange(50)
    every = draw_augmentations(make_augment(**EVERYTHING), 19, 23, 7, 3, order, CPU)
    assert set(every) == {"flip", "crop", "affine", "jitter", "light", "noise", "erase"}
    for name, keys in {
        "flip": ("flip",),
        "crop": ("crop_padding_px",),
        "affine": ("affine",),
        "light": ("fancy_pca",),
        "noise": ("noise",),
        "erase": ("erase", "erase_min_px", "erase_max_px"),
    }.items():
        alone = make_augment(**{key: EVERYTHING[key] for key in keys})
        for n in (50, 20):  # nor does the number of images
            found = draw_augmentations(alone, 19, 23, 7, 3, order[:n], CPU)
            assert set(found) == {name}
            places = every[name].places[every[name].places < n]
            assert np.array_equal(found[name].places, places)
            assert torch.equal(found[name].values, every[name].values[: len(places)])


def test_without_augmentation_pixels_are_normalised_as_for_prediction() -> None:
    pixels = draw_pictures(20)
    for name, kind in NETWORKS.items():
        augmenter = Augmenter(make_augment(), 19, 23, kind.mean, kind.std, None, 7, CPU)
        draws = augmenter.draw(1, np.arange(20))
        result = augmenter.apply(torch.from_numpy(pixels.copy()), draws, 0, 20)
        expected = normalise(torch.from_numpy(pixels), name)
        assert torch.equal(result.permute(0, 3, 1, 2), expected)
        assert np.array_equal(augmenter.restore(result), pixels)


def test_flip_mirrors_the_chosen_images() -> None:
    pixels = draw_pictures(300, 4, 5)
    augmenter = make_augmenter(make_augment(flip=0.5), 4, 5)
    draws = augmenter.draw(1, np.arange(300))
    result = augmenter.restore(augmenter.apply(torch.from_numpy(pixels.copy()), draws, 0, 300))
    flipped = [np.array_equal(a, b[:, ::-1]) for a, b in zip(result, pixels, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(result, pixels, strict=True)]
    assert [not x for x in flipped] == same
    assert 115 < sum(flipped) < 185
    for share in (0.0, 1.0):
        found = draw_augmentations(make_augment(flip=share), 4, 5, 7, 1, np.arange(300), CPU)
        assert len(found["flip"].places if share else []) == 300 * share


@pytest.mark.parametrize(("border", "mode"), [("reflect", "reflect"), ("black", "constant")])
def test_crop_cuts_out_of_the_padded_picture(border: str, mode: Any) -> None:
    pixels = draw_pictures(40, 9, 12)
    params = make_augment(crop_padding_px=4, border=border)
    offsets = draw_augmentations(params, 9, 12, 7, 1, np.arange(40), CPU)["crop"].values
    assert offsets.amin(0).tolist() == [0, 0]
    assert offsets.amax(0).tolist() == [8, 8]
    result = geometry.crop(torch.from_numpy(pixels), offsets, 4, border).numpy()
    for picture, got, (y, x) in zip(pixels, result, offsets.tolist(), strict=True):
        padded = np.pad(picture, ((4, 4), (4, 4), (0, 0)), mode=mode)
        assert np.array_equal(got, padded[y : y + 9, x : x + 12])


AFFINES = [
    pytest.param(0.0, 1.0, 0.0, 0.0, id="nothing"),
    pytest.param(0.0, 1.0, 3.0, -2.0, id="whole pixels"),
    pytest.param(15.0, 1.0, 0.0, 0.0, id="turned"),
    pytest.param(0.0, 0.7, 0.0, 0.0, id="smaller"),
    pytest.param(-33.0, 1.3, 2.4, -1.7, id="all"),
]


@pytest.mark.parametrize(("angle", "scale", "right", "down"), AFFINES)
def test_affine_is_torchvisions(angle: float, scale: float, right: float, down: float) -> None:
    pixels = torch.from_numpy(draw_pictures(1, 31, 46)).float()
    turn = np.radians(angle)
    drawn = one_image([np.cos(turn) / scale, np.sin(turn) / scale, right, down])
    result = geometry.warp(pixels.clone(), *drawn, "black").permute(0, 3, 1, 2)
    expected = vision.affine(
        pixels.permute(0, 3, 1, 2),
        angle,
        [right, down],
        scale,
        [0.0, 0.0],
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    assert (result - expected).abs().max() < 0.02


@pytest.mark.parametrize(("angle", "scale", "right", "down"), AFFINES)
def test_affine_reflects_as_scipy_mirrors(
    angle: float, scale: float, right: float, down: float
) -> None:
    """The inverse map in float64, with SciPy's own interpolation and border."""
    pixels = draw_pictures(1, 31, 46)
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale  # yx
    middle = np.array([15.0, 22.5])
    offset = middle - matrix.T @ (middle + np.array([down, right]))
    expected = np.stack(
        [
            ndimage.affine_transform(
                pixels[0, :, :, c].astype(np.float64), matrix.T, offset, order=1, mode="mirror"
            )
            for c in range(3)
        ],
        axis=-1,
    )
    drawn = one_image([np.cos(turn) / scale, np.sin(turn) / scale, right, down])
    result = geometry.warp(torch.from_numpy(pixels).float(), *drawn, "reflect")[0].numpy()
    assert np.abs(result - expected).max() < 0.02


def test_affine_is_drawn_evenly_within_its_ranges() -> None:
    params = make_augment(affine=0.5, shift=0.1, scale=0.2, rotate_deg=20.0)
    found = draw_augmentations(params, 50, 80, 7, 1, np.arange(8000), CPU)["affine"]
    assert 3800 < len(found.places) < 4200
    cos, sin, right, down = found.values.double().numpy().T
    angle, scale = np.degrees(np.arctan2(sin, cos)), 1 / np.hypot(cos, sin)
    for values, low, high in (
        (angle, -20, 20),
        (scale, 0.8, 1.2),
        (right, -8, 8),
        (down, -5, 5),
    ):
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3
    table = np.corrcoef([angle, scale, right, down]) - np.eye(4)
    assert np.abs(table).max() < 0.06


@pytest.mark.parametrize(
    ("change", "reference", "low", "high"),
    [
        pytest.param(colour.brighten, vision.adjust_brightness, 0.4, 1.8, id="brightness"),
        pytest.param(colour.change_contrast, vision.adjust_contrast, 0.2, 2.5, id="contrast"),
        pytest.param(colour.saturate, vision.adjust_saturation, 0.0, 2.5, id="saturation"),
        pytest.param(colour.turn_hue, vision.adjust_hue, -0.5, 0.5, id="hue"),
    ],
)
def test_colours_change_as_torchvisions_image_by_image(
    change: Any, reference: Any, low: float, high: float
) -> None:
    pixels = torch.from_numpy(draw_pictures(12)).float()
    pixels[0] = 77.0  # grey has no hue
    factors = torch.linspace(low, high, 12)
    result = change(pixels.clone(), factors)
    for picture, got, factor in zip(pixels, result, factors.tolist(), strict=True):
        expected = reference(picture.permute(2, 0, 1) / 255, factor).permute(1, 2, 0) * 255
        assert (got - expected).abs().max() < 0.02
    assert not torch.equal(result, pixels)


def test_jitter_does_its_four_changes_in_order() -> None:
    pixels = draw_pictures(30)
    strengths = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.5, "hue": 0.3}
    params = make_augment(jitter=0.6, **strengths)
    found = draw_augmentations(params, 19, 23, 7, 1, np.arange(30), CPU)["jitter"]
    factors = dict(zip(found.places.tolist(), found.values.tolist(), strict=True))
    assert 10 < len(factors) < 26
    mean, std = (torch.tensor(values) for values in SCALE)
    result = augment(pixels, params, np.arange(30), 30) * std + mean
    for index, picture in enumerate(torch.from_numpy(pixels).float()):
        expected = picture.permute(2, 0, 1) / 255
        if index in factors:
            brightness, contrast, saturation, hue = factors[index]
            expected = vision.adjust_brightness(expected, brightness)
            expected = vision.adjust_contrast(expected, contrast)
            expected = vision.adjust_saturation(expected, saturation)
            expected = vision.adjust_hue(expected, hue)
        assert (result[index] - 255 * expected.permute(1, 2, 0)).abs().max() < 0.05
    off = make_augment(jitter=1.0, brightness=0.0, contrast=0.2)
    values = draw_augmentations(off, 19, 23, 7, 1, np.arange(2000), CPU)["jitter"].values
    assert (values[:, [0, 2]] == 1).all()
    assert (values[:, 3] == 0).all()
    assert stats.kstest(values[:, 1].numpy(), "uniform", (0.8, 0.4)).pvalue > 1e-3


def test_fancy_pca_follows_its_formula_in_float64() -> None:
    rng = np.random.default_rng(5)
    pixels = draw_pictures(8)
    flat = pixels.reshape(-1, 3)
    axes = colour.find_light(flat)
    scaled = flat.astype(np.float64) / 255
    centred = scaled - scaled.mean(0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    eigenvalues = singular**2 / (len(flat) - 1)
    for index in range(3):
        assert np.abs(axes[:, index]) == pytest.approx(
            np.abs(vectors[index]) * eigenvalues[index] * 255, abs=1e-9
        )
        assert axes[np.abs(axes[:, index]).argmax(), index] > 0
    alphas = rng.normal(0, 3, (8, 3))
    expected = (pixels + (axes @ alphas.T).T[:, None, None, :]).clip(0, 255)
    shifts = mix_axes(torch.from_numpy(alphas).float(), torch.from_numpy(axes).float())
    result = colour.add_light(torch.from_numpy(pixels).float(), shifts)
    assert np.abs(result.numpy() - expected).max() < 1e-3
    found = draw_augmentations(make_augment(fancy_pca=0.1), 19, 23, 7, 1, np.arange(3000), CPU)
    drawn = found["light"].values.double().numpy()
    assert stats.kstest(drawn.ravel() / 0.1, "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06


def test_noise_is_normal_and_white_and_each_images_own() -> None:
    pixels = np.full((60, 32, 24, 3), 128, np.uint8)
    augmenter = make_augmenter(make_augment(noise=10.0), 32, 24)
    draws = augmenter.draw(1, np.arange(60))
    mean, std = (torch.tensor(values) for values in SCALE)
    result = augmenter.apply(torch.from_numpy(pixels.copy()), draws, 0, 60) * std + mean
    noise = result.double().numpy() - 128
    assert stats.kstest(noise.ravel()[::3] / 10, "norm").pvalue > 1e-3
    assert np.abs(noise.mean((1, 2, 3))).max() < 5 * 10 / np.sqrt(32 * 24 * 3)
    for shifted in (noise[:, 1:] * noise[:, :-1], noise[:, :, 1:] * noise[:, :, :-1]):
        assert abs(shifted.mean()) < 5 * 100 / np.sqrt(shifted.size)
    channels = noise[..., 0] * noise[..., 1]
    assert abs(channels.mean()) < 5 * 100 / np.sqrt(channels.size)
    table = np.corrcoef(noise.reshape(60, -1)) - np.eye(60)
    assert np.abs(table).max() < 5 / np.sqrt(32 * 24 * 3)
    starts = draws.chosen["noise"].values
    assert len(starts.unique()) == 60
    assert starts.max() > 0.9 * BANK_STARTS
    assert not torch.equal(draw_noise_bank(9, 7, 1), draw_noise_bank(9, 7, 2))


def test_noise_ends_at_black_and_white() -> None:
    bank, starts = draw_noise_bank(12, 7, 1), torch.tensor([0, BANK_STARTS - 1])
    for value in (0.0, 255.0):
        images = torch.full((2, 2, 2, 3), value)
        noisy = colour.add_noise(images.clone(), bank, starts, 50.0)
        expected = torch.stack([bank[start : start + 12] for start in starts]).view(images.shape)
        assert torch.equal(noisy, (images + 50 * expected).clamp(0, 255))


def test_boxes_are_erased_at_even_sizes_and_places() -> None:
    params = make_augment(erase=0.2, erase_min_px=5, erase_max_px=9)
    found = draw_augmentations(params, 20, 30, 7, 1, np.arange(20_000), CPU)["erase"]
    assert 0.19 < len(found.places) / 20_000 < 0.21
    top, bottom, left, right = found.values.numpy().T
    for low, high, length in ((top, bottom, 20), (left, right, 30)):
        counts = np.bincount(high - low)
        assert counts[:5].sum() == 0
        assert len(counts) == 10
        assert stats.chisquare(counts[5:]).pvalue > 1e-3
        assert low.min() == 0
        assert high.max() == length
        places = np.bincount(low[high - low == 7])
        assert len(places) == length - 7 + 1
        assert stats.chisquare(places).pvalue > 1e-3
    images = torch.ones(3, 20, 30, 3)
    erased = erase(images.clone(), torch.tensor([2, 0]), found.values[:2])
    expected = images.clone()
    for row, (a, b, c, d) in zip((2, 0), found.values[:2].tolist(), strict=True):
        expected[row, a:b, c:d] = 0
    assert torch.equal(erased, expected)


def test_erased_boxes_have_the_networks_mean_colour() -> None:
    pixels = draw_pictures(4, 16, 16)
    params = make_augment(erase=1.0, erase_min_px=16, erase_max_px=16)
    assert (augment(pixels, params, np.arange(4), 4) == 0).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"erase": 0.1}, r"erase_max_px: expected at most 19 for .* got 74", id="box"),
        pytest.param(
            {"crop_padding_px": 19}, r"crop_padding_px: expected at most 18 .* got 19", id="padding"
        ),
    ],
)
def test_what_does_not_fit_the_pictures_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(FacetError, match=expected):
        make_augmenter(make_augment(**changes), 19, 23)
