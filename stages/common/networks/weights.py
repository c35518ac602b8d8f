"""Tensors from files into networks."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.common.errors import FacetError


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file.

    Raises:
        FacetError: the file is missing or is none.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FacetError(f"{path}: expected a .safetensors file; {error}") from None


def load_weights(
    network: nn.Module,
    state: dict[str, Tensor],
    last: str,
    keep_last: bool,
    source: str,
    added: tuple[str, ...] = (),
) -> None:
    """Copy `state` into `network`; the last layer only if `keep_last` and its shape fits.

    Args:
        network: What is filled.
        state: Tensors by name.
        last: Name of the last layer.
        keep_last: Whether the last layer is taken from `state`.
        source: What an error names.
        added: Names of further parts that `state` may lack.

    Raises:
        FacetError: any other tensor is missing, surplus or of another shape.
    """
    ours = network.state_dict()
    for name, tensor in state.items():
        is_last = name.startswith(f"{last}.")
        fits = name in ours and ours[name].shape == tensor.shape
        if not fits and not is_last:
            expected = tuple(ours[name].shape) if name in ours else "no such tensor"
            raise FacetError(f"{source}: {name}: expected {expected}; got {tuple(tensor.shape)}")
        if fits and (keep_last or not is_last):
            ours[name] = tensor
    free = tuple(f"{name}." for name in (last, *added))
    missing = [name for name in ours if name not in state and not name.startswith(free)]
    if missing:
        raise FacetError(f"{source}: expected {len(ours)} tensors; {missing[0]} is missing")
    network.load_state_dict(ours)
