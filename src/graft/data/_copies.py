"""Copies among images: the same pixels, or nearly (re-encoded, resized, a little brighter).

Near copies are found with a difference hash of 64 bits (at most 3 apart), and believed only after two comparisons of
the pictures themselves: simple pictures (digits, icons, forms) share hashes without being copies. Pigeonhole on five
bands: 3 wrong bits leave two bands intact, so ten sorted tables hold every candidate, and time stays near-linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Thumb = NDArray[np.uint8]  # (16, 18, 3)
_Rows = NDArray[np.int64]
WIDTH, HEIGHT, DETAIL = 18, 16, 48
_BITS = 3  # of 64 that may differ
_WINDOW = 48  # in a crowded bucket, compare with this many neighbours in the order of a projection
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MARGIN = 2.0  # grey levels; below it a step is noise, and would flip bits in even regions
_FLAT = 3.0  # standard deviation in grey levels; below it nothing is there to be recognised
_COARSE, _FINE, _CHROMA = 0.99, 0.98, 10.0
_SKETCH = 4 * (2 * (1 - _COARSE)) ** 0.5  # four standard deviations of what two pictures at _COARSE differ by


def thumb(image: Image.Image) -> Thumb:
    """(16, 18, 3): enough for the hash (cells of 2 x 2) and for a first comparison."""
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def detail(image: Image.Image) -> NDArray[np.float32]:
    """(48 * 48,) grey, zero mean, unit length."""
    small = image.convert("L").resize((DETAIL, DETAIL), Image.Resampling.BOX)
    return _unit(np.asarray(small, np.float32).reshape(1, -1)).reshape(-1)


def near_copies(thumbs: NDArray[np.uint8], look: Callable[[int], Image.Image]) -> list[tuple[int, int]]:
    """Pairs of rows of (N, 16, 18, 3) that show the same picture. `look(i)` opens image i again, for the few pairs
    that pass the coarse comparison."""
    busy = np.flatnonzero(np.concatenate([_grey(part).std(1) for part in _parts(thumbs)]) >= _FLAT)
    if len(busy) < 2:
        return []
    pairs = busy[_candidates(thumbs[busy])]
    pairs = pairs[_alike(thumbs, pairs)]
    fine = lru_cache(maxsize=4096)(lambda i: detail(look(i)))
    return [(int(a), int(b)) for a, b in pairs if float(fine(int(a)) @ fine(int(b))) >= _FINE]


def difference_hash(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(N,) hashes: is a cell brighter than its right neighbour? 8 rows of 8 answers (Krawetz 2013, "dHash")."""
    cells = [_grey(part).reshape(-1, HEIGHT // 2, 2, WIDTH // 2, 2).mean((2, 4)) for part in _parts(thumbs)]
    grey = np.concatenate(cells)
    bits = grey[:, :, :-1] > grey[:, :, 1:] + _MARGIN
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view(np.uint64)[:, 0]


def clusters(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Union-find: the smallest member of the component of each of `count` items."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(i) for i in range(count)]


def linked(count: int, pairs: Iterable[tuple[int, int]], alike: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """The pairs that are alike, but for those which others already join: a crowd of copies needs few comparisons."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    found = []
    for a, b in pairs:
        if root(a) != root(b) and alike(a, b):
            parent[root(b)] = root(a)
            found.append((a, b))
    return found


def same(values: Sequence[object]) -> list[tuple[int, int]]:
    """Links from each item to the first one of equal value; None equals nothing."""
    first: dict[object, int] = {}
    return [(first.setdefault(value, i), i) for i, value in enumerate(values) if value is not None]


# --------------------------------------------------------------------------------------------------------- candidates


def _candidates(thumbs: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(P, 2) pairs of hashes at most 3 bits apart, a < b, each once."""
    hashes = difference_hash(thumbs)
    sketch = _sketch(thumbs)
    starts = (0, 13, 26, 39, 52)
    bands = [(hashes >> np.uint64(start)) & np.uint64((1 << min(13, 64 - start)) - 1) for start in starts]
    found = [_table(hashes, (one << np.uint64(13)) | two, sketch) for one, two in combinations(bands, 2)]
    return np.unique(np.concatenate(found), axis=0)


def _table(hashes: NDArray[np.uint64], keys: NDArray[np.uint64], sketch: NDArray[np.float32]) -> NDArray[np.int64]:
    def close(left: _Rows, right: _Rows) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.bitwise_count(hashes[left] ^ hashes[right]) <= _BITS
        found[found] = (np.abs(sketch[left[found]] - sketch[right[found]]) < _SKETCH).all(1)
        return found

    return bucket_pairs(keys, sketch[:, 0], _WINDOW, close)


def bucket_pairs(
    keys: NDArray[np.uint64], order: NDArray[Any], window: int, close: Callable[[_Rows, _Rows], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """(P, 2) pairs a < b of rows with one key that `close` believes. In a crowded bucket a row meets only its `window`
    next ones in the order of `order`."""
    rows = np.lexsort((order, keys))
    pairs = [np.empty((0, 2), np.int64)]
    for step in range(1, min(window, len(rows) - 1) + 1):
        left, right = rows[:-step], rows[step:]
        bucket = keys[left] == keys[right]
        if not bucket.any():
            break
        left, right = left[bucket], right[bucket]
        believed = close(left, right)
        pairs.append(np.sort(np.stack([left[believed], right[believed]], 1), axis=1))
    return np.concatenate(pairs)


def _sketch(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 4) random projections, standard normal over pictures; those of near copies lie close together."""
    directions = np.random.default_rng(0).standard_normal((WIDTH * HEIGHT, 4)).astype(np.float32)
    return np.concatenate([np.asarray(_unit(_grey(part)) @ directions, np.float32) for part in _parts(thumbs)])


# ------------------------------------------------------------------------------------------------------- verification


def _alike(thumbs: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Correlated in grey, and of the same colours."""
    kept = [np.empty(0, np.bool_)]
    for part in _parts(pairs):
        one, two = thumbs[part[:, 0]], thumbs[part[:, 1]]
        close = (_unit(_grey(one)) * _unit(_grey(two))).sum(1) >= _COARSE
        kept.append(close & (np.abs(_chroma(one) - _chroma(two)).mean((1, 2)) <= _CHROMA))
    return np.concatenate(kept)


def _grey(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 288)."""
    return np.asarray((thumbs @ _LUMA).reshape(len(thumbs), -1), np.float32)


def _chroma(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 288, 3): colour without brightness."""
    flat = thumbs.reshape(len(thumbs), -1, 3).astype(np.float32)
    return np.asarray(flat - flat.mean(2, keepdims=True), np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-6), np.float32)


def _parts(rows: NDArray[Any], size: int = 8192) -> list[NDArray[Any]]:
    """Slices that keep the temporary arrays small."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
