"""An encoder of sounds of transformers as a backbone: configuration, weights, extractor, and the head that it brings.

Encoders of waves (wav2vec 2.0, HuBERT, WavLM and their kin) hand on frames; AST and the encoder of Whisper windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import nn

from graft.backbones import _hf_frames, _hf_windows, _readout
from graft.backbones._cut import Cut
from graft.backbones._extractors import described
from graft.backbones._hf_waves import Waves, hop_and_field
from graft.backbones._hf_windows import AST, WHISPER, Spectrograms
from graft.backbones._hub import configuration, load_weights
from graft.backbones._sounds import Front, Sounds
from graft.backbones._weights import weights_digest
from graft.errors import DataError, UsageError
from graft.spec import Spec
from graft.types import Backbone, Info, Json

EXTRACTORS = {
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew",
                     "wav2vec2-conformer"), "Wav2Vec2FeatureExtractor"),
    "audio-spectrogram-transformer": "ASTFeatureExtractor",
    "whisper": "WhisperFeatureExtractor",
}  # fmt: skip
WINDOW = 20.0  # seconds that an encoder of waves hears at once: its memory grows with their square
FEW = 512  # features of a small encoder: those are fine-tuned at a higher rate
STILL = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0, "encoder_layerdrop": 0.0}  # views and the
# order of stages are Graft's
PLAIN = {"add_adapter": False}  # it would change the number of frames


def is_audio(config: Json) -> bool:
    """Whether a config.json is that of an encoder of sounds."""
    return config.get("model_type") in EXTRACTORS


def describe(name: str, raw: Json, fetch: bool) -> Json:
    """All that a rebuild needs; `raw` is config.json."""
    kind = str(raw["model_type"])
    extractor, notes = described(name, EXTRACTORS[kind], fetch)
    ends = tuple(raw.get("architectures") or [""])[0].rpartition("For")[2]
    classifies = ends in ("SequenceClassification", "AudioClassification") and kind != "whisper"
    left_out = ("its adapter, which would make fewer frames, is left out",) if raw.get("add_adapter") else ()
    return {
        "model": {key: value for key, value in raw.items() if key not in ("_name_or_path", "transformers_version")},
        "extractor": extractor,
        "classifier": classifies and not raw.get("use_weighted_layer_sum"),
        "notes": [*notes, *left_out],
    }


def encoder(
    name: str,
    source: Spec,
    known: Json,
    *,
    pretrained: bool,
    window: float | None = None,
    trained_on: str = "",
) -> Backbone:
    """`known` is what `describe` found. Raises UsageError, DataError."""
    config = configuration({**known["model"], **STILL, **PLAIN}, name)
    model = _loaded(name, config, known["classifier"]) if pretrained else _blank(config)
    base = getattr(model, model.base_model_prefix) if pretrained and known["classifier"] else model
    front = _front(name, config, known["extractor"], window)
    cut = _cut(base, front, config)
    rate = 1e-4 if cut.dim <= FEW else 3e-5
    count = sum(p.numel() for stage in cut.stages for p in stage.parameters())
    digest, trained_on = (_digest(cut.stages), trained_on) if pretrained else ("", "")
    notes = (*known["notes"], *cut.notes)
    info = Info(source, "audio", cut.dim, "see the model card", digest, count, trained_on, notes, rate, config=known)
    heads = {"classes": _head(model)} if pretrained and known["classifier"] else {}
    return Backbone(info, cut.stages, Sounds(known["extractor"]["sampling_rate"], front), cut.readout, heads)


def _front(name: str, config: Any, extractor: Json, window: float | None) -> Front:
    if EXTRACTORS[config.model_type] == "Wav2Vec2FeatureExtractor":
        hop, field = hop_and_field(config)
        seconds = WINDOW if window is None else window
        length = int(seconds * extractor["sampling_rate"] - field) // hop + 1
        if length < 1:
            what = f"window={seconds:g} seconds are less than one frame of {name}, {field} samples"
            raise UsageError(what, f"leave it out for {WINDOW:g} seconds")
        return Waves(extractor, hop, field, length)
    if window is not None:
        raise UsageError(f"transformers:{name} hears windows of one length, which window={window:g} cannot change",
                         "leave window out")  # fmt: skip
    made = Spectrograms(extractor)
    _check(name, _shape(config), extractor)
    return made


def _shape(config: Any) -> tuple[int, int]:
    """Frames and filters of a window that the weights were made for."""
    if config.model_type == "whisper":
        return 2 * config.max_source_positions, config.num_mel_bins
    return config.max_length, config.num_mel_bins


def _check(name: str, shape: tuple[int, int], extractor: Json) -> None:
    if "n_fft" in extractor:  # Whisper's
        frames = extractor["chunk_length"] * extractor["sampling_rate"] // extractor["hop_length"]
        found = (frames, extractor["feature_size"])
    else:
        found = (extractor["max_length"], extractor["num_mel_bins"])
    if found != shape:
        what = f"the extractor of {name} makes {found[0]} frames of {found[1]} filters, and its weights know {shape}"
        raise DataError(what, "fetch config.json and preprocessor_config.json of one model")


def _cut(base: Any, front: Front, config: Any) -> Cut:
    if isinstance(front, Waves):
        made, notes = _hf_frames.stages(base, front)
        return Cut(made, _readout.mean_token, int(config.hidden_size), notes=notes)
    kind = WHISPER if config.model_type == "whisper" else AST
    made, notes = _hf_windows.stages(base, kind, _shape(config))
    return Cut(made, kind.readout, int(config.hidden_size), notes=notes)


def _digest(cut: Sequence[nn.Module]) -> str:
    return weights_digest(nn.ModuleList(cut).state_dict(prefix="stages."))


# ------------------------------------------------------------------------------------------------------------ weights


def _loaded(name: str, config: Any, classifier: bool) -> Any:
    from transformers import AutoModel, AutoModelForAudioClassification

    if config.model_type == "whisper":
        return load_weights(name, config, factory=Half())
    return load_weights(name, config, factory=AutoModelForAudioClassification if classifier else AutoModel)


def _blank(config: Any) -> Any:
    from transformers import AutoModel

    if config.model_type == "whisper":
        return Half.of()(config).float().eval()
    return AutoModel.from_config(config, trust_remote_code=False).float().eval()


@final
@dataclass
class Half:
    """Loads the encoder of Whisper, and not the decoder, from a checkpoint of any of its classes."""

    @staticmethod
    def of() -> Any:
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder

    def from_pretrained(self, name: str, **options: Any) -> Any:
        options.pop("trust_remote_code")  # no class is looked up
        return self.of().from_pretrained(name, key_mapping={r"^(model\.)?encoder\.": ""}, **options)


def _head(model: Any) -> nn.Module:
    """Of AST a norm and a linear layer; else a projection and a linear layer, which are one."""
    if not isinstance(model.classifier, nn.Linear):
        return model.classifier  # type: ignore[no-any-return]
    first, last = model.projector, model.classifier
    head = nn.Linear(first.in_features, last.out_features)
    head.weight.data = last.weight.detach() @ first.weight.detach()
    head.bias.data = last.bias.detach() + last.weight.detach() @ first.bias.detach()
    return head
