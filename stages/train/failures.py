"""What the failures of a step mean to whoever started the training."""

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
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
        return FacetError(
            f"train.batch_size: expected a batch that fits into memory; got {batch_size}. Half of "
            f"it with train.accumulate {2 * params.accumulate} takes the same steps"
        )
    if params.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)
        return FacetError(
            f"train.compile: expected a network that torch can compile; got {reason[:200]}. "
            "Install a C++ compiler (the package g++) where it lacks one, or set train.compile to "
            "false"
        )
    return error
