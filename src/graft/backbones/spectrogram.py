"""Any network of images, on pictures of the spectrograms of sounds: spectrogram:bundled:natural64.

spectrogram:timm:resnet18(seconds=2)                        windows of two seconds at most
spectrogram(trunk='timm:vit_tiny_patch16_224(size=64)')     where the network has options of its own
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from graft import registry
from graft.backbones._images import Images
from graft.backbones._mel import Mel
from graft.backbones._pictures import EachWindow, OverWindows, Pictures
from graft.backbones._sounds import Sounds
from graft.errors import UsageError
from graft.spec import Spec, parse
from graft.types import Backbone, Json


def spectrogram(
    trunk: str,
    *,
    seconds: float = 1.0,
    fit: str = "stretch",
    loud: str = "black",
    mels: int | None = None,
    rate: int = 16000,
    low: float = 20.0,
    high: float | None = None,
    pretrained: bool = True,
    config: Json | None = None,
) -> Backbone:
    """A sound -> its windows as pictures (B, k, 3, R, R) -> the mean of what `trunk` makes of each (B, D).

    `mels` filters, None: R / 2 of them, between `low` and `high` Hz of a wave at `rate` Hz; `seconds`, `fit` and `loud`
    as in Pictures. `pretrained` and what `config` holds are the trunk's. Raises UsageError for one that is not for
    images.
    """
    made, seen = _images(trunk, pretrained, config)
    filters = mels or max(1, seen.size // 2)
    front = Pictures(Mel(rate, filters, low, high), seen.size, seen.mean, seen.std, seconds, fit, loud)
    asked = {"seconds": seconds, "fit": fit, "loud": loud, "mels": mels, "rate": rate, "low": low, "high": high,
             "pretrained": pretrained or "pretrained" not in str(made.info.source)}  # fmt: skip
    config = {"trunk": made.info.config} if made.info.config else {}
    info = replace(made.info, source=_source(trunk, asked), modality="audio", source_accuracy=None, config=config)
    stages = [EachWindow(stage) for stage in made.stages]
    return Backbone(info, stages, Sounds(rate, front), OverWindows(made.readout))


def _source(trunk: str, asked: dict[str, Any]) -> Spec:
    """Only brackets keep the trunk's own options apart from these."""
    usual = inspect.signature(spectrogram).parameters
    options = {key: value for key, value in asked.items() if value != usual[key].default}
    if "(" in trunk:
        return Spec("spectrogram", None, {"trunk": trunk, **options})
    return Spec("spectrogram", trunk, options)


def _images(trunk: str, pretrained: bool, config: Json | None) -> tuple[Backbone, Images]:
    asked = parse(trunk)
    source = registry.find("backbone", asked.name)
    if "corpus" in inspect.signature(source).parameters:
        raise _refused(trunk, "text")
    extra = {"config": config["trunk"]} if config else {}
    weights = pretrained and asked.options.get("pretrained", True)
    made: Backbone = asked.with_options(pretrained=weights, **extra).bind(source)
    if not isinstance(made.preprocess, Images):
        raise _refused(trunk, made.info.modality)
    return made, made.preprocess


def _refused(trunk: str, modality: str) -> UsageError:
    what = f"spectrogram:{trunk} draws sounds for a trunk of images, and {trunk} is for {modality}"
    other = trunk if modality == "audio" else "spectrogram:bundled:natural64"
    return UsageError(what, f"--backbone {other}")
