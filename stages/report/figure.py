"""From a seaborn chart to inline SVG that takes its colours from the page, light or dark.

Charts are drawn in stand-in colours that become CSS variables, with text as text in the page's
font. Nothing in the bytes depends on time, host or order of drawing.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Stand-in colour -> CSS variable of the page.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
TEAL, RUST, SLATE, SURFACE, GOLD = "#040404", "#050505", "#060606", "#070707", "#080808"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    TEAL: "teal",
    RUST: "rust",
    SLATE: "slate",
    SURFACE: "surface",
    GOLD: "gold",
}
PARTITION_COLORS = {"train": SLATE, "valid": GOLD, "test": TEAL}

STYLE: Any = {
    "svg.hashsalt": "facet",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in an attribute's name is a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12,
    "figure.dpi": 72,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 1,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0,
}


#: What the page need not carry: matplotlib's style sheet (it would reach the whole page), its
#: fonts, invisible shapes, empty groups and line breaks.
CLEANING = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", ""),
        (r"font-family: [^;\"]+;? ?", ""),
        (r'<path [^>]*style="fill: none(?:; stroke: var\(--surface\))?"/>', ""),
        (r"\s*\n\s*", " "),
        (r"> <", "><"),
        (r"<g/>", ""),
    )
)


@dataclass(frozen=True)
class Legend:
    """One entry of a chart's legend, drawn by the page: shape is dot, ring, line, dash or box."""

    name: str
    color: str
    shape: str = "dot"


@dataclass(frozen=True)
class Chart:
    """A finished chart: inline SVG, its size in CSS pixels, the text read out in its place."""

    svg: Markup
    width_px: int
    height_px: int
    alt: str
    legend: tuple[Legend, ...] = ()


@contextmanager
def draw(
    width_px: int,
    height_px: int,
    left: int = 60,
    right: int = 16,
    top: int = 12,
    bottom: int = 44,
) -> Iterator[Axes]:
    """Yield axes of a new figure in the site's style; all lengths in CSS pixels."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_px / 72, height_px / 72), dpi=72)
        axes = figure.add_axes(
            (
                left / width_px,
                bottom / height_px,
                (width_px - left - right) / width_px,
                (height_px - top - bottom) / height_px,
            )
        )
        yield axes


def finish(
    axes: Axes,
    name: str,
    alt: str,
    legend: tuple[Legend, ...] = (),
    titles: list[str] | None = None,
) -> Chart:
    """Turn drawn axes into a Chart; call it inside `draw`.

    Args:
        axes: What was drawn.
        name: Prefix of the ids within the SVG, unique on the page.
        alt: What the chart shows, in a sentence or two, for those who do not see it.
        legend: Entries that the page draws above the chart.
        titles: One tooltip for each cell of a heat map, in the order of drawing.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    width_px, height_px = (round(72 * length) for length in figure.get_size_inches())
    svg = clean_svg(buffer.getvalue(), name)
    if titles:
        svg = add_titles(svg, titles)
    return Chart(Markup(svg), width_px, height_px, alt, legend)  # matplotlib has escaped the text


def clean_svg(svg: str, name: str) -> str:
    """Make matplotlib's SVG fit for a page: no prolog, own ids, the page's colours and size.

    Args:
        svg: The document as matplotlib wrote it.
        name: Prefix of all ids, so that charts of one page never share one.
    """
    svg = svg[svg.index("<svg") :]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{variable})")
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    assert box is not None
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0]} aria-hidden="true" focusable="false"'
    )
    for pattern, replacement in CLEANING:
        body = pattern.sub(replacement, body)
    # Tags only: the text between them is the reader's.
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d{2})\d+", r"\1", tag[0]), body)
    return f"{head}>{body.strip()}"


def add_titles(svg: str, titles: list[str]) -> str:
    """Give the cells of a heat map, in their order, a tooltip each."""
    cell = re.compile(r'<path ([^>]*style="fill: var\(--(?:teal|rust)\)[^>]*?)/>')
    waiting = iter(titles)

    def replace(match: re.Match[str]) -> str:
        title = Markup.escape(next(waiting, ""))
        return f"<path {match[1]}><title>{title}</title></path>"

    return cell.sub(replace, svg)
