"""The plots of the report. Each takes what it draws, and gives a figure that `_canvas.svg` writes; names are texts of a
stranger's data, and are drawn as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from graft.reporting._canvas import BLUE, COLOURS, DASHES, INK, LETTER, MARKS, QUIET, RED, RULE, WIDTH, axes, room
from graft.reporting._words import columns, short

ROW = 26.0  # pixels of a line of names


class Mark(NamedTuple):
    """A line of a dot-and-interval plot; `main` is what the plot is about."""

    name: str
    value: float
    low: float
    high: float
    said: str
    main: bool = False


def intervals(marks: Sequence[Mark], label: str, rate: bool, zero: bool = False) -> Figure:
    """Dots with their intervals, one above the other; figures in words at the right, a line at 0 for differences."""
    names = [short(mark.name, 24) for mark in marks]
    figure, at = axes(ROW * len(marks) + 52, left=room(names), right=room([mark.said for mark in marks], 190))
    for y, mark in enumerate(marks):
        colour = BLUE if mark.main else QUIET
        at.plot((mark.low, mark.high), (y, y), color=colour, linewidth=2, solid_capstyle="butt")
        at.plot(mark.value, y, "o" if mark.main else "s", color=colour, markersize=8 if mark.main else 6)
        at.annotate(mark.said, (1, y), (8, 0), ("axes fraction", "data"), "offset points", va="center",
                    annotation_clip=False)  # fmt: skip
    if zero:
        at.axvline(0, color=INK, linewidth=1, linestyle="--")
    at.set_yticks(range(len(marks)), names)
    at.set_ylim(len(marks) - 0.4, -0.6)
    _quiet(at, "y")
    figures(at.xaxis, rate, 5 if at.get_position().width * WIDTH > 170 else 3)
    at.set_xlabel(label)
    return figure


def _quiet(at: Axes, side: str) -> None:
    """No ticks and no line where there are only names."""
    at.tick_params(axis="y" if side == "y" else "x", length=0)
    at.spines["left" if side == "y" else "bottom"].set_visible(False)
    at.grid(axis="x" if side == "y" else "y", color=RULE, linewidth=0.6)
    at.set_axisbelow(True)


def figures(axis: Any, rate: bool, most: int = 5) -> None:
    """A few ticks; those of rates in percent."""
    axis.set_major_locator(MaxNLocator(most))
    if rate:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))


class Step(NamedTuple):
    """A rung of the ladder: what it scored and took."""

    name: str
    seconds: float
    score: float
    kind: str  # "kept", "tried" or "control"


KINDS = {"kept": ("o", BLUE, BLUE), "tried": ("o", "white", BLUE), "control": ("s", "white", QUIET)}


def costs(steps: Sequence[Step], names: Mapping[str, str], label: tuple[str, str], rate: bool) -> Figure:
    """Score against seconds, each with its name; shapes say what was kept."""
    figure, at = axes(310, left=52 if rate else 64, right=16, top=34)
    at.set_xscale("log")
    for kind, (shape, face, edge) in KINDS.items():
        found = [step for step in steps if step.kind == kind]
        if found:
            at.plot([max(step.seconds, 0.01) for step in found], [step.score for step in found], shape, color=edge,
                    markerfacecolor=face, markeredgewidth=1.6, markersize=8, label=names[kind])  # fmt: skip
    at.margins(x=0.16, y=0.14)
    _durations(at)
    figures(at.yaxis, rate)
    at.grid(color=RULE, linewidth=0.6)
    at.set_xlabel(label[0])
    at.set_ylabel(label[1])
    at.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=3, handletextpad=0.2, columnspacing=1.4,
              borderaxespad=0)  # fmt: skip
    _named(at, steps)
    return figure


NICE = (0.01, 0.1, 1, 10, 60, 600, 3600, 36000)
FINE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000)


def _durations(at: Axes) -> None:
    """Round ones on a logarithmic axis, at least two and few enough not to touch."""
    low, high = at.get_xlim()
    coarse, fine = ([t for t in ticks if low <= t <= high] for ticks in (NICE, FINE))
    at.set_xticks(coarse if len(coarse) > 2 else fine)
    at.xaxis.set_minor_locator(NullLocator())
    at.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s" if value < 60 else _minutes(value)))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _named(at: Axes, steps: Sequence[Step]) -> None:
    """Names beside their points, moved up or down where one would lie on another."""
    at.get_xlim(), at.get_ylim()  # now, as places follow from them
    right, places = WIDTH - 16, [at.transData.transform((max(step.seconds, 0.01), step.score)) for step in steps]
    taken = [(x - 6, x + 6, y) for x, y in places]
    for step, (x, y) in sorted(zip(steps, places, strict=True), key=lambda pair: pair[0].score):
        name = short(step.name, 22)
        wide = LETTER * columns(name)
        start = x + 9 if x + 9 + wide < right else x - 9 - wide
        place = next(
            p
            for p in (0, 15, -15, 30, -30, 45, 60, 75, 90, 105, 120)
            if p == 120 or all(abs(y + p - v) >= 14 or start > b or start + wide < a for a, b, v in taken)
        )
        taken.append((start, start + wide, y + place))
        line = {"arrowstyle": "-", "color": RULE} if place else None
        at.annotate(name, (max(step.seconds, 0.01), step.score), (start - x, place), textcoords="offset points",
                    va="center", arrowprops=line)  # fmt: skip


class Line(NamedTuple):
    name: str
    values: Sequence[float | None]


def curves(
    lines: Sequence[Line], cuts: Mapping[int, str], label: tuple[str, str], rate: bool, *, first: int = 1
) -> Figure:
    """Values by epoch, all phases one after another; `cuts`: at which epoch each begins; `first`: that of the first."""
    figure, at = axes(270, left=52 if rate else 60, right=16, top=34 if len(lines) == 1 else 50)
    for i, line in enumerate(lines):
        points = [(x + first, value) for x, value in enumerate(line.values) if value is not None]
        at.plot(*zip(*points, strict=True), DASHES[i % 4], marker=MARKS[i], color=COLOURS[i], markersize=4,
                linewidth=1.6, label=line.name)  # fmt: skip
    for epoch, name in cuts.items():
        if epoch:
            at.axvline(epoch + 0.5, color=QUIET, linewidth=1, linestyle=":")
        at.annotate(short(name, 18), (epoch + 0.5 if epoch else 0, 1), (4, 3), ("data", "axes fraction") if epoch else
                    "axes fraction", "offset points", color=QUIET)  # fmt: skip
    at.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figures(at.yaxis, rate)
    at.grid(axis="y", color=RULE, linewidth=0.6)
    at.set_xlabel(label[0])
    at.set_ylabel(label[1])
    if len(lines) > 1:
        at.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.06), ncols=3, borderaxespad=0)
    return figure


def growth(sizes: Sequence[int], marks: Sequence[Mark], fit: tuple[Sequence[float], Sequence[float]], doubled: Mark,
           label: tuple[str, str], rate: bool) -> Figure:  # fmt: skip
    """Scores by the number of training samples, the fitted curve, and where it leads with twice as many."""
    figure, at = axes(300, left=52 if rate else 64, right=16)
    at.plot(*fit, "--", color=QUIET, linewidth=1.4)
    at.vlines(sizes, [mark.low for mark in marks], [mark.high for mark in marks], color=BLUE, linewidth=1.6)
    at.plot(sizes, [mark.value for mark in marks], "o", color=BLUE, markersize=6)
    end = fit[0][-1]
    at.vlines([end], [doubled.low], [doubled.high], color=RED, linewidth=1.6, linestyle=":")
    at.plot([end], [doubled.value], "s", color=RED, markerfacecolor="white", markersize=8, markeredgewidth=1.6)
    at.annotate(doubled.name, (end, doubled.value), (-10, 10), textcoords="offset points", ha="right")
    at.set_xscale("log")
    at.margins(x=0.06)
    at.set_xticks([*sizes, round(end)], [f"{size:,}" for size in (*sizes, round(end))])
    at.xaxis.set_minor_locator(NullLocator())
    figures(at.yaxis, rate)
    at.grid(axis="y", color=RULE, linewidth=0.6)
    at.set_xlabel(label[0])
    at.set_ylabel(label[1])
    return figure
