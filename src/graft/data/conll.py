"""Words and their tags, one a line, blank lines between sentences (CoNLL): a file, or a folder of train, dev, test.

The word stands first and the tag last, with tabs or blanks between. Lines of -DOCSTART- begin a document, which stays
on one side of every split. Tags of spans become IOB2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from graft.data import _tags, _text
from graft.data._files import SPLITS, is_junk, part_of, readable
from graft.errors import DataError
from graft.types import Dataset, Issue, Sample, Text

SUFFIXES = frozenset([".conll", ".iob", ".iob2", ".bio", ".bio2"])
_PARTS = ("train", "dev", "valid", "test")


def conll(path: str) -> Dataset:
    """Samples are sentences with keys "dev.conll:17", the line of their first word. A file without tags is unlabelled.

    Of a folder the files .conll, .iob, .iob2, .bio and .bio2 are read, or .txt where there are none of these; of two
    with one stem that which is .annotated, where the annotators' tags have become one (WNUT 17).
    Raises DataError when there is no file, or no sentence in it.
    """
    root = Path(path).expanduser()
    files = _files(root, path)
    issues: list[Issue] = []
    bad: list[str] = []
    splits = {file: _split_of(file.name) if root.is_dir() else None for file in files}  # one file alone is no part
    samples = [sample for file in files for sample in _sentences(file, splits[file], issues, bad)]
    if bad:
        what = "lines that hold no word, no tag or several tags; their sentences are left out"
        issues.append(Issue("bad-row", "warning", what, tuple(bad), "write one word and one tag, or a blank line"))
    if not samples:
        raise DataError(f"{path} holds no sentences", "write one word and its tag in each line")
    tagged = any(sample.label for sample in samples)
    return _text.dataset(root.resolve().name, _one_scheme(samples, issues) if tagged else samples, issues,
                         files[0].resolve().parent, "tags" if tagged else "none")  # fmt: skip


def _files(root: Path, path: str) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise DataError(f"there is no file or folder {path}", "check the path: ls " + str(root.parent))
    inside = root.resolve()
    here = sorted(p for p in inside.iterdir() if not is_junk(p.name) and p.is_file() and _within(p, inside))
    found = [p for p in here if p.suffix.lower() in SUFFIXES] or [p for p in here if p.suffix.lower() == ".txt"]
    if not found:
        raise DataError(f"there are no CoNLL files in {path}", "give the file itself, or name files train.conll, ...")
    settled = {p.stem: p for p in here if p.suffix.lower() == ".annotated"}
    return [settled.get(p.stem, p) for p in found]


def _within(path: Path, root: Path) -> bool:
    """Links that lead out are not followed."""
    return path.resolve().is_relative_to(root)


def _split_of(name: str) -> str | None:
    """train, dev or test as a word of the name, else anywhere in it: "wnut17train.conll"."""
    return part_of(name) or next((SPLITS[part] for part in _PARTS if part in name.lower()), None)


# ---------------------------------------------------------------------------------------------------------- sentences


@dataclass
class _Sentence:
    """`words` and `tags` as they stand; `at` is the line of the first word."""

    at: int = 0
    document: int = 0
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    spoiled: bool = False


def _sentences(file: Path, split: str | None, issues: list[Issue], bad: list[str]) -> Iterator[Sample]:
    """A sentence with a line that cannot be understood is left out as a whole: it is not what was said."""
    name = readable(file.name)
    rows = [(number, _columns(line)) for number, line in _all_lines(file, issues)]
    tagged = any(len(row) > 1 and not _opens(row) for _, row in rows)
    for sentence in _cut(rows, tagged, name, bad):
        if sentence.spoiled:
            continue
        words = tuple(sentence.words)
        group = f"{name} document {sentence.document}" if sentence.document else None
        yield Sample(f"{name}:{sentence.at}", Text(" ".join(words), words=words),
                     tuple(sentence.tags) if tagged else None, split, group)  # fmt: skip


def _all_lines(file: Path, issues: list[Issue]) -> Iterator[tuple[int, str]]:
    """With the blank ones, which end sentences, and one more at the end."""
    last = 0
    for number, line in _text.lines(_text.read_text(file, issues)):
        if number > last + 1:
            yield last + 1, ""
        yield number, line
        last = number
    yield last + 1, ""


def _columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.rstrip().split("\t")] if "\t" in line.rstrip() else line.split()


def _opens(row: Sequence[str]) -> bool:
    return bool(row) and row[0] == "-DOCSTART-"


def _cut(rows: list[tuple[int, list[str]]], tagged: bool, name: str, bad: list[str]) -> Iterator[_Sentence]:
    now, document = _Sentence(), 0
    for number, row in rows:
        if row and not _opens(row):
            _add(now, number, row, tagged, name, bad)
            continue
        if now.at:
            yield now
        document += _opens(row)
        now = _Sentence(document=document)


def _add(now: _Sentence, number: int, row: list[str], tagged: bool, name: str, bad: list[str]) -> None:
    now.at = now.at or number
    if row[0] and (len(row) > 1 or not tagged) and not (tagged and _tags.are_several(row[-1])):
        now.words.append(row[0])
        now.tags.append(row[-1])
    else:
        bad.append(f"{name}, row {number}: {' '.join(row)[:100]}")
        now.spoiled = True


def _one_scheme(samples: Sequence[Sample], issues: list[Issue]) -> list[Sample]:
    """Spans become IOB2; what was changed is said once."""
    tags = {tag for sample in samples for tag in sample.label or ()}
    if not _tags.are_spans(tags):
        return list(samples)
    changed = [replace(s, label=_tags.iob2(s.label)) if s.label else s for s in samples]
    keys = tuple(new.key for old, new in zip(samples, changed, strict=True) if old.label != new.label)
    if keys:
        scheme = "IOBES" if _tags.are_closed(tags) else "IOB1 (I- at the beginning of a name)"
        what = f"tags of the scheme {scheme} are read as IOB2, in {len(keys):,} sentences"
        issues.append(Issue("tag-scheme", "note", what, () if len(keys) == len(samples) else keys))
    return changed
