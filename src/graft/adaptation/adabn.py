"""BatchNorm statistics of the new samples, without labels (AdaBN, Li et al. 2016, arXiv:1603.04779).

A trunk normalises each channel by a mean and a variance; another speaker or camera shifts what it is given. Here each
layer gets the statistics of its own input on the new samples; no weight moves.

The layers are done one after the other, from the input on: the input of a layer is what the layers before it make of
the samples with their new statistics. The moments are those of all samples and positions, so the result depends neither
on the order of the samples nor on the batches. Padding never counts: sequences come in batches of one length.

A trunk that kept its pretrained statistics, as under a probe, did not see its own source as mean 0 and variance 1. So
where the source samples are at hand their moments (m_s, v_s) are taken, else those (m_0, v_0) that the layer holds; and
the layer does to (x - m) sqrt(v_s / v) + m_s what it did to x: new samples then look to the rest as the source did.
With m_s = m_0 and v_s = v_0 that is AdaBN to the letter: the layer holds m and v.

One sample says little: the source counts as `mix` more (N in Schneider et al. 2020, arXiv:2006.16971), so that m is
N / (N + n) m_s + n / (N + n) (the mean of the n new ones), and the variance likewise.

It takes for granted that the classes are as frequent as they were: where the new samples are mostly of one class, the
shift that it removes is that of the classes, and the predictions become worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graft.adaptation._norms import Moments, layers, watched
from graft.errors import UsageError
from graft.types import Backbone, Inputs, Model

Batches = Callable[[int], Iterable[Inputs]]


@torch.no_grad()
def adabn(model: Model, inputs: Batches, source: Batches | None, *, mix: int = 4) -> None:
    """`inputs(i)` are the new samples as stage i of this model is given them, in batches without padding; `source(i)`
    those that the run has learned from, as stage i was given them. `mix`: 0 for the new ones alone.

    Raises UsageError for a trunk without BatchNorm, and for a negative `mix`.
    """
    if not layers(model.backbone):
        what = f"{model.backbone.info.source} has no BatchNorm layers, whose statistics adabn estimates again"
        raise UsageError(what, "--method tune, with some labelled samples")
    if mix < 0:
        raise UsageError(f"mix={mix} is no number of samples", "mix=0 for the new samples alone, or mix=4")
    model.eval()
    for number, stage in enumerate(model.backbone.stages):
        old = _moments(stage, layers(stage), source(number)) if source and layers(stage) else {}
        for layer in _in_order(stage, inputs, number):
            new = _moments(stage, [layer], inputs(number))[layer]
            _set(layer, old.get(layer) or _held(layer), new, mix / (mix + new.samples))


def _in_order(stage: nn.Module, inputs: Batches, number: int) -> list[_BatchNorm]:
    """The stage's BatchNorm layers as they come to be run, which need not be the order in which they are defined."""
    found, order = layers(stage), dict[_BatchNorm, None]()
    if found:
        with watched(found, lambda layer, x: order.setdefault(layer)):
            Backbone.encode_one(stage, next(iter(inputs(number))))
    return list(order)


def _moments(stage: nn.Module, found: list[_BatchNorm], batches: Iterable[Inputs]) -> dict[_BatchNorm, Moments]:
    """Of all that each of the layers is given."""
    made = {layer: Moments() for layer in found}
    with watched(found, lambda layer, x: made[layer].add(x)):
        for batch in batches:
            Backbone.encode_one(stage, batch)
            for one in made.values():
                one.samples += len(batch.x)
    return {layer: one for layer, one in made.items() if one.count}


def _held(layer: _BatchNorm) -> Moments:
    mean, variance = _statistics(layer)
    return Moments(1, mean.double(), variance.double())


def _set(layer: _BatchNorm, old: Moments, new: Moments, share: float) -> None:
    """`share` of the new moments are those of the source."""
    mean, variance = _statistics(layer)
    eps, held_mean, held_variance = layer.eps, mean.double(), variance.double()
    m, v = (share * a + (1 - share) * b for a, b in ((old.mean, new.mean), (old.variance, new.variance)))
    wider = (v + eps) / (old.variance + eps)
    mean.copy_(m - (old.mean - held_mean) * wider.sqrt())
    variance.copy_(((held_variance + eps) * wider - eps).clamp(min=0))


def _statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert layer.running_mean is not None and layer.running_var is not None, "layers() names those that have them"
    return layer.running_mean, layer.running_var
