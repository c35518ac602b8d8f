"""Raw probabilities of a trained model."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.common.errors import FacetError
from stages.common.files import hash_file, read_json
from stages.common.mirror import mirrored
from stages.common.networks import build_network, normalise, read_structure, read_weights
from stages.common.progress import track


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in evaluation mode, Mirrored where it was trained so, and model.json.

    Raises:
        FacetError: a file is missing, or the weights are not those that model.json names.
    """
    model: dict[str, Any] = read_json(folder / "model.json")
    path = folder / "weights.safetensors"
    state = read_weights(path)
    if (got := hash_file(path)) != model["weights_sha256"]:
        raise FacetError(f"{path}: expected SHA-256 {model['weights_sha256']}; got {got}")
    network = build_network(
        model["network"],
        len(model["attributes"]),
        model["height_px"],
        model["width_px"],
        dropout=0.0,
        weights="none",
        **read_structure(model["train"]),
    )
    network.load_state_dict(state)
    return mirrored(network, model["train"]).eval(), model


@torch.inference_mode()
def predict(network: nn.Module, name: str, pixels: np.ndarray, batch_size: int) -> np.ndarray:
    """Sigmoid probabilities (N, A) float32 of pixels (N, H, W, 3) uint8 RGB, in fp32.

    On the GPU where there is one. No calibration.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic on a GPU too
    torch.use_deterministic_algorithms(True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device)
    n = len(pixels)
    starts = range(0, n, batch_size)
    parts = []
    for start in track(starts, "evaluate", len(starts)):
        batch = torch.from_numpy(pixels[start : start + batch_size]).to(device)
        parts.append(network(normalise(batch, name)).sigmoid().float().cpu().numpy())
    return np.concatenate(parts)
