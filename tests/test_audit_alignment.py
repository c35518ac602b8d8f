import numpy as np
import pytest
import torch
from audit_fabric import draw_picture

from stages.audit.alignment import align, choose_start
from stages.audit.resize import shrink_each


def test_alignment_finds_the_map_brightness_aside() -> None:
    rng = np.random.default_rng(0)
    waves = [(rng.uniform(1, 4, 2), rng.uniform(0, 6)) for _ in range(6)]
    centres = (np.arange(64) + 0.5) / 32 - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")

    def paint(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return sum(np.sin(a * y + b * x + c) for (a, b), c in waves)[None].astype(np.float32)

    truth = np.array([[[0.95, 0.02, 0.03], [-0.01, 0.93, -0.04]]])
    moved = paint(*(truth[0, k, 0] * y + truth[0, k, 1] * x + truth[0, k, 2] for k in (0, 1)))
    start = torch.eye(2, 3)[None]
    fixed, moving = (torch.from_numpy(x) for x in (3 * moved + 20, paint(y, x)))
    found, unexplained = align(fixed, moving, start, 12)
    np.testing.assert_allclose(found, truth, atol=0.005)
    assert unexplained[0] < 0.001


@pytest.mark.parametrize("swap", [False, True], ids=["whole first", "crop first"])
def test_alignment_of_a_tight_crop_starts_zoomed(swap: bool) -> None:
    image = draw_picture(2)
    images = [np.asarray(x.convert("L")) for x in (image, image.crop((14, 17, 164, 201)))]
    thumbs = torch.from_numpy(shrink_each(images, 64, "box")).float()
    fixed, moving = (thumbs[k : k + 1] for k in ((1, 0) if swap else (0, 1)))
    zoom = choose_start(fixed, moving)[0, 0, 0].item()
    assert zoom == pytest.approx(0.84 if swap else 1.19, abs=0.001)
