"""Plots as SVG that stands in the page: text stays text, in the reader's fonts; nothing in it is a file, a date, a
script or an address; and its ids are its own.

Units are pixels of the page. Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart;
shapes say the same again.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graft.reporting._words import columns

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, QUIET, RULE = "#1a1a1a", "#595959", "#d0d0d0"
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK, "#8a6d00", "#7f7f7f", "#4b2e83")
MARKS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p")
DASHES = ("-", "--", ":", "-.")
WIDTH, LETTER = 480, 6.6  # of a plot; of a letter at 12 pixels, generously
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "graft",
    "text.parse_math": False,
    "font.size": 12,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1,
    "axes.unicode_minus": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "path.simplify": False,
}  # fmt: skip
_UNUSED = re.compile(r"(font-family|font-style|font-variant|font-weight|font-stretch): [^;]*(; )?")


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for a plot; that its own font lacks a glyph is of no interest, as the reader's has it."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def axes(height: float, left: float = 48, right: float = 12, top: float = 10, bottom: float = 42,
         width: float = WIDTH) -> tuple[Figure, Axes]:  # fmt: skip
    """A figure of so many pixels, with these margins around its axes."""
    figure = Figure((width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    return figure, figure.add_axes(box)


def room(names: list[str], most: float = 170) -> float:
    """Pixels for names beside an axis."""
    return min(most, max((LETTER * columns(name) for name in names), default=0) + 12)


def svg(figure: Figure, name: str, title: str, words: str) -> Markup:
    """The figure as an element whose ids begin with `name`, with a title and a description for those who do not see."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(out.getvalue())  # noqa: S314  # matplotlib has just written it
    _bare(root)
    _own_ids(root, name)
    box = root.get("viewBox", "")
    width = box.split()[2] if box else ""
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "role": "img", "aria-labelledby": f"{name}-title {name}-desc", "class": "plot",
                    "style": f"max-width:{width}px"}  # fmt: skip
    root[:0] = [_text("title", f"{name}-title", title), _text("desc", f"{name}-desc", words)]
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  # ElementTree escapes


def _text(tag: str, id: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(tag, {"id": id})
    element.text = text
    return element


def _bare(element: ElementTree.Element) -> None:
    """Without namespaces, metadata, style sheets, fonts and white space."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    if "style" in attributes:
        attributes["style"] = _plain(attributes["style"])
    element.attrib.clear()
    element.attrib |= attributes
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    for child in list(element):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            element.remove(child)
        else:
            _bare(child)


def _plain(style: str) -> str:
    """ "font: 12px 'DejaVu Sans', sans-serif" says the size alone: the family is the page's."""
    style = re.sub(r"font: (?:[a-z]+ |\d+ )*([\d.]+px) [^;]*", r"font-size: \1", style)
    return _UNUSED.sub("", style).strip().removesuffix(";")


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Only those that are referred to stay, renamed."""
    text = ElementTree.tostring(root, encoding="unicode")
    used = {id: f"{name}-{i}" for i, id in enumerate(dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', text)))}
    for element in root.iter():
        id = element.attrib.pop("id", None)
        if id in used:
            element.set("id", used[id])
        for key in ("href", "clip-path"):
            if key in element.attrib:
                element.set(key, re.sub(r"#([^)]+)", lambda found: f"#{used[found[1]]}", element.attrib[key]))
