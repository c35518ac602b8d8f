"""Charts about what mistakes have in common, drawn by seaborn."""

import numpy as np
import pandas as pd
import seaborn as sns

from stages.report.charts_data import PHI_COLORS, ROW_PX, draw_cooccurrence, label_rows
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
from stages.report.words import points, shorten

#: Rows of a chart of attributes or groups; with more, those that matter most.
MAX_ROWS = 20
#: Attributes on the map of gaps; with more, those that differ most between groups.
MAX_MAPPED = 60


def draw_error_map(pairs: pd.DataFrame, attributes: list[str]) -> Chart | None:
    """Correlation of the errors of every pair of attributes, in colours that reach its largest."""
    known = pairs.dropna(subset=["phi"])
    if known.empty:
        return None
    strongest = float(known["phi"].abs().max())
    reach = max(0.1, strongest)
    return draw_cooccurrence(known, attributes, "errors", "the correlation of the errors", reach)


def draw_loss(shift: pd.DataFrame) -> Chart | None:
    """Loss of accuracy from valid to test in two parts, the attributes that lose most on top."""
    table = shift.dropna(subset=["loss", "explained", "rest"])
    if table.empty:
        return None
    largest = table["loss"].abs().sort_values(ascending=False, kind="stable").index[:MAX_ROWS]
    table = table.loc[largest].sort_values("loss", kind="stable")
    rows = np.arange(len(table))
    with draw(520, 56 + (ROW_PX + 7) * len(table), left=150, bottom=44, top=8) as axes:
        parts = ((GOLD, "explained", 0.2), (SLATE, "rest", -0.2))
        for color, column, offset in parts:
            axes.barh(rows + offset, 100 * table[column], height=0.34, color=color)
        low, high = 100 * table["loss_low"], 100 * table["loss_high"]
        axes.hlines(rows, low, high, color=TEAL, lw=1.6, alpha=0.6)
        sns.scatterplot(
            x=100 * table["loss"], y=rows, color=TEAL, s=46, edgecolor=SURFACE, linewidth=1,
            ax=axes, zorder=4,
        )  # fmt: skip
        axes.axvline(0, color=MUTED, lw=1)
        axes.set(xlabel="accuracy lost from valid to test, points")
        label_rows(axes, table["attribute"].tolist())
        last = table.iloc[-1]
        return finish(
            axes,
            "loss-by-shift",
            f"Accuracy lost from valid to test for the {len(table)} attributes that change most, "
            f"split into what the shift of prevalence explains and the rest; most lost on "
            f"{last['attribute']}, {points(last['loss'])} points. The table has the same figures.",
            (
                Legend("lost, with interval", TEAL),
                Legend("explained by prevalence", GOLD, "box"),
                Legend("rest", SLATE, "box"),
            ),
        )


def draw_slices(slices: pd.DataFrame, partition: str) -> Chart | None:
    """Accuracy of every group with its interval, and of the majority class on the same pictures."""
    table = slices.dropna(subset=["accuracy"]).iloc[::-1]
    if table.empty:
        return None
    rows = np.arange(len(table))
    accuracy, majority = 100 * table["accuracy"], 100 * table["majority_accuracy"]
    clear = (table["accuracy_gap_high"] < 0).to_numpy()
    with draw(640, 56 + (ROW_PX + 5) * len(table), left=158, bottom=44, top=8) as axes:
        for behind, color in ((False, TEAL), (True, RUST)):
            mine = clear == behind
            axes.hlines(
                rows[mine], 100 * table["accuracy_low"][mine], 100 * table["accuracy_high"][mine],
                color=color, lw=3, alpha=0.5,
            )  # fmt: skip
            sns.scatterplot(
                x=accuracy[mine], y=rows[mine], color=color, s=56, edgecolor=SURFACE, linewidth=1,
                ax=axes, zorder=4, legend=False,
            )  # fmt: skip
        sns.scatterplot(
            x=majority, y=rows, color=SURFACE, s=38, edgecolor=MUTED, linewidth=1.6, ax=axes,
            zorder=3,
        )  # fmt: skip
        axes.set(xlabel="mean accuracy, per cent")
        label_rows(axes, table["label"].tolist())
        return finish(
            axes,
            f"slices-{partition}",
            f"Mean accuracy with its interval of {len(table)} groups on {partition}, beside that "
            "of the majority class. The table below holds the same figures.",
            (
                Legend("model", TEAL),
                Legend("clearly below the others", RUST),
                Legend("majority class", MUTED, "ring"),
            ),
        )


def draw_gap_map(table: pd.DataFrame) -> Chart | None:
    """Gap of accuracy of every attribute (rows) in every group (columns), in colours."""
    known = table.dropna(subset=["accuracy_gap"])
    if known.empty:
        return None
    labels = list(dict.fromkeys(known["label"]))
    mean = known.groupby("attribute")["accuracy_gap"].apply(lambda gaps: gaps.abs().mean())
    names = mean.sort_values(ascending=False, kind="stable").index[:MAX_MAPPED].tolist()
    gaps = known.pivot_table(index="attribute", columns="label", values="accuracy_gap")
    gaps = gaps.reindex(index=names, columns=labels)
    reach = max(0.02, float(gaps.abs().max().max()))
    cell_px, row_px = 46, 17
    width_px, height_px = cell_px * len(labels) + 160, row_px * len(names) + 128
    with draw(width_px, height_px, left=150, right=10, top=4, bottom=124) as axes:
        sns.heatmap(
            gaps, mask=gaps.isna(), cmap=PHI_COLORS, vmin=-reach, vmax=reach, cbar=False,
            linewidths=1, linecolor=SURFACE, ax=axes, xticklabels=False, yticklabels=False,
        )  # fmt: skip
        axes.grid(False)
        axes.spines[:].set_visible(False)
        rows, columns = np.arange(len(names)) + 0.5, np.arange(len(labels)) + 0.5
        axes.set(xlabel="", ylabel="")
        axes.set_yticks(rows, [shorten(name, 22) for name in names], rotation=0, fontsize=11)
        axes.set_xticks(
            columns, [shorten(label, 20) for label in labels], rotation=55, ha="right",
            va="center", rotation_mode="anchor", fontsize=11,
        )  # fmt: skip
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_color(INK)
        titles = [
            f"{name} on {label}: {points(gaps.at[name, label])} points"
            for name in names
            for label in labels
            if not np.isnan(gaps.at[name, label])
        ]
        return finish(
            axes,
            "gap-map",
            f"Heat map of the gap of accuracy of {len(names)} attributes in {len(labels)} groups, "
            f"up to {points(reach)} points either way. The table below holds the same figures.",
            titles=titles,
        )
