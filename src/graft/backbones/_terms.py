"""Preprocessing of text by its terms: which of them it holds, and their weights. Order is lost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.backbones._words import patterns
from graft.types import Inputs, Json, Text

_PLAIN = re.compile(r"[0-9]+(?:[.,][0-9]+)+|[0-9a-z]+(?:['-]+[0-9a-z]+)*")  # `patterns().word` as far as ASCII goes


@final
@dataclass(frozen=True)
class Terms:
    """`terms` are words, and runs of up to `ngrams` words, with their inverse document frequencies `idf`."""

    terms: tuple[str, ...]
    idf: tuple[float, ...]
    ngrams: int = 2
    ragged: ClassVar[bool] = True

    def sample(self, raw: Text) -> Tensor:
        """(T, 2) float32: terms by number, and their weights, which are of length 1 together; T >= 1."""
        counts: Counter[Any] = Counter(map(self._index.get, self._analyze(document(raw))))
        counts.pop(None, None)
        if not counts:
            return torch.zeros(1, 2)
        found = np.array(sorted(counts.items()), dtype=np.float64)
        weights = (1 + np.log(found[:, 1])) * self._idf[found[:, 0].astype(int)]
        return torch.from_numpy(np.stack([found[:, 0], weights / np.linalg.norm(weights)], 1).astype(np.float32))

    def samples(self, raws: Sequence[Text]) -> list[Tensor]:
        """What `sample` makes of each."""
        return [self.sample(raw) for raw in raws]

    def batch(self, samples: Sequence[Tensor], augment: Any = None, seeds: Sequence[int] = ()) -> Inputs:
        """B samples (T_i, 2) -> (B, T, 2), mask (B, T). Nothing is augmented."""
        sizes = torch.tensor([len(one) for one in samples])
        x = torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=True)
        return Inputs(x, torch.arange(x.shape[1]) < sizes[:, None])

    def positions(self, sample: Tensor) -> int:
        return len(sample)

    def json(self) -> Json:
        return {"kind": "terms", "terms": list(self.terms), "idf": list(self.idf), "ngrams": self.ngrams}

    @cached_property
    def _analyze(self) -> Callable[[str], list[str]]:
        return analyzer(self.ngrams)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {term: number for number, term in enumerate(self.terms)}

    @cached_property
    def _idf(self) -> NDArray[np.float64]:
        return np.array(self.idf)


def analyzer(ngrams: int) -> Callable[[str], list[str]]:
    """A text in lower case -> its words, then its runs of 2 to `ngrams` words. scikit-learn's makes the same terms in
    three times the time, and takes a second to import."""
    words, plain = re.compile(patterns().word).findall, _PLAIN.findall

    def analyze(text: str) -> list[str]:
        found: list[str] = (plain if text.isascii() else words)(text.lower())
        runs = [zip(*(found[start:] for start in range(size)), strict=False) for size in range(2, ngrams + 1)]
        return found + [" ".join(run) for each in runs for run in each]

    return analyze


def fitted(texts: Iterable[str], ngrams: int, most: int) -> tuple[list[str], list[float]]:
    """The `most` frequent terms in their order, and ln((1 + N) / (1 + n)) + 1, where n of N texts hold one: what
    scikit-learn's TfidfVectorizer comes to, ties included. No terms where the texts hold no words."""
    analyze, total, within, count = analyzer(ngrams), Counter[str](), Counter[str](), 0
    for count, text in enumerate(texts, 1):  # noqa: B007
        found = analyze(text)
        total.update(found)
        within.update(set(found))
    terms = sorted(total)
    if len(terms) > most:
        often = np.fromiter(map(total.__getitem__, terms), np.float64, len(terms))
        terms = [terms[place] for place in np.sort((-often).argsort()[:most])]
    holding = np.fromiter(map(within.__getitem__, terms), np.float64, len(terms))
    return terms, (np.log((count + 1) / (holding + 1)) + 1).tolist()


def document(raw: Text) -> str:
    return raw.text if raw.pair is None else f"{raw.text}\n{raw.pair}"


def terms(record: Json) -> Terms:
    """What `Terms.json` wrote."""
    return Terms(tuple(record["terms"]), tuple(record["idf"]), int(record["ngrams"]))
