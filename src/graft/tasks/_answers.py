"""Answers to questions, and how they are compared: the official script of SQuAD (Rajpurkar et al. 2018, 1806.03822).

Of version 2, which is that of version 1.1 but for questions without an answer.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from graft.types import Answers

SPAN, NULL, YES, NO, NOTHING = 0, 1, 2, 3, -1  # what an answer is; NOTHING: no answer is known, or none is left
KINDS = {"yes": YES, "no": NO}
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@final
@dataclass(frozen=True)
class Gold:
    """What N questions are compared with: the passages, all good answers, and where these stand.

    `spans` (N, A, 2): characters [start, end) of the passage, -1 for padding and for what is no part of it. `answers`
    is None where nothing is known.
    """

    contexts: tuple[str, ...]
    answers: tuple[Answers | None, ...]
    spans: Tensor

    def __len__(self) -> int:
        return len(self.contexts)

    def __getitem__(self, rows: Tensor) -> Gold:
        picked = torch.arange(len(self))[rows.cpu()].tolist()  # a mask is as good as indices
        return Gold(tuple(self.contexts[i] for i in picked), tuple(self.answers[i] for i in picked),
                    self.spans[rows.to(self.spans.device)])  # fmt: skip

    def to(self, device: torch.device | str) -> Gold:
        return Gold(self.contexts, self.answers, self.spans.to(device))

    def kinds(self) -> Tensor:
        """(N,) SPAN, NULL, YES or NO by the first good answer, NOTHING where it is none of these."""
        return torch.tensor([_kind(one) for one in self.answers], dtype=torch.long, device=self.spans.device)


class Match(NamedTuple):
    exact: float
    f1: float


def gold(contexts: Sequence[str], answers: Sequence[Answers | None]) -> Gold:
    """Gold with the spans that the answers' starts and texts say."""
    spans = torch.full((len(answers), max([1, *(len(one.texts) for one in answers if one)]), 2), -1)
    for row, one in zip(spans, answers, strict=True):
        for place, text, start in zip(row, *(one or Answers((), ())), strict=False):
            if start >= 0:
                place[:] = torch.tensor([start, start + len(text)])
    return Gold(tuple(contexts), tuple(answers), spans)


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, one blank between words."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def match(said: str, answers: Answers) -> Match:
    """The best exact match and F1 of words over all good answers; without any, to say nothing is right."""
    good = {normalise(text) for text in answers.texts} - {""} or {""}
    guess = normalise(said)
    return Match(float(guess in good), max(_f1(guess.split(), one.split()) for one in good))


def _f1(said: list[str], true: list[str]) -> float:
    if not said or not true:
        return float(said == true)
    common = sum((Counter(said) & Counter(true)).values())
    return 2 * common / (len(said) + len(true))


def _kind(answers: Answers | None) -> int:
    if answers is None:
        return NOTHING
    if not answers.texts:
        return NULL
    return SPAN if answers.starts[0] >= 0 else KINDS.get(answers.texts[0].strip().lower(), NOTHING)
