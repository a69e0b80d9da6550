"""A recurrent network over the words of the training texts: bidirectional LSTMs, on random or given word vectors.

lstm                                             everything is learned from the training texts
lstm(vectors='glove.6B.100d.txt', hidden=256)    words begin as vectors that were learned from other texts
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from graft.backbones._encoder import Pooling
from graft.backbones._vectors import Table, read_vectors
from graft.backbones._weights import weights_digest
from graft.backbones._words import LENGTH, UNKNOWN, Words, folded, tokens_of
from graft.errors import DataError, UsageError
from graft.nn.lstm import lstm as stages_of
from graft.nn.lstm import random_table
from graft.spec import Spec
from graft.types import Backbone, Corpus, Features, Info, Inputs, Json

ENOUGH = 1000  # words that come twice; of fewer, those that come once are taken, too
MOST = 400_000  # rows of a file of vectors that are searched for the words of the training texts


def lstm(
    *,
    vectors: str | None = None,
    dim: int = 128,
    hidden: int = 128,
    layers: int = 2,
    vocabulary: int = 20_000,
    dropout: float = 0.3,
    pretrained: bool = True,
    corpus: Corpus | None = None,
    config: Json | None = None,
) -> Backbone:
    """(B, T) words -> (B, 4 * hidden). The `vocabulary` are the most frequent words of the `corpus`, in small letters.

    `dim`: of a word's vector, unless a file of `vectors` says it. With `config`, what Info.config held, neither file
    nor corpus is needed. UsageError without any of them, or for sizes that make no network.
    """
    _check(dim, hidden, layers, vocabulary, dropout)
    asked = {"vectors": vectors, "dim": dim, "hidden": hidden, "layers": layers, "vocabulary": vocabulary,
             "dropout": dropout}  # fmt: skip
    source = Spec("lstm", None, {key: value for key, value in asked.items() if value is not None})
    words = () if config else _vocabulary(corpus, vocabulary)
    file = None if config or vectors is None else read_vectors(vectors, MOST)
    known = config or {"rows": 1 + len(words), "dim": file.vectors.shape[1] if file else dim}
    begin = file if pretrained else None
    stages = stages_of(_table(known, words, begin), hidden, layers, dropout)
    digest = weights_digest(nn.ModuleList(stages).state_dict(prefix="stages.")) if begin else ""
    count = sum(p.numel() for stage in stages for p in stage.parameters())
    info = Info(source, "text", 4 * hidden, sha256=digest, parameters=count, lr=1e-3, config=known)
    return Backbone(info, stages, Words(words), MaxMean())


class MaxMean:
    """(B, T, D) -> (B, 2 D): the maximum and the mean of the words, as ULMFiT (arXiv:1801.06146), but for the last one.

    One word may settle what a text is, which the maximum sees, or many together. A last state adds little: going both
    ways, it is that of a text's end from the one side, and of its begin from the other. Heads of tokens are as wide as
    those of texts, so a word comes with the mean of its text.
    """

    def __init__(self) -> None:
        self.max, self.mean = Pooling("max", False, LENGTH), Pooling("mean", False, LENGTH)

    def __call__(self, inputs: Inputs) -> Features:
        found = self.mean(inputs)
        beside = found.pooled.unsqueeze(1).expand_as(inputs.x)
        pooled = torch.cat([self.max(inputs).pooled, found.pooled], 1)
        return found._replace(pooled=pooled, tokens=torch.cat([inputs.x, beside], 2))


def _check(dim: int, hidden: int, layers: int, vocabulary: int, dropout: float) -> None:
    sizes = {"dim": dim, "hidden": hidden, "layers": layers, "vocabulary": vocabulary}
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"lstm: {name}={size} makes no network", f"choose {name} >= 1")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout={dropout} is not a share of units", "choose 0 <= dropout < 1")


def _vocabulary(corpus: Corpus | None, most: int) -> tuple[str, ...]:
    """The unknown word, then words from the most frequent one down, whatever the order of the texts.

    Words that come once are mostly left out, so that "<unk>" is learned from them.
    """
    if corpus is None:
        raise UsageError("lstm is made from the training texts", "graft fit DATA --backbone lstm")
    counts: Counter[str] = Counter()
    for text in corpus():
        for part in (text.text, text.pair or ""):
            counts.update(map(folded, tokens_of(part)))
    if not counts:
        raise DataError("the training texts hold no words", "look at the column that the texts are read from")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    often = [word for word in ranked if counts[word] > 1]
    return (UNKNOWN, *(often if len(often) >= ENOUGH else ranked)[:most])


def _table(known: Json, words: tuple[str, ...], file: Table | None) -> Tensor:
    """(V, D): the vectors of words that the file has; the others are random, at its scale."""
    table = random_table(known["rows"], known["dim"], float(file.vectors.std()) if file else 0.1)
    table[1] = 0  # the unknown word: of few texts none teaches what it is
    index = Words(file.words if file else ())
    for row, word in enumerate(words, 1):
        found = index.id_of(word)
        if file and found:
            table[row] = torch.from_numpy(file.vectors[found - 1])
    return table
