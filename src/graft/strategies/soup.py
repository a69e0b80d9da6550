"""Fine-tune one trunk several times and average the weights (model soups, Wortsman et al. 2022, arXiv:2203.05482)."""

from __future__ import annotations

from graft import parts, registry
from graft.spec import parse
from graft.types import Flow, Model

INGREDIENTS = ("lp_ft(start='auto', last=1)", "discriminative(start='auto')")


def soup(model: Model, *, ingredients: tuple[str, ...] = INGREDIENTS, epochs: int | None = None) -> Flow:
    """`ingredients` are strategies, each run from the weights as they came; `epochs` overrides theirs."""
    before, found = parts.snapshot(model), []
    for text in ingredients:
        asked = parse(text) if epochs is None else parse(text).with_options(epochs=epochs)
        model.load_state_dict(before)
        yield from asked.bind(registry.find("strategy", asked.name), model)
        found.append(parts.snapshot(model))
    model.load_state_dict(parts.average(found))
