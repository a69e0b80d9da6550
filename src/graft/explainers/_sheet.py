"""From a question and its answer to what is drawn: a sheet for `graft explain`, a small picture for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from graft.explainers._asked import Answer, Question, Word
from graft.explainers._draw import Block, Piece, Tile, alike, head, heard, pair, text
from graft.explainers._overlay import Pixels, corners, on_image, on_sound, weights
from graft.explainers._sounds import levels
from graft.explainers._words import spans
from graft.types import Json, Raw, Text

LARGE, SMALL, TILE = 900, 224, 240  # pixels of a side
STRIP = (96, 240)  # of a small spectrogram
READ = 250  # words that are drawn, of a longer text those around the strongest


def sheet(question: Question, answer: Answer, result: Json, tiles: Sequence[Tile], note: str) -> list[Block]:
    """All of it; `result` is what `graft explain` says."""
    label, probability = result["label"], result["probability"]
    said = label if isinstance(label, str) else ", ".join(label) or "none of the labels"
    said += f" · {probability:.1%}" if isinstance(probability, float) else ""
    why = f"what speaks for {result['target']} ({result['target_probability']:.1%}), by {result['method']}"
    why = "the training samples that are most like it" if answer.near else why
    why += f"; {worth(result)}" if worth(result) else ""
    why += "; grey is what the network does not see" * _cropped(question, answer)
    of = [] if isinstance(question.raw, Text) and result["file"] in question.raw.text else [result["file"]]
    return [head(said, [why, *of]), body(question, answer), alike(tiles, note)]


def worth(result: Json) -> str:
    """What a full colour stands for; "" where that has no unit."""
    scale = result.get("scale")
    return f"full colour is {scale['worth']:.2g} in {scale['unit']}" if scale else ""


def _cropped(question: Question, answer: Answer) -> bool:
    if question.modality != "image" or answer.map is None:
        return False
    left, top, right, bottom = corners(question.raw.size, question.model.backbone.preprocess.json())
    return bool((right - left) * (bottom - top) < 0.97 * question.raw.width * question.raw.height)


def body(question: Question, answer: Answer) -> Block:
    """The sample with its explanation on it, or alone where there is no map."""
    if question.modality == "text":
        return text(pieces(question.raw, answer.words))
    plain, mapped = pictures(question, answer, LARGE)
    if question.modality == "image":
        return pair(plain, mapped)
    wave, rate = _wave(question)
    return heard(plain, mapped, len(wave) / rate, rate / 2)


def pictures(question: Question, answer: Answer, longest: int) -> tuple[Pixels, Pixels | None]:
    """Of an image or a sound: as it is, and with the map on it."""
    preprocess, values = question.model.backbone.preprocess, None if answer.map is None else weights(answer)
    if question.modality == "image":
        blank = np.zeros((1, 1)) if values is None else values
        plain, mapped = on_image(question.raw, blank, preprocess.json(), longest)
    else:
        wave, rate = _wave(question)
        blank = np.zeros((1, 1)) if values is None else values
        plain, mapped = on_sound(levels(wave, rate).double().numpy(), rate / 2, blank, answer)
    return plain, None if values is None else mapped


def _wave(question: Question) -> tuple[Any, int]:
    preprocess = question.model.backbone.preprocess
    return preprocess.sample(question.raw), int(preprocess.json()["rate"])


def tile(question: Question, raw: Raw, label: str, cosine: float) -> Tile:
    """A training sample as it is shown beside the one in question."""
    if isinstance(raw, Text):
        return Tile(label, cosine, None, raw.text if raw.pair is None else f"{raw.text} | {raw.pair}")
    if question.modality == "image":
        return Tile(
            label, cosine, on_image(raw, np.zeros((1, 1)), question.model.backbone.preprocess.json(), TILE)[0], ""
        )
    other = Question(question.model, question.task, raw, question.target)
    return Tile(label, cosine, pictures(other, Answer(), TILE)[0], sound=True)


def scaled(words: Sequence[Word]) -> list[Word]:
    """With 1 or -1 where it is strongest."""
    most = max((abs(word.weight) for word in words), default=0.0) or 1.0
    return [word._replace(weight=word.weight / most) for word in words]


def pieces(raw: Text, words: Sequence[Word]) -> list[Piece]:
    """The words of a text, and a bar before its pair; of a long one READ words, around the strongest."""
    found = scaled(words) or [Word(*span, 0.0) for span in spans(raw)]
    if len(found) > READ:
        strongest = max(range(len(found)), key=lambda i: abs(found[i].weight))
        start = min(max(0, strongest - READ // 2), len(found) - READ)
        found = found[start : start + READ]
    halves = (raw.text, raw.pair or "")
    made: list[Piece] = []
    for i, (half, start, end, weight) in enumerate(found):
        if i and half != found[i - 1].half:
            made.append(("|", None))
        made.append((halves[half][start:end], weight))
    return made


def small(question: Question, answer: Answer) -> Json:
    """reporting/_shape.py's Picture: base64, type, width, height."""
    plain, mapped = pictures(question, answer, SMALL)
    made = Image.fromarray(plain if mapped is None else mapped)
    if question.modality == "audio":
        made = made.resize(STRIP[::-1], Image.Resampling.BILINEAR)
    kept = io.BytesIO()
    made.save(kept, "WEBP", quality=80)
    width, height = made.size
    return {"data": base64.b64encode(kept.getvalue()).decode(), "type": "image/webp", "width": width, "height": height}
