"""The picture that `graft explain` writes: blocks below one another, measured in inches, drawn by matplotlib's Agg."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graft.explainers._fonts import families, shown
from graft.explainers._overlay import AGAINST, FOR, Pixels
from graft.explainers._place import MADE_BY
from graft.explainers._sounds import to_mel

WIDTH, EDGE, DPI = 9.0, 0.35, 120  # inches; dots in one
BAR = 1.0  # inches at the right, for the colour bar
INK, SOFT = "#1a1a1a", "#5a5a5a"
TILES = 5
Add = Callable[[float, float, float, float], Any]  # left, top, width, height in inches of the block -> axes


class Block(NamedTuple):
    height: float
    draw: Callable[[Add], None]


class Tile(NamedTuple):
    """A training sample that is alike: a picture of it, or its text."""

    label: str
    cosine: float
    picture: Pixels | None
    text: str = ""
    sound: bool = False  # a spectrogram, which has no proportions


def write(path: Path, blocks: Sequence[Block]) -> None:
    """A PNG; raises OSError."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # names are no formulas, so "$x$" is drawn as it is
    with _quiet(), rc_context({"font.family": list(families()), "text.parse_math": False}):
        height = sum(block.height for block in blocks) + 2 * EDGE
        figure, top = Figure((WIDTH, height), dpi=DPI, facecolor="white"), EDGE
        for block in blocks:
            block.draw(_adder(figure, top, height))
            top += block.height
        figure.savefig(path, format="png", metadata={"Software": MADE_BY})


@contextmanager
def _quiet() -> Iterator[None]:
    """Not every family has a bold face, which is no news to the user."""
    log = logging.getLogger("matplotlib.font_manager")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _adder(figure: Any, above: float, height: float) -> Add:
    def add(left: float, top: float, width: float, tall: float) -> Any:
        bottom = height - above - top - tall
        return figure.add_axes(((EDGE + left) / WIDTH, bottom / height, width / WIDTH, tall / height))

    return add


def _blank(axes: Any) -> Any:
    axes.set_axis_off()
    return axes


INNER = WIDTH - 2 * EDGE


def head(title: str, lines: Sequence[str]) -> Block:
    """What was said, in large letters, and what is explained."""

    def draw(add: Add) -> None:
        axes = _blank(add(0, 0, INNER, 0.45 + 0.24 * len(lines)))
        tall = 0.45 + 0.24 * len(lines)
        axes.text(0, 1, shown(title, 70), fontsize=16, va="top", color=INK, weight="bold")
        for i, line in enumerate(lines):
            axes.text(0, 1 - (0.36 + 0.24 * i) / tall, shown(line, 115), fontsize=10, va="top", color=SOFT)

    return Block(0.55 + 0.24 * len(lines), draw)


def bar(add: Add, tall: float) -> None:
    """What the colours mean."""
    from matplotlib.colors import LinearSegmentedColormap

    side = min(tall - 0.5, 2.4)
    axes = add(INNER - BAR + 0.28, (tall - side) / 2, 0.16, side)
    white = (0.97, 0.97, 0.97)
    ends = [tuple(value / 255 for value in colour) for colour in (AGAINST, FOR)]
    axes.imshow(np.linspace(1, -1, 200)[:, None], cmap=LinearSegmentedColormap.from_list("", [ends[0], white, ends[1]]),
                aspect="auto", extent=(0, 1, -1, 1))  # fmt: skip
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([-1, 0, 1], ["against", "0", "for"], fontsize=9, color=SOFT)
    axes.tick_params(length=0)


# ------------------------------------------------------------------------------------------------------------ images


WIDE, GAP = 2.2, 0.25  # columns to rows; inches


def pair(left: Pixels, right: Pixels | None) -> Block:
    """A picture, and beside it, or below a wide one, the same with the map on it; alone where there is no map."""
    rows, columns = left.shape[:2]
    across = columns < WIDE * rows
    wide = (INNER - BAR - GAP) / 2 if across else INNER - BAR
    tall = min(4.4, max(0.8, wide * rows / columns))
    whole = tall if across or right is None else 2 * tall + GAP

    def draw(add: Add) -> None:
        for i, picture in enumerate((left, right)):
            if picture is not None:
                axes = add(i * (wide + GAP), 0, wide, tall) if across else add(0, i * (tall + GAP), wide, tall)
                _blank(axes).imshow(picture, interpolation="nearest" if rows < 100 else "antialiased")
        if right is not None:
            bar(add, whole)

    return Block(whole + 0.2, draw)


# ------------------------------------------------------------------------------------------------------------ sounds


def heard(plain: Pixels, mapped: Pixels | None, seconds: float, top: float) -> Block:
    """A spectrogram, below it the same with the map on it."""
    shown_ones = [one for one in (plain, mapped) if one is not None]
    each, gap = 1.75, 0.18

    def draw(add: Add) -> None:
        for i, picture in enumerate(shown_ones):
            axes = add(0.62, i * (each + gap), INNER - BAR - 0.62, each)
            axes.imshow(picture, aspect="auto", extent=(0, seconds, 0, to_mel(top)), interpolation="bilinear")
            _axes_of_sound(axes, top, last=i == len(shown_ones) - 1)
        if mapped is not None:
            bar(add, 2 * each + gap)

    return Block(len(shown_ones) * (each + gap) + 0.5, draw)


def _axes_of_sound(axes: Any, top: float, last: bool) -> None:
    """Pitches are evenly spaced in mel."""
    marks = [hertz for hertz in (0, 250, 500, 1000, 2000, 4000, 8000, 16000) if hertz <= top * 1.001]
    axes.set_yticks([to_mel(hertz) for hertz in marks], [f"{hertz:,}" for hertz in marks], fontsize=8, color=SOFT)
    axes.set_ylabel("Hz", fontsize=9, color=SOFT)
    axes.tick_params(colors=SOFT, labelsize=8, labelbottom=last)
    if last:
        axes.set_xlabel("seconds", fontsize=9, color=SOFT)
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


# ------------------------------------------------------------------------------------------------------------- texts

SIZE, LINE = 13, 0.34  # points, inches
Piece = tuple[str, float | None]  # a word and its weight in -1..1, None for what was not asked about


def text(pieces: Sequence[Piece]) -> Block:
    """Words in their order, on the colour of their weight."""
    width = INNER - BAR
    lines = _lines([(shown(word, 60), weight) for word, weight in pieces], width)
    tall = max(1.5, LINE * len(lines) + 0.1)

    def draw(add: Add) -> None:
        axes = _blank(add(0, 0, width, tall))
        axes.set_xlim(0, width)
        axes.set_ylim(tall, 0)
        for row, line in enumerate(lines):
            for at, wide, word, weight in line:
                _word(axes, at, row * LINE, wide, word, weight)
        bar(add, tall)

    return Block(tall + 0.15, draw)


def _word(axes: Any, left: float, top: float, wide: float, word: str, weight: float | None) -> None:
    from matplotlib.patches import Rectangle

    share = 0.0 if weight is None else min(1.0, abs(weight)) ** 0.8
    colour = np.array(FOR if (weight or 0) > 0 else AGAINST) / 255
    back = (1 - share) * np.ones(3) + share * colour
    axes.add_patch(Rectangle((left - 0.035, top + 0.03), wide + 0.07, LINE - 0.06, facecolor=back, edgecolor="none"))
    dark = back @ np.array([0.299, 0.587, 0.114]) > 0.55
    axes.text(left, top + LINE / 2, word, fontsize=SIZE, va="center", color=INK if dark else "white")


def _lines(pieces: Sequence[Piece], width: float) -> list[list[tuple[float, float, str, float | None]]]:
    """(left, width, word, weight) of the words in each line, as wide as they are drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font, space = FontProperties(family=list(families()), size=SIZE), 0.11
    lines: list[list[tuple[float, float, str, float | None]]] = [[]]
    at = 0.04
    for word, weight in pieces:
        wide = text_to_path.get_text_width_height_descent(word, font, ismath=False)[0] / 72
        if at + wide > width and lines[-1]:
            lines.append([])
            at = 0.04
        lines[-1].append((at, wide, word, weight))
        at += wide + space
    return lines


# ------------------------------------------------------------------------------------------------- training samples


def alike(tiles: Sequence[Tile], note: str) -> Block:
    """The nearest training samples, or why there are none."""
    drawn = bool(tiles) and tiles[0].picture is not None
    tall = 1.6 if drawn else 0.27 * len(tiles)
    after = 0.1 + 0.075 * min(28, max((len(shown(tile.label, 28)) for tile in tiles), default=0))

    def draw(add: Add) -> None:
        title = "because it looks like these training samples" if tiles else ""
        axes = _blank(add(0, 0, INNER, 0.3))
        axes.text(0, 0.6, shown(" · ".join(filter(None, (title, note))), 115), fontsize=10, va="center", color=SOFT)
        for i, tile in enumerate(tiles):
            if drawn:
                _pictured(add, tile, i)
            else:
                _written(add, tile, i, after)

    return Block(0.4 + tall, draw)


def _pictured(add: Add, tile: Tile, number: int) -> None:
    side = (INNER - (TILES - 1) * 0.2) / TILES
    assert tile.picture is not None, "a tile with a picture"
    rows, columns = tile.picture.shape[:2]
    axes = _blank(add(number * (side + 0.2), 0.38, side, 1.3))
    axes.imshow(tile.picture, aspect="auto" if tile.sound else "equal",
                interpolation="nearest" if max(rows, columns) < 60 else "antialiased")  # fmt: skip
    name = _blank(add(number * (side + 0.2), 1.7, side, 0.3))
    name.text(0.5, 0.6, shown(f"{tile.label} · {tile.cosine:.2f}", 26), fontsize=9, ha="center", va="center", color=INK)


def _written(add: Add, tile: Tile, number: int, after: float) -> None:
    """`after`: inches from the label to the text."""
    axes = _blank(add(0, 0.35 + 0.27 * number, INNER, 0.27))
    axes.text(0, 0.5, f"{tile.cosine:.2f}", fontsize=9, va="center", color=SOFT)
    axes.text(0.06, 0.5, shown(tile.label, 28), fontsize=9, va="center", color=INK, weight="bold")
    axes.text(0.06 + after / INNER, 0.5, shown(tile.text, 95), fontsize=9, va="center", color=INK)
