"""Files of word vectors: GloVe's text, word2vec's text, .npz. Nothing in them is run, and a row that is wrong is named.

GloVe (Pennington et al. 2014): a word and its numbers in each row. word2vec (Mikolov et al. 2013, arXiv:1301.3781): the
same, below a row with the count of words and of numbers.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graft.errors import DataError, IntegrityError

HEAD = 4096  # bytes that show what kind of file it is
_KEYED = "from gensim.models import KeyedVectors as K; K."
_SAVE = ".save_word2vec_format('{path}.txt')"
_BROKEN = (ValueError, OSError, EOFError, TypeError, AttributeError, LookupError, zipfile.BadZipFile, zlib.error)
_FACEBOOK = "from gensim.models.fasttext import load_facebook_vectors as load; load('{path}')"
TO_TEXT = {  # what a file begins with -> what it is, and the command that makes text of it
    b"\x1f\x8b": ("packed", "gunzip '{path}'"),
    b"PK\x03\x04": ("packed", "unzip '{path}'"),
    b"\xba\x16\x4f\x2f": ("fastText's binary format", f'python -c "{_FACEBOOK}{_SAVE}"'),
    b"\x80": ("a pickle, as gensim saves it, which may run code", f"python -c \"{_KEYED}load('{{path}}'){_SAVE}\""),
}
BINARY = f"python -c \"{_KEYED}load_word2vec_format('{{path}}', binary=True){_SAVE}\""
ARRAYS = "numpy.savez('vectors.npz', words=numpy.array(words), vectors=vectors)"


class Table(NamedTuple):
    words: tuple[str, ...]  # each once
    vectors: NDArray[np.float32]  # (N, D)


class Row(NamedTuple):
    number: int  # in the file, from 1
    word: str
    values: NDArray[np.float32]


def read_vectors(name: str, most: int) -> Table:
    """The first `most` rows, which are the most frequent words; of a word that comes twice, the first.

    DataError for a missing file, another format, a row that is not UTF-8, not numbers, or of another count of them.
    IntegrityError for a file that is damaged or would run code.
    """
    path = Path(name)
    if not path.is_file():
        raise DataError(f"there is no file of word vectors {path}", "check the path: vectors:<file>")
    rows = list(islice(_array_rows(path) if path.suffix == ".npz" else _text_rows(path, most), most))
    if not rows:
        raise DataError(f"{path} holds no word vectors", "give a file of GloVe or word2vec in text")
    for row in rows:
        if not np.isfinite(row.values).all():
            what = f"{path}, row {row.number}: the vector of {row.word!r} holds values that are not finite"
            raise DataError(what, "leave the row out, or fetch the file again")
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.word, row)
    return Table(tuple(first), np.stack([row.values for row in first.values()]))


# ------------------------------------------------------------------------------------------------------------ .npz


def _array_rows(path: Path) -> Iterator[Row]:
    found = _opened(path)
    missing = [name for name in ("words", "vectors") if name not in found]
    if missing:
        raise DataError(f"{path} has no array called '{missing[0]}'", ARRAYS)
    words, vectors = found["words"], found["vectors"]
    if words.dtype.kind != "U" or vectors.dtype.kind not in "fiu" or words.ndim != 1 or vectors.ndim != 2:
        what = f"words {words.dtype} {words.shape} and vectors {vectors.dtype} {vectors.shape}"
        raise DataError(f"{path}: {what} are not N texts and (N, D) numbers", ARRAYS)
    if len(words) != len(vectors) or not vectors.shape[1]:
        raise DataError(f"{path} has {len(words):,} words, and vectors {vectors.shape}", ARRAYS)
    return (Row(i, str(word), _narrow(values)) for i, (word, values) in enumerate(zip(words, vectors, strict=True), 1))


def _opened(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("words", "vectors") if name in archive}
    except _BROKEN as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise IntegrityError(f"{path} is damaged, or holds more than arrays: {first}", ARRAYS) from None


def _narrow(values: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is then refused
        return np.ascontiguousarray(values, dtype=np.float32)


# ------------------------------------------------------------------------------------------------------------ text


def _text_rows(path: Path, most: int) -> Iterator[Row]:
    with path.open("rb") as file:
        _refuse_binary(path, file.read(HEAD))
        file.seek(0)
        yield from _rows(path, file, most)


def _refuse_binary(path: Path, head: bytes) -> None:
    for start, (kind, command) in TO_TEXT.items():
        if head.startswith(start):
            refuse = IntegrityError if start == b"\x80" else DataError
            raise refuse(f"{path} is {kind}; word vectors are read from text", command.format(path=path))
    if any(byte < 32 and byte not in b"\t\n\r" for byte in head):
        what = f"{path} is binary" + (", as word2vec saves it" if _header(head.partition(b"\n")[0]) else "")
        raise DataError(f"{what}; word vectors are read from text", BINARY.format(path=path))


def _header(line: bytes) -> tuple[int, int] | None:
    """The counts of words and of numbers, in word2vec's first row."""
    parts = line.split()
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdigit() for part in parts) else None


def _rows(path: Path, file: BinaryIO, most: int) -> Iterator[Row]:
    """Lines end at a line feed alone, and fields at an ASCII blank: words may hold other blanks."""
    counts, dim, number, rows = None, 0, 0, 0
    for number, line in enumerate(file, 1):
        if number == 1 and (counts := _header(line)):
            dim = counts[1]
            continue
        if not line.strip():
            continue
        dim = dim or len(line.split()) - 1
        rows += 1
        yield _row(path, number, line, dim)
    if counts and rows < min(counts[0], most):
        raise DataError(f"{path} says that it has {counts[0]:,} words, and ends after {rows:,} (row {number})",
                        "fetch it again: it was cut short")  # fmt: skip


def _row(path: Path, number: int, line: bytes, dim: int) -> Row:
    """A word may hold blanks, as some of GloVe's do, but no number after one: that is a value too many."""
    fields = line.strip(b"\r\n").rstrip().rsplit(None, dim)
    where = f"{path}, row {number}"
    try:
        word = fields[0].decode()
        values = [float(field) for field in fields[1:]]
    except UnicodeDecodeError:
        raise DataError(f"{where} is not UTF-8", f"iconv -f latin1 -t utf-8 '{path}' > '{path}.txt'") from None
    except ValueError:
        raise DataError(f"{where}: {line[:60]!r} is not a word and {dim} numbers", "leave the row out") from None
    extra = [part for part in fields[0].split()[1:] if _is_number(part)]
    if dim < 1 or len(values) != dim or extra:
        count = len(values) + len(extra)
        raise DataError(f"{where} has {count} values, and the first row has {dim}", "leave the row out")
    return Row(number, word, _narrow(values))


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True
