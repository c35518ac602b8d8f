import pytest
import torch
from torch import nn

from stages.common.errors import FacetError
from stages.common.networks import Head, build_network
from stages.train.layers import find_depths, freeze_layers, list_layers, set_training


def layers_of(name: str, **changes: object) -> list[str]:
    network = build_network(name, 5, 64, 64, 0.2, "none", **changes)  # type: ignore[arg-type]
    return [key for key, _ in list_layers(network)]


def test_layers_are_the_blocks_of_each_family() -> None:
    blocks = [f"layer{layer}.{block}" for layer in (1, 2, 3, 4) for block in (0, 1)]
    assert layers_of("resnet18") == ["conv1", "bn1", *blocks, "fc"]
    assert layers_of("mobilenet_v2") == [*(f"features.{i}" for i in range(19)), "classifier"]
    assert layers_of("efficientnet_lite0") == [
        "conv_stem", "bn1", *(f"blocks.{i}" for i in range(7)), "conv_head", "bn2", "classifier",
    ]  # fmt: skip
    assert layers_of("devarashs_cnn_rnn") == [
        "conv1", "bn1", *blocks[:6], "lstm", "attention", "dense", "last",
    ]  # fmt: skip
    assert layers_of("timm:test_vit")[-2:] == ["norm", "head"]


def test_a_head_is_one_layer_of_its_own() -> None:
    head = Head("trunk", "features", 4, 0.0, 6)
    assert layers_of("resnet18", head=head)[-1] == "fc"
    kept = layers_of("resnet18", head=Head("trunk", "classes", 4, 0.0, 6))
    assert kept[0] == "body.conv1"
    assert kept[-2:] == ["body.fc", "head"]


def test_depth_rises_from_input_to_output() -> None:
    network = build_network("resnet18", 5, 64, 64, 0.2, "none")
    depths = find_depths(network)
    assert list(depths) == [name for name, _ in network.named_parameters()]
    assert depths["conv1.weight"] == depths["bn1.weight"] == 0
    assert depths["layer1.0.conv2.weight"] == depths["layer1.0.bn1.bias"] == 1
    assert depths["layer4.1.conv1.weight"] == 8
    assert depths["fc.weight"] == depths["fc.bias"] == 9
    assert sorted(set(depths.values())) == list(range(10))


def test_tensors_without_a_layer_lie_at_the_input() -> None:
    depths = find_depths(build_network("timm:test_vit", 5, 64, 64, 0.0, "none"))
    assert depths["pos_embed"] == depths["cls_token"] == 0
    assert depths["norm.weight"] == depths["head.weight"] - 1


def test_frozen_layers_neither_learn_nor_keep_count() -> None:
    network = build_network("devarashs_cnn_rnn", 3, 64, 64, 0.5, "none")
    frozen = ["conv1", "bn1", "layer1"]
    freeze_layers(network, frozen)
    network.eval()
    set_training(network, frozen)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.randn(4, 3, 64, 64)).sum().backward()
    optimizer.step()
    changed = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    assert not [key for key in changed if key.startswith(("conv1.", "bn1.", "layer1."))]
    assert {"layer2.0.bn1.running_mean", "layer2.0.conv1.weight", "last.weight"} <= changed
    assert network.training
    assert network.dense[2].training
    assert not network.layer1[0].bn1.training


def test_a_prefix_ends_at_a_dot() -> None:
    network = nn.Sequential()
    network.add_module("a1", nn.Linear(2, 2))
    network.add_module("a10", nn.Linear(2, 2))
    freeze_layers(network, ["a1"])
    assert not network.a1.weight.requires_grad
    assert network.a10.weight.requires_grad


def test_a_single_tensor_can_be_frozen() -> None:
    network = build_network("timm:test_vit", 5, 64, 64, 0.0, "none")
    freeze_layers(network, ["pos_embed"])
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == ["pos_embed"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["layer9"], "such as conv1, bn1, layer1.0, .*fc; got 'layer9'", id="unknown"),
        pytest.param(["conv"], "got 'conv'", id="half a name"),
        pytest.param(["conv1", "relu"], "got 'relu'", id="nothing to learn in it"),
        pytest.param(
            ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"],
            "expected a part that learns",
            id="all",
        ),
    ],
)
def test_names_that_cannot_be_frozen(names: list[str], expected: str) -> None:
    network = build_network("resnet18", 5, 64, 64, 0.2, "none")
    with pytest.raises(FacetError, match=f"train.freeze: .*{expected}"):
        freeze_layers(network, names)
