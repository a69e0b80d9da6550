"""Heads that get to know their trunk, and those of them that guess words by its own table.

That table is the matrix of words at the trunk's input, tied to the output (Press & Wolf 2017, arXiv:1608.05859).
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import UsageError
from graft.types import Backbone

HINT = "choose a trunk like BERT: --backbone bert, or minilm"


class Tied(nn.Module):
    """A head that is made for one trunk, and gets to know it before anything is trained or loaded."""

    def tie(self, backbone: Backbone) -> None:
        """Raises UsageError for a trunk that it cannot be a head of."""
        raise NotImplementedError


class TiedWords(Tied):
    """A head that looks up `words` (V, D) in the trunk, where they move with it; no parameter of its own."""

    def tie(self, backbone: Backbone) -> None:
        """To the table that the source names in `heads["words"]`. Raises UsageError where there is none."""
        if "words" not in backbone.heads:
            raise UsageError(f"{backbone.info.source} has no table of words to guess words by", HINT)
        self._words = (backbone.heads["words"],)  # in a tuple: a part of the trunk, not of the head

    @property
    def words(self) -> Tensor:
        """(V, D), the trunk's parameter itself."""
        table = self._words[0].weight
        assert isinstance(table, Tensor)
        return table


@final
class HiddenWords(TiedWords):
    """(K, D) tokens -> (K, V) logits: a layer of its own, GELU, LayerNorm, the table, and a bias for each word.

    As BERT's (Devlin et al. 2019, arXiv:1810.04805).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))

    def tie(self, backbone: Backbone) -> None:
        """Raises UsageError for a trunk that cannot hide words, or whose table is of another width than its tokens."""
        super().tie(backbone)
        if backbone.preprocess.json().get("mask") is None:
            raise UsageError(f"the tokeniser of {backbone.info.source} has no token that hides a word", HINT)
        count, width = self.words.shape
        if width != backbone.info.dim:
            what = f"{backbone.info.source} has {backbone.info.dim} features, and a table of words with {width}"
            raise UsageError(what, HINT)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.change(tokens), self.words, self.bias)
