"""Copies among images that no hash finds: with the edges cut off, mirrored, or much brighter.

Candidates are pictures whose low spatial frequencies agree: cosines (DCT) weighted by their frequency, since the
amplitudes of photographs fall with it (Field 1987). Every picture meets every other one and its mirror image, in
products of matrices: seconds for 60,000. A candidate is believed if the window of one picture that agrees best with the
other one (_registration.py) agrees well, and is that of a crop.

Strokes on an empty ground agree by chance when they are moved: pictures that are bare, or small, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from graft.data import _copies
from graft.data._registration import STEPS, register

Look = Callable[[int], Image.Image]
_Floats = NDArray[np.float32]
_Rows = NDArray[np.int64]
SMALLEST, SMALL = 16, 24  # pixels: what is left out; what is compared as if it had 16
_RICH, _RICHER = 0.33, 0.45  # share of a thumb that edges fill: 99 % of photographs have the first, 95 % the second,
# as do half and 1 % of handwritten digits
_FREQUENCIES, _COLOURS, _FALL = 48, 9, 6.0  # of grey and of each colour that are compared; crops move finer details
_ALIKE, _MIRRORED = 0.80, 0.92  # least agreement of candidates; what is mirrored is rarely cropped, too
_MOST, _CROWD = 8, 32  # candidates of a picture, and of one in a block, on average; more are a sign of simple ones
_ROWS, _COLUMNS, _TOGETHER = 1024, 4096, 512  # that are compared at a time
_ROUGHLY, _CHROMA = 0.95, 12.0
_SAME, _SAME_IF_PLAIN = 0.96, 0.985  # least agreement of pictures; digits by two hands reach 0.983
_LEAST, _SLACK = 0.92, 0.02  # of a side that a crop keeps; how far registration may be off


class Copy(NamedTuple):
    """Two rows a < b, what b is of a, and what a is of b: "a copy", "a crop", "the whole", "a mirror image"."""

    a: int
    b: int
    second: str = "a copy"
    first: str = "a copy"


def copies(thumbs: NDArray[np.uint8], short: Sequence[int], look: Look) -> list[Copy]:
    """Near copies among rows of (N, 16, 18, 3), those of `_copies.near_copies` first; pairs that follow from others are
    left out. `short` (N,): the shorter sides in pixels. `look(i)` opens image i again, for pairs whose thumbs agree."""
    sides, rich = np.asarray(short, np.int64), richness(thumbs)
    near = _copies.near_copies(thumbs, look, (sides < SMALL) | (rich < _RICH))
    sets = _copies.Sets(len(thumbs), near)
    heads = np.array([sets.root(i) == i for i in range(len(thumbs))], np.bool_)  # of a film, one picture is enough
    rows = np.flatnonzero((sides >= SMALLEST) & (rich >= _RICH) & heads)
    found = [Copy(a, b) for a, b in near]
    for pairs, mirrored in _likely(thumbs, rows, sets) if (sides[rows] >= SMALL).any() else ():
        for size in (SMALLEST, SMALL):
            some = (sides[pairs].max(1) >= SMALL) & ((sides[pairs].min(1) >= SMALL) == (size == SMALL))
            least = np.where(rich[pairs[some]].min(1) < _RICHER, _SAME_IF_PLAIN, _SAME)
            believed = _believed(pairs[some], mirrored[some], look, size, least)
            found += [copy for copy in believed if sets.join(copy.a, copy.b)]
    return found


def _believed(pairs: _Rows, mirrored: NDArray[np.bool_], look: Look, size: int, least: _Floats) -> Iterator[Copy]:
    """Those that agree in `size` x `size` pixels as well as `least` (P,) asks."""
    small = {i: _small(look(i), size) for i in np.unique(pairs).tolist()}
    one, other = (np.array([small[i] for i in side], np.float32).reshape(-1, size, size) for side in pairs.T.tolist())
    agree, windows = _registered(one, other, mirrored)
    for (a, b), turned, window, same in zip(pairs.tolist(), mirrored.tolist(), windows, agree >= least, strict=True):
        if same:
            yield _named(a, b, turned, window)


def _small(image: Image.Image, size: int) -> _Floats:
    """(size, size) grey."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return _copies.grey(pixels[None]).reshape(size, size)


def _named(a: int, b: int, mirrored: bool, window: _Floats) -> Copy:
    """`window`: the part of b that a shows."""
    side = float(window[:2].mean())
    if mirrored:
        return Copy(a, b, "a mirror image", "a mirror image")
    if abs(side - 1) < _SLACK / 2:
        return Copy(a, b)
    return Copy(a, b, "the whole", "a crop") if side < 1 else Copy(a, b, "a crop", "the whole")


def richness(thumbs: NDArray[np.uint8]) -> _Floats:
    """(N,) participation ratio of the steps between cells: 1 if all are equal, 1 / 288 if there is but one."""
    found = [np.empty(0, np.float32)]
    for part in _copies.parts(thumbs):
        grey = _copies.grey(part)
        down, right = np.gradient(_planes(grey), axis=(1, 2))
        steps = np.sqrt(down**2 + right**2).reshape(len(part), -1)
        share = steps.sum(1) ** 2 / np.maximum((steps**2).sum(1), 1e-6) / steps.shape[1]
        found.append(np.where(grey.std(1) < _copies.FLAT, 0, share))
    return np.concatenate(found)


# --------------------------------------------------------------------------------------------------------- candidates


def _likely(thumbs: NDArray[np.uint8], rows: _Rows, sets: _copies.Sets) -> Iterator[tuple[_Rows, NDArray[np.bool_]]]:
    """Pairs (P, 2) whose thumbs agree after registration, and are of one colour; the likeliest come first."""
    pairs, mirrored = candidates(*signatures(thumbs[rows]))
    pairs = rows[pairs]
    for start in range(0, len(pairs), _TOGETHER):
        some, turned = pairs[start : start + _TOGETHER], mirrored[start : start + _TOGETHER]
        new = np.array([sets.root(a) != sets.root(b) for a, b in some.tolist()], np.bool_)
        good = new.copy()
        good[new] = _alike(thumbs, some[new], turned[new])
        if good.any():
            yield some[good], turned[good]


def _alike(thumbs: NDArray[np.uint8], pairs: _Rows, mirrored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thumbs (P,) that agree after registration, and are of the same colours."""
    one, other = thumbs[pairs[:, 0]], thumbs[pairs[:, 1]]
    turned = np.where(mirrored[:, None, None, None], other[:, :, ::-1], other)
    tint = np.abs(_copies.chroma(one) - _copies.chroma(turned)).mean((1, 2))
    agree, _ = _registered(_planes(_copies.grey(one)), _planes(_copies.grey(other)), mirrored, steps=3)
    return np.asarray((agree >= _ROUGHLY) & (tint <= _CHROMA))


def candidates(even: _Floats, odd: _Floats) -> tuple[_Rows, NDArray[np.bool_]]:
    """(P, 2) pairs of rows of signatures that agree, and whether mirrored (P,); the likeliest come first."""
    found: list[tuple[_Rows, _Rows, _Floats, NDArray[np.bool_]]] = []
    for start in range(0, len(even), _ROWS):
        row, column, agree, mirrored = (np.concatenate(part) for part in zip(*_agreeing(even, odd, start), strict=True))
        best = _most_alike(row, agree)
        found.append((row[best], column[best], agree[best], mirrored[best]))
    if not found:
        return np.empty((0, 2), np.int64), np.empty(0, np.bool_)
    row, column, agree, mirrored = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-agree, kind="stable")
    return np.stack([row, column], 1)[order], mirrored[order]


def _agreeing(even: _Floats, odd: _Floats, start: int) -> Iterator[tuple[_Rows, _Rows, _Floats, NDArray[np.bool_]]]:
    """Rows from `start` on against all later ones. A mirror image has the other sign in what is odd, so that it agrees
    by the difference of two products, and the picture itself by their sum."""
    for first in range(start, len(even), _COLUMNS):
        same = even[start : start + _ROWS] @ even[first : first + _COLUMNS].T
        turns = odd[start : start + _ROWS] @ odd[first : first + _COLUMNS].T
        same += np.abs(turns)
        if first == start:  # a pair once, and no picture with itself
            same[:, : len(same)][np.tril_indices(len(same))] = 0
        row, column = _high(same)
        mirrored, agree = turns[row, column] < 0, same[row, column]
        good = ~mirrored | (agree >= _MIRRORED)
        yield row[good] + start, column[good] + first, agree[good], mirrored[good]


def _high(agree: _Floats) -> tuple[_Rows, _Rows]:
    """Where candidates are; of a crowd, the few best of each row."""
    row, column = np.divmod(np.flatnonzero(agree >= _ALIKE), agree.shape[1])
    if len(row) <= _CROWD * len(agree):
        return row, column
    best = np.argpartition(agree, -_MOST, axis=1)[:, -_MOST:]
    row, column = np.repeat(np.arange(len(best)), _MOST), best.reshape(-1)
    good = agree[row, column] >= _ALIKE
    return row[good], column[good]


def _most_alike(row: _Rows, agree: _Floats) -> _Rows:
    """Positions of the best few of each row."""
    order = np.lexsort((-agree, row))
    ordered = row[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < _MOST]


def signatures(thumbs: NDArray[np.uint8]) -> tuple[_Floats, _Floats]:
    """(N, E) and (N, O): what stays the same in a mirror, and what changes its sign; both together of unit length."""
    waves, odd = _waves()
    found = [np.empty((0, len(odd)), np.float32)]
    for part in _copies.parts(thumbs):
        amplitudes = part.reshape(len(part), len(waves)).astype(np.float32) @ waves
        found.append(amplitudes / np.maximum(np.linalg.norm(amplitudes, axis=1, keepdims=True), 1e-6))
    every = np.concatenate(found)
    return np.ascontiguousarray(every[:, ~odd]), np.ascontiguousarray(every[:, odd])


@cache
def _waves() -> tuple[_Floats, NDArray[np.bool_]]:
    """(16 * 18 * 3, 66) weighted cosines: 48 of grey, 9 of red and 9 of blue without brightness; and which of them are
    odd from left to right."""
    down, across = _cosines(_copies.HEIGHT), _cosines(_copies.WIDTH)
    every = np.einsum("iy,jx->ijyx", down, across).reshape(-1, _copies.HEIGHT * _copies.WIDTH)
    row, column = np.divmod(np.arange(len(every)), _copies.WIDTH)
    frequency = np.hypot(row, column)
    order = np.argsort(frequency, kind="stable")
    weight = frequency * np.exp(-((frequency / _FALL) ** 2))
    tint = np.maximum(frequency, 0.5)
    parts = [(order[1 : 1 + _FREQUENCIES], weight, _copies.LUMA)]
    parts += [(order[:_COLOURS], tint, np.eye(3)[colour] - 1 / 3) for colour in (0, 2)]
    waves = [np.einsum("kp,c->pck", every[some] * by[some, None], mix) for some, by, mix in parts]
    odd = np.concatenate([column[some] % 2 == 1 for some, _, _ in parts])
    return np.concatenate(waves, 2).reshape(-1, len(odd)).astype(np.float32), odd


def _cosines(size: int) -> NDArray[np.float64]:
    """(size, size) orthonormal DCT-II, a row for each frequency."""
    waves = np.cos(np.pi * np.outer(np.arange(size), np.arange(size) + 0.5) / size) * (2 / size) ** 0.5
    waves[0] /= 2**0.5
    return np.asarray(waves, np.float64)


# ------------------------------------------------------------------------------------------------------- verification


def _registered(
    one: _Floats, other: _Floats, mirrored: NDArray[np.bool_], steps: int = STEPS
) -> tuple[_Floats, _Floats]:
    """The correlation (P,) of pictures (P, H, W), 0 where the window (P, 4) that agrees best is that of no crop."""
    if not len(one):
        return np.empty(0, np.float32), np.empty((0, 4), np.float32)
    turned = np.where(mirrored[:, None, None], other[:, :, ::-1], other)
    agree, windows = register(torch.from_numpy(np.ascontiguousarray(one)), torch.from_numpy(turned), steps)
    return np.where(_of_a_crop(windows.numpy()), agree.numpy(), 0), windows.numpy()


def _of_a_crop(windows: _Floats) -> NDArray[np.bool_]:
    """One picture lies within the other, and both sides are cut alike."""
    sides, shifts = windows[:, :2], windows[:, 2:]
    whole = (sides >= _LEAST - _SLACK) & (sides <= 1 / _LEAST + _SLACK) & (np.abs(shifts) <= np.abs(sides - 1) + _SLACK)
    return np.asarray(whole.all(1) & (np.abs(sides[:, 0] / sides[:, 1] - 1) <= 2 * _SLACK))


def _planes(grey: _Floats) -> _Floats:
    return grey.reshape(-1, _copies.HEIGHT, _copies.WIDTH)
