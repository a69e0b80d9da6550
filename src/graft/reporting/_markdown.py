"""Text of data in Markdown: never a mark, a tag, a link or another line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from graft.console import safe

_MARKS = re.compile(r"[\\`*_\[\]{}<>#|~$&!@^]|^[-+=]|(?<=:)/(?=/)|(?<=www)\.|(?<=^\d)[.)](?!\S)", re.I)
_LONGEST = 200


def text(value: object) -> str:
    """A sentence; what has a meaning in Markdown or HTML is escaped."""
    return _MARKS.sub(r"\\\g<0>", _line(value))


def code(value: object, cell: bool = False) -> str:
    """A name, as it is, between as many backticks as it needs; in a table (`cell`) pipes are escaped."""
    line = _line(value) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    edge = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{edge}{line}{edge}{fence}".replace("|", r"\|" if cell else "|")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of cells that are Markdown already; the first column is text, the others figures."""
    ruled = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ruled, *rows))


def _line(value: object) -> str:
    line = safe(" ".join(str(value).split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
