"""The training loop, to be read from top to bottom.

Lightning Fabric gives launch, precision and the averaging of gradients across processes. What it
is fed with is in feed.py, what it minimises in common/losses.py.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.losses import compute_loss
from stages.common.metrics import count_confusion, mean_defined, score_confusion
from stages.common.mirror import mirrored
from stages.common.networks import normalise
from stages.common.params import TrainParams
from stages.common.progress import make_progress
from stages.train.averaging import WeightAverage
from stages.train.failures import explain_answers, explain_step
from stages.train.feed import Batch, Feed, Held
from stages.train.layers import set_training
from stages.train.optim import build_optimizer, build_schedule, judge_epoch
from stages.train.sharpness import moved_uphill
from stages.train.stopping import should_stop

log = logging.getLogger(__name__)

#: Images per batch of validation: larger ones are no faster on a CPU and cost memory.
VALID_BATCH = 64


@dataclass(frozen=True)
class Epoch:
    """Numbers of one epoch (from 1); NaN where undefined. images_per_s goes to MLflow only."""

    epoch: int
    lr: float
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    images_per_s: float

    def metrics(self) -> dict[str, float]:
        """All defined numbers by name, without the epoch."""
        numbers = {name: value for name, value in asdict(self).items() if name != "epoch"}
        return {name: value for name, value in numbers.items() if value == value}


@dataclass(frozen=True)
class Fitted:
    """The best epoch's weights (on the CPU) and the history of all epochs."""

    weights: dict[str, Tensor]
    best_epoch: int
    history: list[Epoch]


def fit(
    fabric: Fabric,
    network: nn.Module,
    feed: Feed,
    held: Held,
    params: TrainParams,
    factors: Tensor | None,
    save: Callable[[dict[str, Any]], None] | None,
    state: dict[str, Any] | None,
    on_epoch: Callable[[Epoch], None],
    generation: int = 1,
) -> Fitted:
    """Train and return the weights of the epoch with the best mean accuracy on valid.

    Order, augmentation and dropout are a pure function of seed and epoch, so a run that resumes
    from `state` sees what an undisturbed one sees. A last batch that is not full is left out, and
    so are batches that do not fill a step of `accumulate`; the order changes every epoch, so no
    image is left out for long. Without known labels in valid the last epoch counts as best.

    With several processes each takes its share of every batch, and the loss is divided by what is
    known in the whole batch, so that the step is that of one process. Batch norms normalise by
    their own process's share; the first process's running statistics are kept.

    Args:
        fabric: Launched.
        network: On the CPU; its best weights are returned, it keeps the last.
        feed: The training images.
        held: The validation images; the first process looks at them for all.
        params: The whole section.
        factors: (2, A) of weigh_classes, or None.
        save: Keeps what a checkpoint shall hold, after each epoch; None = nothing is kept.
        state: What a checkpoint held, in every process; None to start anew.
        on_epoch: Called by the first process after each epoch.
        generation: Which of `generations` this is, from 1, for whoever watches.

    Raises:
        FacetError: loss or weights are not finite, memory does not hold a batch, or torch cannot
            compile the network.
    """
    n_steps = feed.n_steps // params.accumulate
    if n_steps == 0:
        raise FacetError(
            f"train.accumulate: expected at most the {feed.n_steps} batches of an epoch; got "
            f"{params.accumulate}"
        )
    bare_optimizer = build_optimizer(network, params)
    schedule = build_schedule(bare_optimizer, params, n_steps)
    runner: nn.Module = network
    if params.compile:
        runner = torch.compile(network)  # type: ignore[assignment]
    model, optimizer = fabric.setup(runner, bare_optimizer)
    judge = mirrored(runner, params.model_dump())
    average = WeightAverage(network, params.ema_decay) if params.ema_decay else None
    factors = None if factors is None else fabric.to_device(factors)
    history: list[Epoch] = []
    best, best_epoch = copy_weights(network), 0
    if state is not None:
        network.load_state_dict(state["network"])
        bare_optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        if average is not None:
            average.load_state_dict(state["average"])
        history = [Epoch(**row) for row in state["history"]]
        best, best_epoch = state["best"], state["best_epoch"]
        log.info("train: resuming after epoch %d", len(history))

    with make_progress(fabric.is_global_zero) as progress:
        n_before = (generation - 1) * params.n_epochs
        n_total = params.generations * params.n_epochs
        task = progress.add_task("train", total=n_total * n_steps, note="")
        progress.advance(task, (n_before + len(history)) * n_steps)
        title = f"generation {generation}/{params.generations}, " if params.generations > 1 else ""
        for epoch in range(len(history) + 1, params.n_epochs + 1):
            if should_stop(history, params):
                log.info("train: no better epoch in %d, stopping early", params.patience)
                break
            start = time.perf_counter()
            # Dropout draws from it: the processes' parts of a batch are not dropped alike.
            torch.manual_seed(params.seed * 1_000_003 + epoch + 7_919 * fabric.global_rank)
            set_training(network, params.freeze)
            total = torch.zeros((), device=fabric.device)  # no wait for the GPU per step
            lr = bare_optimizer.param_groups[0]["lr"]
            try:
                for place, batch in enumerate(feed.epoch(epoch), start=1):
                    step, part = divmod(place, params.accumulate)
                    if step == n_steps and part:
                        break
                    with fabric.no_backward_sync(model, enabled=part != 0):
                        loss = batch_loss(model(batch.images), batch, params, factors, fabric)
                        fabric.backward(loss / params.accumulate)
                    total += loss.detach()
                    if part:
                        continue
                    if params.sam_rho:
                        with moved_uphill(network, params.sam_rho):
                            loss = batch_loss(model(batch.images), batch, params, factors, fabric)
                            fabric.backward(loss)
                    if params.clip_norm is not None:
                        fabric.clip_gradients(
                            model, optimizer, max_norm=params.clip_norm, error_if_nonfinite=False
                        )
                    optimizer.step()
                    optimizer.zero_grad()
                    if average is not None:
                        average.update(network)
                    lr = bare_optimizer.param_groups[0]["lr"]
                    if params.schedule != "plateau":
                        schedule.step()
                    rate = place * feed.batch_size / (time.perf_counter() - start)
                    progress.update(
                        task,
                        advance=1,
                        description=f"{title}epoch {epoch}/{params.n_epochs}",
                        note=describe_state(rate, history, best_epoch),
                    )
            except RuntimeError as error:
                explained = explain_step(error, feed.batch_size, params)
                if explained is error:
                    raise
                raise explained from None
            n_batches = n_steps * params.accumulate
            train_loss = average_over(fabric, total).item() / n_batches
            # The loss of an epoch's last step is taken before the step, which may ruin the weights.
            if not (math.isfinite(train_loss) and is_finite(network)):
                kept = f"epoch {len(history)}" if history else "no epoch"
                got = "weights that are not" if math.isfinite(train_loss) else f"{train_loss}"
                raise FacetError(
                    f"train.lr: expected a finite loss in epoch {epoch}; got {got}. Try a lower "
                    f"rate than {params.lr:g}; the checkpoint keeps {kept}"
                )
            rate = n_batches * feed.batch_size / (time.perf_counter() - start)
            averaged = average.applied(network) if average is not None else nullcontext()
            with averaged:
                judged = (math.nan, math.nan)
                if fabric.is_global_zero:
                    judged = validate(judge, held, params, factors, fabric)
                valid_loss, valid_accuracy = fabric.broadcast(judged)
                previous = history[best_epoch - 1].valid_accuracy if best_epoch else -math.inf
                if math.isnan(valid_accuracy) or valid_accuracy > previous:
                    best, best_epoch = copy_weights(network), epoch
            if params.schedule == "plateau":
                schedule.step(judge_epoch(params, train_loss, valid_loss, valid_accuracy))
            history.append(Epoch(epoch, lr, train_loss, valid_loss, valid_accuracy, rate))
            if save is not None:
                save(
                    {
                        "network": copy_weights(network),
                        "optimizer": bare_optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "average": None if average is None else average.state_dict(),
                        "history": [asdict(row) for row in history],
                        "best": best,
                        "best_epoch": best_epoch,
                    }
                )
            if fabric.is_global_zero:
                on_epoch(history[-1])
            log.info(
                "train: %sepoch %d/%d: loss %.4f, valid loss %.4f, valid accuracy %.4f (best: "
                "epoch %d), %.0f images/s",
                *(title, epoch, params.n_epochs, train_loss, valid_loss, valid_accuracy),
                *(best_epoch, rate),
            )
    return Fitted(best, best_epoch, history)


def batch_loss(
    logits: Tensor, batch: Batch, params: TrainParams, factors: Tensor | None, fabric: Fabric
) -> Tensor:
    """The loss of a batch; of a mixed one both losses, mixed by its weight."""

    def find(labels: Tensor, mask: Tensor) -> Tensor:
        known = average_over(fabric, mask.sum(0)) if fabric.world_size > 1 else None
        return compute_loss(logits, labels, mask, params, factors, known)

    loss = find(batch.labels, batch.mask)
    if batch.other_labels is None or batch.other_mask is None:
        return loss
    return batch.weight * loss + (1 - batch.weight) * find(batch.other_labels, batch.other_mask)


def average_over(fabric: Fabric, values: Tensor) -> Tensor:
    """Mean of a tensor over all processes, in each of them."""
    mean = fabric.all_reduce(values, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return mean


@torch.inference_mode()
def validate(
    network: nn.Module, held: Held, params: TrainParams, factors: Tensor | None, fabric: Fabric
) -> tuple[float, float]:
    """Loss over known labels and mean accuracy at 0.5, both NaN without known labels."""
    network.eval()
    with explain_answers(params, VALID_BATCH), fabric.autocast():
        logits = torch.cat(
            [network(normalise(x, params.network)).float() for x in held.batches(VALID_BATCH)]
        )
    is_known = bool(held.mask.any())
    loss = compute_loss(logits, held.labels, held.mask, params, factors).item()
    confusion = count_confusion(
        (logits > 0).cpu().numpy(), held.labels.cpu().numpy(), held.mask.cpu().numpy() > 0
    )
    accuracy = mean_defined(score_confusion(confusion)["accuracy"])
    return loss if is_known else math.nan, accuracy


def is_finite(network: nn.Module) -> bool:
    """Whether all weights and statistics are."""
    tensors = network.state_dict().values()
    return all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point())


def describe_state(rate: float, history: list[Epoch], best_epoch: int) -> str:
    """Speed and what is best so far, for the progress bar: short enough for 80 characters."""
    text = f"{rate:,.0f} img/s"
    if best_epoch:
        text += f", best {history[best_epoch - 1].valid_accuracy:.4f} (epoch {best_epoch})"
    return text


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all tensors on the CPU, contiguous, as safetensors wants them."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
