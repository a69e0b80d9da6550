"""Grad-CAM: the deepest map of a network, its channels weighted by their mean gradient (Selvaraju et al. 2017).

arXiv:1610.02391, by captum's LayerGradCam. The ReLU at its end is left out: what is below 0 speaks against the class.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graft.explainers._asked import Answer, Question
from graft.explainers._gradients import captum, differentiable, something
from graft.explainers._sounds import laid_out
from graft.types import Inputs


def gradcam(question: Question) -> Answer:
    """Of images, and of sounds that a network of images sees as pictures. Raises UsageError for a network without a map
    of what is where, such as a transformer, and for a head without gradient; MissingExtra without captum."""
    if question.modality == "text":
        raise question.refused("gradcam", "a text is no picture", "integrated_gradients")
    attr, inputs = captum(), question.inputs([question.raw])
    layer = deepest(question, inputs)
    if layer is None:
        raise question.refused("gradcam", "none of its stages hands on a map of what is where")
    with differentiable(question, "gradcam", inputs):
        x = inputs.x.clone().requires_grad_()
        found = attr.LayerGradCam(question.score, layer).attribute(x, additional_forward_args=(inputs.mask,))
    found = nn.functional.interpolate(something(question, "gradcam", found), x.shape[-2:], mode="bilinear")
    if question.modality == "image":
        return Answer(found[0, 0].cpu(), measured=False)
    preprocess = question.model.backbone.preprocess
    samples = len(preprocess.sample(question.raw))
    return Answer(*laid_out(preprocess.json(), found[None], x, samples), measured=False)


def deepest(question: Question, inputs: Inputs) -> nn.Module | None:
    """The last module of the trunk whose output is a map (B, C, H, W) of more than one place: a stage, or the network
    of pictures in a stage that runs it on every window of a sound."""
    seen: list[nn.Module] = []
    handles = [module.register_forward_hook(_noting(seen)) for module in _places(question)]
    try:
        with torch.no_grad():
            question.model.backbone.encode(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen[-1] if seen else None


def _places(question: Question) -> list[nn.Module]:
    stages = list(question.model.backbone.stages)
    inside = [child for stage in stages for child in stage.children() if len(list(stage.children())) == 1]
    return inside if question.modality == "audio" else stages


def _noting(seen: list[nn.Module]) -> Any:
    def note(module: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] * out.shape[3] > 1 and not _channels_last(out):
            seen.append(module)

    return note


def _channels_last(out: Tensor) -> bool:
    """(B, H, W, C), as some transformers hand on."""
    _, first, second, last = out.shape
    return first == second != last
