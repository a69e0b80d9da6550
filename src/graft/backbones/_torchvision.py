"""Where the classification models of torchvision are cut: one short function a family.

A family's function takes the model and gives the stages, input first, and the head. Convolutional networks end with
their last map, whose mean is what the head takes; where a norm stands between the mean and the head, the norm stays
with the trunk, because it was trained with it.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from graft.backbones import _readout
from graft.backbones._cut import Cut, Network, groups_after, groups_before, halves, linear_of, resized
from graft.backbones._images import Images
from graft.errors import UsageError, did_you_mean

FIXED = ("VisionTransformer", "MaxVit")  # position embeddings and partitions are of one size
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
_OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def model_names() -> list[str]:
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


def weights_of(name: str, weights: str | None = None) -> Any:
    """A member of torchvision's WeightsEnum; the best one unless named. Raises UsageError for an unknown name."""
    import torchvision

    if name not in model_names():
        raise UsageError(f"torchvision has no classification model '{name}'", _near(name))
    choices = torchvision.models.get_model_weights(name)
    if weights is None:
        return choices.DEFAULT
    if weights not in choices.__members__:
        raise UsageError(f"{name} has no weights '{weights}'", did_you_mean(weights, choices.__members__))
    return choices[weights]


def network(name: str, *, size: int | None = None, weights: str | None = None) -> Network:
    """The model with random weights, and how to cut it. Raises UsageError for a name or a size that cannot be."""
    chosen = weights_of(name, weights)
    model = _build(name, chosen)
    family = type(model).__name__
    least = chosen.meta["min_size"][0]
    if size is not None and (size < least or (family in FIXED and size != least)):
        rule = f"exactly {least}" if family in FIXED else f"at least {least}"
        raise UsageError(f"torchvision:{name} takes images of {rule} pixels, not {size}", f"size={least}")
    licence = f"code BSD-3-Clause; weights: {chosen.meta.get('license', 'see torchvision')}"
    count = len(chosen.meta["categories"] or ())
    trained_on = f"ImageNet-1K, {count} classes ({chosen.name})" if count else f"ImageNet-1K ({chosen.name})"
    preprocess = resized(_preprocess(chosen, family), size)
    head = ("fc.", "classifier.", "head.", "heads.", *AUXILIARY)
    heads = _HEAD_NAMES.get(family, head)
    return Network(model, _FAMILIES[family], preprocess, heads, licence, trained_on, current_name)


def current_name(name: str) -> str:
    """DenseNet's old parameter names (norm.1) to today's (norm1)."""
    return _OLD_DENSE.sub(r"\1\2", name)


def _near(name: str) -> str:
    hint = did_you_mean(name, model_names())
    return hint if hint.startswith("did you mean") else "see torchvision.models.list_models() for the names"


def _build(name: str, chosen: Any) -> nn.Module:
    """Auxiliary heads are left out: they only served the training."""
    import torchvision

    options: dict[str, Any] = {}
    if name in ("inception_v3", "googlenet"):
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    if name.startswith("vit_"):
        options = {"image_size": chosen.meta["min_size"][0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model.eval()


def _preprocess(chosen: Any, family: str) -> Images:
    """What the weights were evaluated with.

    Inception and GoogLeNet renormalise inside the model (transform_input): ((x * 0.229 + 0.485) - 0.5) / 0.5 and its
    kin. Taken together with the outer normalisation that is mean 0.5 and deviation 0.5, which is said here once.
    """
    t = chosen.transforms()
    mean, std = tuple(t.mean), tuple(t.std)
    if family in ("Inception3", "GoogLeNet"):
        mean, std = (0.5,) * 3, (0.5,) * 3
    return Images(t.crop_size[0], t.resize_size[0], mean, std, t.interpolation.value)


class Tokens(nn.Module):
    """The front of a vision transformer: (B, 3, S, S) -> (B, 1 + patches, D), class token first."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.conv_proj, self.dropout = vit.conv_proj, vit.encoder.dropout
        self.class_token, self.pos_embedding = vit.class_token, vit.encoder.pos_embedding

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1)
        return torch.as_tensor(self.dropout(tokens + self.pos_embedding))


def _resnet(m: Any) -> Cut:
    stem = nn.Sequential(m.conv1, m.bn1, m.relu, m.maxpool)
    return Cut([stem, m.layer1, m.layer2, m.layer3, m.layer4], _readout.maps, m.fc.in_features, m.fc)


def _without_top(m: Any) -> Cut:
    """AlexNet and VGG: the dense layers want one fixed map, so the trunk is the convolutions, pooled by the mean."""
    stages = groups_after(list(m.features), lambda layer: isinstance(layer, nn.MaxPool2d))
    return Cut(stages, _readout.maps, _last_channels(m.features))


def _squeezenet(m: Any) -> Cut:
    """Its class scores pass a ReLU before they are averaged, so no head on the mean is exact."""
    stages = groups_after(list(m.features), lambda layer: isinstance(layer, nn.MaxPool2d))
    return Cut(stages, _readout.maps, 512)


def _densenet(m: Any) -> Cut:
    kinds = ("_DenseBlock", "_Transition")
    layers = list(m.features)
    starts = {id(b) for a, b in zip(layers, layers[1:], strict=False)
              if type(b).__name__ in kinds and type(a).__name__ != "_Transition"}  # fmt: skip
    stages = groups_before(layers, lambda layer: id(layer) in starts)
    stages[-1] = nn.Sequential(*stages[-1].children(), nn.ReLU())
    return Cut(stages, _readout.maps, m.classifier.in_features, m.classifier)


def _inception(m: Any) -> Cut:
    stem = nn.Sequential(m.Conv2d_1a_3x3, m.Conv2d_2a_3x3, m.Conv2d_2b_3x3, m.maxpool1)
    second = nn.Sequential(m.Conv2d_3b_1x1, m.Conv2d_4a_3x3, m.maxpool2)
    mixed = [nn.Sequential(*(getattr(m, f"Mixed_{place}{letter}") for letter in letters))
             for place, letters in ((5, "bcd"), (6, "abcde"), (7, "abc"))]  # fmt: skip
    return Cut([stem, second, *mixed], _readout.maps, m.fc.in_features, m.fc)


def _googlenet(m: Any) -> Cut:
    stem = nn.Sequential(m.conv1, m.maxpool1, m.conv2, m.conv3, m.maxpool2)
    third = nn.Sequential(m.inception3a, m.inception3b, m.maxpool3)
    fourth = nn.Sequential(m.inception4a, m.inception4b, m.inception4c, m.inception4d, m.inception4e, m.maxpool4)
    fifth = nn.Sequential(m.inception5a, m.inception5b)
    return Cut([stem, third, fourth, fifth], _readout.maps, m.fc.in_features, m.fc)


def _mobile(m: Any) -> Cut:
    """MobileNet: the resolution halves at the start of each group."""
    stages = groups_before(list(m.features), halves)
    return Cut(stages, _readout.maps, _last_channels(m.features), linear_of(m.classifier))


def _efficientnet(m: Any) -> Cut:
    return Cut(list(m.features), _readout.maps, _last_channels(m.features), linear_of(m.classifier))


def _mnasnet(m: Any) -> Cut:
    layers = list(m.layers)
    stages = [nn.Sequential(*layers[:8]), *layers[8:14], nn.Sequential(*layers[14:])]
    return Cut(stages, _readout.maps, _last_channels(m.layers), linear_of(m.classifier))


def _regnet(m: Any) -> Cut:
    return Cut([m.stem, *m.trunk_output], _readout.maps, m.fc.in_features, m.fc)


def _shufflenet(m: Any) -> Cut:
    stem = nn.Sequential(m.conv1, m.maxpool)
    return Cut([stem, m.stage2, m.stage3, m.stage4, m.conv5], _readout.maps, m.fc.in_features, m.fc)


def _convnext(m: Any) -> Cut:
    norm, flatten, linear = m.classifier
    layers = list(m.features)  # stem, group, then (downsampling, group) three times
    pairs = [nn.Sequential(*layers[i : i + 2]) for i in range(2, len(layers), 2)]
    tail = nn.Sequential(m.avgpool, norm, flatten)
    return Cut([layers[0], layers[1], *pairs, tail], _readout.vector, linear.in_features, linear)


def _swin(m: Any) -> Cut:
    layers = list(m.features)
    pairs = [nn.Sequential(*layers[i : i + 2]) for i in range(2, len(layers), 2)]
    tail = nn.Sequential(m.norm, m.permute)
    return Cut([layers[0], layers[1], *pairs, tail], _readout.maps, m.head.in_features, m.head)


def _vit(m: Any) -> Cut:
    linear = linear_of(m.heads)
    stages = [Tokens(m), *m.encoder.layers, m.encoder.ln]
    return Cut(stages, _readout.first_token, m.hidden_dim, linear)


def _maxvit(m: Any) -> Cut:
    pool, flatten, norm, *rest = m.classifier
    tail = nn.Sequential(pool, flatten, norm)
    return Cut([m.stem, *m.blocks, tail], _readout.vector, norm.normalized_shape[0], nn.Sequential(*rest))


def _last_channels(layers: nn.Module) -> int:
    return [layer.out_channels for layer in layers.modules() if isinstance(layer, nn.Conv2d)][-1]


_FAMILIES = {
    "AlexNet": _without_top, "VGG": _without_top, "ResNet": _resnet, "SqueezeNet": _squeezenet,
    "DenseNet": _densenet, "Inception3": _inception, "GoogLeNet": _googlenet, "MobileNetV2": _mobile,
    "MobileNetV3": _mobile, "EfficientNet": _efficientnet, "MNASNet": _mnasnet, "RegNet": _regnet,
    "ShuffleNetV2": _shufflenet, "ConvNeXt": _convnext, "SwinTransformer": _swin, "VisionTransformer": _vit,
    "MaxVit": _maxvit,
}  # fmt: skip
_HEAD_NAMES = {  # where a part of the classifier belongs to the trunk
    "ConvNeXt": ("classifier.2.",),
    "MaxVit": ("classifier.3.", "classifier.5."),
}
