"""A layer of an encoder, run inside the model that it belongs to, while all its other layers stand aside.

Beside hidden states, layers want masks, position biases or rotations, and each architecture makes its own. Here the
model itself makes them. That costs its embeddings once more for each layer, which is little beside the layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from graft.backbones._split import without

How = Callable[[Any, Tensor, Tensor], Any]
ANY = 5  # the id of any token: hidden states do not come from the embeddings then


@final
class Stand:
    """What stands in a layer's place: it hands on what it is given, or what `layer` makes of `x`."""

    def __init__(self, more: int | None) -> None:
        self.more = more  # what a layer gives beside hidden states; None: they come alone
        self.seen: Tensor | None = None
        self.put: tuple[nn.Module, Tensor] | None = None

    def __call__(self, *args: Any, **others: Any) -> Any:
        self.seen = args[0] if args else others.pop("hidden_states")
        if self.put is not None:
            layer, x = self.put
            return layer(x, *args[1:], **others)
        return self.seen if self.more is None else (self.seen, *[None] * self.more)


@final
class Frame:
    """A copy of a model that shares its parameters, with stands for layers.

    An object and no closure: a copy of the stages has a copy of it, so that it shares their parameters.
    """

    def __init__(self, base: Any, layers: nn.ModuleList, run: How, x: Tensor, mask: Tensor) -> None:
        more = _more(base, layers[0], run, x, mask)
        self.run, self.stands = run, [Stand(more) for _ in layers]
        places = [_with_forward(layer, stand) for layer, stand in zip(layers, self.stands, strict=True)]
        self.twin = without(base, {id(layers): nn.ModuleList(places)})
        self.tail = self._after(places[-1], x, mask)
        gone: dict[int, nn.Module | None] = {id(layers): nn.ModuleList(), **{id(part): None for part in self.tail}}
        self.stem = without(base, gone)

    def before(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, 2) ids and types -> what the first layer is given."""
        try:
            self.run(self.twin, x, mask)
            return self._seen(0)
        finally:
            self._forget()

    def at(self, number: int, layer: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> what the next layer is given; after the last one, what the model gives."""
        ids = torch.full_like(mask, ANY, dtype=torch.long)
        self.stands[number].put = layer, x
        try:
            last: Tensor = self.run(self.twin, torch.stack([ids, torch.zeros_like(ids)], -1), mask)
            return last if number + 1 == len(self.stands) else self._seen(number + 1)
        finally:
            self._forget()

    def _seen(self, number: int) -> Tensor:
        seen = self.stands[number].seen
        assert seen is not None, "a layer that is never called"
        return seen

    def _forget(self) -> None:
        """What is left of a forward pass could not be copied."""
        for stand in self.stands:
            stand.seen = stand.put = None

    def _after(self, last: nn.Module, x: Tensor, mask: Tensor) -> list[nn.Module]:
        """The modules with weights of their own that run after the last layer: a final norm."""
        called: list[nn.Module] = []
        weighty = [part for part in self.twin.modules() if any(True for _ in part.parameters(recurse=False))]
        handles = [p.register_forward_pre_hook(lambda p, _: called.append(p)) for p in {last, *weighty}]
        try:
            self.run(self.twin, x, mask)
        finally:
            self._forget()
            for handle in handles:
                handle.remove()
        return called[len(called) - called[::-1].index(last) :] if last in called else []


@final
@dataclass
class Before:
    """How the stem runs."""

    frame: Frame

    def __call__(self, module: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        return self.frame.before(x, mask)


@final
@dataclass
class At:
    """How layer `number` runs; the last one is the first of a list, with what comes after it."""

    frame: Frame
    number: int

    def __call__(self, module: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        layer = module[0] if isinstance(module, nn.ModuleList) else module
        return self.frame.at(self.number, layer, x, mask)


def framed(base: Any, layers: nn.ModuleList, run: How, x: Tensor, mask: Tensor) -> list[tuple[nn.Module, How]]:
    """The modules of each stage, and how they run; x, mask: some texts to try it on."""
    frame = Frame(base, layers, run, x, mask)
    last = nn.ModuleList([layers[-1], *frame.tail]) if frame.tail else layers[-1]
    modules = [*list(layers)[:-1], last]
    return [(frame.stem, Before(frame)), *((module, At(frame, i)) for i, module in enumerate(modules))]


def _with_forward(layer: nn.Module, stand: Stand) -> nn.Module:
    """The layer in all that a model may ask of it but its work: some have a type that says which mask they want."""
    twin = copy.copy(layer)
    twin.__dict__["forward"] = stand
    return twin


def _more(base: Any, layer: nn.Module, run: How, x: Tensor, mask: Tensor) -> int | None:
    given: list[Any] = []
    handle = layer.register_forward_hook(lambda _, __, out: given.append(out))
    try:
        run(base, x, mask)
    finally:
        handle.remove()
    return len(given[0]) - 1 if given and isinstance(given[0], tuple) else None
