"""What is strongest in an answer, in numbers: words, boxes of a picture, stretches of a sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from graft.explainers._asked import Answer, Question, Word
from graft.explainers._overlay import corners, weights
from graft.explainers._sheet import scaled
from graft.types import Json, Text

WORDS, REGIONS = 10, 5
HALF = 0.5  # of the strongest weight: what is above it hangs together as a region
Box = tuple[int, int, int, int]  # rows [a, b), columns [c, d)


def strongest(question: Question, answer: Answer) -> Json:
    """{"words": [...]} or {"regions": [...]}, the strongest first, weights in -1..1; {} where there are none. "scale":
    what a weight of 1 is worth, and in what; of Grad-CAM, which has no unit, None."""
    if question.modality == "text":
        return {"words": _words(question.raw, answer.words), "scale": scale(question, answer)} if answer.words else {}
    if answer.map is None:
        return {}
    values = weights(answer)
    places = [(_place(question, answer, box, values.shape), weight) for box, weight in regions(values)]
    listed = [{**place, "weight": round(weight, 4)} for place, weight in places]
    return {"regions": listed, "scale": scale(question, answer)}


def scale(question: Question, answer: Answer) -> Json | None:
    """What the strongest part is worth."""
    if not answer.measured:
        return None
    values = [word.weight for word in answer.words] if answer.map is None else answer.map.flatten().tolist()
    return {"worth": round(max(map(abs, values), default=0.0), 4), "unit": question.unit()}


def _words(raw: Text, words: Sequence[Word]) -> list[Json]:
    halves = (raw.text, raw.pair or "")
    order = sorted(scaled(words), key=lambda word: -abs(word.weight))[:WORDS]
    return [{"word": halves[half][start:end], "start": start, "end": end, "weight": round(weight, 4),
             **({"half": half} if raw.pair is not None else {})} for half, start, end, weight in order]  # fmt: skip


def regions(values: np.ndarray) -> list[tuple[Box, float]]:
    """Boxes around what hangs together above half of the strongest weight, of either sign, with its extreme weight."""
    found: list[tuple[Box, float]] = []
    for sign in (1, -1):
        numbered, _ = ndimage.label(sign * values >= HALF)
        for i, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
            inside = values[rows, columns][numbered[rows, columns] == i]
            found.append(((rows.start, rows.stop, columns.start, columns.stop), sign * float(np.abs(inside).max())))
    return sorted(found, key=lambda one: -abs(one[1]))[:REGIONS]


def _place(question: Question, answer: Answer, box: Box, shape: tuple[int, ...]) -> Json:
    """Of an image a box in pixels of the upright picture, of a sound its seconds, and its pitches where known."""
    a, b, c, d = box
    preprocess = question.model.backbone.preprocess
    if question.modality == "image":
        left, top, right, bottom = corners(question.raw.size, preprocess.json())
        across, down = (right - left) / shape[1], (bottom - top) / shape[0]
        return {
            "box": [round(left + c * across), round(top + a * down), round(left + d * across), round(top + b * down)]
        }
    seconds = len(preprocess.sample(question.raw)) / preprocess.json()["rate"]
    place: Json = {"seconds": [round(seconds * c / shape[1], 3), round(seconds * d / shape[1], 3)]}
    if answer.pitches:
        place["hertz"] = [round(answer.pitches[a]), round(answer.pitches[b])]
    return place
