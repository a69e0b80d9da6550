"""No network at all: the words of a text, by TF-IDF (Sparck Jones 1972), the control that every trunk has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.backbones._terms import Terms, document, fitted
from graft.errors import DataError, UsageError
from graft.spec import Spec
from graft.types import Backbone, Corpus, Features, Info, Inputs, Json


def tfidf(
    *,
    terms: int = 5000,
    ngrams: int = 2,
    pretrained: bool = True,
    corpus: Corpus | None = None,
    config: Json | None = None,
) -> Backbone:
    """A text -> (B, D), the weights of the D <= `terms` most frequent terms of the `corpus`. Nothing is pretrained.

    A term is a word, or up to `ngrams` words in a row. `config` is what Info.config held. UsageError without either.
    """
    for name, value in (("terms", terms), ("ngrams", ngrams)):
        if value < 1:
            raise UsageError(f"tfidf: {name}={value} leaves nothing to count", f"choose {name} >= 1")
    known = config or _fitted(corpus, terms, ngrams)
    preprocess = Terms(tuple(known["terms"]), tuple(known["idf"]), ngrams)
    dim = len(preprocess.terms)
    source = Spec("tfidf", None, {"terms": terms, "ngrams": ngrams})
    info = Info(source, "text", dim, licence="none needed", standardize=False, config=known)
    return Backbone(info, [HandOn()], preprocess, Dense(dim))


class HandOn(nn.Module):
    """What it is given: there is no network."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x


class Dense:
    """Terms and weights (B, T, 2) -> (B, D). Order is lost, so there are no tokens."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, inputs: Inputs) -> Features:
        number, weight = inputs.x.unbind(2)
        pooled = torch.zeros(len(number), self.dim, dtype=weight.dtype, device=weight.device)
        return Features(pooled.scatter_add(1, number.long(), weight))


def _fitted(corpus: Corpus | None, most: int, ngrams: int) -> Json:
    if corpus is None:
        raise UsageError("tfidf is made from the training texts", "graft fit DATA --backbone tfidf")
    terms, idf = fitted((document(text) for text in corpus()), ngrams, most)
    if not terms:
        raise DataError("the training texts hold no words", "look at the column that the texts are read from")
    return {"terms": terms, "idf": idf}
