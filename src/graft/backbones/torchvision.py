"""Every classification model of torchvision, with its published weights: torchvision:resnet50."""

from __future__ import annotations

from graft.backbones._cut import assemble
from graft.backbones._torchvision import AUXILIARY, network
from graft.backbones._torchvision import weights_of as _weights_of
from graft.backbones._weights import OFFLINE_CHOICES, download, fit, read_checkpoint
from graft.spec import Spec
from graft.types import Backbone


def torchvision(name: str, *, pretrained: bool = True, size: int | None = None, weights: str | None = None) -> Backbone:
    """(B, 3, size, size) -> pooled maps, the class token, or what a norm before the classifier leaves.

    `size` changes the resolution of convolutional networks; `weights` names another set than torchvision's best.
    With pretrained=True the file comes from torch's cache, or is downloaded. Raises UsageError for an unknown name or a
    size that cannot be, ResourceError when the file is neither in the cache nor within reach.
    """
    built = network(name, size=size, weights=weights)
    if pretrained:
        state = {built.rename(k): v for k, v in read_checkpoint(download(_weights_of(name, weights).url)).items()}
        kept = {k: v for k, v in state.items() if not k.startswith(AUXILIARY)}
        hint = f"delete the file from torch's cache, or {OFFLINE_CHOICES}"
        fit(built.model, kept, what=f"torchvision:{name}", hint=hint)
    options = {key: value for key, value in (("size", size), ("weights", weights)) if value is not None}
    return assemble(built, Spec("torchvision", name, options), pretrained=pretrained)
