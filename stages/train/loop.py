"""The training loop, to be read from top to bottom. Lightning Fabric gives device and precision."""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from stages.common.errors import FacetError
from stages.common.losses import compute_loss, weigh_classes
from stages.common.metrics import count_confusion, mean_defined, score_confusion
from stages.common.networks import normalise
from stages.common.params import TrainParams
from stages.common.progress import make_progress
from stages.common.shards import PixelSet
from stages.train.checkpoint import Checkpoint
from stages.train.layers import set_training
from stages.train.optim import build_optimizer, build_schedule, judge_epoch
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


@dataclass(frozen=True)
class DeviceData:
    """A partition as tensors: images_u8 (N, H, W, 3) uint8, labels and mask (N, A) float32."""

    images_u8: Tensor
    labels: Tensor
    mask: Tensor


def make_fabric(params: TrainParams) -> Fabric:
    """Choose device and precision, make every operation deterministic, seed the weights' start.

    Raises:
        FacetError: cuda is asked for and not there, or bf16 without a GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    device = params.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise FacetError("train.device: expected auto or cpu, as no CUDA device is there; got cuda")
    if params.precision == "bf16" and device == "cpu":
        raise FacetError("train.precision: expected fp32 on a CPU; got bf16, which is for GPUs")
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(params.seed)
    precision = "bf16-mixed" if params.precision == "bf16" else "32-true"
    return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]


def fit(
    fabric: Fabric,
    network: nn.Module,
    train: PixelSet,
    valid: PixelSet,
    params: TrainParams,
    checkpoint: Checkpoint,
    state: dict[str, Any] | None,
    on_epoch: Callable[[Epoch], None],
) -> Fitted:
    """Train and return the weights of the epoch with the best mean accuracy on valid.

    Order, flips and dropout are a pure function of seed and epoch, so a run that resumes from
    `state` sees what an undisturbed one sees. A last batch that is not full is left out; the
    order changes every epoch, so no image is left out for long. Without known labels in valid
    the last epoch counts as best.

    Raises:
        FacetError: the loss is not finite, or memory does not hold a batch.
    """
    seen, held = to_device(train, fabric), to_device(valid, fabric)
    n_images = len(seen.labels)
    batch_size = min(params.batch_size, n_images)
    n_steps = n_images // batch_size
    bare_optimizer = build_optimizer(network, params)
    schedule = build_schedule(bare_optimizer, params, n_steps)
    model, optimizer = fabric.setup(network, bare_optimizer)
    factors = weigh_classes(seen.labels, seen.mask, params)
    factors = None if factors is None else fabric.to_device(factors)
    history: list[Epoch] = []
    best: dict[str, Tensor] = copy_weights(network)
    best_epoch = 0
    if state is not None:
        network.load_state_dict(state["network"])
        bare_optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history = [Epoch(**row) for row in state["history"]]
        best, best_epoch = state["best"], state["best_epoch"]
        log.info("train: resuming after epoch %d", len(history))

    with make_progress() as progress:
        task = progress.add_task("train", total=params.n_epochs * n_steps, note="")
        progress.advance(task, len(history) * n_steps)
        for epoch in range(len(history) + 1, params.n_epochs + 1):
            if should_stop(history, params):
                log.info("train: no better epoch in %d, stopping early", params.patience)
                break
            start = time.perf_counter()
            order, flips = draw_epoch(n_images, params, epoch)
            order, flips = order.to(seen.images_u8.device), flips.to(seen.images_u8.device)
            model.train()
            set_training(network, params.freeze)
            total = torch.zeros((), device=fabric.device)  # no wait for the GPU per step
            lr = bare_optimizer.param_groups[0]["lr"]
            for step in range(n_steps):
                rows = order[step * batch_size : (step + 1) * batch_size]
                images = normalise(fabric.to_device(seen.images_u8[rows]), params.network)
                images = flip_images(images, fabric.to_device(flips[rows]))
                labels = fabric.to_device(seen.labels[rows])
                mask = fabric.to_device(seen.mask[rows])
                optimizer.zero_grad()
                try:
                    loss = compute_loss(model(images), labels, mask, params, factors)
                    fabric.backward(loss)
                except torch.cuda.OutOfMemoryError:
                    raise FacetError(
                        "train.batch_size: expected a batch that fits in the GPU's memory; "
                        f"got {batch_size}"
                    ) from None
                optimizer.step()
                lr = bare_optimizer.param_groups[0]["lr"]
                if params.schedule != "plateau":
                    schedule.step()
                total += loss.detach()
                progress.advance(task)
            train_loss = total.item() / n_steps
            if not math.isfinite(train_loss):
                raise FacetError(
                    f"train.lr: expected a finite loss in epoch {epoch}; got {train_loss}. Try a "
                    f"lower rate than {params.lr:g}; the checkpoint keeps epoch {best_epoch}"
                )
            rate = n_steps * batch_size / (time.perf_counter() - start)
            valid_loss, valid_accuracy = validate(model, held, params, fabric, factors)
            if params.schedule == "plateau":
                schedule.step(judge_epoch(params, train_loss, valid_loss, valid_accuracy))
            history.append(Epoch(epoch, lr, train_loss, valid_loss, valid_accuracy, rate))
            previous = history[best_epoch - 1].valid_accuracy if best_epoch else -math.inf
            if math.isnan(valid_accuracy) or valid_accuracy > previous:
                best, best_epoch = copy_weights(network), epoch
            checkpoint.save(
                {
                    "network": copy_weights(network),
                    "optimizer": bare_optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "history": [asdict(row) for row in history],
                    "best": best,
                    "best_epoch": best_epoch,
                }
            )
            on_epoch(history[-1])
            text = (
                f"epoch {epoch}/{params.n_epochs}: loss {train_loss:.4f}, valid loss "
                f"{valid_loss:.4f}, valid accuracy {valid_accuracy:.4f} (best: epoch "
                f"{best_epoch}), {rate:.0f} images/s"
            )
            log.info("train: %s", text)
            progress.update(task, note=f"{rate:.0f} images/s, valid {valid_accuracy:.4f}")
    return Fitted(best, best_epoch, history)


def draw_epoch(n_images: int, params: TrainParams, epoch: int) -> tuple[Tensor, Tensor]:
    """Order (N,) int64 and flips (N,) bool by image index: functions of seed and epoch.

    Also seeds the global generator, which dropout draws from.
    """
    generator = torch.Generator().manual_seed(params.seed * 1_000_003 + epoch)
    order = torch.randperm(n_images, generator=generator)
    flips = torch.rand(n_images, generator=generator) < params.flip
    torch.manual_seed(params.seed * 1_000_003 + epoch)
    return order, flips


def flip_images(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the pictures (N, C, H, W) where flips (N,) is True."""
    return torch.where(flips[:, None, None, None], images.flip(3), images)


@torch.inference_mode()
def validate(
    model: nn.Module,
    held: DeviceData,
    params: TrainParams,
    fabric: Fabric,
    factors: Tensor | None,
) -> tuple[float, float]:
    """Loss over known labels and mean accuracy at 0.5, which is NaN without known labels."""
    model.eval()
    parts = [
        model(normalise(fabric.to_device(batch), params.network)).float()
        for batch in held.images_u8.split(VALID_BATCH)
    ]
    logits = torch.cat(parts)
    labels, mask = fabric.to_device(held.labels), fabric.to_device(held.mask)
    loss = compute_loss(logits, labels, mask, params, factors).item()
    confusion = count_confusion(
        (logits > 0).cpu().numpy(), held.labels.cpu().numpy(), held.mask.cpu().numpy() > 0
    )
    return loss, mean_defined(score_confusion(confusion)["accuracy"])


def to_device(part: PixelSet, fabric: Fabric) -> DeviceData:
    """Tensors of a partition; on the GPU if the pixels fill at most half of its free memory."""
    images = torch.from_numpy(part.pixels)
    labels = torch.from_numpy(part.labels).float()
    mask = torch.from_numpy(part.mask).float()
    device = fabric.device
    if device.type == "cuda" and part.pixels.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        images, labels, mask = images.to(device), labels.to(device), mask.to(device)
    return DeviceData(images, labels, mask)


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all tensors on the CPU, contiguous, as safetensors wants them."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
