"""How an encoder of waves is cut: convolutions and positions, then layer by layer, a last norm; proved by running, else
whole.

A stage takes (B, T, ...) and the mask (B, T), one window at a time. The convolutions, whose norm looks over time and so
over padding too, run for each sound alone; so do layers that would see the padding. What a sound gives does not depend
on its neighbours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from graft.backbones._frame import How
from graft.backbones._hf_waves import Waves, joined, pieces
from graft.backbones._split import NOTE, probing, same, without

PROOF = (23, 9)  # frames of the sounds that a cut is proved on
AT_ONCE = 8  # windows that go through a layer together
_FOREIGN = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError)


@final
class Clips(nn.Module):
    """A module run on windows of at most `length` frames, (B, T, ...) -> (B, T, D); `alone`: one by one, unpadded."""

    def __init__(self, module: nn.Module, how: How, length: int, alone: bool) -> None:
        super().__init__()
        self.module, self.how, self.length, self.alone = module, how, length, alone

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        width = min(x.shape[1], self.length)
        missing = -x.shape[1] % width
        rows = pad(x, (*(0, 0) * (x.ndim - 2), 0, missing)).reshape(-1, width, *x.shape[2:])
        marks = pad(mask, (0, missing)).reshape(-1, width)
        full = marks.any(1)
        found = (self._alone if self.alone else self._together)(rows[full], marks[full])
        whole = found.new_zeros(len(rows), width, found.shape[-1])
        whole[full] = found
        return whole.reshape(len(x), -1, found.shape[-1])[:, : x.shape[1]]

    def _together(self, rows: Tensor, marks: Tensor) -> Tensor:
        parts = zip(rows.split(AT_ONCE), marks.split(AT_ONCE), strict=True)
        return torch.cat([self.how(self.module, *part) for part in parts])

    def _alone(self, rows: Tensor, marks: Tensor) -> Tensor:
        sizes, made = marks.sum(1).tolist(), []
        for row, mark, size in zip(rows, marks, sizes, strict=True):
            out = self.how(self.module, row[None, :size], mark[None, :size])
            made.append(pad(out, (0, 0, 0, len(row) - size)))
        return torch.cat(made)


def stages(base: Any, front: Waves) -> tuple[list[nn.Module], tuple[str, ...]]:
    """The stages of an encoder, which share its modules, and what has to be said of them."""
    base.feature_extractor._requires_grad = False  # of the wave: only the library's checkpointing asks for it
    with probing(base):
        waves = [torch.randn(front.field + (count - 1) * front.hop + front.hop // 2) for count in PROOF]
        expected = [base(input_values=wave[None]).last_hidden_state[0] for wave in waves]
        for way in (_masked, _biased, _related):
            for alone in (False, True):
                made = _tried(base, front, way, alone)
                if made and _proved(made, waves, expected, front):
                    return made, ()
    return [Clips(base, _heard(base, front), front.length, True)], (NOTE,)


def _heard(base: Any, front: Waves) -> Heard:
    return Heard(front.hop, getattr(base.config, "squeeze_factor", 1))


@final
@dataclass
class Heard:
    """How what takes a wave runs: pieces (1, T, ...) of one sound -> (1, T, D). SEW takes no fewer than `least` frames:
    it is given silence behind a shorter sound."""

    hop: int
    least: int

    def __call__(self, module: Any, x: Tensor, mask: Tensor) -> Tensor:
        wave = pad(joined(x[0], self.hop), (0, max(0, self.least - x.shape[1]) * self.hop))
        return module(input_values=wave[None]).last_hidden_state[:, : x.shape[1]]  # type: ignore[no-any-return]


def _tried(base: Any, front: Waves, way: Way, alone: bool) -> list[nn.Module]:
    """Empty where it cannot be cut in this way."""
    try:
        called = _called(base, front.field + PROOF[0] * front.hop)
        layers = way(base.encoder)
    except _FOREIGN:
        return []
    after = called[called.index(base.encoder.layers[0]) + 1 :]
    unused = [part for name, part in base.encoder.named_children() if part not in called or name == "embed_positions"]
    gone: dict[int, nn.Module | None] = {id(part): None for part in unused}
    gone |= {id(base.encoder.layers): nn.ModuleList(), **{id(part): nn.Identity() for part in after}}
    stem = Clips(without(base, gone), _heard(base, front), front.length, True)
    middle = [Clips(*one, front.length, alone) for one in layers]
    return [stem, *middle, *(Clips(part, _plain, front.length, False) for part in after)]


def _called(base: Any, samples: int) -> list[nn.Module]:
    """The parts of the encoder and its first layer, in the order in which they are run."""
    called: list[nn.Module] = []
    parts = (*base.encoder.children(), base.encoder.layers[0])
    handles = [part.register_forward_pre_hook(lambda part, _: called.append(part)) for part in parts]
    try:
        base(input_values=torch.zeros(1, samples))
    finally:
        for handle in handles:
            handle.remove()
    return called


def _proved(made: list[nn.Module], waves: list[Tensor], expected: list[Tensor], front: Waves) -> bool:
    """Both sounds, in one batch, are what the library says of each alone."""
    rows = [pieces(wave, front.hop, front.field) for wave in waves]
    x = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(x.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    try:
        for stage in made:
            x = stage(x, mask)
    except _FOREIGN:
        return False
    return all(same(out[: len(want)], want) for out, want in zip(x, expected, strict=True))


# ------------------------------------------------------------------------------------------------- how layers are run

Way = Callable[[Any], list[tuple[nn.Module, How]]]  # an encoder -> its layers, and how each runs


def _plain(module: Any, x: Tensor, mask: Tensor) -> Tensor:
    return module(x)  # type: ignore[no-any-return]


def _keys(mask: Tensor) -> Tensor | None:
    """(B, 1, 1, T) the frames that are attended to; None where all are, which is faster."""
    return None if bool(mask.all()) else mask[:, None, None, :]


def _masked(encoder: Any) -> list[tuple[nn.Module, How]]:
    """Layers that take a mask and nothing else."""

    return [(layer, _layer) for layer in encoder.layers]


def _layer(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    out = layer(x, attention_mask=_keys(mask))
    return torch.as_tensor(out[0] if isinstance(out, tuple) else out)


def _related(encoder: Any) -> list[tuple[nn.Module, How]]:
    """Conformers, whose layers are given the distances between frames (Dai et al. 2019) or rotations."""
    return [(layer, Related(encoder.embed_positions)) for layer in encoder.layers]


@final
@dataclass
class Related:
    embed: nn.Module  # without parameters

    def __call__(self, layer: Any, x: Tensor, mask: Tensor) -> Tensor:
        fresh = copy.copy(self.embed)  # what it keeps of prediction could not be trained with
        return layer(x, attention_mask=_keys(mask), relative_position_embeddings=fresh(x))  # type: ignore[no-any-return]


def _biased(encoder: Any) -> list[tuple[nn.Module, How]]:
    """WavLM (Chen et al. 2022, arXiv:2110.13900): the first layer's table of distances biases the attention of all."""
    how = Biased(encoder.layers[0].attention)
    return [(without(layer, {id(layer.attention): _calling(layer.attention)}), how) for layer in encoder.layers]


@final
@dataclass
class Biased:
    """An object and no closure: a copy of the stages has a copy of it, so that it shares their parameters."""

    first: Any

    def __call__(self, layer: Any, x: Tensor, mask: Tensor) -> Tensor:
        bias = self.first.compute_bias(x.shape[1], x.shape[1]).repeat(len(x), 1, 1)
        return layer(x, attention_mask=_keys(mask), position_bias=bias)[0]  # type: ignore[no-any-return]


def _calling(attention: nn.Module) -> nn.Module:
    """The library's reads the weights of its projections without calling them: no adapter of theirs would learn."""
    twin = copy.copy(attention)
    twin.__dict__["_modules"] = dict(attention._modules)
    twin.__dict__["torch_multi_head_self_attention"] = MethodType(_attend, twin)
    return twin


def _attend(self: Any, x: Tensor, keys: Tensor | None, bias: Tensor) -> tuple[Tensor, None]:
    """(B, T, D), keys (B, 1, 1, T), bias (B * heads, T, T)."""
    size = (*x.shape[:2], self.num_heads, self.head_dim)
    q, k, v = (part(x).view(size).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj))
    added = bias.view(len(x), self.num_heads, *bias.shape[1:]).to(q.dtype)
    if keys is not None:
        added = added.masked_fill(~keys, torch.finfo(added.dtype).min)
    out = scaled_dot_product_attention(q, k, v, added, self.dropout if self.training else 0.0)
    return self.out_proj(out.transpose(1, 2).reshape(x.shape)), None
