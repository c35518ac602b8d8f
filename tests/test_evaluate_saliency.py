import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import Tensor, nn

from stages.common.mirror import Mirrored
from stages.common.networks import build_network, normalise
from stages.common.tables import SALIENCY_SCHEMA, read_table, write_table
from stages.evaluate.part import Part
from stages.evaluate.saliency import (
    KINDS,
    choose_pictures,
    draw_heat,
    find_last_map,
    table_saliency,
)
from tests.evaluate_fabric import draw_part

NAME = "uab_cnn"  # whose normalisation is used


class Corners(nn.Module):
    """One logit per corner of the picture, from the last of four 2x2 maps of brightness."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.maps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.act(self.pool(self.maps(x))).flatten(1))
        return logits


def draw_pictures(n: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_heat_is_that_of_the_formula() -> None:
    """The gradient of a linear layer is its weights: no autograd in the reference."""
    network, pixels = Corners().eval(), draw_pictures(9)
    columns = np.arange(9) % 4
    layer = find_last_map(network, NAME, pixels[:1])
    assert layer is network.act
    got = list(draw_heat(network, NAME, layer, pixels, columns, batch_size=4))
    with torch.no_grad():
        maps = network.pool(network.maps(normalise(torch.from_numpy(pixels), NAME))).relu().numpy()
    weights = network.last.weight.detach().numpy().reshape(4, 4, 2, 2)
    for k, column in enumerate(columns):
        cam = np.maximum((weights[column].mean((1, 2))[:, None, None] * maps[k]).sum(0), 0)
        expected = np.round(255 * cam / cam.max()) if cam.max() > 0 else cam
        assert got[k].dtype == np.uint8
        assert got[k] == pytest.approx(expected, abs=1)
    assert any(heat.max() == 255 for heat in got)


def test_heat_lies_where_the_evidence_is() -> None:
    """Brightness in one corner is the only reason for a yes."""
    network = Corners().eval()
    with torch.no_grad():
        network.maps[0].weight.fill_(1 / 27)
        network.maps[0].bias.zero_()
        network.last.weight.fill_(1.0)
    for corner in range(4):
        pixels = np.zeros((1, 16, 16, 3), np.uint8)
        row, column = divmod(corner, 2)
        pixels[0, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 250
        (heat,) = draw_heat(network, NAME, network.act, pixels, np.array([0]), 8)
        assert int(heat.argmax()) == corner
        assert heat.max() == 255


def test_drawing_leaves_the_network_as_it_was() -> None:
    network, pixels = Corners().eval(), draw_pictures(2)
    batch = normalise(torch.from_numpy(pixels), NAME)
    before = network(batch).detach()
    list(draw_heat(network, NAME, network.act, pixels, np.array([0, 1]), 2))
    assert torch.equal(network(batch), before)
    assert not network.act._forward_hooks


@pytest.mark.parametrize("name", ["uab_cnn", "efficientnet_lite0", "mobilenet_v2"])
def test_every_convolutional_network_has_a_map(name: str) -> None:
    network = build_network(name, 4, 64, 64, 0.0, "none").eval()
    pixels = draw_pictures(2, 64)
    layer = find_last_map(network, name, pixels[:1])
    assert layer is not None
    maps = list(draw_heat(network, name, layer, pixels, np.array([0, 3]), 2))
    assert {heat.shape for heat in maps} <= {(2, 2), (4, 4)}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_networks_of_sequences_have_none(
    name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    network = timm.create_model(name, pretrained=False, num_classes=4, img_size=56).eval()
    part, pixels = draw_part(seed=1, n=20), draw_pictures(20, 56)
    chosen = choose_pictures(part, 0.5, 1, 7)
    with caplog.at_level(logging.INFO):
        table = table_saliency(part, chosen, network, NAME, pixels, 8)
    assert "no map of features" in caplog.text
    write_table(table, tmp_path / "s.parquet", SALIENCY_SCHEMA)
    back = read_table(tmp_path / "s.parquet", SALIENCY_SCHEMA)
    assert len(back) == len(chosen)
    assert back[["height", "width", "heat"]].isna().all(axis=None)


def test_the_surest_mistakes_are_shown() -> None:
    part = draw_part(seed=2)
    chosen = choose_pictures(part, 0.5, 3, 7)
    for column in range(4):
        probs, truth = part.probs[:, column], part.labels[:, column]
        mine = chosen[chosen["column"] == column]
        wrong = part.mask[:, column] & (truth == 0) & (probs > 0.5)
        rows = mine.loc[mine["kind"] == "false_positive", "row"]
        assert probs[rows].tolist() == sorted(probs[wrong], reverse=True)[:3]
        assert (truth[rows] == 0).all()
        wrong = part.mask[:, column] & (truth == 1) & (probs <= 0.5)
        rows = mine.loc[mine["kind"] == "false_negative", "row"]
        assert probs[rows].tolist() == sorted(probs[wrong])[:3]
        drawn = mine.loc[mine["kind"] == "random", "row"]
        assert len(set(drawn)) == 3
        assert part.mask[drawn, column].all()
        assert mine["rank"].tolist() == [0, 1, 2] * 3
    assert chosen["kind"].unique().tolist() == list(KINDS)
    pd.testing.assert_frame_equal(chosen, choose_pictures(part, 0.5, 3, 7))
    other = choose_pictures(part, 0.5, 3, 8)
    is_drawn = chosen["kind"] == "random"
    assert chosen.loc[~is_drawn, "row"].equals(other.loc[~is_drawn, "row"])
    assert not chosen.loc[is_drawn, "row"].equals(other.loc[is_drawn, "row"])


def test_few_mistakes_and_no_pictures(tmp_path: Path) -> None:
    full = draw_part(seed=3, n=30)
    perfect = Part(**{**vars(full), "probs": full.labels.astype(np.float32)})
    assert set(choose_pictures(perfect, 0.5, 2, 7)["kind"]) == {"random"}
    nothing = choose_pictures(full, 0.5, 0, 7)
    assert nothing.empty
    table = table_saliency(full, nothing, Corners(), NAME, draw_pictures(0), 8)
    write_table(table, tmp_path / "s.parquet", SALIENCY_SCHEMA)
    assert read_table(tmp_path / "s.parquet", SALIENCY_SCHEMA).empty


def test_heat_of_mirrored_answers_lies_where_the_picture_shows_it() -> None:
    part, pixels = draw_part(seed=4, n=40), draw_pictures(40)
    chosen = choose_pictures(part, 0.5, 2, 7)
    plain, both = (
        table_saliency(part, chosen, network.eval(), NAME, pixels, 8)
        for network in (Corners(), Mirrored(Corners()))
    )
    pd.testing.assert_frame_equal(plain, both)


def test_rows_name_picture_attribute_and_answer() -> None:
    part, pixels = draw_part(seed=4, n=40), draw_pictures(40)
    chosen = choose_pictures(part, 0.5, 2, 7)
    table = table_saliency(part, chosen, Corners().eval(), NAME, pixels, 8)
    for row, choice in zip(table.to_dict("records"), chosen.to_dict("records"), strict=True):
        place = choice["row"], choice["column"]
        assert row["image_id"] == part.image_ids[place[0]]
        assert row["attribute"] == part.attributes[place[1]]
        assert row["probability"] == part.probs[place]
        assert row["label"] == bool(part.labels[place])
        assert (row["height"], row["width"], len(row["heat"])) == (2, 2, 4)
