from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from stages.common.losses import asymmetric_terms, compute_loss, focal_terms, weigh_classes
from stages.common.params import TrainParams, load_params

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train
LOSSES = ("bce", "focal", "sigmoid_focal", "asymmetric")


def make_params(**changes: Any) -> TrainParams:
    return TrainParams.model_validate({**SHIPPED.model_dump(), **changes})


def draw_batch(n: int = 9, n_attributes: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels and mask in float64; no attribute without a known label."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (n, n_attributes))
    labels = (rng.random((n, n_attributes)) < 0.4).astype(float)
    mask = (rng.random((n, n_attributes)) < 0.7).astype(float)
    mask[0] = 1
    return logits, labels, mask


def element_losses(logits: np.ndarray, labels: np.ndarray, params: TrainParams) -> np.ndarray:
    """The formulas of the papers, label by label, in float64."""
    p = 1 / (1 + np.exp(-logits))
    alpha, gamma = params.focal_alpha, params.focal_gamma
    if params.loss == "bce":
        return -labels * np.log(p) - (1 - labels) * np.log(1 - p)
    if params.loss in ("focal", "sigmoid_focal"):
        rest = alpha if params.loss == "focal" else 1 - alpha
        positive = -alpha * (1 - p) ** gamma * np.log(p)
        negative = -rest * p**gamma * np.log(1 - p)
        return np.asarray(labels * positive + (1 - labels) * negative)
    q = np.maximum(p - params.asymmetric_margin, 0)
    positive = -((1 - p) ** params.asymmetric_gamma_positive) * np.log(p)
    negative = -(q**params.asymmetric_gamma_negative) * np.log(1 - q)
    return np.asarray(labels * positive + (1 - labels) * negative)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "bce"},
        {"loss": "focal", "focal_gamma": 3.0},
        {"loss": "focal", "focal_gamma": 0.5, "focal_alpha": 1.0},
        {"loss": "sigmoid_focal", "focal_alpha": 0.3},
        {"loss": "asymmetric"},
        {"loss": "asymmetric", "asymmetric_gamma_positive": 1.0, "asymmetric_margin": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_losses_follow_their_formulas_in_float64(
    changes: dict[str, Any], smoothing: float, reduction: str, is_weighted: bool
) -> None:
    params = make_params(**changes, label_smoothing=smoothing, reduction=reduction)
    logits, labels, mask = draw_batch()
    factors = np.random.default_rng(1).uniform(0.5, 2, (2, labels.shape[1]))
    soft = labels * (1 - smoothing) + smoothing / 2
    if is_weighted:
        ones, zeros = (element_losses(logits, np.full_like(labels, x), params) for x in (1, 0))
        losses = factors[1] * soft * ones + factors[0] * (1 - soft) * zeros
    else:
        losses = element_losses(logits, soft, params)
    expected = (losses * mask).sum() / mask.sum()
    if reduction == "sum":
        expected = sum(losses[known > 0, column].mean() for column, known in enumerate(mask.T))
    tensors = [torch.tensor(x) for x in (logits, labels, mask)]
    ours = compute_loss(*tensors, params, torch.tensor(factors) if is_weighted else None)
    assert ours.dtype == torch.float64
    assert ours.item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.0), (0.5, 0.0)])
def test_sigmoid_focal_is_torchvisions(alpha: float, gamma: float) -> None:
    params = make_params(loss="sigmoid_focal", focal_alpha=alpha, focal_gamma=gamma)
    logits, labels, _ = (torch.tensor(x) for x in draw_batch())
    expected = sigmoid_focal_loss(logits, labels, alpha, gamma, reduction="mean")
    ours = compute_loss(logits, labels, torch.ones_like(labels), params)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-12)


def test_kkaryls_focal_is_that_of_a_two_way_softmax_summed_over_heads() -> None:
    """Per head alpha (1 - p_t)^gamma cross-entropy, mean over the batch; then the heads' sum."""
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 2, (9, 5, 2))
    labels = rng.integers(0, 2, (9, 5))
    softmax = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    p_t = np.take_along_axis(softmax, labels[..., None], -1)[..., 0]
    expected = sum((-0.25 * (1 - p_t) ** 3 * np.log(p_t)).mean(0))
    params = make_params(loss="focal", focal_alpha=0.25, focal_gamma=3.0, reduction="sum")
    logits = torch.tensor(scores[..., 1] - scores[..., 0])
    ours = compute_loss(logits, torch.tensor(labels).double(), torch.ones(9, 5), params)
    assert ours.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "focal", "focal_gamma": 0.0, "focal_alpha": 1.0},
        {"loss": "asymmetric", "asymmetric_gamma_negative": 0.0, "asymmetric_margin": 0.0},
    ],
    ids=["focal", "asymmetric"],
)
def test_without_focus_the_losses_are_cross_entropy(changes: dict[str, Any]) -> None:
    tensors = [torch.tensor(x) for x in draw_batch()]
    expected = compute_loss(*tensors, make_params()).item()
    assert compute_loss(*tensors, make_params(**changes)).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_mixing_losses_is_mixing_labels(loss: str) -> None:
    params = make_params(loss=loss)
    logits, first, mask = (torch.tensor(x) for x in draw_batch())
    second, share = first.flip(0), 0.3
    mixed = share * compute_loss(logits, first, mask, params)
    mixed += (1 - share) * compute_loss(logits, second, mask, params)
    labels = share * first + (1 - share) * second
    assert compute_loss(logits, labels, mask, params).item() == pytest.approx(mixed.item())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
def test_masked_labels_take_no_part(loss: str, reduction: str) -> None:
    params = make_params(loss=loss, reduction=reduction)
    logits = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.3, -1.0]], requires_grad=True)
    mask = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    value = compute_loss(logits, labels, mask, params)
    value.backward()
    assert ((logits.grad != 0) == (mask == 1)).all()
    other = torch.where(mask == 1, labels, 1 - labels)
    assert compute_loss(logits, other, mask, params).item() == value.item()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_known_labels_costs_nothing(loss: str, reduction: str) -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    params = make_params(loss=loss, reduction=reduction)
    value = compute_loss(logits, torch.ones(4, 3), torch.zeros(4, 3), params)
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_logits_stay_finite(loss: str, gamma: float, dtype: torch.dtype) -> None:
    """A wrong label costs about the logit, a right one about nothing; no gradient overflows."""
    changes = {"focal_gamma": gamma, "asymmetric_gamma_negative": gamma}
    params = make_params(loss=loss, **changes, asymmetric_margin=0.0)
    sizes = [0.0, 1e-3, 20.0, 100.0, 3e4]
    for sign in (1.0, -1.0):
        for label in (0.0, 1.0):
            logits = torch.tensor([[sign * x for x in sizes]], dtype=dtype, requires_grad=True)
            value = compute_loss(logits, torch.full((1, 5), label), torch.ones(1, 5), params)
            value.backward()
            assert value.dtype == torch.float32
            assert torch.isfinite(value)
            assert torch.isfinite(logits.grad).all()
            is_wrong = (sign > 0) != (label > 0)
            assert value.item() > 1000 if is_wrong else value.item() < 0.4


def test_the_margin_forgives_easy_negatives() -> None:
    logits = torch.tensor([-4.0, -3.0, -2.0], dtype=torch.float64, requires_grad=True)
    _, negative = asymmetric_terms(logits, 0.0, 4.0, 0.05)  # p = 0.018, 0.047, 0.119
    negative.sum().backward()
    assert (negative[:2] == 0).all()
    assert (logits.grad[:2] == 0).all()
    assert negative[2] > 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_gradients_are_those_of_the_values(gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: focal_terms(x, gamma, 0.25, 0.75), logits)
    assert torch.autograd.gradcheck(lambda x: asymmetric_terms(x, gamma, gamma, 0.05), logits)


def test_class_weights_follow_their_formulas() -> None:
    labels = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 1, 1], [1, 0, 1, 1]]).bool()
    assert weigh_classes(labels, mask, make_params()) is None
    by_prevalence = weigh_classes(labels, mask, make_params(class_weights="prevalence"))
    # Attribute 0: 3 to 1; attributes 1 and 2 know one label only; attribute 3: 2 to 1.
    assert by_prevalence.tolist() == [[1, 1, 1, 1], [3, 1, 1, 2]]
    params = make_params(class_weights="effective", effective_beta=0.9)
    effective = weigh_classes(labels, mask, params).double().numpy()
    for column, counts in ((0, (3, 1)), (3, (2, 1))):
        raw = np.array([(1 - 0.9) / (1 - 0.9**n) for n in counts])
        assert effective[:, column] == pytest.approx(2 * raw / raw.sum(), rel=1e-6)
    assert effective[:, 1:3].tolist() == [[1, 1], [1, 1]]


def test_prevalence_balances_the_whole_loss() -> None:
    """With these factors both labels weigh the same at a logit of 0."""
    labels = (torch.rand(1000, 1, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    params = make_params(class_weights="prevalence")
    factors = weigh_classes(labels, torch.ones_like(labels), params)
    logits = torch.zeros(1000, 1, requires_grad=True)
    compute_loss(logits, labels, torch.ones_like(labels), params, factors).backward()
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-6)
