"""Train the head alone; the trunk runs once and is never touched (Alain & Bengio 2016, arXiv:1610.01644)."""

from __future__ import annotations

from graft import parts
from graft.types import Flow, Model, Phase


def linear_probe(model: Model, *, epochs: int = 20, lr: float = 1e-2) -> Flow:
    yield Phase("head", (parts.group(parts.head(model), lr),), epochs)
