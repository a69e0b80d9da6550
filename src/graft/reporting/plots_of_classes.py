"""The plots of classes: what is taken for what, how sure and how right, and where samples lie. As `plots.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from graft.reporting._canvas import BLUE, COLOURS, INK, LETTER, MARKS, QUIET, RED, RULE, WIDTH, axes, room
from graft.reporting._words import columns, short
from graft.reporting.plots import figures


def matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], label: tuple[str, str]) -> Figure:
    """A confusion matrix: right ones blue, errors red, darker where they are a larger share of their row."""
    table = np.asarray(counts, dtype=float)
    shares = table / table.sum(1, keepdims=True).clip(min=1)
    n, names = len(classes), [short(name, 20) for name in classes]
    cell, left = max(22.0, min(64.0, 330 / n)), room(names, 150) + 20
    slanted = max(map(columns, names)) * LETTER > cell
    top = (room(names, 150) if slanted else 22) + 24
    figure, at = axes(cell * n + top + 8, left, 8, top, 8, width=max(200, cell * n + left + 8))
    for i, j in np.ndindex(n, n):
        ground = _shade(BLUE if i == j else RED, shares[i, j])
        at.add_patch(_cell(j, i, ground))
        if table[i, j]:
            at.text(j, i, f"{table[i, j]:.0f}", ha="center", va="center", color=_ink(ground),
                    fontsize=12 if cell > 26 else 10)  # fmt: skip
    at.set_xlim(-0.5, n - 0.5)
    at.set_ylim(n - 0.5, -0.5)
    at.xaxis.tick_top()
    at.xaxis.set_label_position("top")
    at.set_xticks(range(n), names, rotation=90 if slanted else 0, color=INK)
    at.set_yticks(range(n), names)
    at.tick_params(length=0)
    at.set_xlabel(label[0])
    at.set_ylabel(label[1])
    for spine in at.spines.values():
        spine.set_visible(False)
    return figure


def _cell(x: int, y: int, ground: tuple[float, ...]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=ground, edgecolor=RULE, linewidth=0.5)


def _shade(colour: str, share: float) -> tuple[float, ...]:
    """From white to the colour; what is not nothing is seen."""
    from matplotlib.colors import to_rgb

    depth = 0.12 + 0.88 * share if share else 0.0
    return tuple(1 - depth * (1 - part) for part in to_rgb(colour))


def _ink(ground: tuple[float, ...]) -> str:
    """Black or white, whichever is read better: a contrast of 4.5 or more on any ground (WCAG 2.2, 1.4.3)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in ground]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if light > 0.179 else "white"


class Bin(NamedTuple):
    """Samples that were predicted about as surely: how many, how surely, how often rightly, with its interval."""

    number: int
    confidence: float
    accuracy: float
    low: float
    high: float


def reliability(
    before: Sequence[Bin], after: Sequence[Bin], names: tuple[str, str, str], label: tuple[str, str]
) -> Figure:
    """How often a prediction is right against how sure it was. On the diagonal, what is said is true."""
    figure, at = axes(360, left=52, right=120, top=34)
    at.plot((0, 1), (0, 1), "--", color=QUIET, linewidth=1, label=names[0])
    for bins, name, shape, colour, face, shift in (
        (before, names[1], "s", RED, "white", -0.006), (after, names[2], "o", BLUE, BLUE, 0.006)):  # fmt: skip
        if not bins:
            continue
        x = [one.confidence + shift for one in bins]
        at.vlines(x, [one.low for one in bins], [one.high for one in bins], color=colour, linewidth=1.4,
                  linestyle=":" if face == "white" else "-")  # fmt: skip
        at.plot(x, [one.accuracy for one in bins], shape, color=colour, markerfacecolor=face, markersize=6, label=name)
    least = min((bound for one in (*before, *after) for bound in (one.confidence, one.low)), default=0.0)
    at.set_xlim(max(0.0, least - 0.05), 1.02)
    at.set_ylim(max(0.0, least - 0.05), 1.02)
    for axis in (at.xaxis, at.yaxis):
        figures(axis, True)
    at.grid(color=RULE, linewidth=0.6)
    at.set_xlabel(label[0])
    at.set_ylabel(label[1])
    at.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=3, handletextpad=0.4, columnspacing=1.4,
              borderaxespad=0)  # fmt: skip
    return figure


class Cloud(NamedTuple):
    """The points of a class on the map; `mark` chooses its mark, None for the many that have none of their own."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    wrong: Sequence[bool]
    mark: int | None


def scatter(clouds: Sequence[Cloud], wrong: str) -> Figure:
    """The features in two dimensions: a mark and a colour for each class, a ring around what was predicted wrongly."""
    legend = room([short(cloud.name, 22) for cloud in clouds] + [wrong], 190) + 30
    figure, at = axes(max(330, 20 * len(clouds) + 60), left=8, right=legend, top=8, bottom=8, width=WIDTH + 120)
    for cloud in clouds:
        plain = cloud.mark is None
        colour = "#b0b0b0" if cloud.mark is None else COLOURS[cloud.mark]
        at.plot(
            cloud.x,
            cloud.y,
            "." if cloud.mark is None else MARKS[cloud.mark],
            color=colour,
            alpha=0.75,
            markersize=4 if plain else 6,
            markeredgewidth=0,
            label=short(cloud.name, 22),
            zorder=1 if plain else 2,
        )
    rings = [(x, y) for c in clouds for x, y, bad in zip(c.x, c.y, c.wrong, strict=True) if bad]
    if rings:
        at.plot(*zip(*rings, strict=True), "o", color=INK, markerfacecolor="none", markersize=10, markeredgewidth=1.1,
                label=wrong, zorder=3)  # fmt: skip
    at.set_xticks([])
    at.set_yticks([])
    for spine in at.spines.values():
        spine.set_visible(True)
    at.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, handletextpad=0.3)
    return figure
