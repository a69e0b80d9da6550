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
BOX = Image.Resampling.BOX  # for spectrograms, whose cells mean a frequency and a time
_BITS = 3  # of 64 that may differ
_WINDOW = 48  # in a crowded bucket, compare with this many neighbours in the order of a projection
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MARGIN = 2.0  # grey levels; below it a step is noise, and would flip bits in even regions
FLAT = 3.0  # standard deviation in grey levels; below it nothing is there to be recognised
_COARSE, _FINE, _CHROMA = 0.99, 0.98, 10.0
_COARSE_IF_PLAIN = 0.9975  # digits by two hands reach 0.997
_SKETCH = 4 * (2 * (1 - _COARSE)) ** 0.5  # four standard deviations of what two pictures at _COARSE differ by


def thumb(image: Image.Image, filter: Image.Resampling = Image.Resampling.BILINEAR) -> Thumb:
    """(16, 18, 3): enough for the hash (cells of 2 x 2) and for a first comparison. The filter reaches into the next
    cells, so that a shift changes little."""
    return np.asarray(image.resize((WIDTH, HEIGHT), filter))


def detail(image: Image.Image) -> NDArray[np.float32]:
    """(48 * 48,) grey, zero mean, unit length."""
    small = image.convert("L").resize((DETAIL, DETAIL), Image.Resampling.BOX)
    return _unit(np.asarray(small, np.float32).reshape(1, -1)).reshape(-1)


def near_copies(
    thumbs: NDArray[np.uint8], look: Callable[[int], Image.Image], plain: NDArray[np.bool_] | None = None
) -> list[tuple[int, int]]:
    """Pairs of rows of (N, 16, 18, 3) that show the same picture. `look(i)` opens image i again, for the few pairs
    that pass the coarse comparison, which is stricter where one of the two is `plain` (N,)."""
    busy = np.flatnonzero(np.concatenate([grey(part).std(1) for part in parts(thumbs)]) >= FLAT)
    if len(busy) < 2:
        return []
    pairs = busy[_candidates(thumbs[busy])]
    least = _COARSE if plain is None else np.where(plain[pairs].any(1), _COARSE_IF_PLAIN, _COARSE)
    pairs = pairs[_alike(thumbs, pairs, np.broadcast_to(least, len(pairs)))]
    fine = lru_cache(maxsize=4096)(lambda i: detail(look(i)))
    return [(int(a), int(b)) for a, b in pairs if float(fine(int(a)) @ fine(int(b))) >= _FINE]


def difference_hash(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(N,) hashes: is a cell brighter than its right neighbour? 8 rows of 8 answers (Krawetz 2013, "dHash")."""
    cells = [grey(part).reshape(-1, HEIGHT // 2, 2, WIDTH // 2, 2).mean((2, 4)) for part in parts(thumbs)]
    levels = np.concatenate(cells)
    bits = levels[:, :, :-1] > levels[:, :, 1:] + _MARGIN
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view(np.uint64)[:, 0]


class Sets:
    """Union-find: items 0..count - 1 in sets, of which the smallest item is the root."""

    def __init__(self, count: int, links: Iterable[tuple[int, int]] = ()) -> None:
        self.parent = list(range(count))
        for a, b in links:
            self.join(a, b)

    def root(self, i: int) -> int:
        parent = self.parent
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    def join(self, a: int, b: int) -> bool:
        """Whether they stood in two sets."""
        low, high = sorted((self.root(a), self.root(b)))
        self.parent[high] = low
        return low != high


def clusters(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """The smallest member of the component of each of `count` items."""
    sets = Sets(count, links)
    return [sets.root(i) for i in range(count)]


def linked(count: int, pairs: Iterable[tuple[int, int]], alike: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """The pairs that are alike, but for those which others already join: a crowd of copies needs few comparisons."""
    sets = Sets(count)
    return [(a, b) for a, b in pairs if sets.root(a) != sets.root(b) and alike(a, b) and sets.join(a, b)]


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
    return np.concatenate([np.asarray(_unit(grey(part)) @ directions, np.float32) for part in parts(thumbs)])


# ------------------------------------------------------------------------------------------------------- verification


def _alike(thumbs: NDArray[np.uint8], pairs: NDArray[np.int64], least: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Correlated in grey, and of the same colours."""
    kept = [np.empty(0, np.bool_)]
    for part, bound in zip(parts(pairs), parts(least), strict=True):
        one, two = thumbs[part[:, 0]], thumbs[part[:, 1]]
        close = (_unit(grey(one)) * _unit(grey(two))).sum(1) >= bound
        kept.append(close & (np.abs(chroma(one) - chroma(two)).mean((1, 2)) <= _CHROMA))
    return np.concatenate(kept)


def grey(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 288)."""
    return np.asarray((thumbs.astype(np.float32) @ LUMA).reshape(len(thumbs), thumbs.shape[1] * thumbs.shape[2]))


def chroma(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 288, 3): colour without brightness."""
    flat = thumbs.reshape(len(thumbs), WIDTH * HEIGHT, 3).astype(np.float32)
    return np.asarray(flat - flat.mean(2, keepdims=True), np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-6), np.float32)


def parts(rows: NDArray[Any], size: int = 8192) -> list[NDArray[Any]]:
    """Slices that keep the temporary arrays small."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
