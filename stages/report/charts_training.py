"""Charts about training, drawn by seaborn."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stages.report.figure import GOLD, GRID, RUST, SLATE, SURFACE, TEAL, Chart, Legend, draw, finish
from stages.report.words import compact, counted, percent

CURVE: dict[str, Any] = {
    "marker": "o",
    "markersize": 6,
    "markeredgewidth": 1,
    "markeredgecolor": SURFACE,
    "lw": 2,
    "clip_on": False,
}

#: With more epochs than this, lines where they end would fill the chart.
MAX_ENDS = 40


def draw_loss(history: pd.DataFrame, best: int) -> Chart:
    """Loss on the training and the valid partition, by epoch."""
    with draw(520, 320, left=48, bottom=46) as axes:
        _mark_best(axes, best)
        for column, color in (("train_loss", SLATE), ("valid_loss", TEAL)):
            sns.lineplot(data=history, x="epoch", y=column, color=color, ax=axes, **CURVE)
        _finish_epochs(axes, history)
        last = history.iloc[-1]
        return finish(
            axes,
            "loss",
            f"Loss by epoch: at the end {compact(last['train_loss'])} on train and "
            f"{compact(last['valid_loss'])} on valid; best epoch {best}.",
            (
                Legend("train", SLATE, "line"),
                Legend("valid", TEAL, "line"),
                Legend("best epoch", GOLD, "dash"),
            ),
        )


def draw_accuracy(history: pd.DataFrame, best: int) -> Chart:
    """Mean accuracy on the valid partition beside that of the majority class, by epoch."""
    shares = history.assign(
        valid_accuracy=100 * history["valid_accuracy"],
        valid_majority=100 * history["valid_majority"],
    )
    with draw(520, 320, left=48, bottom=46) as axes:
        _mark_best(axes, best)
        sns.lineplot(
            data=shares, x="epoch", y="valid_majority", color=RUST, ax=axes, ls=(0, (4, 3)), lw=2
        )
        sns.lineplot(data=shares, x="epoch", y="valid_accuracy", color=TEAL, ax=axes, **CURVE)
        if len(shares) == 1:
            axes.axhline(shares["valid_majority"].iloc[0], color=RUST, ls=(0, (4, 3)), lw=2)
        _finish_epochs(axes, history)
        return finish(
            axes,
            "accuracy",
            f"Mean accuracy on valid by epoch, best {percent(history['valid_accuracy'].max())}; "
            f"the majority class reaches {percent(history['valid_majority'].iloc[-1])}.",
            (
                Legend("valid", TEAL, "line"),
                Legend("majority class", RUST, "dash"),
                Legend("best epoch", GOLD, "dash"),
            ),
        )


def draw_learning_rate(schedule: pd.DataFrame, history: pd.DataFrame, best: int) -> Chart:
    """Learning rate by step, on the axis of epochs; lines where epochs end."""
    top, n_epochs = float(schedule["lr"].max()), len(history)
    with draw(520, 320, left=62, bottom=46) as axes:
        if n_epochs <= MAX_ENDS:
            for epoch in range(1, n_epochs + 1):
                axes.axvline(epoch, color=GRID, lw=1)
        _mark_best(axes, best)
        sns.lineplot(data=schedule, x="epoch", y="lr", estimator=None, color=TEAL, lw=2, ax=axes)
        axes.set(xlabel="epochs done", ylabel="")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlim(-0.02 * n_epochs, 1.02 * n_epochs)
        axes.set_ylim(0, 1.08 * top if top > 0 else 1)
        axes.grid(False, axis="x")
        axes.yaxis.set_major_formatter(lambda value, _: compact(value, 3))
        first, last = schedule["lr"].iloc[0], schedule["lr"].iloc[-1]
        at = schedule.loc[schedule["lr"].idxmax(), "epoch"]
        return finish(
            axes,
            "rate",
            f"Learning rate of the last layer over {counted(n_epochs, 'epoch')}: "
            f"{compact(first, 3)} at the start, at most {compact(top, 3)} after "
            f"{compact(at, 3)} epochs, {compact(last, 3)} at the end.",
            (Legend("learning rate", TEAL, "line"), Legend("best epoch", GOLD, "dash")),
        )


def _mark_best(axes: Axes, best: int) -> None:
    axes.axvline(best, color=GOLD, lw=1.6, ls=(0, (4, 3)))


def _finish_epochs(axes: Axes, history: pd.DataFrame) -> None:
    axes.set(xlabel="epoch", ylabel="")  # the card's heading names it
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlim(history["epoch"].min() - 0.3, history["epoch"].max() + 0.3)
    axes.grid(False, axis="x")
