"""Charts about one attribute: curves, calibration, probabilities.

A page per attribute needs hundreds of charts that differ in their curves alone. Drawn by seaborn,
28 ms each, they would take most of the report's time; so matplotlib draws every frame (axes, grid,
numbers) once and the curves are written into copies of it. Marks that follow the page's threshold
have the class `live`; data-box (x, y, width, height of the axes) tells the script where.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from stages.report.answers import Ladder
from stages.report.figure import GOLD, MUTED, RUST, SLATE, TEAL, Chart, Legend, draw, finish
from stages.report.words import percent

N_BINS = 40
#: Shares that the axis of the histogram names; their square roots are drawn.
SHARES = (0.1, 0.25, 0.5, 1.0)
SQUARE, BROAD = (340, 300), (480, 330)
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 44


@dataclass(frozen=True)
class Frame:
    """Drawn axes, to be filled: the SVG up to its end, its size, and ranges of x and y."""

    svg: str
    size: tuple[int, int]
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the axes in pixels."""
        width, height = self.size
        return LEFT, TOP, width - LEFT - RIGHT, height - TOP - BOTTOM

    def place(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels (n, 2) of points."""
        left, top, width, height = self.box
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        across = left + width * (np.asarray(x, float) - x_low) / (x_high - x_low)
        down = top + height * (y_high - np.asarray(y, float)) / (y_high - y_low)
        return np.stack([across, down], axis=1)

    def fill(self, marks: str, alt: str, legend: tuple[Legend, ...]) -> Chart:
        """The finished chart. marks: SVG of our own numbers, no text of the data."""
        body = self.svg.removesuffix("</svg>")
        return Chart(Markup(f"{body}{marks}</svg>"), *self.size, alt, legend)


@cache
def draw_frame(name: str, kind: str) -> Frame:
    """Axes in the site's style, `name` being the prefix of the ids: unique on a page.

    kind: pr, roc, reliability or histogram.
    """
    labels = {
        "pr": ("recall, per cent", "precision, per cent"),
        "roc": ("false positive rate, per cent", "recall, per cent"),
        "reliability": ("mean probability given, per cent", "labels that are yes, per cent"),
        "histogram": ("probability given, per cent", "labelled no  |  labelled yes, per cent"),
    }
    size = BROAD if kind == "histogram" else SQUARE
    x_range = (0.0, 1.0) if kind == "histogram" else (-0.015, 1.015)
    y_range = (-1.0, 1.0) if kind == "histogram" else (-0.02, 1.02)
    with draw(*size, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM) as axes:
        axes.set(xlabel=labels[kind][0], ylabel=labels[kind][1], xlim=x_range, ylim=y_range)
        fifths = np.arange(6) / 5
        axes.set_xticks(fifths, [f"{100 * x:.0f}" for x in fifths])
        if kind == "histogram":
            roots = np.sqrt([*SHARES])
            places = [*(-roots[::-1]), 0, *roots]
            names = [f"{100 * x:g}" for x in (*SHARES[::-1], 0, *SHARES)]
            axes.set_yticks(places, names)
        else:
            axes.set_yticks(fifths, [f"{100 * x:.0f}" for x in fifths])
        chart = finish(axes, name, "")
    return Frame(str(chart.svg), size, x_range, y_range)


def draw_precision_recall(
    ladder: Ladder, average_precision: float | None, part: str, threshold: float
) -> Chart | None:
    """Precision against recall at every threshold; None without positives."""
    if not ladder.n_positive:
        return None
    frame = draw_frame(f"pr-{part}", "pr")
    tp, fp = ladder.trace()
    said = tp + fp > 0
    recall, precision = tp[said] / ladder.n_positive, tp[said] / (tp + fp)[said]
    recall, precision = recall[::-1], precision[::-1]  # from the surest answers on
    if ladder.is_exact:  # each precision holds from the recall before: the sum is the AP
        recall = np.repeat(np.concatenate([[0.0], recall]), 2)[1:-1]
        precision = np.repeat(precision, 2)
    prevalence = ladder.n_positive / (ladder.n_positive + ladder.n_negative)
    base = frame.place(np.array([0.0, 1.0]), np.array([prevalence, prevalence]))
    marks = [
        _path(base, "muted", dash=True, width=1.2),
        _path(frame.place(recall, precision), "teal"),
        _dot(frame, "pr", ladder, threshold),
    ]
    return frame.fill(
        "".join(marks),
        f"Precision against recall on {part}: average precision {percent(average_precision)}; "
        f"answering at random reaches the prevalence, {percent(prevalence)}. The table of "
        "thresholds and the slider give figures.",
        (
            Legend(f"average precision {percent(average_precision)}", TEAL, "line"),
            Legend(f"prevalence {percent(prevalence)}", MUTED, "dash"),
            Legend("threshold chosen", GOLD),
        ),
    )


def draw_roc(ladder: Ladder, auc: float | None, part: str, threshold: float) -> Chart | None:
    """True against false positive rate at every threshold; None where a class is missing."""
    if not ladder.n_positive or not ladder.n_negative:
        return None
    frame = draw_frame(f"roc-{part}", "roc")
    tp, fp = ladder.trace()
    marks = [
        _path(frame.place(np.array([0.0, 1.0]), np.array([0.0, 1.0])), "muted", True, 1.2),
        _path(frame.place(fp / ladder.n_negative, tp / ladder.n_positive), "teal"),
        _dot(frame, "roc", ladder, threshold),
    ]
    return frame.fill(
        "".join(marks),
        f"Recall against the false positive rate on {part}: area under the ROC curve "
        f"{percent(auc)}, where answering at random reaches 50 %.",
        (
            Legend(f"area {percent(auc)}", TEAL, "line"),
            Legend("at random", MUTED, "dash"),
            Legend("threshold chosen", GOLD),
        ),
    )


def draw_calibration(bins: pd.DataFrame, part: str) -> Chart | None:
    """Share of positives against the mean probability given, raw and after temperature scaling.

    Args:
        bins: scaled, n, mean_probability, share_positive of the filled bins of one attribute.
        part: What was evaluated.
    """
    if bins.empty:
        return None
    frame = draw_frame(f"reliability-{part}", "reliability")
    marks = [_path(frame.place(np.array([0.0, 1.0]), np.array([0.0, 1.0])), "muted", True, 1.2)]
    entries, n_all = [], bins.groupby("scaled")["n"].sum().max()
    series = (False, "raw", "slate", SLATE), (True, "temperature scaled", "teal", TEAL)
    for is_scaled, name, color, stand_in in series:
        rows = bins[bins["scaled"] == is_scaled]
        if rows.empty:
            continue
        points = frame.place(
            rows["mean_probability"].to_numpy(float), rows["share_positive"].to_numpy(float)
        )
        marks.append(_path(points, color, width=1.3, compact=False))
        radii = 2.2 + 6 * np.sqrt(rows["n"].to_numpy(float) / n_all)
        marks += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" style="fill: var(--{color}); '
            'fill-opacity: .72"/>'
            for (x, y), r in zip(points, radii, strict=True)
        ]
        entries.append(Legend(name, stand_in, "line"))
    return frame.fill(
        "".join(marks),
        f"Share of labels that are yes against the probability given, on {part}, in bins; dots "
        "are larger where more labels lie. On the dashed diagonal probabilities are right.",
        (*entries, Legend("calibrated", MUTED, "dash")),
    )


def draw_histogram(
    probs: NDArray[np.float32], labels: NDArray[np.bool_], part: str, threshold: float
) -> Chart | None:
    """Shares of the positives, upwards, and of the negatives, downwards, by probability given."""
    if not len(probs):
        return None
    frame = draw_frame(f"histogram-{part}", "histogram")
    left, top, width, height = frame.box
    edges = np.linspace(0, 1, N_BINS + 1)
    areas = []
    for is_yes, sign in ((True, 1), (False, -1)):
        mine = probs[labels == is_yes]
        counts = np.histogram(mine.astype(np.float64), edges)[0]
        roots = sign * np.sqrt(counts / max(len(mine), 1))
        x = np.concatenate([[0.0], np.repeat(edges[1:-1], 2), [1.0]])
        points = frame.place(
            np.concatenate([[0.0], x, [1.0]]), np.concatenate([[0.0], np.repeat(roots, 2), [0.0]])
        )
        areas.append(_points(points))
    x_now, inset = left + width * threshold, 26  # beside the outer bins, the highest ones
    clip = f"histogram-{part}-clip"
    upper, lower = areas
    marks = [
        f'<g class="live" data-kind="histogram" data-box="{left} {top} {width} {height}">',
        f'<clipPath id="{clip}-no"><rect class="no" x="{left}" y="{top}" '
        f'width="{x_now - left:.1f}" height="{height}"/></clipPath>',
        f'<clipPath id="{clip}-yes"><rect class="yes" x="{x_now:.1f}" y="{top}" '
        f'width="{left + width - x_now:.1f}" height="{height}"/></clipPath>',
        *(
            f'<path d="M{area}Z" clip-path="url(#{clip}-{side})" style="fill: var(--{color}); '
            f'fill-opacity: .8"/>'
            for area, side, color in (
                (upper, "yes", "teal"),
                (upper, "no", "rust"),
                (lower, "no", "teal"),
                (lower, "yes", "rust"),
            )
        ),
        f'<path d="M{left} {top + height / 2}h{width}" style="fill: none; stroke: var(--muted)"/>',
        f'<path class="cut" d="M0 {top}v{height}" transform="translate({x_now:.1f} 0)" '
        'style="fill: none; stroke: var(--gold); stroke-width: 2"/></g>',
    ]
    for text, across, down, anchor in (
        ("missed", left + inset, top + 14, "start"),
        ("found", left + width - inset, top + 14, "end"),
        ("rightly no", left + inset, top + height - 8, "start"),
        ("false alarm", left + width - inset, top + height - 8, "end"),
    ):
        marks.append(
            f'<text x="{across}" y="{down}" style="font-size: 11.5px; text-anchor: {anchor}; '
            f'fill: var(--muted)">{text}</text>'
        )
    return frame.fill(
        "".join(marks),
        f"Probabilities given on {part}: labels that are yes upwards, labels that are no "
        f"downwards, each in per cent of its class, in {N_BINS} bins; heights are square roots, "
        f"so that small shares can be seen. The line is the threshold, at first {threshold:.3g}.",
        (
            Legend("answered rightly", TEAL, "box"),
            Legend("answered wrongly", RUST, "box"),
            Legend("threshold chosen", GOLD, "line"),
        ),
    )


def draw_spark(ladder: Ladder, width_px: int = 76, height_px: int = 30) -> Markup:
    """A small precision-recall curve for a table; '' without positives."""
    if not ladder.n_positive:
        return Markup("")
    tp, fp = ladder.trace()
    said = tp + fp > 0
    x, y = tp[said] / ladder.n_positive, tp[said] / (tp + fp)[said]
    points = np.stack([1 + (width_px - 2) * x, 1 + (height_px - 2) * (1 - y)], axis=1)
    base = 1 + (height_px - 2) * (ladder.n_negative / (ladder.n_positive + ladder.n_negative))
    return Markup(
        f'<svg class="spark" viewBox="0 0 {width_px} {height_px}" width="{width_px}" '
        f'height="{height_px}" aria-hidden="true" focusable="false">'
        f'<path d="M1 {base:.1f}h{width_px - 2}" style="fill: none; stroke: var(--muted); '
        f'stroke-dasharray: 3 2"/>{_path(points, "teal", width=1.6)}</svg>'
    )


def _dot(frame: Frame, kind: str, ladder: Ladder, threshold: float) -> str:
    """The place of a threshold on a curve, which the page's script moves."""
    counts = ladder.count(threshold)
    scores = counts.score()
    x, y = (scores["recall"], scores["precision"]) if kind == "pr" else (
        1 - (scores["specificity"] or 0.0), scores["recall"]
    )  # fmt: skip
    box = " ".join(f"{value:.1f}" for value in frame_box(frame))
    if x is None or y is None:
        where = 'visibility="hidden"'
    else:
        ((across, down),) = frame.place(np.array([x]), np.array([y]))
        where = f'transform="translate({across:.1f} {down:.1f})"'
    return (
        f'<g class="live" data-kind="{kind}" data-box="{box}"><circle class="at" {where} r="5.5" '
        'style="fill: var(--gold); stroke: var(--surface); stroke-width: 1.5"/></g>'
    )


def frame_box(frame: Frame) -> tuple[float, float, float, float]:
    """Where 0 and 1 lie: pixels of x = 0, of y = 1, and the lengths of 1 across and down."""
    (x0, y0), (x1, y1) = frame.place(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    return x0, y1, x1 - x0, y0 - y1


def _path(
    points: NDArray[np.float64],
    color: str,
    dash: bool = False,
    width: float = 2.0,
    compact: bool = True,
) -> str:
    dashes = "; stroke-dasharray: 4 3" if dash else ""
    return (
        f'<path d="M{_points(_compact(points) if compact else points)}" style="fill: none; '
        f'stroke: var(--{color}); stroke-width: {width}{dashes}"/>'
    )


def _compact(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on a grid of half pixels, without those that change nothing there."""
    points = np.round(2 * points) / 2
    keep = np.ones(len(points), bool)
    keep[1:] = (np.diff(points, axis=0) != 0).any(1)
    points = points[keep]
    if len(points) < 3:
        return points
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    straight = (before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]) & (
        (before * after).sum(1) >= 0
    )
    return points[np.concatenate([[True], ~straight, [True]])]


def _points(points: Sequence[Sequence[float]] | NDArray[np.float64]) -> str:
    return " ".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
