"""What readers of texts share: decoding, which texts are refused, and the bytes that stand for a text.

A text is taken as it is stored: no Unicode form is changed, no blank is trimmed, no line break is moved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from graft.data import _kinds
from graft.data._files import coverage, readable, similar
from graft.data._image import read_file
from graft.errors import DataError
from graft.types import Dataset, Issue, Raw, Sample, Text, UnreadableSample

LONGEST = 1_000_000  # characters; longer is a damaged table or a book, and nobody's sample
_BREAK = re.compile(r"\r\n|\r|\n")  # not str.splitlines: it also breaks at form feeds and U+2028
_SURROGATE = re.compile("[\ud800-\udfff]")


class Decoded(NamedTuple):
    """`odd`: where the first byte stands that is not UTF-8, if Latin-1 had to be taken; else -1."""

    text: str
    odd: int = -1


def decode(data: bytes) -> Decoded:
    """UTF-8 (with or without BOM) or UTF-16, else Latin-1, which never fails. Raises UnicodeDecodeError in UTF-16."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Decoded(data.decode("utf-16"))
    if data[1:40:2].count(0) > 10 and len(data) >= 40:
        return Decoded(data.decode("utf-16-le"))
    try:
        return Decoded(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Decoded(data.decode("latin-1"), error.start)


def read_text(path: Path, issues: list[Issue]) -> str:
    """A file that holds many samples; Latin-1 is said. Raises DataError for damaged UTF-16 and for what cannot be
    opened."""
    try:
        data = path.read_bytes()
        found = decode(data)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not {error.encoding}: {error.reason} at byte {error.start}",
                        "save it as UTF-8") from None  # fmt: skip
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror})", f"check it: ls -l {path}") from None
    if found.odd >= 0:
        row = data.count(b"\n", 0, found.odd) + 1
        issues.append(Issue("encoding", "note", f"{path.name} is not UTF-8 (row {row}): read as Latin-1", (),
                            "save it as UTF-8 if names look wrong"))  # fmt: skip
    return found.text


def lines(text: str) -> list[tuple[int, str]]:
    """(number, line) of each line that is not blank, counted from 1 as editors do."""
    return [(number, line) for number, line in enumerate(_BREAK.split(text), 1) if line.strip()]


# ------------------------------------------------------------------------------------------------------------ samples


def load(sample: Sample) -> Raw:
    """The Text of a sample whose source is one, or the path of a file that holds one.

    Raises UnreadableSample for what is empty, too long, or no text.
    """
    source = sample.source
    return checked(source if isinstance(source, Text) else Text(_decoded_file(source).text))


def read_bytes(sample: Sample) -> bytes:
    return encoded(load(sample))


def notes(sample: Sample) -> tuple[str, ...]:
    """What had to be done to read it, for the audit to count."""
    return ("encoding",) if isinstance(sample.source, Path) and _decoded_file(sample.source).odd >= 0 else ()


def _decoded_file(path: Path) -> Decoded:
    try:
        return decode(read_file(path))
    except UnicodeDecodeError as error:
        raise UnreadableSample(f"undecodable text ({error.encoding}: {error.reason})") from None


def checked(text: Text) -> Text:
    for part in (text.text, *(() if text.pair is None else (text.pair,))):
        if len(part) > LONGEST:
            raise UnreadableSample(f"a text of {len(part):,} characters: longer than {LONGEST:,}")
        if not part.strip():
            raise UnreadableSample("empty text")
        if "\0" in part:
            raise UnreadableSample(f"undecodable text (NUL at character {part.index(chr(0)) + 1})")
        half = _SURROGATE.search(part)
        if half:  # JSON can hold these; no encoding can
            raise UnreadableSample(f"undecodable text (half a character at {half.start() + 1})")
    return text


def encoded(text: Text) -> bytes:
    """Text, pair and words in one form that no other text has: a JSON list."""
    return json.dumps([text.text, text.pair, text.words]).encode()


def dataset(name: str, samples: Iterable[Sample], issues: Iterable[Issue], root: Path, kind: str) -> Dataset:
    """A data set of texts. The classes follow from kind and labels, one list for all splits."""
    kept = tuple(samples)
    classes = _kinds.classes(kind, kept)
    found = [*issues, *coverage(kept, classes, kind, "texts"), *(similar(classes) if kind != "tags" else [])]
    return Dataset(readable(name), "text", kept, classes, load, read_bytes, tuple(found), str(root), kind)
