"""Copies among texts: the same but for case, blanks and Unicode form, or with nearly all of the same phrases.

Near copies share at least 80 % of their shingles of three words (Jaccard). MinHash with bands finds the candidates in
near-linear time (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3), which are then compared exactly.
A text of few words is a near copy only if its words are the same: one word changes what it says.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from graft.data import _copies
from graft.types import Text

_SHINGLE, _SHORT, _NEAR = 3, 8, 0.8
_BANDS, _ROWS = 16, 4  # a pair at 0.8 shares a band with a probability of 0.9998
_WINDOW = 16  # in a crowded bucket, compare with this many neighbours in the order of another band
_ESTIMATE = 0.6  # of the 64 hashes that agree: four standard deviations below 0.8
_CHUNK = 1 << 19  # shingles that are hashed at a time
_IDEOGRAMS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # no blanks stand between these: each is a word
_PICTURES = "\u2600-\u27bf\U0001f000-\U0001faff"
_WORD = re.compile(f"[{_IDEOGRAMS}{_PICTURES}]|[^\\W_{_IDEOGRAMS}]+")
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, so that no bit is lost
_ONE = np.ones(1, np.bool_)
_Hashes = NDArray[np.uint64]


def digest(text: Text) -> bytes:
    """Equal for texts, pairs and words that differ in case, blanks and Unicode form only."""
    parts = [text.text, *(() if text.pair is None else ("\1", text.pair))]
    parts += () if text.words is None else ("\2", *text.words)
    return hashlib.sha256("\0".join(map(_plain, parts)).encode("utf-8", "surrogatepass")).digest()


def _plain(part: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", part).casefold().split())


def words(part: str) -> list[str]:
    """Without case and punctuation."""
    return _WORD.findall(part.casefold())


def near_copies(texts: Iterable[Text]) -> list[tuple[int, int]]:
    """Pairs of positions, a < b; those that follow from others are left out. Of a text with a pair both must be near:
    many questions stand on one passage."""
    signs: list[tuple[_Hashes, ...]] = []
    keys: list[object] = []
    for row, text in enumerate(texts):
        parts = [words(text.text), *([] if text.pair is None else [words(text.pair)])]
        signs.append(tuple(map(shingles, parts)))
        keys.append(tuple(map(" ".join, parts)) if all(parts) else row)  # signs only, as ":-)", are like no other
    equal = [(head, row) for head, row in _copies.same(keys) if head != row]
    rest = sorted({*range(len(signs))} - {row for _, row in equal})
    long = [row for row in rest if any(map(len, signs[row]))]
    pairs = [(long[a], long[b]) for a, b in _candidates([np.concatenate(signs[row]) for row in long])]
    return equal + _copies.linked(len(signs), pairs, lambda a, b: _alike(signs[a], signs[b], keys[a], keys[b]))


def shingles(found: Sequence[str]) -> _Hashes:
    """(S,) distinct hashes of three words in a row, sorted; none for a short text."""
    if len(found) < _SHORT:
        return np.empty(0, np.uint64)
    ids = np.fromiter(map(_hash, found), np.uint64, len(found))
    made = _mixed(ids[:-2] * _FIRST + ids[1:-1] * _SECOND + ids[2:])  # word hashes are random: a sum tells orders apart
    made.sort()
    first: NDArray[np.bool_] = np.concatenate([_ONE, made[1:] != made[:-1]])
    return np.asarray(made[first])  # numpy's unique takes four times as long for so few


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    """Stable from run to run, which the interpreter's own is not."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mixed(values: _Hashes) -> _Hashes:
    """The finaliser of MurmurHash3: each bit of the input changes half of those of the output."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _alike(one: tuple[_Hashes, ...], two: tuple[_Hashes, ...], key: object, other: object) -> bool:
    """Part by part: long ones by their shingles, short ones by equality."""
    if len(one) != len(two) or not isinstance(key, tuple) or not isinstance(other, tuple):
        return False
    short = [not len(a) or not len(b) for a, b in zip(one, two, strict=True)]
    if any(said != again for said, again, brief in zip(key, other, short, strict=True) if brief):
        return False
    return all(brief or jaccard(a, b) >= _NEAR for a, b, brief in zip(one, two, short, strict=True))


def jaccard(one: _Hashes, two: _Hashes) -> float:
    """Shared shingles over all."""
    shared = len(np.intersect1d(one, two, assume_unique=True))
    return shared / (len(one) + len(two) - shared)


# ------------------------------------------------------------------------------------------------------------- MinHash


def _candidates(sets: Sequence[_Hashes]) -> list[tuple[int, int]]:
    """Pairs of sets that share a band, and enough of their hashes."""
    if len(sets) < 2:
        return []
    signatures = _signatures(sets)
    bands = _mixed_rows(signatures.reshape(len(sets), _BANDS, _ROWS))
    found = [_bucket_pairs(bands, band, signatures) for band in range(_BANDS)]
    return [(int(a), int(b)) for a, b in np.unique(np.concatenate(found), axis=0)]


def _signatures(sets: Sequence[_Hashes]) -> NDArray[np.uint32]:
    """(N, 64): the smallest of each set under 64 hash functions."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2**64, _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)
    shifts = rng.integers(0, 2**64, _BANDS * _ROWS, dtype=np.uint64)
    out = np.empty((len(sets), _BANDS * _ROWS), np.uint32)
    for start, stop in pairwise(_cuts(sets)):
        values = np.concatenate(sets[start:stop])
        offsets = np.cumsum([0, *(len(one) for one in sets[start : stop - 1])])
        for column, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
            hashed = ((values * factor + shift) >> np.uint64(32)).astype(np.uint32)
            out[start:stop, column] = np.minimum.reduceat(hashed, offsets)
    return out


def _cuts(sets: Sequence[_Hashes]) -> list[int]:
    """Where to cut the sets so that the temporary arrays stay small."""
    cuts, size = [0], 0
    for row, one in enumerate(sets):
        if size and size + len(one) > _CHUNK:
            cuts.append(row)
            size = 0
        size += len(one)
    return [*cuts, len(sets)]


def _mixed_rows(bands: NDArray[np.uint32]) -> _Hashes:
    """(N, bands, rows) -> one number for each band."""
    found = np.zeros(bands.shape[:2], np.uint64)
    for row in range(bands.shape[2]):
        found = _mixed(found + bands[:, :, row].astype(np.uint64) + np.uint64(1))
    return found


def _bucket_pairs(bands: _Hashes, band: int, signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
    """(P, 2) pairs with one value of a band. In a crowded bucket only neighbours in the order of the next band."""

    def close(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (signatures[left] == signatures[right]).mean(1) >= _ESTIMATE
        return found

    return _copies.bucket_pairs(bands[:, band], bands[:, (band + 1) % _BANDS], _WINDOW, close)
