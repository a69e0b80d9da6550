"""Decoding: every container gives the wave that is in it, everything else a reason; what is there counts."""

import io
import os
import random
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import wave

import numpy as np
import pytest

from conftest import tone, write_wav
from graft.data import _riff, _sound
from graft.data._quiet import quiet
from graft.data._sound import opened
from graft.data._sound_scan import clipped, scan
from graft.types import UnreadableSample

soundfile = pytest.importorskip("soundfile", reason="needs soundfile")
RATE = 16000


def note(seconds=0.5, rate=RATE, seed=0):
    return tone(330.0, seconds, rate, random.Random(seed)).astype(np.float32)


def encoded(samples, format="WAV", coding=None, rate=RATE):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=format, subtype=coding)
    return out.getvalue()


def heard(source):
    sound = opened(source)
    return sound.read(0, sound.frames)


def resized(data, size):
    """A WAV file whose header says another size of its samples."""
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


EXACT = {"PCM_U8": 2 / 256, "PCM_16": 2 / 2**16, "PCM_24": 2 / 2**24, "PCM_32": 1e-7, "FLOAT": 1e-7, "DOUBLE": 1e-7,
         "ULAW": 0.02, "ALAW": 0.02}  # fmt: skip


@pytest.mark.parametrize("coding", EXACT)
def test_every_depth_gives_the_same_wave(coding):
    samples = note()
    found = heard(encoded(samples, "WAV", coding))
    assert found.dtype == np.float32 and np.abs(found - samples).max() <= EXACT[coding]


@pytest.mark.parametrize("format", ["FLAC", "AIFF", "AU", "W64", "CAF", "RF64"])
def test_every_lossless_container_gives_the_same_wave(format):
    samples = (note() * 32767).astype(np.int16)
    found = heard(encoded(samples, format, "PCM_16"))
    assert np.array_equal(found, samples / np.float32(2**15))
    assert scan(encoded(samples, format)).content == scan(encoded(samples)).content


@pytest.mark.parametrize("format,coding", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_what_is_lossy_sounds_alike(format, coding):
    found, samples = heard(encoded(note(2.0), format, coding)), note(2.0)
    assert len(found) == len(samples) and np.corrcoef(found, samples)[0, 1] > 0.95


def test_the_standard_library_reads_what_we_read(tmp_path):
    """The wave of `wave`, whose integers are divided by 2^15."""
    path = write_wav(tmp_path / "a.wav", np.stack([note(), -0.5 * note(seed=1)], 1), RATE)
    with wave.open(str(path)) as file:
        values = np.frombuffer(file.readframes(-1), "<i2").reshape(-1, 2) / 2**15
    sound = opened(path)
    assert (sound.rate, sound.channels, sound.frames, sound.seconds) == (RATE, 2, 8000, 0.5)
    assert np.allclose(sound.read(0, 8000), values.mean(1), atol=1e-7)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_stretch_is_that_part_of_the_whole(format):
    sound = opened(encoded(note(3.0), format))
    whole = sound.read(0, sound.frames)
    for start, stop in ((0, 1), (5, 5), (100, 9000), (20_000, 48_000), (47_999, 60_000), (90_000, 90_001)):
        assert np.allclose(sound.read(start, stop), whole[start:stop], atol=1e-6)


def test_six_channels_are_averaged():
    parts = np.stack([note(seed=seed) for seed in range(6)], 1)
    data = encoded(parts, "WAV", "FLOAT")
    assert opened(data).channels == 6 and np.allclose(heard(data), parts.mean(1), atol=1e-6)


def test_the_name_says_nothing(tmp_path):
    data = encoded(note(), "MP3")
    for name in ("a.wav", "a.flac", "a.mp3", "a", "\udcff.raw"):
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(heard(tmp_path / name), heard(data))
    tagged = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
    assert (
        len(heard(tagged + data)) == len(heard(data)) and scan(tagged + encoded(note(), "FLAC")).facts.format == "FLAC"
    )


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty file (0 bytes)"),
        (b"hello world", "not a sound (starts with 'hello world')"),
        (b"%PDF-1.7 and so on", "it is a PDF"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "an M4A or MP4 file; convert it to wav or flac"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc", "an AAC file; convert"),
        (b"#!AMR\n<", "an AMR file; convert"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA file; convert"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "WebM"),
        (b"MThd\0\0\0\6", "a MIDI file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        ("\ufeffsome text".encode("utf-16-le"), "not a sound"),
        (bytes(range(128, 200)), "starts with bytes 80 81"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "damaged header (of WAV)"),
        (b"RIFF\x24\0\0\0AVI LIST", "not a sound"),
        (b"fLaC\0\0\0\x22", "damaged header (of FLAC)"),
    ],
)
def test_what_is_no_sound_gets_a_plain_reason(data, reason):
    for look in (opened, scan):
        with pytest.raises(UnreadableSample) as caught:
            look(data)
        assert reason in str(caught.value) and "libsndfile" not in str(caught.value)


@pytest.mark.parametrize(
    "samples, rate, reason",
    [
        (np.zeros(0, np.float32), 8000, "no sound in it (0 samples)"),
        (np.zeros(500, np.float32), 999, "a rate out of range (999 Hz; 1,000 to 768,000 Hz are read)"),
        (np.zeros(500, np.float32), 800_000, "a rate out of range (800,000 Hz"),
        (np.zeros((50, 65), np.float32), 8000, "too many channels (65; the limit is 64)"),
    ],
)
def test_sounds_that_nobody_means(samples, rate, reason):
    for look in (opened, scan):
        with pytest.raises(UnreadableSample) as caught:
            look(encoded(samples, "WAV", "FLOAT", rate))
        assert reason in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(value):
    samples = note()
    samples[7000] = value
    data = encoded(samples, "WAV", "FLOAT")
    with pytest.raises(UnreadableSample, match="not finite"):
        scan(data)
    with pytest.raises(UnreadableSample, match="not finite"):
        heard(data)
    assert np.isfinite(opened(data).read(0, 7000)).all()


# -------------------------------------------------------------------------------------------------- headers that lie


@pytest.mark.parametrize("said", [0, 100, 8000, 17_000, 1_000_000])
def test_of_wav_what_is_there_is_used(said):
    reference = encoded(note(), "WAV", "PCM_16")
    data = resized(reference, said)
    facts = scan(data).facts
    assert np.array_equal(heard(data), heard(reference)) and scan(data).content == scan(reference).content
    assert facts.seconds == 0.5 and facts.said == pytest.approx(said / 2 / RATE, abs=1e-4)


@pytest.mark.parametrize("said", [0x7FFFFFFF, 0xFFFFFFFF])
def test_what_was_streamed_does_not_lie(said):
    facts = scan(resized(encoded(note()), said)).facts
    assert facts.seconds == 0.5 and np.isnan(facts.said)


def test_chunks_behind_the_samples_are_no_samples():
    data = encoded(note())
    for tail in (b"LIST\x06\0\0\0INFOab", b"id3 " + struct.pack("<I", 9000) + bytes(9000), b"TAG" + bytes(125)):
        facts = scan(data + tail).facts
        assert facts.seconds == facts.said == 0.5


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "AIFF", "AU", "W64"])
def test_a_file_that_was_cut_short(format, tmp_path):
    whole = encoded(note(4.0), format)
    (tmp_path / "x").write_bytes(whole[: len(whole) // 2])
    facts, found = scan(tmp_path / "x").facts, heard(tmp_path / "x")
    assert len(found) == round(facts.seconds * RATE) and 1.0 < facts.seconds < 3.0
    assert np.allclose(found[:9000], heard(whole)[:9000], atol=1e-6)
    assert format in ("AIFF", "AU", "W64") or facts.said == pytest.approx(4.0)


def test_flac_without_a_length_or_with_a_wrong_one():
    whole = encoded(note(), "FLAC")
    for count in (0, 10**6):
        data = bytearray(whole)
        data[22:26] = struct.pack(">I", count)
        found = heard(bytes(data))
        assert abs(len(found) - 8000) <= 1 and np.array_equal(found, heard(whole)[: len(found)])
        assert len(found) == round(scan(bytes(data)).facts.seconds * RATE)


def test_damage_in_the_middle_is_not_skipped():
    data = bytearray(encoded(note(4.0), "FLAC"))
    data[len(data) // 2 : len(data) // 2 + 300] = random.Random(0).randbytes(300)
    with pytest.raises(UnreadableSample, match="damaged sound data"):
        scan(bytes(data))


def test_500_damaged_files_give_a_sound_or_a_reason():
    chance = random.Random(0)
    wholes = [encoded(note(0.2), format) for format in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "W64", "CAF")]
    refused = 0
    for i in range(500):
        data = bytearray(wholes[i % len(wholes)])
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
        kept = bytes(data[: chance.randint(0, len(data))] if chance.random() < 0.4 else data)
        try:
            seconds, rate = scan(kept).facts[:2]
            assert len(heard(kept)) == round(seconds * rate)
        except UnreadableSample as reason:
            refused += 1
            assert 3 < len(str(reason)) < 250
    assert 50 < refused < 450


# -------------------------------------------------------------------------------------------------------------- facts


def test_peak_power_and_content():
    time = np.arange(RATE) / RATE
    sine = (0.5 * np.sin(2 * np.pi * 100 * time)).astype(np.float32)
    found = scan(encoded(sine, "WAV", "FLOAT"))
    assert found.facts.peak == pytest.approx(0.5, 1e-4) and found.facts.rms == pytest.approx(0.5 / 2**0.5, 1e-4)
    same = scan(encoded(np.stack([sine, sine], 1), "AIFF", "FLOAT"))
    assert same.content == found.content and same.facts.channels == 2
    assert scan(encoded(sine[:-1], "WAV", "FLOAT")).content != found.content
    assert scan(encoded(sine, "WAV", "FLOAT", 8000)).content != found.content


def test_clipping_counts_runs_at_full_scale():
    block = np.zeros((20, 2), np.float32)
    block[2:4, 0], block[6:9, 0], block[12:17, 1] = 1, -1, 1  # two in a row are chance
    assert clipped(block, 0.999).tolist() == [3, 5] and clipped(block[:2], 0.999).tolist() == [0]


@pytest.mark.parametrize("coding", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_full_scale_is_that_of_the_coding(coding):
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    loud = scan(encoded((2 * sine).clip(-1, 1), "WAV", coding)).facts
    assert loud.clipped == pytest.approx(2 / 3, abs=0.03)  # |sin| > 1/2 for two thirds of the time
    assert scan(encoded(0.7 * sine, "WAV", coding)).facts.clipped == 0


def test_an_hour_is_read_in_blocks(tmp_path, monkeypatch):
    """A sparse file of an hour; most of it takes no disk, and none of it much memory."""
    path, seconds = tmp_path / "hour.wav", 3600
    head = encoded(note())[:44]
    with path.open("wb") as file:
        file.write(resized(head, 2 * RATE * seconds))
        file.truncate(44 + 2 * RATE * seconds)
        file.seek(44 + 2 * RATE * 3000)
        file.write(encoded(note())[44:])
    sizes = []
    mono = _sound.mono
    monkeypatch.setattr(_sound, "mono", lambda block: sizes.append(len(block)) or mono(block))
    tracemalloc.start()
    facts = scan(path).facts
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts.seconds == facts.said == 3600.0 and facts.peak > 0.1
    assert max(sizes) <= 30 * RATE and sum(sizes) == 3600 * RATE and peak < 40e6
    assert np.array_equal(opened(path).read(3000 * RATE, 3000 * RATE + 8000), heard(encoded(note())))


def test_many_channels_come_in_smaller_blocks(monkeypatch):
    samples = np.zeros((60_000, 64), np.float32)
    samples[:, 0] = 0.64
    sizes = [len(block) for _, block in _sound.blocks(encoded(samples, "WAV", "FLOAT", 768_000))]
    assert max(sizes) * 64 <= 1 << 21 and sum(sizes) == 60_000
    assert np.allclose(heard(encoded(samples, "WAV", "FLOAT", 768_000)), 0.01)


def test_pipes_and_missing_files_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("pipe.wav", "none.wav", ""):
        with pytest.raises(UnreadableSample):
            opened(tmp_path / name)


def test_what_is_too_large_is_not_opened(tmp_path):
    with (tmp_path / "x.wav").open("wb") as file:
        file.truncate(_sound.MAX_BYTES + 1)
    with pytest.raises(UnreadableSample, match="file too large"):
        opened(tmp_path / "x.wav")


def test_a_corrected_header_is_only_that():
    data = resized(encoded(note()), 100)
    found = _riff.data(io.BytesIO(data))
    assert found == _riff.Data(40, 100, 16_000)
    assert _riff.Corrected(io.BytesIO(data), found).read() == encoded(note())
    assert _riff.data(io.BytesIO(encoded(note(), "RF64"))) is None and _riff.data(io.BytesIO(b"RIFF")) is None


def test_a_file_of_empty_chunks_ends():
    started = time.perf_counter()
    data = encoded(note())
    for body in (bytes(8_000_000), b"junk\0\0\0\0" * 1_000_000):
        assert _riff.data(io.BytesIO(data[:12] + body)) is None
        with pytest.raises(UnreadableSample):
            opened(data[:36] + body)
    assert time.perf_counter() - started < 10


def test_the_decoder_of_mp3_is_quiet(tmp_path):
    """It writes to stderr of good files, too. Python's own stderr goes on."""
    data = encoded(note(2.0), "MP3")
    (tmp_path / "x.mp3").write_bytes(data[:3000] + bytes(400) + data[3400:-900])
    code = ("import pathlib, sys; from graft.data import _sound, _sound_scan; path = pathlib.Path(sys.argv[1]); "
            "_sound_scan.scan(path); _sound.opened(path).read(100, 9000); print('said', file=sys.stderr)")  # fmt: skip
    found = subprocess.run([sys.executable, "-c", code, tmp_path / "x.mp3"], capture_output=True, text=True, check=True)
    assert found.stderr == "said\n"


def test_many_may_be_quiet_at_once():
    def enter():
        for _ in range(200):
            with quiet():
                pass

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    from graft.data import _quiet

    assert _quiet._inside == 0


def test_without_the_library_it_says_what_to_install(monkeypatch):
    from graft.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtra) as caught:
        opened(b"RIFF")
    assert "soundfile" in caught.value.what and "graft-ml[audio]" in caught.value.hint
