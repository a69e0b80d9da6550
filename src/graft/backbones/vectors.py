"""Static word vectors of a file, one for each word, whatever stands beside it: vectors:glove.6B.300d.txt

GloVe (Pennington et al. 2014), word2vec (Mikolov et al. 2013, arXiv:1301.3781) or fastText (arXiv:1607.04606), in text.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from graft.backbones._encoder import Pooling
from graft.backbones._vectors import Table, read_vectors
from graft.backbones._weights import weights_digest
from graft.backbones._words import LENGTH, Words
from graft.errors import UsageError, did_you_mean
from graft.nn.lstm import Lookup, random_table
from graft.spec import Spec
from graft.types import Backbone, Info, Json

POOLINGS = ("mean", "max")


def vectors(
    file: str, *, most: int = 100_000, pooling: str = "mean", pretrained: bool = True, config: Json | None = None
) -> Backbone:
    """(B, T) words -> (B, D), the mean (or "max") of their vectors; words that the file does not have are left out.

    The first `most` rows are read, which are the most frequent words. `pretrained=False`: random vectors for the same
    words. With `config`, what Info.config held, the file is not needed. DataError and IntegrityError: see _vectors.py.
    """
    if pooling not in POOLINGS:
        raise UsageError(f"there is no pooling '{pooling}' of words", did_you_mean(pooling, POOLINGS))
    if most < 1:
        raise UsageError(f"most={most} leaves no words", "choose most >= 1")
    table = None if config else read_vectors(file, most)
    known = config or _facts(table)
    stage = Lookup(_weights(known, table if pretrained else None))
    source = Spec("vectors", file, {"most": most, "pooling": pooling})
    digest = weights_digest({f"stages.0.{name}": t for name, t in stage.state_dict().items()})
    info = Info(source, "text", known["dim"], parameters=known["rows"] * known["dim"], lr=1e-3, config=known)
    if table and pretrained:
        info = replace(info, sha256=digest, pretrained_on=f"see where {Path(file).name} comes from")
    return Backbone(info, [stage], Words(table.words if table else ()), Pooling(pooling, False, LENGTH))


def _facts(table: Table | None) -> Json:
    assert table is not None
    return {"rows": 1 + len(table.words), "dim": table.vectors.shape[1]}


def _weights(known: Json, table: Table | None) -> Tensor:
    """Row 0 is no word, as in Words."""
    weights = random_table(known["rows"], known["dim"])
    if table is not None:
        weights[1:] = torch.from_numpy(table.vectors)
    return weights
