import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.common.params import TrainParams, load_params
from stages.train.stopping import should_stop

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml").train


def last_epoch(accuracies: list[float], losses: list[float], **changes: Any) -> int | None:
    """The number of epochs after which training stops, or None."""
    params = TrainParams.model_validate({**SHIPPED.model_dump(), **changes})
    rows = [
        SimpleNamespace(valid_accuracy=accuracy, valid_loss=loss)
        for accuracy, loss in zip(accuracies, losses, strict=True)
    ]
    stops = [n for n in range(len(rows) + 1) if should_stop(rows[:n], params)]
    return stops[0] if stops else None


FLAT, RISING = [0.9] * 60, [0.5 + epoch / 1000 for epoch in range(60)]
FALLING = [1 - epoch / 1000 for epoch in range(60)]
STILL = [0.3] * 60
NAN = [math.nan] * 60


@pytest.mark.parametrize(
    ("accuracies", "losses", "changes", "expected"),
    [
        pytest.param(FLAT, STILL, {"patience": None}, None, id="never"),
        pytest.param(FLAT, FALLING, {"patience": 3}, 4, id="accuracy alone"),
        pytest.param(RISING, STILL, {"patience": 3}, None, id="accuracy rises"),
        pytest.param(RISING, STILL, {"patience": 3, "patience_on": "loss"}, 4, id="loss alone"),
        pytest.param(FLAT, FALLING, {"patience": 3, "patience_on": "loss"}, None, id="loss falls"),
        pytest.param(FLAT, FALLING, {"patience": 3, "patience_on": "either"}, None, id="one is"),
        pytest.param(RISING, STILL, {"patience": 3, "patience_on": "either"}, None, id="other is"),
        pytest.param(FLAT, STILL, {"patience": 3, "patience_on": "either"}, 4, id="neither is"),
        pytest.param(FLAT, STILL, {"patience": 3, "patience_from_epoch": 30}, 30, id="not early"),
        pytest.param(NAN, NAN, {"patience": 3, "patience_on": "either"}, None, id="nothing known"),
        pytest.param(
            [*RISING[:36], *FLAT[:24]], [*STILL[:1], *STILL[:59]],
            {"patience": 10, "patience_on": "either", "patience_from_epoch": 30}, 47,
            id="kkaryl: ten epochs after the best",
        ),
    ],
)  # fmt: skip
def test_training_stops_when_it_gets_no_better(
    accuracies: list[float], losses: list[float], changes: dict[str, Any], expected: int | None
) -> None:
    assert last_epoch(accuracies, losses, **changes) == expected


def test_a_more_accurate_epoch_sets_the_loss_to_fall_below() -> None:
    # kkaryl's published epochs 25, 36, 44 and 51; it ran 61.
    accuracies = [*RISING[:36], *[0.5] * 25]
    losses = [0.006200] * 61
    losses[24], losses[35], losses[43], losses[50] = 0.0061215, 0.0061405, 0.0061255, 0.0061024
    changes = {"patience": 10, "patience_on": "either", "patience_from_epoch": 31}
    assert last_epoch(accuracies, losses, **changes) == 61


def test_the_best_of_all_epochs_counts_not_the_one_before() -> None:
    swings = [0.9, 0.5, 0.6, 0.7, 0.8, 0.85]
    assert last_epoch(swings, STILL[:6], patience=4) == 5
