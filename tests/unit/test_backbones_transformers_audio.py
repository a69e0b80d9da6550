"""Encoders of sound of transformers, from folders that save_pretrained wrote; offline."""

import copy
import json

import numpy as np
import pytest
import torch

from graft.backbones import _hf_waves, _hf_windows
from graft.backbones._hf_frames import AT_ONCE
from graft.backbones._sounds import Sounds
from graft.backbones._split import NOTE
from graft.backbones.transformers import transformers
from graft.errors import DataError, UsageError
from graft.features import Feed
from graft.types import Dataset, Inputs, Sample, Sound

library = pytest.importorskip("transformers", reason="needs transformers")
safetensors = pytest.importorskip("safetensors.torch")
torch.set_num_threads(1)

WAVES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
         "conv_dim": (8, 8, 8), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_feat_extract_layers": 3,
         "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2, "vocab_size": 12,
         "classifier_proj_size": 8}  # fmt: skip
HOP, FIELD = 20, 30
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
AST = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_length": 32,
       "num_mel_bins": 24}  # fmt: skip
WHISPER = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 50,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_source_positions": 50,
           "num_mel_bins": 16, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
           "decoder_start_token_id": 1}  # fmt: skip
MODELS = [  # the class that is saved, what it adds to WAVES, stages, whether its layers see the padding
    ("Wav2Vec2Model", {}, 3, False),
    ("Wav2Vec2Model", STABLE, 4, False),
    ("Wav2Vec2ForCTC", {}, 3, False),
    ("Wav2Vec2ForPreTraining", {}, 3, False),
    ("HubertModel", {}, 3, False),
    ("HubertModel", {"conv_pos_batch_norm": True}, 3, False),
    ("WavLMModel", {}, 3, False),
    ("WavLMModel", STABLE, 4, False),
    ("Data2VecAudioModel", {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}, 3, False),
    ("UniSpeechModel", {}, 3, False),
    ("UniSpeechSatModel", STABLE, 4, False),
    ("Wav2Vec2ConformerModel", {}, 4, True),
    ("Wav2Vec2ConformerModel", {"position_embeddings_type": "rotary"}, 4, True),
    ("SEWModel", {"squeeze_factor": 2}, 1, True),
]
IDS = [f"{kind}-{'-'.join(more) or 'plain'}" for kind, more, _, _ in MODELS]


def folder(path, kind: str, options: dict, extractor=None):
    """As the hub has it, and the model in it; every weight is random, so that none can be forgotten."""
    factory = getattr(library, kind)
    torch.manual_seed(0)
    model = factory(factory.config_class(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(path)
    (extractor or library.Wav2Vec2FeatureExtractor()).save_pretrained(path)
    return model


def ast(path, **more):
    extractor = library.ASTFeatureExtractor(num_mel_bins=24, max_length=32, **more)
    return folder(path, "ASTForAudioClassification", AST | {"num_labels": 5}, extractor), extractor


def whisper(path, kind: str = "WhisperForConditionalGeneration"):
    extractor = library.WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    return folder(path, kind, WHISPER, extractor), extractor


def noise(*sizes: int) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    return [0.1 * torch.randn(size, generator=made) for size in sizes]


def run(backbone, waves):
    with torch.no_grad():
        return backbone.eval()(backbone.preprocess.batch(waves))


def hidden(model, wave: torch.Tensor, **options) -> torch.Tensor:
    """(T, D), by the library's own call on one sound."""
    extractor = library.Wav2Vec2FeatureExtractor(**options)
    values = torch.tensor(np.asarray(extractor([wave.numpy()], sampling_rate=16000)["input_values"][0]))
    base = getattr(model, model.base_model_prefix, model)
    with torch.no_grad():
        return base(input_values=values[None]).last_hidden_state[0]


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(want.abs().max())))


# ------------------------------------------------------------------------------------------------------------- waves


@pytest.mark.parametrize(("kind", "more", "count", "alone"), MODELS, ids=IDS)
def test_frames_are_those_of_the_library_sound_by_sound(tmp_path, kind, more, count, alone) -> None:
    """Each is in a batch with longer ones; one is too short for a frame."""
    model = folder(tmp_path, kind, WAVES | more)
    backbone = transformers(str(tmp_path))
    assert len(backbone.stages) == count and (NOTE in backbone.info.notes) == (count == 1)
    assert all(stage.alone == (alone or i == 0) for i, stage in enumerate(backbone.stages) if i < 3)
    waves = noise(1000, 377, 70, 12)
    features = run(backbone, waves)
    assert features.mask.sum(1).tolist() == [49, 18, 3, 1] and features.pooled.isfinite().all()
    for row, wave in enumerate(waves[:3]):
        want = hidden(model, wave)
        close(features.tokens[row, : len(want)], want)
        close(features.pooled[row], want.mean(0))
        close(run(backbone, [wave]).pooled[0], features.pooled[row])
    close(run(backbone, waves[3:]).pooled[0], features.pooled[3])
    assert backbone.info.modality == "audio" and backbone.info.dim == 16 and backbone.info.lr == 1e-4


@pytest.mark.parametrize(("kind", "more"), [(m[0], m[1]) for m in MODELS if m[0] in ("Wav2Vec2Model", "WavLMModel",
                                            "Wav2Vec2ConformerModel")])  # fmt: skip
def test_gradients_are_those_of_the_library(tmp_path, kind, more) -> None:
    """WavLM's table of distances belongs to the first layer, and all learn it. What is kept of prediction is trained
    with afterwards."""
    model = folder(tmp_path, kind, WAVES | more)
    backbone = transformers(str(tmp_path)).eval()
    (wave,) = noise(500)
    inputs = backbone.preprocess.batch([wave])
    with torch.inference_mode():
        backbone(inputs)
    backbone(inputs).pooled.square().sum().backward()
    values = library.Wav2Vec2FeatureExtractor()([wave.numpy()], sampling_rate=16000)["input_values"][0]
    model(input_values=torch.tensor(values)[None]).last_hidden_state.mean(1).square().sum().backward()
    want = sorted(float(p.grad.norm()) for p in model.parameters() if p.grad is not None and p.grad.norm() > 1e-6)
    got = sorted(float(p.grad.norm()) for p in backbone.parameters() if p.grad is not None and p.grad.norm() > 1e-6)
    assert got == pytest.approx(want, rel=1e-3)
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("kind", ["Wav2Vec2Model", "WavLMModel", "SEWModel"])
def test_every_weight_is_in_one_stage_and_a_copy_has_its_own(tmp_path, kind) -> None:
    folder(tmp_path, kind, WAVES)
    backbone = transformers(str(tmp_path)).eval()
    inputs = backbone.preprocess.batch(noise(500, 200))
    twin, before = copy.deepcopy(backbone), run(backbone, noise(500, 200)).pooled
    named = list(backbone.named_parameters(remove_duplicate=False))
    assert len({id(p) for _, p in named}) == len(named)
    with torch.no_grad():
        for p in backbone.parameters():
            p.zero_()
        torch.testing.assert_close(twin(inputs).pooled, before)


def test_training_hides_no_frames_and_leaves_out_no_layers(tmp_path) -> None:
    """The library would, by default, and by numbers that no seed of ours reaches."""
    still = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
    folder(tmp_path, "Wav2Vec2Model", WAVES | still | {"mask_time_prob": 0.5, "layerdrop": 0.5, "mask_time_length": 2})
    backbone = transformers(str(tmp_path)).eval()
    inputs = backbone.preprocess.batch(noise(900, 400))
    want = backbone(inputs).pooled
    torch.testing.assert_close(backbone.train()(inputs).pooled, want)
    assert not any("masked_spec_embed" in name for name, _ in backbone.named_parameters())


def test_windows_are_heard_apart(tmp_path) -> None:
    """10 frames at once; a sound of more windows than go through a layer together."""
    model = folder(tmp_path, "WavLMModel", WAVES)
    seconds = (FIELD + 9 * HOP) / 16000
    backbone = transformers(str(tmp_path), window=seconds)
    assert backbone.preprocess.length == 10 and "window=" in str(backbone.info.source)
    count = 10 * (AT_ONCE + 2) + 4
    long, short = noise(FIELD + (count - 1) * HOP + 7, 120)
    features = run(backbone, [short, long])
    assert features.mask.sum(1).tolist() == [5, count] and features.tokens.shape[1] == 10 * (AT_ONCE + 3)
    close(features.pooled[0], hidden(model, short).mean(0))
    normal = (long - long.mean()) / (long.var(correction=0) + 1e-7).sqrt()
    starts = range(0, count, 10)
    parts = [normal[at * HOP :][: FIELD + 9 * HOP if at + 10 < count else None] for at in starts]
    want = torch.cat([hidden(model, part, do_normalize=False) for part in parts])
    close(features.tokens[1, :count], want)
    close(features.pooled[1], want.mean(0))
    cut = backbone.preprocess.batch([short, long])
    fewer = backbone(Inputs(cut.x[:, :count], cut.mask[:, :count]))  # windows that are not whole
    close(fewer.pooled, features.pooled)


def test_what_a_prefix_keeps_goes_on_as_from_the_start(tmp_path) -> None:
    """Rows are cut to their positions, and padded with zeros again."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir(), (tmp_path / "c").mkdir()
    folder(tmp_path / "a", "WavLMModel", WAVES)
    ast(tmp_path / "b")
    whisper(tmp_path / "c")
    for name, sizes in (("a", (900, 333, 40)), ("b", (9000, 700, 300)), ("c", (19000, 700, 300))):
        backbone = transformers(str(tmp_path / name)).eval()
        waves = noise(*sizes)
        dataset = Dataset("noise", "audio", tuple(Sample(str(i), i, "a") for i in range(3)), ("a",),
                          lambda sample, waves=waves: sound(waves[sample.source]), lambda sample: b"")  # fmt: skip
        want = run(backbone, waves)
        for boundary in range(len(backbone.stages) + 1):
            feed = Feed(dataset, backbone, device=torch.device("cpu"), needs="tokens" if name != "b" else "pooled")
            feed.open(boundary)
            rows = torch.tensor([1, 2, 0])
            with torch.no_grad():
                got = feed.features(feed.batch(rows, boundary), boundary)
            torch.testing.assert_close(got.pooled, want.pooled[rows], rtol=1e-4, atol=1e-5)
            if got.tokens is not None:
                assert torch.equal(got.mask, want.mask[rows])
                real = got.mask.unsqueeze(-1)
                torch.testing.assert_close(got.tokens * real, want.tokens[rows] * real, rtol=1e-4, atol=1e-5)


def sound(wave: torch.Tensor, rate: int = 16000, channels: int = 1) -> Sound:
    return Sound(rate, len(wave), channels, lambda start, stop: wave[start:stop].numpy())


def test_a_sound_at_another_rate_is_the_same_sound(tmp_path) -> None:
    soxr = pytest.importorskip("soxr")
    folder(tmp_path, "HubertModel", WAVES)
    backbone = transformers(str(tmp_path))
    time = np.arange(44100) / 44100
    high = (0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1234 * time)).astype(np.float32)
    low = soxr.resample(high, 44100, 16000).astype(np.float32)
    inputs = backbone.prepare([sound(torch.from_numpy(high), 44100, 2), sound(torch.from_numpy(low))])
    with torch.no_grad():
        pooled = backbone.eval()(inputs).pooled
    torch.testing.assert_close(pooled[0], pooled[1])


def test_pieces_are_joined_to_the_wave() -> None:
    for size in (1, FIELD - 1, FIELD, FIELD + 1, FIELD + HOP - 1, FIELD + HOP, 999):
        wave = torch.randn(size)
        rows = _hf_waves.pieces(wave, HOP, FIELD)
        assert rows.shape == (max(1, (size - FIELD) // HOP + 1), FIELD + HOP)
        got = _hf_waves.joined(rows, HOP)
        assert torch.equal(got[:size], wave) and len(got) == max(size, FIELD)
        assert all(row[-1] == FIELD for row in rows[:-1])


def test_old_names_of_weights(tmp_path) -> None:
    """Weight normalisation as it was called until PyTorch 2."""
    model = folder(tmp_path, "HubertModel", WAVES)
    file, conv = tmp_path / "model.safetensors", "encoder.pos_conv_embed.conv."
    state = safetensors.load_file(file)
    for new, old in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        state[conv + old] = state.pop(conv + new)
    safetensors.save_file(state, file, {"format": "pt"})
    (wave,) = noise(700)
    close(run(transformers(str(tmp_path)), [wave]).pooled[0], hidden(model, wave).mean(0))


@pytest.mark.parametrize("kind", ["Wav2Vec2ForSequenceClassification", "WavLMForSequenceClassification",
                                  "HubertForSequenceClassification"])  # fmt: skip
def test_a_classifier_that_is_brought(tmp_path, kind) -> None:
    model = folder(tmp_path, kind, WAVES | {"num_labels": 7})
    backbone = transformers(str(tmp_path))
    (wave,) = noise(800)
    values = library.Wav2Vec2FeatureExtractor()([wave.numpy()], sampling_rate=16000)["input_values"][0]
    with torch.no_grad():
        got = backbone.heads["classes"](run(backbone, [wave]).pooled)
        close(got, model(input_values=torch.tensor(values)[None]).logits)


def test_an_adapter_is_left_out(tmp_path) -> None:
    folder(tmp_path, "Wav2Vec2Model", WAVES | {"add_adapter": True, "output_hidden_size": 16})
    backbone = transformers(str(tmp_path))
    assert any("adapter" in note for note in backbone.info.notes)
    assert run(backbone, noise(900)).tokens.shape[1] == 44


# ----------------------------------------------------------------------------------------------------------- windows


def test_ast_gives_the_scores_of_the_library(tmp_path) -> None:
    model, extractor = ast(tmp_path)
    backbone = transformers(str(tmp_path))
    window = backbone.preprocess.front.samples
    assert len(backbone.stages) == 4 and window == 31 * 160 + 400
    long, whole, short, click = waves = noise(window + 2000, window, 3000, 50)
    features, inputs = run(backbone, waves), backbone.preprocess.batch(waves)
    assert inputs.mask.tolist() == [[True, True]] + [[True, False]] * 3
    assert inputs.places[0].tolist() == [[0, window], [window, window + 2000]]
    assert inputs.places[3].tolist() == [[0, 50], [-1, -1]]
    for row, wave in ((1, whole), (2, short)):
        values = extractor([wave.numpy()], sampling_rate=16000, return_tensors="pt")["input_values"]
        with torch.no_grad():
            close(backbone.heads["classes"](features.pooled[row : row + 1]), model(values).logits)
    close(run(backbone, [click]).pooled[0], features.pooled[3])
    first, second = (run(backbone, [part]).pooled[0] for part in long.split(window))
    close(features.pooled[0], (32 * first + 11 * second) / 43)  # frames: (2000 - 400) // 160 + 1 = 11


@pytest.mark.parametrize("kind", ["WhisperForConditionalGeneration", "WhisperModel", "WhisperForAudioClassification"])
def test_whisper_gives_the_frames_of_its_encoder(tmp_path, kind) -> None:
    model, extractor = whisper(tmp_path, kind)
    backbone = transformers(str(tmp_path))
    assert len(backbone.stages) == 4 and not backbone.heads
    waves = noise(16000 + 4000, 8000, 10)
    features = run(backbone, waves)
    assert features.mask.sum(1).tolist() == [50 + 13, 25, 1] and features.tokens.shape == (3, 63, 16)
    base = model.model.encoder if "Conditional" in kind else model.encoder
    for row, parts in ((0, waves[0].split(16000)), (1, [waves[1]])):
        made = [extractor([part.numpy()], sampling_rate=16000, return_tensors="pt")["input_features"] for part in parts]
        with torch.no_grad():
            want = torch.cat([base(one).last_hidden_state[0, : 50 if len(part) == 16000 else -(-len(part) // 320)]
                              for one, part in zip(made, parts, strict=True)])  # fmt: skip
        close(features.tokens[row, : len(want)], want)
        close(features.pooled[row], want.mean(0))


class _Louder:
    """A view that adds a number to every frame of a spectrogram."""

    def wave(self, wave, rate, seed):
        return wave

    def spectrogram(self, mel, seed, top=8000.0):
        return mel + seed, None


def test_a_view_of_a_spectrogram_leaves_the_silence_that_fills_a_window(tmp_path) -> None:
    ast(tmp_path)
    preprocess = transformers(str(tmp_path)).preprocess
    waves = noise(6000, 1000)
    plain, view = preprocess.batch(waves), preprocess.batch(waves, _Louder(), (1, 2))
    real = plain.x[..., -1:]
    want = plain.x[..., :-1] + real * torch.tensor([1.0, 2.0])[:, None, None, None]
    torch.testing.assert_close(view.x[..., :-1], want)
    assert torch.equal(view.x[..., -1:], real)


# ------------------------------------------------------------------------------------------------- rebuilds and errors


@pytest.mark.parametrize("kind", ["wavlm", "ast", "whisper"])
def test_a_rebuild_needs_neither_files_nor_network(tmp_path, monkeypatch, kind) -> None:
    path = tmp_path / "model"
    {"wavlm": lambda: folder(path, "WavLMForSequenceClassification", WAVES), "ast": lambda: ast(path),
     "whisper": lambda: whisper(path)}[kind]()  # fmt: skip
    made = transformers(str(path))
    path.rename(tmp_path / "gone")
    config = json.loads(json.dumps(made.info.config))
    again = made.info.source.with_options(pretrained=False, config=config).bind(transformers)
    assert list(again.state_dict()) == list(made.state_dict()) and not again.heads and again.info.sha256 == ""
    again.load_state_dict(made.state_dict())
    waves = noise(3000, 900)
    torch.testing.assert_close(run(made, waves).pooled, run(again, waves).pooled)
    assert again.info.config == made.info.config
    record = json.loads(json.dumps(made.preprocess.json()))
    assert record == again.preprocess.json() and record["kind"] == "sounds"
    builders = {"waves": _hf_waves.waves, "spectrograms": _hf_windows.spectrograms}
    front = builders[record["front"]["kind"]](record["front"])
    got = Sounds(record["rate"], front, record["heard"]).batch(waves)
    assert torch.equal(got.x, made.preprocess.batch(waves).x) and front.positions(3000) == len(got.x[0])


def test_a_folder_without_an_extractor_gets_the_usual_one_and_a_note(tmp_path) -> None:
    folder(tmp_path, "Wav2Vec2Model", WAVES)
    with_one = run(transformers(str(tmp_path)), noise(700)).pooled
    (tmp_path / "preprocessor_config.json").unlink()
    backbone = transformers(str(tmp_path))
    assert "preprocessor_config.json" in backbone.info.notes[0] and backbone.preprocess.rate == 16000
    torch.testing.assert_close(run(backbone, noise(700)).pooled, with_one)


def test_an_extractor_inside_of_a_processor(tmp_path) -> None:
    folder(tmp_path, "Wav2Vec2Model", WAVES)
    record = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000}
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": record}))
    assert transformers(str(tmp_path)).preprocess.rate == 8000


def test_what_an_extractor_says_is_done(tmp_path) -> None:
    model = folder(tmp_path, "Wav2Vec2Model", WAVES)
    record = tmp_path / "preprocessor_config.json"
    record.write_text('{"do_normalize": false, "mel_filters": [[1, 2]]}')
    backbone = transformers(str(tmp_path))
    assert any("sampling rate" in note for note in backbone.info.notes) and backbone.preprocess.rate == 16000
    assert "mel_filters" not in backbone.preprocess.front.extractor
    (wave,) = noise(700)
    close(run(backbone, [wave]).pooled[0], hidden(model, wave, do_normalize=False).mean(0))
    for text, kind, word in (('{"sampling_rate": 0}', DataError, "cannot be"), ("{", DataError, "not JSON"),
                             ('{"feature_extractor_type": "CodeOfTheirs"}', UsageError, "CodeOfTheirs")):  # fmt: skip
        record.write_text(text)
        with pytest.raises(kind, match=word) as error:
            transformers(str(tmp_path))
        assert error.value.hint


def test_weights_and_extractor_that_do_not_belong_together(tmp_path) -> None:
    extractor = library.ASTFeatureExtractor(num_mel_bins=32, max_length=32)
    folder(tmp_path, "ASTModel", AST, extractor)
    with pytest.raises(DataError, match="32 frames of 32 filters"):
        transformers(str(tmp_path))


def test_weights_that_lack_a_part(tmp_path) -> None:
    whisper(tmp_path)
    file = tmp_path / "model.safetensors"
    state = {key: value for key, value in safetensors.load_file(file).items() if "encoder.conv1" not in key}
    safetensors.save_file(state, file, {"format": "pt"})
    with pytest.raises(DataError, match="lack 2 tensors"):
        transformers(str(tmp_path))


def test_options_of_other_modalities_and_windows_of_less_than_a_frame(tmp_path) -> None:
    (tmp_path / "w").mkdir(), (tmp_path / "a").mkdir()
    folder(tmp_path / "w", "Wav2Vec2Model", WAVES)
    ast(tmp_path / "a")
    for path, options in (("w", {"size": 64}), ("w", {"pooling": "cls"}), ("w", {"window": 0.001}),
                          ("a", {"window": 5.0})):  # fmt: skip
        with pytest.raises(UsageError, match=next(iter(options))):
            transformers(str(tmp_path / path), **options)
