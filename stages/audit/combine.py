"""From evidence to the probability that something is wrong, learned from planted errors.

Nobody knows which labels of a data set are wrong, but in a copy errors can be planted. They show
how evidence about wrong labels is distributed; the untouched labels show the mixture of right and
wrong. With h = log density of wrong / right, r the share planted and w the share wrong from the
start, a label of the copy was planted with odds

    r / (1 - r) * exp(h) / (1 - w + w * exp(h))

(logistic regression from contaminated controls: Ward et al., "Presence-only data and the EM
algorithm", Biometrics 65, 2009). Fitting h and w gives what is wanted: w is the suspected rate of
errors, and a label as it stands is wrong with odds w / (1 - w) * exp(h). Errors of annotators
are not random as planted ones are: both are as good as the likeness.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MAX_PAIRS = 500_000
CLIP = 12.0  # logits beyond say no more
HINGES = (0.0, 4.0)  # contradictions of these logits may count more than in proportion
SPREAD = 0.7  # of the kinds' log odds of being wrong around the common ones: a normal prior
PLAUSIBLE = (np.log(0.01 / 0.99), 1.5)  # prior of the common log odds: 1 %, from 0.05 to 16 %


@dataclass(frozen=True)
class Combiner:
    """slopes: (K,) of the terms, none negative. offset: of h. common: logit of w over all kinds.

    prior: (A,) logits of each kind's w. prior_error: (A,) their standard errors.

    Single labels are judged by the common w: a kind's own is known too badly to be worth it (with
    it the average precision of planted flips fell from 0.772 to 0.770).
    """

    slopes: Tensor
    offset: Tensor
    common: Tensor
    prior: Tensor
    prior_error: NDArray[np.float64]

    def weigh(self, doubt: NDArray[np.float32], extra: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log density h (N, A) of wrong over right. See fit_combiner for the arguments."""
        return (list_terms(doubt, extra) @ self.slopes + self.offset).numpy()

    def judge(
        self,
        doubt: NDArray[np.float32],
        extra: NDArray[np.float32],
        planted: float = 0.0,
    ) -> NDArray[np.float32]:
        """Probability (N, A) float32 that the label is wrong.

        Args:
            doubt: See fit_combiner.
            extra: See fit_combiner.
            planted: Share of labels that were flipped on top of what was wrong.
        """
        w = float(torch.sigmoid(self.common))
        odds = (w + planted / (1 - planted)) / (1 - w)
        logit = self.weigh(doubt, extra) + np.log(odds)
        return (1 / (1 + np.exp(-logit))).astype(np.float32)

    def guess_planted(
        self, doubt: NDArray[np.float32], extra: NDArray[np.float32], planted: float
    ) -> NDArray[np.float32]:
        """Probability (N, A) that the label was flipped, in a copy with that share planted."""
        h = torch.from_numpy(self.weigh(doubt, extra))
        return torch.sigmoid(_planted_logit(h, self.common, planted)).numpy()

    def rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Suspected share of errors (A,), and the ends of its 95 % interval."""
        u = self.prior.numpy().astype(np.float64)
        ends = (u + z * self.prior_error for z in (0.0, -1.96, 1.96))
        middle, low, high = (1 / (1 + np.exp(-end)) for end in ends)
        return middle, low, high


def list_terms(doubt: NDArray[np.float32], extra: NDArray[np.float32]) -> Tensor:
    """Terms (N, A, K) of h; each grows with the doubt or is a constant 0."""
    d = torch.from_numpy(np.clip(doubt, -CLIP, CLIP).astype(np.float32))
    terms = [d, *(functional.softplus(d - hinge) for hinge in HINGES), torch.from_numpy(extra)]
    return torch.stack(terms, -1) / 4


@contextmanager
def same_sums() -> Iterator[None]:
    """Gradients that several threads add up come in the same order each time (and sooner).

    Without it torch sums the labels of a kind in the order in which threads arrive, and rates
    differed in the third digit from run to run.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


@same_sums()
def fit_combiner(
    doubt: NDArray[np.float32],
    extra: NDArray[np.float32],
    planted: NDArray[np.bool_],
    known: NDArray[np.bool_],
    share: float,
    seed: int,
) -> Combiner:
    """Fit slopes, offset and the rates of the A kinds of label by maximum posterior.

    Args:
        doubt: (N, A) float32, logits against the label, from evidence that does not contain it.
        extra: (N, A) float32, at least 0: further evidence against it.
        planted: (N, A) bool, which labels were flipped.
        known: (N, A) bool, which labels there are.
        share: Of the known labels that were flipped.
        seed: Of the choice of MAX_PAIRS labels where there are more.
    """
    n_kinds = doubt.shape[1]
    row, kind = np.nonzero(known)
    if len(row) > MAX_PAIRS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(row))[:MAX_PAIRS])
        row, kind = row[chosen], kind[chosen]
    terms = list_terms(doubt[row, kind], extra[row, kind])
    truth = torch.from_numpy(planted[row, kind].astype(np.float32))
    which = torch.from_numpy(kind)
    n_terms = terms.shape[-1]
    start = torch.full((n_terms,), -1.0)
    start[0] = 3.0
    theta = torch.cat([start, torch.zeros(1), torch.full((1,), PLAUSIBLE[0]), torch.zeros(n_kinds)])

    def loss(theta: Tensor) -> Tensor:
        h = terms @ functional.softplus(theta[:n_terms]) + theta[n_terms]
        prior = theta[n_terms + 1] + theta[n_terms + 2 :]
        logit = _planted_logit(h, prior[which], share)
        error = functional.binary_cross_entropy_with_logits(logit, truth, reduction="sum")
        spread = (theta[n_terms + 2 :] / SPREAD).square().sum() / 2
        common = ((theta[n_terms + 1] - PLAUSIBLE[0]) / PLAUSIBLE[1]).square() / 2
        return error + spread + common + 0.05 * theta[: n_terms + 1].square().sum()

    theta = theta.requires_grad_()
    optimizer = torch.optim.LBFGS([theta], max_iter=150, line_search_fn="strong_wolfe")
    scale = 100 / max(len(row), 1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(theta) * scale
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type, no-untyped-call]
    theta = theta.detach()
    hessian = torch.autograd.functional.hessian(loss, theta).double()  # type: ignore[no-untyped-call]
    covariance = torch.linalg.pinv(hessian, hermitian=True)
    common, own = n_terms + 1, torch.arange(n_terms + 2, n_terms + 2 + n_kinds)
    variance = covariance[common, common] + covariance[own, own] + 2 * covariance[common, own]
    return Combiner(
        functional.softplus(theta[:n_terms]),
        theta[n_terms],
        theta[common],
        theta[common] + theta[own],
        variance.clamp(min=0).sqrt().numpy(),
    )


def _planted_logit(h: Tensor, prior: Tensor, share: float) -> Tensor:
    """Log odds that a label was planted; see the module."""
    right = functional.logsigmoid(-prior).expand_as(h)
    wrong = functional.logsigmoid(prior) + h
    return float(np.log(share / (1 - share))) + h - torch.logaddexp(right, wrong)
