"""The learning rate as it was, in as few rows as draw it: reports/train/schedule.csv."""

import csv
import io
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stages.common.params import TrainParams
from stages.train.optim import judge_epoch, trace_rates

#: Straight lines between the rows stay this near to every step's rate, as a share of the largest.
TOLERANCE = 1e-3
#: More rows than this say no more to the eye: evenly spread ones are kept.
MAX_ROWS = 600


class Trained(Protocol):
    """An epoch with its losses, and its accuracy on valid; NaN where undefined."""

    @property
    def train_loss(self) -> float: ...  # noqa: D102
    @property
    def valid_loss(self) -> float: ...  # noqa: D102
    @property
    def valid_accuracy(self) -> float: ...  # noqa: D102


def format_schedule(params: TrainParams, steps_per_epoch: int, history: Sequence[Trained]) -> str:
    """schedule.csv: step (from 0), epochs done before it, and the rate it took, of the last layer.

    Of the epochs that ran; nothing but its header where none did. Lines between the rows give the
    rates of the steps that are left out to within TOLERANCE.
    """
    judged = [
        judge_epoch(params, row.train_loss, row.valid_loss, row.valid_accuracy) for row in history
    ]
    rates = trace_rates(params, steps_per_epoch, judged)[: len(history) * steps_per_epoch]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "epoch", "lr"])
    for step in thin_curve(rates):
        writer.writerow([step, f"{step / steps_per_epoch:.6g}", f"{rates[step]:.6g}"])
    return text.getvalue()


def thin_curve(values: np.ndarray) -> list[int]:
    """Places of (n,) values that are kept, ascending, the first and the last among them.

    Ramer (1972) and Douglas & Peucker (1973), with distances along the axis of the values: a
    stretch is halved where it is farthest from its chord.
    """
    if len(values) < 3:
        return list(range(len(values)))
    limit = TOLERANCE * float(np.abs(values).max())
    kept, waiting = {0, len(values) - 1}, [(0, len(values) - 1)]
    while waiting and len(kept) <= MAX_ROWS:
        first, last = waiting.pop()
        chord = np.linspace(values[first], values[last], last - first + 1)
        distance = np.abs(values[first : last + 1] - chord)
        worst = int(distance.argmax())
        if distance[worst] > limit:
            kept.add(first + worst)
            waiting += [(first, first + worst), (first + worst, last)]
    if len(kept) <= MAX_ROWS:
        return sorted(kept)
    return np.linspace(0, len(values) - 1, MAX_ROWS).round().astype(int).tolist()
