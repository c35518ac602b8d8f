"""When to stop before the last epoch."""

import math
from collections.abc import Sequence
from typing import Protocol

from stages.common.params import TrainParams


class Judged(Protocol):
    """An epoch with its figures on valid; NaN without known labels."""

    @property
    def valid_loss(self) -> float: ...  # noqa: D102
    @property
    def valid_accuracy(self) -> float: ...  # noqa: D102


def should_stop(history: Sequence[Judged], params: TrainParams) -> bool:
    """Whether the last `patience` epochs were no better than those before, by `patience_on`.

    `either` goes on while accuracy rises or loss falls, as kkaryl's training does after its epoch
    30 (patience_from_epoch). As there, a more accurate epoch sets the loss to fall below, though it
    were a larger one: hence its published run, most accurate in epoch 36, ended with 61 and not
    with 46. The first epoch is better than none, and one without known labels counts as better, as
    nothing says otherwise.
    """
    if params.patience is None or len(history) < params.patience_from_epoch:
        return False
    last_better = 0
    best_accuracy, best_loss = -math.inf, math.inf
    for epoch, row in enumerate(history, start=1):
        is_more_accurate = math.isnan(row.valid_accuracy) or row.valid_accuracy > best_accuracy
        has_less_loss = math.isnan(row.valid_loss) or row.valid_loss < best_loss
        if is_more_accurate:
            best_accuracy = row.valid_accuracy
        if has_less_loss or (is_more_accurate and params.patience_on == "either"):
            best_loss = row.valid_loss
        if (is_more_accurate and params.patience_on != "loss") or (
            has_less_loss and params.patience_on != "accuracy"
        ):
            last_better = epoch
    return len(history) - last_better >= params.patience
