"""Charts about labels, identities and findings, drawn by seaborn."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from stages.common.tables import PARTITIONS
from stages.report.figure import (
    INK,
    MUTED,
    PARTITION_COLORS,
    RUST,
    SURFACE,
    TEAL,
    Chart,
    Legend,
    draw,
    finish,
)
from stages.report.words import count, decimal, percent, shorten

ROW_PX = 19
#: Cells of the heat map: rust for negative, teal for positive, ever more opaque away from zero.
_STRENGTH = np.linspace(-1, 1, 255)
PHI_COLORS = ListedColormap(
    [
        (*(int((TEAL if x > 0 else RUST)[1:3], 16) / 255,) * 3, max(0.012, abs(x) ** 0.75))
        for x in _STRENGTH
    ]
)


def draw_prevalence(table: pd.DataFrame) -> Chart:
    """Prevalence of every attribute in each partition, the most frequent on top."""
    partitions = [p for p in PARTITIONS if f"prevalence_{p}" in table.columns]
    shares = table.set_index("attribute")[[f"prevalence_{p}" for p in partitions]]
    shares.columns = pd.Index(partitions)
    shares = 100 * shares.loc[shares.mean(axis=1).fillna(-1).sort_values(kind="stable").index]
    rows = np.arange(len(shares))
    with draw(640, 56 + ROW_PX * len(shares), left=158, bottom=44, top=8) as axes:
        axes.hlines(rows, shares.min(axis=1), shares.max(axis=1), color=MUTED, lw=1.5, alpha=0.55)
        for partition in partitions:
            sns.scatterplot(
                x=shares[partition].to_numpy(),
                y=rows,
                color=PARTITION_COLORS[partition],
                s=46,
                edgecolor=SURFACE,
                linewidth=1,
                ax=axes,
                zorder=3,
                legend=False,
            )
        axes.set(xlabel="images with the attribute, per cent", xlim=(-1, 101))
        label_rows(axes, list(shares.index))
        return finish(
            axes,
            "prevalence",
            f"Share of images with each of {len(shares)} attributes in {', '.join(partitions)}; "
            f"from {shares.index[-1]} (most frequent) to {shares.index[0]} (rarest). "
            "The table below holds the same figures.",
            tuple(Legend(p, PARTITION_COLORS[p]) for p in partitions),
        )


def phi_matrix(table: pd.DataFrame, attributes: Sequence[str]) -> NDArray[np.float64]:
    """Symmetric (A, A) matrix of phi coefficients; NaN where undefined, 1 on the diagonal."""
    place = {name: k for k, name in enumerate(attributes)}
    phi = np.full((len(attributes), len(attributes)), np.nan)
    np.fill_diagonal(phi, 1.0)
    known = table[table["attribute_a"].isin(place) & table["attribute_b"].isin(place)]
    a, b = (
        known["attribute_a"].map(place).to_numpy(int),
        known["attribute_b"].map(place).to_numpy(int),
    )
    phi[a, b] = phi[b, a] = known["phi"].to_numpy(float)
    return phi


def cluster_order(phi: NDArray[np.float64]) -> list[int]:
    """Order of attributes that puts those which occur together side by side.

    Average linkage on 1 - phi with optimal leaf order; undefined counts as 0.
    """
    if len(phi) < 3:
        return list(range(len(phi)))
    distance = 1 - np.nan_to_num(phi)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(k) for k in leaves_list(tree)]


def draw_cooccurrence(
    table: pd.DataFrame,
    attributes: Sequence[str],
    name: str = "cooccurrence",
    what: str = "the phi coefficient",
    reach: float = 1.0,
) -> Chart:
    """Lower triangle of the phi coefficients, similar attributes side by side.

    Args:
        table: attribute_a, attribute_b, phi.
        attributes: Those on the map.
        name: Prefix of the ids within the SVG.
        what: What the cells show, in words.
        reach: The |phi| of the fullest colour.
    """
    phi = phi_matrix(table, attributes)
    order = cluster_order(phi)
    names = [attributes[k] for k in order]
    phi = phi[np.ix_(order, order)]
    hidden = np.triu(np.ones(phi.shape, bool)) | np.isnan(phi)
    cell_px = 16
    side = cell_px * max(len(names), 6)
    with draw(side + 158, side + 138, left=150, right=8, top=4, bottom=134) as axes:
        sns.heatmap(
            phi,
            mask=hidden,
            cmap=PHI_COLORS,
            vmin=-reach,
            vmax=reach,
            cbar=False,
            linewidths=1,
            linecolor=SURFACE,
            ax=axes,
            xticklabels=False,
            yticklabels=False,
        )
        axes.grid(False)
        axes.spines[:].set_visible(False)
        places = np.arange(len(names)) + 0.5
        axes.set_yticks(places[1:], [shorten(n, 22) for n in names[1:]], rotation=0, fontsize=11)
        axes.set_xticks(
            places[:-1],
            [shorten(n, 22) for n in names[:-1]],
            rotation=90,
            ha="right",
            va="center",
            rotation_mode="anchor",
            fontsize=11,
        )
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_color(INK)
        titles = [
            f"{names[row]} and {names[column]}: {decimal(phi[row, column], 2)}"
            for row in range(len(names))
            for column in range(len(names))
            if not hidden[row, column]
        ]
        return finish(
            axes,
            name,
            f"Heat map of {what} of every pair of {len(names)} attributes, similar "
            "attributes side by side. The strongest pairs stand in the table below.",
            titles=titles,
        )


def draw_identities(table: pd.DataFrame) -> Chart:
    """How many identities have how many images."""
    low, high = int(table["n_images"].min()), int(table["n_images"].max())
    with draw(520, 400, left=62, bottom=48) as axes:
        sns.histplot(
            data=table,
            x="n_images",
            weights="n_identities",
            binwidth=max(1, int(np.ceil((high - low) / 40))),
            binrange=(low - 0.5, high + 0.5),
            color=TEAL,
            alpha=0.85,
            edgecolor=SURFACE,
            linewidth=1,
            ax=axes,
        )
        axes.grid(False, axis="x")
        axes.set(xlabel="images of one identity", ylabel="identities")
        room = max(1, 4 - (high - low) // 2)
        axes.set_xlim(low - 0.5 - room, high + 0.5 + room)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: count(value))
        total = int(table["n_identities"].sum())
        return finish(
            axes,
            "identities",
            f"Histogram of {total:,} identities by their number of images, at most {high}.",
        )


def draw_agreement(table: pd.DataFrame) -> Chart:
    """How far the images of one identity agree on each attribute, the least steady on top."""
    table = table.dropna(subset=["agreement"]).sort_values(
        "agreement", ascending=False, kind="stable"
    )
    rows, shares = np.arange(len(table)), 100 * table["agreement"].to_numpy()
    with draw(520, 56 + ROW_PX * len(table), left=150, bottom=44, top=8) as axes:
        axes.hlines(rows, 50, shares, color=TEAL, lw=1.5, alpha=0.45)
        sns.scatterplot(
            x=shares, y=rows, color=TEAL, s=46, edgecolor=SURFACE, linewidth=1, ax=axes, zorder=3
        )
        axes.set(xlabel="images that agree with their identity's majority, per cent")
        axes.set_xlim(min(50, shares.min() - 1), 100.8)
        label_rows(axes, table["attribute"].tolist())
        return finish(
            axes,
            "agreement",
            f"Mean agreement within identities for {len(table)} attributes, from "
            f"{percent(shares.min() / 100)} to {percent(shares.max() / 100)}.",
        )


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a chart of dots and give them room."""
    axes.set_yticks(range(len(names)), [shorten(name, 22) for name in names])
    for label in axes.get_yticklabels():
        label.set_color(INK)
    axes.set(ylabel="", ylim=(-0.7, max(len(names) - 0.3, 0.7)))
    axes.grid(True, axis="y", linewidth=0.6)
