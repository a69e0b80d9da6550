"""What sections are made of: tables, plots with the table behind them, and pictures, as many as a page holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

from markupsafe import Markup
from matplotlib.figure import Figure

from graft.reporting import _canvas
from graft.reporting._words import short
from graft.types import Json

PICTURES = 2_100_000  # bytes of a page that pictures may take, so that all of it stays below 3 MB
TYPES = ("image/webp", "image/png", "image/jpeg")
TEXT = 600  # characters of a text that are shown
NARROW = 400  # pixels that a caption needs, beside a small plot
NAME = 16  # letters of a file name below a picture
LEVELS = 4  # shades of a word's weight


class Table(NamedTuple):
    """Rows of texts; the columns `words` are read from the left, the others are figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: tuple[int, ...] = (0,)


class Plot(NamedTuple):
    svg: Markup
    caption: str
    table: Table
    width: int  # pixels, of it and of its caption


def plot(name: str, caption: str, words: str, table: Table, make: Callable[[], Figure]) -> Plot:
    """`name` is that of its ids, `words` what those are told who do not see it."""
    with _canvas.style():
        figure = make()
        width = max(NARROW, round(72 * figure.get_figwidth()))
        return Plot(_canvas.svg(figure, name, caption, words), caption, table, width)


class Shot(NamedTuple):
    """A sample as the page shows it."""

    key: str
    label: str
    src: str
    width: int
    height: int
    text: str
    name: str  # the end of its key, short enough to stand below a small picture


class Word(NamedTuple):
    """A word of an explained text; `shade` is p1..p4 where it speaks for the class, n1..n4 against it, or ""."""

    text: str
    shade: str


@final
class Album:
    """Pictures in the order of the page, until there are too many; `omitted` counts the others."""

    def __init__(self, room: int = PICTURES) -> None:
        self.room, self.omitted = room, 0

    def src(self, picture: Any) -> str:
        """As a data: address; "" for no picture, a strange one, and one for which there is no room."""
        if not isinstance(picture, dict):
            return ""
        kind, data = picture.get("type"), picture.get("data")
        if kind not in TYPES or not isinstance(data, str) or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", data):
            return ""
        if len(data) > self.room:
            self.omitted += 1
            return ""
        self.room -= len(data)
        return f"data:{kind};base64,{data}"

    def shot(self, item: Json) -> Shot:
        picture, text = item.get("picture"), item.get("text") or ""
        label = item.get("label")
        return Shot(str(item.get("key", "")), "" if label is None else str(label), self.src(picture),
                    *_size(picture), text if len(text) <= TEXT else text[:TEXT] + "…",
                    short(str(item.get("key", "")).rpartition("/")[2], NAME))  # fmt: skip

    def shots(self, items: Sequence[Json], most: int) -> list[Shot]:
        return [self.shot(item) for item in items[:most]]


def _size(picture: Any) -> tuple[int, int]:
    sizes = [picture.get(side) for side in ("width", "height")] if isinstance(picture, dict) else [0, 0]
    wide, high = (size if isinstance(size, int) and 0 < size <= 4096 else 96 for size in sizes)
    return wide, high


def weighed(words: Any) -> list[Word]:
    """Words with their weights in -1..1 -> with a shade."""
    return [Word(str(text), _shade(weight)) for text, weight in words or []]


def _shade(weight: float) -> str:
    level = min(LEVELS, int(abs(weight) * LEVELS + 0.75))
    return f"{'p' if weight > 0 else 'n'}{level}" if level else ""
