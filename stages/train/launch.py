"""Device, precision and processes of a training."""

import os

import torch
from lightning_fabric import Fabric

from stages.common.errors import FacetError
from stages.common.params import TrainParams


def make_fabric(params: TrainParams) -> Fabric:
    """Choose device and precision, make every operation deterministic, seed the weights' start.

    With `devices` above 1 the other processes of this node start when it is launched, as copies of
    the command that started this one; under torchrun they are there already.

    Raises:
        FacetError: cuda is asked for and not there, or has fewer devices, or bf16 without a GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    device = params.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise FacetError("train.device: expected auto or cpu, as no CUDA device is there; got cuda")
    if device == "cuda" and params.devices > torch.cuda.device_count():
        raise FacetError(
            f"train.devices: expected at most {torch.cuda.device_count()}, as many as there are; "
            f"got {params.devices}"
        )
    if params.precision == "bf16" and device == "cpu":
        raise FacetError("train.precision: expected fp32 on a CPU; got bf16, which is for GPUs")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(params.seed)
    return Fabric(
        accelerator=device,
        devices=params.devices,
        num_nodes=params.n_nodes,
        strategy="ddp" if params.devices * params.n_nodes > 1 else "auto",
        precision="bf16-mixed" if params.precision == "bf16" else "32-true",
    )
