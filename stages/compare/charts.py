"""Charts of a comparison, in the site's style: learning curves, differences, cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from stages.compare.costs import count_operations
from stages.compare.ranking import Group, Ranking
from stages.report.figure import (
    GOLD,
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
from stages.report.words import compact, percent, points, shorten

#: Lines that can be told apart: by colour, then by dashes; each also bears its run's number.
LOOKS = tuple(
    (color, style) for style in ("-", (0, (4, 2.5))) for color in (TEAL, RUST, SLATE, GOLD)
)
Numbers = Mapping[str, int]


def draw_curves(ranking: Ranking, numbers: Numbers, name: str) -> Chart | None:
    """Accuracy on valid by epoch of every run of a ranking; None without any epoch."""
    rows = [row for row in ranking.rows if len(row.run.history)]
    if not rows:
        return None
    shown, others = rows[: len(LOOKS)], rows[len(LOOKS) :]
    with draw(1080, 400, left=62, right=44, bottom=46) as axes:
        last = max(int(row.run.history["epoch"].max()) for row in rows)
        for row in others:
            _draw_line(axes, row.run.history, MUTED, "-", 1)
        ends = []
        for row, (color, style) in zip(shown, LOOKS, strict=False):
            ends.append((_draw_line(axes, row.run.history, color, style, 2.2), row))
        base = 100 * shown[0].run.history["valid_majority"].iloc[-1]
        axes.axhline(base, color=MUTED, lw=1.2, ls=(0, (1, 2)))
        axes.set(xlabel="epoch", ylabel="accuracy on valid, per cent")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.set_xlim(0, last + 0.02 * last)
        axes.grid(False, axis="x")
        _number_ends(axes, ends, numbers)
        legend = [
            Legend(f"{numbers[row.run.name]} {row.run.name}", color, _shape(style))
            for row, (color, style) in zip(shown, LOOKS, strict=False)
        ]
        if others:
            legend.append(Legend(f"{len(others)} more", MUTED, "line"))
        told = "; ".join(
            f"{row.run.name} {percent(row.run.history['valid_accuracy'].max(), 2)} at best"
            for row in shown
        )
        alt = f"Mean accuracy on valid by epoch: {told}. The dotted line is the majority class."
        return finish(axes, name, alt, tuple(legend))


def _draw_line(axes: Axes, history: Any, color: str, style: Any, width: float) -> tuple[Any, Any]:
    y = 100 * history["valid_accuracy"]
    marker: dict[str, Any] = {"marker": "o", "markersize": 5} if len(history) < 30 else {}
    sns.lineplot(
        x=history["epoch"], y=y, color=color, ls=style, lw=width, ax=axes, errorbar=None,
        markeredgecolor=SURFACE, clip_on=False, **marker,
    )  # fmt: skip
    return float(history["epoch"].iloc[-1]), float(y.iloc[-1])


def _shape(style: Any) -> str:
    return "line" if style == "-" else "dash"


def _number_ends(axes: Axes, ends: Sequence[Any], numbers: Numbers) -> None:
    """Write each run's number at the end of its line, none over another."""
    low, high = axes.get_ylim()
    gap = 0.052 * (high - low)
    taken: dict[float, list[float]] = {}
    for (x, y), row in sorted(ends, key=lambda end: -end[0][1]):
        near = taken.setdefault(x, [])
        place = min(y, near[-1] - gap) if near else y
        near.append(place)
        axes.annotate(
            str(numbers[row.run.name]), (x, place), (7, 0), textcoords="offset points",
            va="center", color=INK, fontsize=11, annotation_clip=False,
        )  # fmt: skip


def draw_differences(group: Group, ranking: Ranking, numbers: Numbers, name: str) -> Chart | None:
    """Difference of each run's mean accuracy to the base's, with its interval."""
    base = group.base
    rows = []
    for row in ranking.rows:
        one = base and group.find_pair(ranking.partition, row.run, base)
        if one and not np.isnan(one.interval.mean_low):
            rows.append((row.run, one.interval))
    if base is None or not rows:
        return None
    height = 74 + 30 * len(rows)
    with draw(520, height, left=190, right=20, top=8, bottom=46) as axes:
        axes.axvline(0, color=MUTED, lw=1.4)
        for k, (_, interval) in enumerate(rows):
            is_clear = interval.mean_low > 0 or interval.mean_high < 0
            color = SLATE if not is_clear else TEAL if interval.mean > 0 else RUST
            axes.plot(
                [100 * interval.mean_low, 100 * interval.mean_high], [k, k], color=color, lw=2.4
            )
            face = color if is_clear else SURFACE
            axes.plot(100 * interval.mean, k, "o", ms=8, mfc=face, mec=color, mew=2)
        axes.set_yticks(
            range(len(rows)), [f"{numbers[run.name]} {shorten(run.name, 22)}" for run, _ in rows]
        )
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("difference, points of accuracy")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(False, axis="y")
        told = "; ".join(
            f"{run.name} {points(i.mean, 2)}, {points(i.mean_low, 2)} to {points(i.mean_high, 2)}"
            for run, i in rows
        )
        alt = f"Difference to {base.name} on {ranking.partition} in points, with interval: {told}."
        legend = (
            Legend("better", TEAL),
            Legend("worse", RUST),
            Legend("not told apart", SLATE, "ring"),
        )
        return finish(axes, name, alt, legend)


def draw_cost(ranking: Ranking, numbers: Numbers, name: str) -> Chart | None:
    """Accuracy against multiply-adds of one image; None where fewer than two are known."""
    known = []
    for row in ranking.rows:
        n = count_operations(row.run.model)
        if n and row.figures["accuracy"] == row.figures["accuracy"]:
            known.append((n, 100 * row.figures["accuracy"], row))
    if len({n for n, _, _ in known}) < 2:
        return None
    with draw(520, 320, left=62, right=30, bottom=46) as axes:
        axes.set_xscale("log")
        sns.scatterplot(
            x=[n for n, _, _ in known], y=[y for _, y, _ in known], color=TEAL, s=70, ax=axes,
            edgecolor=SURFACE, clip_on=False,
        )  # fmt: skip
        for n, y, row in known:
            axes.annotate(
                str(numbers[row.run.name]), (n, y), (8, 4), textcoords="offset points",
                color=INK, fontsize=12, annotation_clip=False,
            )  # fmt: skip
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shorten_count(value)))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="multiply-adds of one image", ylabel="accuracy, per cent")
        low, high = min(n for n, _, _ in known), max(n for n, _, _ in known)
        axes.set_xlim(low / 1.6, high * 1.6)
        axes.margins(y=0.15)
        told = "; ".join(
            f"{row.run.name} {shorten_count(n)}, {compact(y)} %" for n, y, row in known
        )
        return finish(axes, name, f"Accuracy on {ranking.partition} against multiply-adds: {told}.")


def shorten_count(value: float | None) -> str:
    """A large count in three digits: 105 M, 1.55 G."""
    if value is None or value != value:
        return "n/a"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}\u202f{letter}"
    return f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\u2212") if value else "0"
