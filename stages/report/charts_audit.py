"""Charts about what the audit doubts, and about how far it can be trusted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from stages.report.charts_data import ROW_PX, label_rows
from stages.report.charts_training import CURVE
from stages.report.figure import INK, MUTED, RUST, SLATE, SURFACE, TEAL, Chart, Legend, draw, finish
from stages.report.words import percent, shorten

#: Column of by_attribute.csv -> what it is called, and its colour, in the order of drawing.
COUNTS = (
    ("n_mislabel", "probably wrong", TEAL),
    ("n_label_conflict", "copies disagree", RUST),
    ("n_label_rule", "a rule is broken", SLATE),
)


def draw_error_rates(table: pd.DataFrame, limit: int = 40) -> Chart | None:
    """Suspected share of wrong labels per attribute with its interval, the highest on top.

    Args:
        table: attribute, error_rate, error_rate_low, error_rate_high in [0, 1].
        limit: Attributes shown.
    """
    table = table.dropna(subset=["error_rate"])
    table = table.sort_values("error_rate", ascending=False, kind="stable")[:limit][::-1]
    if table.empty:
        return None
    rows = np.arange(len(table))
    columns = ("error_rate", "error_rate_low", "error_rate_high")
    rate, low, high = (100 * table[name].to_numpy(float) for name in columns)
    with draw(560, 56 + ROW_PX * len(table), left=158, bottom=44, top=8) as axes:
        axes.hlines(rows, low, high, color=TEAL, lw=2.2, alpha=0.4)
        sns.scatterplot(
            x=rate, y=rows, color=TEAL, s=46, edgecolor=SURFACE, linewidth=1, ax=axes, zorder=3
        )
        axes.set(xlabel="labels that are probably wrong, per cent")
        axes.set_xlim(left=0)
        label_rows(axes, table["attribute"].tolist())
        return finish(
            axes,
            "error-rates",
            f"Suspected share of wrong labels for {len(table)} attributes: "
            f"{percent(rate[-1] / 100)} for {table['attribute'].iloc[-1]}, "
            f"{percent(rate[0] / 100)} for {table['attribute'].iloc[0]}. "
            "The table holds the figures.",
            (Legend("estimate", TEAL), Legend("interval", TEAL, "line")),
        )


def draw_calibration(bins: Sequence[dict[str, Any]]) -> Chart | None:
    """Of labels called wrong with a probability, the share that had been turned round.

    Args:
        bins: n, said (mean probability) and was (share turned round) of each.
    """
    table = pd.DataFrame(bins, columns=["n", "said", "was"])
    table = table[table["n"] > 0].dropna()
    if table.empty:
        return None
    with draw(520, 360, left=58, bottom=48) as axes:
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        x, y = (100 * table[name].astype(float) for name in ("said", "was"))
        sns.lineplot(x=x, y=y, color=TEAL, ax=axes, **CURVE)
        axes.set(
            xlabel="probability given that a label was turned, per cent",
            ylabel="labels that were, per cent", xlim=(-2, 102), ylim=(-3, 103),
        )  # fmt: skip
        return finish(
            axes,
            "calibration",
            "Share of labels that were turned round against the probability that the audit gave.",
            (Legend("audit", TEAL, "line"), Legend("perfectly calibrated", MUTED, "dash")),
        )


def draw_doubted_labels(table: pd.DataFrame, limit: int = 20) -> Chart | None:
    """Findings per attribute, the attributes with most on top; None where there are none."""
    columns = [entry for entry in COUNTS if entry[0] in table.columns]
    counts = table.set_index("attribute")[[name for name, *_ in columns]].fillna(0)
    counts = counts.loc[:, counts.sum() > 0]
    counts["all"] = counts.sum(axis=1)
    counts = counts[counts["all"] > 0].sort_values("all", ascending=False, kind="stable")[:limit]
    if counts.empty:
        return None
    shown = [entry for entry in columns if entry[0] in counts.columns]
    names = [shorten(name, 22) for name in counts.index]
    with draw(560, 60 + (ROW_PX + 3) * len(counts), left=158, bottom=44, top=8) as axes:
        for k in reversed(range(len(shown))):  # bars one above the other: the longest first
            total = counts[[name for name, *_ in shown[: k + 1]]].sum(axis=1)
            sns.barplot(
                x=total.to_numpy(), y=np.arange(len(names)), orient="h", color=shown[k][2],
                saturation=1, errorbar=None, width=0.62, ax=axes,
            )  # fmt: skip
        axes.set(xlabel="findings", ylabel="")
        axes.set_yticks(range(len(names)), names)
        for label in axes.get_yticklabels():
            label.set_color(INK)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return finish(
            axes,
            "doubted",
            f"Findings per attribute: most for {counts.index[0]} ({int(counts['all'].iloc[0])}).",
            tuple(Legend(name, color, "box") for _, name, color in shown),
        )
