"""Questions on passages, as SQuAD writes them in JSON (Rajpurkar et al. 2016; 2018 with unanswerable ones).

A sample is a question (the text) and its passage (the pair). Questions of one article stay on one side of every split.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graft.data import _text
from graft.data._table import table_file
from graft.errors import DataError
from graft.types import Answers, Dataset, Issue, Sample, Text

_ARTICLES = 3  # fewer cannot be divided into train, valid and test
_HINT = 'write {"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [...]}]}]}'


def squad(path: str) -> Dataset:
    """Keys are the ids of the questions. Without any answers the questions are unlabelled.

    An answer that does not stand where it is said to is looked for nearby; one that stands nowhere is listed. "yes" and
    "no" at -1 are answers, too. Raises DataError for a file of another form.
    """
    file = table_file(path)
    issues: list[Issue] = []
    found = _Found()
    samples = _unique(_samples(_articles(path, _text.read_text(file, issues)), found))
    if not samples:
        raise found.nothing(path)
    issues += found.issues()
    issues.append(_grouping(samples))
    kind = "answers" if any(sample.label is not None for sample in samples) else "none"
    return _text.dataset(file.name, _grouped(samples), issues, file.resolve().parent, kind)


def _articles(path: str, text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({str(error)[:80]})", "check the file") from None
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        raise DataError(f"{path} has no list of articles under 'data', as SQuAD has", _HINT)
    return list(found["data"])


@dataclass
class _Found:
    """What had to be left out or put right."""

    bad: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def nothing(self, path: str) -> DataError:
        """Why no question can be used."""
        if self.absent:
            what = f"no answer of {path} stands in its passage ({self.absent[0]}, and {len(self.absent) - 1} more)"
            return DataError(what, "check that questions and passages belong together")
        return DataError(f"{path} holds no questions" + (f": {self.bad[0]}" if self.bad else ""), _HINT)

    def issues(self) -> Iterator[Issue]:
        kinds = (
            ("bad-row", "warning", "what is not a passage or a question is left out", self.bad, "correct the file"),
            ("answer-moved", "note", "questions with an answer that stands a little elsewhere in the passage",
             self.moved, ""),
            ("answer-absent", "warning", "answers that do not stand in the passage are left out", self.absent,
             "copy answers from the passage, letter for letter"),
        )  # fmt: skip
        return (Issue(code, severity, what, tuple(keys), hint) for code, severity, what, keys, hint in kinds if keys)


def _samples(articles: list[Any], found: _Found) -> Iterator[Sample]:
    """`group` is the passage's place and the article's title, of which `_grouped` keeps one."""
    for a, article in enumerate(articles):
        title = article.get("title") if isinstance(article, dict) else None
        for p, passage in enumerate(_list(article, "paragraphs", f"data[{a}]", found)):
            where = f"data[{a}].paragraphs[{p}]"
            for q, question in enumerate(_list(passage, "qas", where, found)):
                sample = _question(question, passage.get("context"), f"{where}.qas[{q}]", found)
                if sample is not None:
                    yield replace(sample, group=f"{where}\n{title or ''}")


def _list(holder: Any, key: str, where: str, found: _Found) -> list[Any]:
    if isinstance(holder, dict) and isinstance(holder.get(key), list):
        return list(holder[key])
    found.bad.append(f"{where} has no list '{key}'")
    return []


def _question(question: Any, context: Any, where: str, found: _Found) -> Sample | None:
    text = question.get("question") if isinstance(question, dict) else None
    if not isinstance(text, str) or not isinstance(context, str):
        found.bad.append(f"{where} has no {'question' if isinstance(context, str) else 'context'}")
        return None
    key = str(question.get("id") or where)
    given = question.get("answers")
    if not isinstance(given, list):
        return Sample(key, Text(text, context))
    if question.get("is_impossible") is True or not given:
        return Sample(key, Text(text, context), Answers((), ()))
    answers = _answers(given, context, key, found)
    return Sample(key, Text(text, context), answers) if answers.texts else None


# ------------------------------------------------------------------------------------------------------------ answers


def _answers(given: list[Any], context: str, key: str, found: _Found) -> Answers:
    """Those that stand in the passage, each with its true start."""
    kept: list[tuple[str, int]] = []
    moved = False
    for answer in given:
        text = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start", -1) if isinstance(answer, dict) else -1
        place = _place(text, start, context) if isinstance(text, str) and isinstance(start, int) else None
        if place is None:
            found.absent.append(f"{key}: {str(text)[:100]!r}")
            continue
        moved = moved or place != (text, start)
        kept.append(place)
    if moved:
        found.moved.append(key)
    return Answers(tuple(text for text, _ in kept), tuple(start for _, start in kept))


def _place(text: str, start: int, context: str) -> tuple[str, int] | None:
    """The answer and where it stands: at its start, else at the nearest place, else there without blanks around it."""
    if start == -1 and text.strip().lower() in ("yes", "no"):
        return text, -1
    if start >= 0 and text.strip() and context.startswith(text, start):
        return text, start
    for form in dict.fromkeys((text, text.strip())):
        places = _occurrences(form, context) if form.strip() else []
        if places:
            return form, min(places, key=lambda place: abs(place - start))
    return None


def _occurrences(text: str, context: str) -> list[int]:
    places, at = [], context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    return places


# ----------------------------------------------------------------------------------------------------- keys and groups


def _unique(samples: Iterator[Sample]) -> list[Sample]:
    """An id that was given before gets a number."""
    seen: Counter[str] = Counter()
    found = []
    for sample in samples:
        seen[sample.key] += 1
        again = seen[sample.key] > 1
        found.append(replace(sample, key=f"{sample.key} ({seen[sample.key]})") if again else sample)
    return found


def _titles(samples: Sequence[Sample]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        found[str(sample.group).partition("\n")[2]].append(sample.key)
    return found


def _by_article(samples: Sequence[Sample]) -> bool:
    titles = _titles(samples)
    return "" not in titles and len(titles) >= _ARTICLES


def _grouped(samples: Sequence[Sample]) -> Iterator[Sample]:
    """By article, or by passage where articles are too few or have no titles."""
    side = 2 if _by_article(samples) else 0
    return (replace(sample, group=str(sample.group).partition("\n")[side]) for sample in samples)


def _grouping(samples: Sequence[Sample]) -> Issue:
    if _by_article(samples):
        count = len(_titles(samples))
        what = f"questions on one of the {count:,} articles stay on one side of every split"
    else:
        what = "questions on one passage stay on one side of every split; articles are too few, or have no titles"
    return Issue("grouped", "note", what)
