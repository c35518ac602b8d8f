"""Charts about how labels shift, pile up and follow from each other, drawn by seaborn."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from stages.common.tables import PARTITIONS
from stages.report.charts_data import ROW_PX, cluster_order, label_rows, phi_matrix
from stages.report.figure import (
    GOLD,
    INK,
    MUTED,
    PARTITION_COLORS,
    RUST,
    SLATE,
    SURFACE,
    TEAL,
    Chart,
    Legend,
    draw,
    finish,
)
from stages.report.words import decimal, percent, shorten

PAIR_COLORS = {("train", "valid"): GOLD, ("train", "test"): TEAL, ("valid", "test"): RUST}
#: Cells of the map of conditional probabilities: ever more opaque from 0 to 1.
SHARE_COLORS = ListedColormap(
    [(*(int(TEAL[1:3], 16) / 255,) * 3, max(0.012, x)) for x in np.linspace(0, 1, 255)]
)


def draw_shifts(table: pd.DataFrame, level: float, limit: int = 24) -> Chart | None:
    """Effects of the attributes that shift most, filled where chance is no explanation.

    A dot is filled where p_identities, or without identities p_corrected, is below `level`.
    """
    table = table.dropna(subset=["effect", "p_corrected"])
    if table.empty:
        return None
    largest = table["effect"].abs().groupby(table["attribute"], sort=False).max()
    names = list(largest.sort_values(ascending=False, kind="stable").index[:limit])[::-1]
    rows = {name: k for k, name in enumerate(names)}
    reach = max(0.25, 1.08 * float(table["effect"].abs().max()))
    with draw(640, 70 + ROW_PX * len(names), left=158, bottom=44, top=8) as axes:
        axes.axvspan(-0.2, 0.2, color=SLATE, alpha=0.1, lw=0)
        axes.axvline(0, color=MUTED, lw=1)
        legend = []
        for (first, second), tests in table.groupby(["first", "second"], sort=False):
            tests = tests[tests["attribute"].isin(rows)]
            color = PAIR_COLORS[first, second]
            p_value = tests["p_identities"].fillna(tests["p_corrected"]).to_numpy()
            for sure in (False, True):
                some = tests[(p_value < level) == sure]
                sns.scatterplot(
                    x=some["effect"].to_numpy(), y=some["attribute"].map(rows).to_numpy(),
                    color=color if sure else SURFACE, edgecolor=SURFACE if sure else color,
                    s=50 if sure else 30, linewidth=1 if sure else 1.5, ax=axes,
                    zorder=3 + sure, legend=False,
                )  # fmt: skip
            legend.append(Legend(f"{first} to {second}", color))
        axes.set(xlabel="effect (Cohen's h), to the right: more frequent in the second")
        axes.set_xlim(-reach, reach)
        label_rows(axes, names)
        first_name, value = names[-1], decimal(largest[names[-1]], 2)
        return finish(
            axes,
            "shifts",
            f"Effect sizes of the shifts between partitions for the {len(names)} attributes that "
            f"shift most, from {first_name} ({value}) down. The tables hold the same figures.",
            (*legend, Legend("could be chance", MUTED, "ring")),
        )


def draw_cardinality(table: pd.DataFrame) -> Chart | None:
    """Share of each partition's images by the number of attributes they bear."""
    if table.empty:
        return None
    low, high = int(table["n_positive"].min()), int(table["n_positive"].max())
    edges = np.arange(low, high + 2) - 0.5
    with draw(520, 300, left=62, bottom=48) as axes:
        legend = []
        for partition in PARTITIONS:
            rows = table[table["partition"] == partition]
            if rows.empty:
                continue
            counts = np.bincount(rows["n_positive"] - low, rows["n_images"], high - low + 1)
            shares = 100 * counts / counts.sum()
            color = PARTITION_COLORS[partition]
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.16, lw=0)
            axes.stairs(shares, edges, color=color, lw=2)
            legend.append(Legend(partition, color, "line"))
        axes.grid(False, axis="x")
        axes.set(xlabel="attributes of one image", ylabel="images, per cent")
        axes.set_xlim(edges[0] - 0.5, edges[-1] + 0.5)
        axes.set_ylim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        mean = np.average(table["n_positive"], weights=table["n_images"])
        return finish(
            axes,
            "cardinality",
            f"Histogram of the number of attributes of an image, {low} to {high}, on average "
            f"{decimal(mean, 2)}.",
            tuple(legend),
        )


def draw_conditional(table: pd.DataFrame, attributes: Sequence[str]) -> Chart:
    """Share of the images with the row's attribute that bear the column's, similar side by side."""
    order = cluster_order(phi_matrix(table, attributes))
    names = [attributes[k] for k in order]
    place = {name: k for k, name in enumerate(names)}
    table = table[table["attribute_a"].isin(place) & table["attribute_b"].isin(place)]
    a, b = (table[f"attribute_{side}"].map(place).to_numpy(int) for side in "ab")
    share = np.full((len(names), len(names)), np.nan)
    share[a, b], share[b, a] = table["p_b_given_a"], table["p_a_given_b"]
    hidden = np.isnan(share)
    side_px = 16 * max(len(names), 6)
    with draw(side_px + 158, side_px + 138, left=150, right=8, top=4, bottom=134) as axes:
        sns.heatmap(
            share, mask=hidden, cmap=SHARE_COLORS, vmin=0, vmax=1, cbar=False, linewidths=1,
            linecolor=SURFACE, ax=axes, xticklabels=False, yticklabels=False,
        )  # fmt: skip
        axes.grid(False)
        axes.spines[:].set_visible(False)
        places, labels = np.arange(len(names)) + 0.5, [shorten(name, 22) for name in names]
        axes.set_yticks(places, labels, rotation=0, fontsize=11)
        axes.set_xticks(
            places, labels, rotation=90, ha="right", va="center", rotation_mode="anchor",
            fontsize=11,
        )  # fmt: skip
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_color(INK)
        titles = [
            f"of the images with {names[row]} {percent(share[row, column])} bear {names[column]}"
            for row in range(len(names))
            for column in range(len(names))
            if not hidden[row, column]
        ]
        return finish(
            axes,
            "conditional",
            f"Heat map of conditional probabilities between {len(names)} attributes: the share of "
            "the images with the attribute of the row that bear that of the column. The table of "
            "all pairs holds the same figures.",
            titles=titles,
        )
