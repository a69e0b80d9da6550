"""Runs on sounds from end to end: fitted, saved, read back, predicted with, evaluated; one for each kind of label."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graft
from conftest import PITCHES, draw_sounds, tone, write_wav
from graft import build, registry, zoo
from graft.errors import DataError, UsageError

for library in ("soundfile", "soxr", "jiwer"):
    pytest.importorskip(library, reason=f"needs {library}")
torch.set_num_threads(1)
TINY = "cnn_tdnn(rate=8000, mels=16, dim=16, widths=(4, 8), blocks=1)"
FIT: dict[str, Any] = {"backbone": TINY, "strategy": "full(epochs=6, lr=0.01, head_lr=0.01)", "batch_size": 16,
                       "augment": "none"}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def accuracy(run: str, data: str) -> float:
    return float(graft.evaluate(run, data)["scores"]["accuracy"]["value"])


# ------------------------------------------------------------------------------------------------------------- classes


def test_a_folder_of_sounds_is_fitted_predicted_and_evaluated(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = graft.fit(str(sounds), **{**FIT, "out": "run"})
    assert result["test"]["accuracy"]["value"] >= 0.8
    rows, _ = graft.predict("run", str(sounds / "hum"))
    assert len(rows) == 12 and sum(row["label"] == "hum" for row in rows) >= 9
    assert accuracy("run", str(sounds)) >= 0.8
    codes = {issue["code"] for issue in result["issues"]}
    assert "resampled" not in codes, "the sounds have the rate of the trunk"


def test_the_default_trunk_needs_no_network_and_says_what_it_resamples(sounds: Path) -> None:
    result = graft.fit(str(sounds), strategy="ridge", backbone="mfcc", out="run")
    (issue,) = [issue for issue in result["issues"] if issue["code"] == "resampled"]
    assert "16,000 Hz" in issue["what"] and "36 of 8,000 Hz" in issue["what"]
    assert zoo.DEFAULTS["audio"].startswith("bundled:") and zoo.trunks("auto", "audio")


@pytest.mark.parametrize("trunk", [TINY, "mfcc", "spectrogram:bundled:digits48"])
def test_rates_and_channels_give_the_same_prediction(trunk: str, sounds: Path) -> None:
    """What the file holds counts, not how it was stored: 8, 16 and 44.1 kHz, mono and stereo."""
    import soxr

    graft.fit(str(sounds), backbone=trunk, strategy="ridge", out="run")
    rng, said = random.Random(5), {}
    notes = {name: tone(pitch, 0.4, 8000, rng) for name, pitch in PITCHES.items()}
    for rate in (8000, 16_000, 44_100):
        for channels in (1, 2):
            folder = Path(f"new-{rate}-{channels}")
            for name, note in notes.items():
                made = note if rate == 8000 else soxr.resample(note, 8000, rate)
                write_wav(folder / f"{name}.wav", np.stack([made] * channels, 1), rate)
            rows, _ = graft.predict("run", str(folder))
            said[rate, channels] = {row["path"]: (row["label"], row["probability"]) for row in rows}
    first = said[8000, 1]
    for found in said.values():
        assert {k: v[0] for k, v in found.items()} == {k: v[0] for k, v in first.items()}
        assert all(abs(found[k][1] - first[k][1]) < 0.1 for k in first)


def test_auto_has_the_classical_baseline_as_a_control(sounds: Path) -> None:
    result = graft.fit(str(sounds), backbone="spectrogram:bundled:digits48", budget="12s", out="run")
    names = [rung["name"] for rung in result["rungs"]]
    assert "probes" in names and {"random frozen", "mfcc"} <= set(names) and result["verdict"]


def test_a_long_sound_is_heard_in_windows(sounds: Path) -> None:
    """Ten seconds of one note: the windows of the trunk agree, and so does their mean."""
    graft.fit(str(sounds), backbone="spectrogram:bundled:digits48", strategy="ridge", out="run")
    note = np.concatenate([tone(PITCHES["ring"], 0.4, 8000, random.Random(i)) for i in range(25)])
    write_wav(Path("long/ring.wav"), note)
    assert graft.predict("run", "long")[0][0]["label"] == "ring"


def test_groups_are_speakers(sounds: Path) -> None:
    table = str(sounds / "sounds.csv")
    graft.fit(table, **{**FIT, "out": "run"})
    assert graft.evaluate("run", table, by="speaker")["groups"]["worst"]["group"] in ("s0", "s1", "s2")
    held_out = graft.evaluate("run", table, leave_out="speaker")
    assert {row["group"] for row in held_out["groups"]["groups"]} == {"s0", "s1", "s2"}


# ------------------------------------------------------------------------------------------- every strategy, wav2vec2


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> str:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
        conv_stride=(16, 20), conv_kernel=(20, 25), num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        num_feat_extract_layers=2)  # fmt: skip
    folder = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def few_sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sounds(tmp_path_factory.mktemp("few"), each=8)


@pytest.mark.parametrize("strategy", sorted(registry.names("strategy")))
def test_every_strategy_takes_a_wav2vec2_of_a_folder(strategy: str, wav2vec2: str, few_sounds: Path) -> None:
    if strategy == "norm_affine":
        pytest.importorskip("transformers")
    options = registry.find("strategy", strategy).__code__.co_varnames
    epochs = ", ".join(f"{name}=1" for name in ("epochs", "head_epochs") if name in options)
    asked = f"{strategy}({epochs})"
    result = graft.fit(str(few_sounds), backbone=f"transformers:{wav2vec2}", strategy=asked, out="run", batch_size=8)
    assert result["phases"] and len(graft.predict("run", str(few_sounds))[0]) == 24


# --------------------------------------------------------------------------------------------------------- transcripts


def strings(root: Path, count: int = 120, seed: int = 0) -> str:
    """root/strings.csv: one to three notes in a row, and their names."""
    rng, rows = random.Random(seed), [("path", "transcript", "speaker")]
    for number in range(count):
        names = rng.choices(list(PITCHES), k=rng.randint(1, 3))
        notes = [tone(PITCHES[name] * rng.uniform(0.75, 1.3), rng.uniform(0.15, 0.4), 8000, rng) for name in names]
        write_wav(root / f"{number}.wav", np.concatenate(notes))
        rows.append((f"{number}.wav", " ".join(names), f"s{number % 6}"))
    with (root / "strings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return str(root / "strings.csv")


CTC: dict[str, Any] = {"backbone": TINY, "strategy": "full(epochs=30, lr=0.02, head_lr=0.02)", "batch_size": 8,
                       "augment": "none", "seed": 1}  # fmt: skip


def test_transcripts_are_recognised_saved_and_read_back() -> None:
    table = strings(Path("said"))
    result = graft.fit(table, **CTC, out="run")
    assert result["task"] == "ctc" and result["test"]["wer"]["value"] < 0.3
    assert json.loads(Path("run/labels.json").read_text())[0] == " "
    rows, _ = graft.predict("run", "said")
    assert set(" ".join(row["label"] for row in rows).split()) & set(PITCHES)
    assert graft.evaluate("run", table)["scores"]["wer"]["value"] < 0.3


def test_a_dictionary_of_the_training_words_survives_the_folder() -> None:
    table = strings(Path("said"), 60)
    graft.fit(table, **{**CTC, "strategy": "full(epochs=2, lr=0.02, head_lr=0.02)"}, out="run",
              task="ctc(beam=4, dictionary='train', lm='words')")  # fmt: skip
    rows, _ = graft.predict("run", "said")
    assert set(" ".join(row["label"] for row in rows).split()) <= set(PITCHES)


def test_characters_that_training_has_not_are_said_and_count() -> None:
    table = strings(Path("said"), 60)
    graft.fit(table, **{**CTC, "strategy": "full(epochs=1)"}, out="run")
    text = Path(table).read_text(encoding="utf-8").replace("hum", "hüm")
    Path("said/other.csv").write_text(text, encoding="utf-8")
    found = graft.evaluate("run", "said/other.csv")
    (issue,) = [issue for issue in found["issues"] if issue["code"] == "foreign-characters"]
    assert "'ü'" in issue["what"]


@pytest.mark.parametrize("trunk", ["mfcc", "spectrogram:bundled:digits48"])
def test_a_trunk_without_frames_cannot_spell(trunk: str) -> None:
    with pytest.raises(UsageError, match="single moments of a sound"):
        graft.fit(strings(Path("said"), 30), backbone=trunk, strategy="linear_probe")


# --------------------------------------------------------------------------------------------------------- pretraining


def test_hidden_frames_are_guessed_and_the_trunk_goes_on(sounds: Path) -> None:
    result = graft.pretrain(str(sounds), task="masked_spectrogram", backbone=TINY, out="trunk",
                            strategy="full(epochs=4, lr=0.01, head_lr=0.01)", batch_size=8)  # fmt: skip
    assert result["valid"]["explained"]["value"] > -1
    again = graft.fit(str(sounds), backbone="trained:trunk", strategy="ridge", out="run")
    assert again["test"]["accuracy"]["value"] > 0.4


def test_labelled_sounds_pretrain_a_trunk_with_a_card(sounds: Path) -> None:
    graft.pretrain(str(sounds), backbone=TINY, strategy="full(epochs=2, lr=0.01, head_lr=0.01)", out="trunk")
    card = json.loads(Path("trunk/trunk.json").read_text())
    assert (
        card["modality"] == "audio" and card["architecture"].startswith("cnn_tdnn") and "recordings" in card["licence"]
    )


def test_only_the_training_part_is_varied(sounds: Path) -> None:
    from graft.recipe import make

    trunk = build.backbone(TINY)
    recipe = make({"data": str(sounds), "task": "classification"})
    task = build.task(recipe, ("a", "b"))
    views = [build.views(recipe, trunk, task, part) for part in ("train", "valid", "test")]
    assert views[0] is not None and views[1:] == [None, None]


# ------------------------------------------------------------------------------------------------------------ mistakes


def test_images_trunks_are_refused_and_the_way_is_named(sounds: Path) -> None:
    with pytest.raises(DataError, match="is for image, and .* holds audio samples"):
        graft.fit(str(sounds), backbone="bundled:tiny64", strategy="ridge")


def test_views_of_pictures_are_refused(sounds: Path) -> None:
    with pytest.raises(UsageError, match="scale"):
        graft.fit(str(sounds), backbone=TINY, strategy="full", augment="basic(scale=0.5)")


def test_hidden_words_are_not_for_sounds(sounds: Path) -> None:
    with pytest.raises(UsageError, match="mlm is not for audio"):
        graft.fit(str(sounds), task="mlm", strategy="full", backbone=TINY)
