"""What the failures of a step mean to whoever started the training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.common.errors import FacetError
from stages.common.params import TrainParams


def explain_step(error: RuntimeError, batch_size: int, params: TrainParams) -> Exception:
    """The error in the user's terms, where it is memory or compilation; else itself.

    Args:
        error: What a step of the training raised.
        batch_size: Images of a batch, all processes together.
        params: The whole section.
    """
    if is_memory(error):
        advice = f"Half of it with train.accumulate {2 * params.accumulate} takes the same steps"
        if params.sam_rho:
            advice = "Half of it takes less"  # there is no accumulation of such steps
        return FacetError(
            f"train.batch_size: expected a batch that fits into memory; got {batch_size}. {advice}"
        )
    if params.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)
        return FacetError(
            f"train.compile: expected a network that torch can compile; got {reason[:200]}. "
            "Install a C++ compiler (the package g++) where it lacks one, or set train.compile to "
            "false"
        )
    return error


@contextmanager
def explain_answers(params: TrainParams, n_images: int) -> Iterator[None]:
    """Around answers to `n_images` at a time: too little memory for them, in the user's terms.

    Raises:
        FacetError: memory does not hold them.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_memory(error):
            raise
        raise FacetError(
            f"train.network: expected one that answers {n_images} images at a time within memory; "
            f"got {params.network}. Smaller pictures (prepare.height_px, width_px) take less"
        ) from None


def is_memory(error: RuntimeError) -> bool:
    """Whether it says that memory, a GPU's or the machine's, is used up."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
