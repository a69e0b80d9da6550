"""report.html: one self-contained page of a run folder; no script, nothing requested, every value escaped.

Jinja escapes all that templates are given. Two things are given as markup: the plots, which `_canvas.py` writes with an
XML writer, and the style sheet of this folder.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from graft.errors import UsageError
from graft.pages import check_language
from graft.reporting import _classes, _findings, _samples, _scores, _sureness, _verdict
from graft.reporting._facts import Facts, read
from graft.reporting._parts import Album
from graft.reporting._words import Words, count
from graft.store import replacing
from graft.types import Json

TEMPLATES = Path(__file__).parent / "templates"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Section(NamedTuple):
    """`name` is that of its template, of its title and of its place in the page."""

    name: str
    view: Json


def page(folder: Path, *, language: str = "en", price: float | None = None, watts: float | None = None) -> str:
    """The page as text. `price` of an hour of this machine, `watts` that it draws (estimated if None). Raises
    UsageError for another language than en and zh, and for a price or watts that are no amount; DataError for a folder
    that holds no finished run."""
    check_language(language)
    for name, value in (("price", price), ("watts", watts)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"--{name} {value} is no amount", f"give a number that is not negative: --{name} 1")
    facts, words, album = read(Path(folder)), Words(language), Album()
    made = _sections(facts, words, album, price, watts)
    notes = [str(note) for note in facts.shown.get("notes") or []]
    return _render(facts, words, made, [*notes, *_omitted(album, words)])


def write(folder: Path, *, language: str = "en", price: float | None = None, watts: float | None = None,
          out: Path | None = None) -> Path:  # fmt: skip
    """Write report.html (or `out`); returns its path. What was there is replaced as a whole, or not at all."""
    text, path = page(folder, language=language, price=price, watts=watts), out or Path(folder) / "report.html"
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"cannot write {path}", "name a file in a folder that exists: --out report.html")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _sections(facts: Facts, w: Words, album: Album, price: float | None, watts: float | None) -> list[Section]:
    """In the order of the page; those that a run has nothing for are left out."""
    views = (
        ("verdict", _verdict.verdict(facts, w)),
        ("scores", _scores.scores(facts, w)),
        ("ladder", _scores.ladder(facts, w)),
        ("curves", None if facts.adapted else _scores.curves(facts, w)),
        ("classes", _classes.per_class(facts, w)),
        ("confusion", _classes.confusion(facts, w, album)),
        ("details", _classes.details(facts, w)),
        ("errors", _samples.errors(facts, w, album)),
        ("sureness", _sureness.sureness(facts, w)),
        ("findings", _findings.findings(facts, w, album)),
        ("space", _samples.space(facts, w)),
        ("costs", _findings.costs(facts, w, price, watts)),
        ("next", _next(facts, w, album)),
        ("repeat", _findings.repeat(facts, w)),
    )
    return [Section(name, view) for name, view in views if view is not None]


def _next(facts: Facts, w: Words, album: Album) -> Json | None:
    view = {"growth": _sureness.growth(facts, w), "worth": _findings.worth(facts, w, album),
            "todo": _findings.todo(facts, w)}  # fmt: skip
    return view if any(view.values()) else None


def _omitted(album: Album, w: Words) -> list[str]:
    return [w("pictures_omitted", n=album.omitted)] if album.omitted else []


def _render(facts: Facts, w: Words, sections: list[Section], notes: list[str]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True)  # fmt: skip
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704  # a file of this package
    return environment.get_template("page.html").render(
        w=w, sections=sections, notes=notes, style=style, policy=POLICY, name=facts.name, subtitle=_subtitle(facts, w)
    )


def _subtitle(facts: Facts, w: Words) -> list[str]:
    """What kind of run this is: the data, the way, the day of its last score."""
    task = str(facts.result.get("task") or facts.recipe.get("task") or "").partition("(")[0]
    parts = facts.data.get("splits") or {}
    samples = sum(part.get("samples", 0) for part in parts.values())
    said = [w.maybe(f"task.{task}", task), w.maybe(f"modality.{facts.modality}", facts.modality)]
    said += [w("samples_of", n=count(samples))] if samples else []
    said += [w("way", strategy=facts.recipe["strategy"], backbone=facts.recipe["backbone"])] \
        if facts.recipe.get("strategy") else []  # fmt: skip
    said += [str(facts.openings[-1].get("when", ""))[:10]] if facts.openings else []
    return [one for one in [*said, str(facts.folder)] if one]
