"""Preprocessing of text by its terms: which of them it holds, and their weights. Order is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graft.backbones._words import patterns
from graft.types import Inputs, Json, Text


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
        counts = Counter(self._index[term] for term in self._analyze(document(raw)) if term in self._index)
        if not counts:
            return torch.zeros(1, 2)
        found = np.array(sorted(counts.items()), dtype=np.float64)
        weights = (1 + np.log(found[:, 1])) * self._idf[found[:, 0].astype(int)]
        return torch.from_numpy(np.stack([found[:, 0], weights / np.linalg.norm(weights)], 1).astype(np.float32))

    def batch(self, samples: Sequence[Tensor], augment: Any = None, seeds: Sequence[int] = ()) -> Inputs:
        """B samples (T_i, 2) -> (B, T, 2), mask (B, T). Nothing is augmented."""
        sizes = torch.tensor([len(one) for one in samples])
        x = torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=True)
        return Inputs(x, torch.arange(x.shape[1]) < sizes[:, None])

    def json(self) -> Json:
        return {"kind": "terms", "terms": list(self.terms), "idf": list(self.idf), "ngrams": self.ngrams}

    @cached_property
    def _analyze(self) -> Callable[[str], list[str]]:
        return vectorizer(self.ngrams).build_analyzer()  # type: ignore[no-any-return]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {term: number for number, term in enumerate(self.terms)}

    @cached_property
    def _idf(self) -> NDArray[np.float64]:
        return np.array(self.idf)


def vectorizer(ngrams: int, most: int | None = None) -> Any:
    """scikit-learn's, with 1 + log(count): a term that comes ten times says little more than one that comes twice.

    It makes the terms; the weights of one text are made above, as its own `transform` takes a millisecond for that.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, ngrams), max_features=most, lowercase=True,
                           token_pattern=patterns().word)  # fmt: skip


def document(raw: Text) -> str:
    return raw.text if raw.pair is None else f"{raw.text}\n{raw.pair}"


def terms(record: Json) -> Terms:
    """What `Terms.json` wrote."""
    return Terms(tuple(record["terms"]), tuple(record["idf"]), int(record["ngrams"]))
