"""Occlusion: what the log-odds lose when a piece of the sample is hidden (Zeiler & Fergus 2014), for every model.

arXiv:1311.2901. The network is only asked, so any trunk and any head can be explained. Hidden is a square of an image
in its mean colour; a word of a text that is left out; a stretch of time and pitch of a sound that is silenced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from graft.errors import UsageError
from graft.explainers._asked import Answer, Question, Word
from graft.explainers._sounds import edges
from graft.explainers._words import spans, without
from graft.types import Inputs

TOGETHER = 16  # samples with something hidden that go through the network together
SECONDS = 60.0  # of sound, at most, among them
STRETCH = 0.05  # seconds of the smallest stretch of a sound
BANDS = 8


def occlusion(question: Question, *, cells: int = 10) -> Answer:
    """Windows of two by two cells are hidden, one after the other, each one cell beside the one before; what a place
    is worth is the mean over the windows that cover it. `cells`: along a side of an image, at most along a sound; words
    of a text are hidden one by one, of more than twelve times `cells` words several. Raises UsageError for cells < 2.
    """
    if cells < 2:
        raise UsageError(f"cells={cells} hide everything at once", "choose cells=10")
    hide = {"image": _image, "text": _text, "audio": _sound}[question.modality]
    with torch.inference_mode():
        return hide(question, cells)


def windows(length: int, size: int, step: int) -> list[tuple[int, int]]:
    """[start, end) of windows of `size`, every `step`, until all is covered; the last may be shorter."""
    count = max(0, math.ceil((length - size) / step)) + 1
    return [(i * step, min(i * step + size, length)) for i in range(count)]


# ------------------------------------------------------------------------------------------------------------ images


def _image(question: Question, cells: int) -> Answer:
    whole = question.inputs([question.raw])
    x = whole.x
    step = max(1, round(x.shape[-1] / cells))
    boxes = [
        (top, left) for top in windows(x.shape[-2], 2 * step, step) for left in windows(x.shape[-1], 2 * step, step)
    ]
    quiet = x.mean((2, 3), keepdim=True)
    base = float(question.score(x, whole.mask))
    drops: list[float] = []
    for few in _batches(boxes, TOGETHER):
        hidden = x.repeat(len(few), 1, 1, 1)
        for one, ((a, b), (c, d)) in zip(hidden, few, strict=True):
            one[:, a:b, c:d] = quiet[0]
        drops += (base - question.score(hidden, None)).tolist()
    return Answer(_mean_over(boxes, drops, (x.shape[-2], x.shape[-1])))


Box = tuple[tuple[int, int], tuple[int, int]]


def _mean_over(boxes: Sequence[Box], values: Sequence[float], shape: tuple[int, int]) -> Tensor:
    """(H, W): at each place the mean of the boxes that cover it."""
    total, count = torch.zeros(shape), torch.zeros(shape)
    for ((a, b), (c, d)), value in zip(boxes, values, strict=True):
        total[a:b, c:d] += value
        count[a:b, c:d] += 1
    return total / count.clamp(min=1)


def _batches(boxes: Sequence[Box], size: int) -> Iterator[Sequence[Box]]:
    return (boxes[start : start + size] for start in range(0, len(boxes), size))


# ------------------------------------------------------------------------------------------------------------- texts


def _text(question: Question, cells: int) -> Answer:
    every = spans(question.raw)
    group = max(1, math.ceil(len(every) / (12 * cells)))
    groups = [every[start : start + group] for start in range(0, len(every), group)]
    texts = [question.raw, *(without(question.raw, few) for few in groups)]
    scores: list[float] = []
    for start in range(0, len(texts), TOGETHER):
        inputs = question.inputs(texts[start : start + TOGETHER])
        scores += question.score(inputs.x, inputs.mask).tolist()
    drops = [scores[0] - score for score in scores[1:]]
    return Answer(words=tuple(Word(*span, drop / len(few)) for few, drop in zip(groups, drops, strict=True)
                              for span in few))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ sounds


def _sound(question: Question, cells: int) -> Answer:
    preprocess = question.model.backbone.preprocess
    wave, rate = preprocess.sample(question.raw), int(preprocess.json()["rate"])
    seconds = len(wave) / rate
    times = min(max(round(seconds / STRETCH), 4), cells + 2)
    pitches = edges(0.0, rate / 2, BANDS)
    boxes = [(low, left) for low in windows(BANDS, 2, 1) for left in windows(times, 2, 1)]
    base, drops = float(_heard(question, [wave])), []
    for few in _batches(boxes, max(1, min(TOGETHER, int(SECONDS / seconds)))):
        drops += (base - _heard(question, _silenced(wave, rate, few, times, pitches))).tolist()
    return Answer(_mean_over(boxes, drops, (BANDS, times)), pitches)


def _heard(question: Question, waves: Sequence[Tensor]) -> Tensor:
    inputs: Inputs = question.on_device(question.model.backbone.preprocess.batch(waves))
    return question.score(inputs.x, inputs.mask)


def _silenced(wave: Tensor, rate: int, boxes: Sequence[Box], times: int, pitches: Sequence[float]) -> list[Tensor]:
    """The wave less each box of bands and of `times` equal parts, through a short-time Fourier transform and back."""
    size = 1 << max(6, round(math.log2(0.032 * rate)))
    hann = torch.hann_window(size)
    padded = torch.nn.functional.pad(wave, (0, max(0, size - len(wave))))
    spectrum = torch.stft(padded, size, size // 4, window=hann, pad_mode="constant", return_complex=True)
    bins, frames = spectrum.shape
    rows = [round(pitch / (rate / 2) * (bins - 1)) for pitch in pitches]
    rows[-1] = bins
    shares = len(wave) / len(padded)
    columns = [round(i * frames * shares / times) for i in range(times + 1)]
    made = []
    for (a, b), (c, d) in boxes:
        quiet = spectrum.clone()
        quiet[rows[a] : rows[b], columns[c] : columns[d]] = 0
        made.append(torch.istft(quiet, size, size // 4, window=hann, length=len(padded))[: len(wave)])
    return made
