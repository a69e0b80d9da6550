"""Names and texts as a picture can show them: whatever they hold, and whatever fonts are installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

WANTED = ("notosanscjk-regular", "notoserifcjk-regular", "sourcehansans", "wqy", "droidsansfallback", "notosansjp",
          "notosanssc", "pingfang", "hiragino", "msyh", "simhei", "notosansarabic-regular", "notosanshebrew-regular",
          "notosansdevanagari-regular")  # fmt: skip


def shown(text: str, most: int = 200) -> str:
    """In one line of at most `most` characters; what no installed font can draw becomes \\uXXXX, never an empty box."""
    line = " ".join(text.split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    known = _characters()
    return "".join(c if ord(c) in known and c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@cache
def families() -> tuple[str, ...]:
    """DejaVu Sans, which comes with matplotlib, and behind it what is there for the characters that it lacks."""
    from matplotlib.font_manager import fontManager

    names = []
    for path in _files()[1:]:
        if path not in {entry.fname for entry in fontManager.ttflist}:  # its list of fonts is as old as its cache
            fontManager.addfont(path)
        faces = [entry.name for entry in fontManager.ttflist if entry.fname == path and "Mono" not in entry.name]
        names += sorted(faces, key=lambda name: not name.endswith(" SC"))[:1]
    return ("DejaVu Sans", *dict.fromkeys(names))


@cache
def _files() -> tuple[str, ...]:
    from matplotlib.font_manager import FontProperties, findfont, findSystemFonts

    there = sorted(findSystemFonts())
    found = [path for wanted in WANTED for path in there if Path(path).stem.lower().startswith(wanted)]
    return findfont(FontProperties(family="DejaVu Sans")), *found


@cache
def _characters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    known: set[int] = set()
    for path in _files():
        known |= FT2Font(path).get_charmap().keys()
    return frozenset(known)
