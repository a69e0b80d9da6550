"""How a text encoder of transformers is cut: embeddings, then layer by layer; proved by running, else whole.

A stage takes (B, T, ...) and the mask (B, T), and sees one window at a time: a text of several windows is that many
short ones to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from graft.backbones._frame import How, framed
from graft.backbones._split import NOTE, probing, same, without
from graft.types import Features, Inputs

Cut = Callable[[Any, nn.ModuleList, How, Tensor, Tensor], list[tuple[nn.Module, How]]]
_FOREIGN = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError, NameError)
PROOF = 12  # tokens of the texts that a cut is proved on, where a window holds so many
PADDED = "what it makes of a text depends a little on the lengths of those beside it"


@final
class Windowed(nn.Module):
    """A module run on windows: (B, W * L, ...) is (B * W, L, ...) to it, less the windows without a token."""

    def __init__(self, module: nn.Module, how: How, length: int) -> None:
        super().__init__()
        self.module, self.how, self.length = module, how, length

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if x.shape[1] <= self.length:
            return _first(self.how(self.module, x, mask))
        pieces, marks = x.reshape(-1, self.length, *x.shape[2:]), mask.reshape(-1, self.length)
        full = marks.any(1)
        out = _first(self.how(self.module, pieces[full], marks[full]))
        whole = out.new_zeros(len(pieces), *out.shape[1:])
        whole[full] = out
        return whole.reshape(len(x), -1, *out.shape[2:])


def _first(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out  # type: ignore[no-any-return]


@final
class Pooling:
    """(B, T, D) -> one vector for each text: the mean of its tokens, their maximum, or the first token of each window.

    `normalize`: to length 1, as sentence encoders are trained.
    """

    def __init__(self, mode: str, normalize: bool, length: int) -> None:
        self.mode, self.normalize, self.length = mode, normalize, length

    def __call__(self, inputs: Inputs) -> Features:
        x, mask, places = inputs.x, inputs.mask, inputs.places
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        pooled = self._pooled(x, seen)
        if self.normalize:
            pooled = nn.functional.normalize(pooled, dim=1)
        return Features(pooled, x, (), seen, places)

    def _pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.mode == "max":
            return x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)
        if self.mode == "cls":
            x, mask = x[:, :: self.length], mask[:, :: self.length]
        weight = mask.to(x.dtype).unsqueeze(-1)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def stages(base: Any, length: int) -> tuple[list[nn.Module], tuple[str, ...]]:
    """The stages of an encoder, and what has to be said of them. They share its modules."""
    _drop_pooler(base)
    with probing(base):
        x, mask = _texts(base, min(PROOF, length))
        expected = _last_hidden(base, x, mask)
        notes = (PADDED,) if _sees_padding(base, x, expected) else ()
        for cut in (_masked, _added, framed):
            made = _tried(cut, base, x, mask, length)
            if made and same(_run(made, x, mask, expected), expected * mask.unsqueeze(-1)):
                return made, notes
    return [Windowed(base, _last_hidden, length)], (NOTE, *notes)


def _drop_pooler(base: Any) -> None:
    """BERT's pooler was trained on telling sentence pairs apart, and is random in most checkpoints: nothing uses it.

    Not None: some models call it without a look.
    """
    if isinstance(getattr(base, "pooler", None), nn.Module):
        base.pooler = nn.Identity()


def _texts(base: Any, size: int) -> tuple[Tensor, Tensor]:
    """Two random texts of `size` tokens, one of them shorter."""
    ids = torch.randint(5, base.config.vocab_size, (2, size))
    mask = torch.ones(2, size, dtype=torch.bool)
    mask[1, size // 2 :] = False
    pad = getattr(base.config, "pad_token_id", None) or 0
    return torch.stack([ids.masked_fill(~mask, pad), torch.zeros_like(ids)], -1), mask


def _sees_padding(base: Any, x: Tensor, expected: Tensor) -> bool:
    """Some convolve over the padding, or pool it: the second text alone is not what it is beside a longer one."""
    half = x.shape[1] // 2
    alone = x[1:, :half]
    real = _last_hidden(base, alone, torch.ones_like(alone[..., 0], dtype=torch.bool))
    return bool((real - expected[1:, :half]).abs().max() > 1e-4 * real.abs().max())


def _last_hidden(model: Any, x: Tensor, mask: Tensor) -> Tensor:
    """(B, T, 2) ids and types -> (B, T, D)."""
    known = inspect.signature(model.forward).parameters
    types = {"token_type_ids": x[..., 1]} if "token_type_ids" in known and _types(model) > 1 else {}
    return model(input_ids=x[..., 0], attention_mask=mask.long(), **types).last_hidden_state  # type: ignore[no-any-return]


def _types(model: Any) -> int:
    return int(getattr(model.config, "type_vocab_size", 0) or 0)


def _tried(cut: Cut, base: Any, x: Tensor, mask: Tensor, length: int) -> list[nn.Module]:
    """The encoder without its longest list of layers is the embedding; then layer by layer. Empty: not in this way."""
    layers = max((part for part in base.modules() if isinstance(part, nn.ModuleList)), key=len, default=None)
    if not layers:
        return []
    try:
        return [Windowed(module, how, length) for module, how in cut(base, layers, _last_hidden, x, mask)]
    except _FOREIGN:
        return []


def _run(made: list[nn.Module], x: Tensor, mask: Tensor, like: Tensor) -> Any:
    """None where the stages do not run, or hand on something else than a row for each token."""
    try:
        for stage in made:
            x = stage(x, mask)
            if x.shape[:2] != mask.shape:
                return None
    except _FOREIGN:
        return None
    return x * mask.unsqueeze(-1) if x.shape == like.shape else None


def _masked(base: Any, layers: nn.ModuleList, run: How, x: Tensor, mask: Tensor) -> list[tuple[nn.Module, How]]:
    """Layers take a mask of booleans, as PyTorch's attention does; none where every token is real, which is faster."""

    def how(layer: Any, x: Tensor, mask: Tensor) -> Any:
        whole = not torch.compiler.is_compiling() and bool(mask.all())  # a graph cannot depend on values
        return layer(x, None if whole else mask[:, None, None, :])

    return _plainly(base, layers, run, how)


def _added(base: Any, layers: nn.ModuleList, run: How, x: Tensor, mask: Tensor) -> list[tuple[nn.Module, How]]:
    """Layers take a mask that is added to the attention's scores."""

    def how(layer: Any, x: Tensor, mask: Tensor) -> Any:
        zero = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, torch.finfo(x.dtype).min)
        return layer(x, zero[:, None, None, :])

    return _plainly(base, layers, run, how)


def _plainly(base: Any, layers: nn.ModuleList, run: How, how: How) -> list[tuple[nn.Module, How]]:
    return [(without(base, {id(layers): nn.ModuleList()}), run), *((layer, how) for layer in layers)]
