"""Readouts: how the output of a last stage becomes Features. No parameters, so nothing here is trained or saved."""

from __future__ import annotations

from graft.types import Features, Inputs


def maps(inputs: Inputs) -> Features:
    """(B, C, H, W) -> the mean over H x W."""
    return Features(pooled=inputs.x.mean((2, 3)), maps=(inputs.x,))


def vector(inputs: Inputs) -> Features:
    """(B, D) -> itself: the last stage has pooled already."""
    return Features(pooled=inputs.x)


def first_token(inputs: Inputs) -> Features:
    """(B, T, D) -> the class token."""
    return Features(pooled=inputs.x[:, 0], tokens=inputs.x, mask=inputs.mask)


def mean_token(inputs: Inputs) -> Features:
    """(B, T, D) -> the mean over the tokens that are real."""
    if inputs.mask is None:
        return Features(pooled=inputs.x.mean(1), tokens=inputs.x)
    weight = inputs.mask.to(inputs.x.dtype).unsqueeze(-1)
    pooled = (inputs.x * weight).sum(1) / weight.sum(1).clamp(min=1)
    return Features(pooled, inputs.x, (), inputs.mask, inputs.places, inputs.truth)
