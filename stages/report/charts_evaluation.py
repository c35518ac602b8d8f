"""Charts about evaluation, drawn by seaborn."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from stages.report.charts_data import ROW_PX, label_rows
from stages.report.charts_training import CURVE
from stages.report.figure import (
    GOLD,
    GRID,
    INK,
    MUTED,
    RUST,
    SLATE,
    SURFACE,
    TEAL,
    Chart,
    Legend,
    draw,
    finish,
)
from stages.report.words import points, shorten


def draw_gain_strip(table: pd.DataFrame) -> Chart | None:
    """One bar per attribute: accuracy minus that of the majority class, in points."""
    gains = table.dropna(subset=["gain"]).sort_values("gain", ascending=False, kind="stable")
    if gains.empty:
        return None
    values = 100 * gains["gain"].to_numpy()
    with draw(560, 200, left=44, right=6, top=16, bottom=8) as axes:
        sns.barplot(
            x=np.arange(len(values)), y=values, hue=values > 0, palette={True: TEAL, False: RUST},
            saturation=1, errorbar=None, width=0.72, legend=False, ax=axes,
        )  # fmt: skip
        axes.axhline(0, color=MUTED, lw=1)
        axes.set(xlabel="", ylabel="gain, points", xticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(False, axis="x")
        low, high = min(0.0, values.min()), max(0.0, values.max())
        room = max(high - low, 1.0)
        axes.set_ylim(low - 0.16 * room, high + 0.14 * room)
        axes.annotate(
            f"{shorten(gains['attribute'].iloc[0])} {points(values[0] / 100)}",
            (0, values[0]), (-2, 5), textcoords="offset points", ha="left", color=INK,
        )  # fmt: skip
        axes.annotate(
            f"{shorten(gains['attribute'].iloc[-1])} {points(values[-1] / 100)}",
            (len(values) - 1, min(0.0, values[-1])), (4, -15), textcoords="offset points",
            ha="right", color=INK,
        )  # fmt: skip
        n_better = int((values > 0).sum())
        return finish(
            axes,
            "gains",
            f"Gain over the majority class for {len(values)} attributes: above it for {n_better}, "
            f"most for {gains['attribute'].iloc[0]}.",
        )


def draw_against_majority(table: pd.DataFrame, partition: str) -> Chart | None:
    """Accuracy of the model and of the majority class for every attribute, sorted by gain."""
    table = table.dropna(subset=["accuracy", "majority_accuracy"])
    table = table.sort_values("gain", ascending=True, kind="stable")
    if table.empty:
        return None
    model, majority = (
        100 * table["accuracy"].to_numpy(),
        100 * table["majority_accuracy"].to_numpy(),
    )
    rows, better = np.arange(len(table)), model > majority
    low = max(0.0, 5 * np.floor(min(model.min(), majority.min()) / 5 - 0.2))
    with draw(640, 56 + ROW_PX * len(table), left=158, bottom=44, top=8) as axes:
        colors = [TEAL if up else RUST for up in better]
        axes.hlines(rows, majority, model, color=colors, lw=3, alpha=0.5)
        sns.scatterplot(
            x=majority,
            y=rows,
            color=SURFACE,
            s=38,
            edgecolor=MUTED,
            linewidth=1.6,
            ax=axes,
            zorder=3,
        )
        sns.scatterplot(
            x=model, y=rows, hue=better, palette={True: TEAL, False: RUST}, s=56,
            edgecolor=SURFACE, linewidth=1, ax=axes, zorder=4, legend=False,
        )  # fmt: skip
        axes.set(xlabel="accuracy, per cent", xlim=(low, 100.8))
        label_rows(axes, table["attribute"].tolist())
        return finish(
            axes,
            f"majority-{partition}",
            f"Accuracy of the model and of the majority class on {partition}, per attribute, "
            "sorted by gain. The table below holds the same figures.",
            (
                Legend("majority class", MUTED, "ring"),
                Legend("model, above", TEAL),
                Legend("model, at or below", RUST),
            ),
        )


def draw_against_prevalence(
    table: pd.DataFrame, column: str, label: str, partition: str
) -> Chart | None:
    """A measure against prevalence, one dot per attribute, the lowest above chance named."""
    table = table.dropna(subset=["prevalence", column])
    if table.empty:
        return None
    x, y = 100 * table["prevalence"].to_numpy(), 100 * table[column].to_numpy()
    with draw(520, 400, left=58, bottom=48) as axes:
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        sns.scatterplot(
            x=x, y=y, color=TEAL, s=62, alpha=0.9, edgecolor=SURFACE, linewidth=1, ax=axes, zorder=3
        )
        axes.set(
            xlabel="prevalence, per cent",
            ylabel=f"{label}, per cent",
            xlim=(-2, 102),
            ylim=(-3, 103),
        )
        names = table["attribute"].tolist()
        above_chance = (y - x) / np.maximum(100 - x, 1)
        for k in _spread(x, y, np.argsort(above_chance, kind="stable")):
            right = x[k] > 60
            axes.annotate(
                shorten(names[k], 20), (x[k], y[k]), (-7 if right else 7, -4),
                textcoords="offset points", ha="right" if right else "left", color=INK, fontsize=11,
            )  # fmt: skip
        axes.grid(True, color=GRID)
        return finish(
            axes,
            f"{column.replace('_', '-')}-{partition}",
            f"{label} against prevalence on {partition} for {len(table)} attributes; "
            "the dashed line is what guessing reaches.",
            (Legend("an attribute", TEAL), Legend("guessing", MUTED, "dash")),
        )


def draw_thresholds(curves: pd.DataFrame, threshold: float, partition: str) -> Chart | None:
    """Precision, recall and F1 over all labels together, against the threshold."""
    sums = curves.groupby("threshold")[["tp", "fp", "fn"]].sum()
    if sums.empty:
        return None
    tp, fp, fn = (sums[name].astype(float) for name in ("tp", "fp", "fn"))
    shares: dict[str, Any] = {
        "precision": 100 * tp / (tp + fp).where(tp + fp > 0),
        "recall": 100 * tp / (tp + fn).where(tp + fn > 0),
        "F1": 200 * tp / (2 * tp + fp + fn).where(2 * tp + fp + fn > 0),
    }
    with draw(520, 400, left=58, bottom=48) as axes:
        axes.axvline(threshold, color=GOLD, lw=1.6, ls=(0, (4, 3)))
        for (name, values), color in zip(shares.items(), (SLATE, RUST, TEAL), strict=True):
            line = values.dropna()
            sns.lineplot(
                x=line.index, y=line.to_numpy(), color=color, lw=3 if name == "F1" else 2, ax=axes
            )
        axes.set(xlabel="threshold", ylabel="per cent", xlim=(-0.02, 1.02), ylim=(-3, 103))
        best = shares["F1"].dropna()
        note = f"; F1 is highest at {best.idxmax():.3g}" if len(best) else ""
        return finish(
            axes,
            f"threshold-{partition}",
            f"Micro precision, recall and F1 on {partition} against the decision threshold{note}.",
            (
                Legend("precision", SLATE, "line"),
                Legend("recall", RUST, "line"),
                Legend("F1", TEAL, "line"),
                Legend("threshold in use", GOLD, "dash"),
            ),
        )


def draw_reliability(
    bins: pd.DataFrame, scaled: pd.DataFrame | None, partition: str
) -> Chart | None:
    """Observed share of positives against the mean probability given, raw and scaled.

    Args:
        bins: n, mean_probability and observed per bin, of the raw probabilities.
        scaled: The same after temperature scaling; None where there is none.
        partition: Named in the alternative text.
    """
    drawn = [("as they are", bins, TEAL)]
    if scaled is not None:
        drawn.append(("scaled by temperature", scaled, RUST))
    drawn = [(name, table[table["n"] > 0], color) for name, table, color in drawn]
    if drawn[0][1].empty:
        return None
    with draw(520, 400, left=58, bottom=48) as axes:
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        for _, table, color in reversed(drawn):
            sns.lineplot(
                x=100 * table["mean_probability"], y=100 * table["observed"], color=color, ax=axes,
                **CURVE,
            )  # fmt: skip
        axes.set(
            xlabel="mean probability given, per cent", ylabel="labels that are positive, per cent",
            xlim=(-2, 102), ylim=(-3, 103),
        )  # fmt: skip
        return finish(
            axes,
            f"reliability-{partition}",
            f"Observed share of positive labels against the probability given, on {partition}"
            f"{', before and after temperature scaling' if scaled is not None else ''}.",
            (
                *(Legend(name, color, "line") for name, _, color in drawn),
                Legend("perfectly calibrated", MUTED, "dash"),
            ),
        )


def _spread(x: np.ndarray, y: np.ndarray, order: np.ndarray, limit: int = 6) -> list[int]:
    """The first places in `order` whose names do not overlap (in per cent of a 520 px chart)."""
    chosen: list[int] = []
    for k in order:
        if all(abs(y[k] - y[m]) > 5 or abs(x[k] - x[m]) > 38 for m in chosen):
            chosen.append(int(k))
        if len(chosen) == limit:
            break
    return chosen
