"""Encoders of spectrograms of one size: AST and the encoder of Whisper. Longer sounds are several windows.

AST: Gong et al. 2021, arXiv:2104.01778. Whisper: Radford et al. 2022, arXiv:2212.04356.

A position is a window. How much of it is sound, and not the silence that fills it up, is a column of its own beside
the features, from the spectrogram to the last stage: whatever of a trunk is kept, the readout knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from graft.backbones import _readout
from graft.backbones._cut import Readout
from graft.backbones._extractors import built
from graft.backbones._mel import padded
from graft.backbones._split import NOTE, probing, same, without
from graft.types import Features, Inputs, Json, SoundView

AT_ONCE = 8  # windows that go through a stage together
AST_WINDOW, AST_HOP = 400, 160  # samples under a frame of AST, and from frame to frame: the library's constants
How = Callable[[Any, Tensor], Tensor]


@final
@dataclass(frozen=True)
class Spectrograms:
    """A front (Front of _sounds.py): positions are windows, of which the extractor makes a spectrogram each."""

    extractor: Json
    length: None = None

    @cached_property
    def _extractor(self) -> Any:
        return built(self.extractor)

    @cached_property
    def samples(self) -> int:
        """Of a window."""
        made = self._extractor
        return int((made.max_length - 1) * AST_HOP + AST_WINDOW if self._ast else made.n_samples)

    @property
    def _ast(self) -> bool:
        return bool(self.extractor["feature_extractor_type"] == "ASTFeatureExtractor")

    def positions(self, samples: int) -> int:
        return max(1, -(-samples // self.samples))

    def inputs(self, waves: Sequence[Tensor], view: SoundView | None = None, seeds: Sequence[int] = ()) -> Inputs:
        """B waves (n_i,) -> x (B, k, T, F + 1), mask (B, k), places (B, k, 2) in samples of the wave.

        Time comes before frequency; the last column is 1 where there is sound.
        """
        made = [self._windows(wave) for wave in waves]
        if view is not None:
            made = [_seen(one, view, seed) for one, seed in zip(made, seeds, strict=True)]
        places = padded([self._places(len(wave)) + 1 for wave in waves]).x - 1
        return padded(made)._replace(places=places)

    def json(self) -> Json:
        return {"kind": "spectrograms", "extractor": self.extractor}

    def _windows(self, wave: Tensor) -> Tensor:
        """(n,) -> (k, T, F + 1)."""
        return torch.stack([self._spectrogram(part) for part in wave.split(self.samples)])

    def _spectrogram(self, wave: Tensor) -> Tensor:
        ast, rate = self._ast, self.extractor["sampling_rate"]
        made = self._extractor([pad(wave, (0, max(0, AST_WINDOW - len(wave)))).numpy()], sampling_rate=rate)
        found = torch.as_tensor(made["input_values"][0] if ast else made["input_features"][0].T)
        count = (len(wave) - AST_WINDOW) // AST_HOP + 1 if ast else -(-len(wave) // self._extractor.hop_length)
        real = torch.arange(len(found)) < max(count, 1)
        return torch.cat([found.float(), real[:, None].float()], 1)

    def _places(self, samples: int) -> Tensor:
        starts = torch.arange(0, samples, self.samples)
        return torch.stack([starts, (starts + self.samples).clamp(max=samples)], 1)


def spectrograms(record: Json) -> Spectrograms:
    """What `Spectrograms.json` wrote."""
    return Spectrograms(record["extractor"])


def _seen(windows: Tensor, view: SoundView, seed: int) -> Tensor:
    """A view of the whole sound; the silence that fills up its last window stays."""
    real = windows[..., -1] > 0
    made = windows.clone()
    made[real] = torch.cat([view.spectrogram(windows[real][:, :-1], seed)[0], windows[real][:, -1:]], 1)
    return made


# ------------------------------------------------------------------------------------------------------------- stages


@final
class Windows(nn.Module):
    """A module run on the windows that are there: (B, k, N, D + 1) -> the same with another N and D."""

    def __init__(self, module: nn.Module, how: How) -> None:
        super().__init__()
        self.module, self.how = module, how

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found = torch.cat([self.how(self.module, some) for some in x[mask].split(AT_ONCE)])
        whole = found.new_zeros(*mask.shape, *found.shape[1:])
        whole[mask] = found
        return whole


class Kind(NamedTuple):
    """How an architecture is run: `stem` takes spectrograms, `norm` is the name of what follows the layers."""

    stem: How
    norm: str
    readout: Readout


def stages(base: Any, kind: Kind, shape: tuple[int, int]) -> tuple[list[nn.Module], tuple[str, ...]]:
    """The stages of an encoder, which share its modules, and what has to be said of them; shape: a window's (T, F)."""
    norm = getattr(base, kind.norm)
    stem = without(base, {id(base.layers): nn.ModuleList(), id(norm): nn.Identity()})
    made: list[nn.Module] = [
        Windows(stem, kind.stem),
        *(Windows(layer, _layer) for layer in base.layers),
        Windows(norm, _norm),
    ]
    whole: list[nn.Module] = [Windows(base, kind.stem)]
    with probing(base):
        x = torch.cat([torch.randn(2, *shape), torch.ones(2, shape[0], 1)], -1)[None]
        proved = same(_run(made, x), _run(whole, x))
    return (made, ()) if proved else (whole, (NOTE,))


def _run(made: Sequence[nn.Module], x: Tensor) -> Any:
    """None where the stages do not run."""
    try:
        for stage in made:
            x = stage(x, torch.ones(x.shape[:2], dtype=torch.bool))
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError):
        return None
    return x


def _layer(layer: Any, x: Tensor) -> Tensor:
    out = layer(x[..., :-1], None)
    return torch.cat([out[0] if isinstance(out, tuple) else out, x[..., -1:]], -1)


def _norm(norm: Any, x: Tensor) -> Tensor:
    return torch.cat([norm(x[..., :-1]), x[..., -1:]], -1)


# ---------------------------------------------------------------------------------------------------- AST and Whisper


def _ast_stem(model: Any, x: Tensor) -> Tensor:
    """(n, T, F + 1) -> (n, 2 + patches, D + 1); what a patch sees is not one moment: all have the window's share."""
    out = model(input_values=x[..., :-1]).last_hidden_state
    share = x[..., -1].mean(1)[:, None, None].expand(*out.shape[:2], 1)
    return torch.cat([out, share], -1)


def _whisper_stem(model: Any, x: Tensor) -> Tensor:
    """(n, T, F + 1) -> (n, T / 2, D + 1)."""
    out = model(input_features=x[..., :-1].transpose(1, 2)).last_hidden_state
    return torch.cat([out, x[:, ::2, -1:]], -1)


def class_tokens(inputs: Inputs) -> Features:
    """(B, k, N, D + 1) -> the mean of the two class tokens, and of the windows by how much of each is sound."""
    x = inputs.x
    weight = x[:, :, 0, -1:]
    return Features((x[:, :, :2, :-1].mean(2) * weight).sum(1) / weight.sum(1))


def frames(inputs: Inputs) -> Features:
    """(B, k, N, D + 1) -> the mean of the frames of all windows that are sound, which are the tokens."""
    x, real = inputs.x[..., :-1].flatten(1, 2), inputs.x[..., -1].flatten(1, 2) > 0
    longest = int(real.sum(1).max())  # only a last window holds silence
    return _readout.mean_token(Inputs(x[:, :longest], real[:, :longest]))


AST = Kind(_ast_stem, "layernorm", class_tokens)
WHISPER = Kind(_whisper_stem, "layer_norm", frames)
