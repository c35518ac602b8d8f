"""train.mirror: answers are the mean of a picture's and its mirror image's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common.files import read_json
from stages.common.inference import load_model, predict
from stages.common.mirror import Mirrored, bare
from stages.common.networks import build_network
from stages.common.shards import read_partition
from stages.compare.costs import count_operations
from tests.test_train import make_params, own_root, prepare, train  # noqa: F401


def test_the_mean_of_both_is_the_same_for_both() -> None:
    torch.manual_seed(1)
    network = build_network("uab_cnn", 3, 32, 24, 0.5, "none")
    both = Mirrored(network).eval()
    pictures = torch.randn(4, 3, 32, 24)
    with torch.no_grad():
        plain, other = network(pictures), network(pictures.flip(3))
        assert (plain - other).abs().max() > 1e-3
        torch.testing.assert_close(both(pictures), (plain + other) / 2)
        torch.testing.assert_close(both(pictures.flip(3)), both(pictures))
        both.train()
        network.eval()  # no dropout, no statistics of the batch
        torch.testing.assert_close(both(pictures), plain)
    assert bare(both) is network
    assert bare(network) is network


def test_a_training_is_judged_and_answers_mirrored(prepare: Path, tmp_path: Path) -> None:  # noqa: F811
    train(prepare, tmp_path / "plain", make_params())
    train(prepare, tmp_path / "both", make_params(mirror=True))
    network, model = load_model(tmp_path / "both/train/model")
    assert isinstance(network, Mirrored)
    plain, _ = load_model(tmp_path / "plain/train/model")
    assert not isinstance(plain, Mirrored)
    valid = read_partition(prepare, "valid")
    views = (valid.pixels, np.ascontiguousarray(valid.pixels[:, :, ::-1]))
    probs, mirror = (predict(network, "uab_cnn", view, 8) for view in views)
    np.testing.assert_allclose(probs, mirror, atol=1e-6)
    alone, turned = (predict(bare(network), "uab_cnn", view, 8) for view in views)
    logits = (np.log(alone / (1 - alone)) + np.log(turned / (1 - turned))) / 2
    np.testing.assert_allclose(probs, 1 / (1 + np.exp(-logits)), atol=1e-5)
    known = valid.mask.astype(bool)
    right = (probs > 0.5) == valid.labels.astype(bool)
    accuracy = np.mean([right[known[:, k], k].mean() for k in range(right.shape[1])])
    summary = read_json(tmp_path / "both/reports/summary.json")
    assert summary["valid_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    single = read_json(tmp_path / "plain/train/model/model.json")
    assert count_operations(model) == 2 * count_operations(single)
