"""The audit of sounds: copies in any form, silence, clipping, and what tells classes apart beside what is heard."""

import io
import random
import time

import numpy as np
import pytest

from conftest import tone, write_wav
from graft.data import _sound, _sound_scan
from graft.data._audit import audit, require_classes, unreadable
from graft.data._sniff import open_data
from graft.data._sound_copies import _spectrum, agreement
from graft.data.audio import audio
from graft.data.csv import csv
from graft.errors import DataError
from graft.types import Sound

soundfile = pytest.importorskip("soundfile", reason="needs soundfile")


def speech(seed, seconds=1.0, rate=8000):
    """Syllables of a few tones, each with its own pitch and loudness: no two seeds sound alike."""
    chance = random.Random(seed)
    parts = [chance.uniform(0.2, 1) * tone(chance.uniform(90, 900), seconds / 6, rate, chance) for _ in range(6)]
    return np.concatenate(parts)


def save(path, samples, rate=8000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def groups(dataset):
    found = {}
    for sample in dataset.samples:
        if sample.group:
            found.setdefault(sample.group, set()).add(sample.key)
    return sorted(map(sorted, found.values()))


def resampled(samples, rate, other):
    """By its spectrum (numpy)."""
    count = round(len(samples) * other / rate)
    bins = np.fft.rfft(samples)[: count // 2 + 1]
    return np.fft.irfft(np.pad(bins, (0, count // 2 + 1 - len(bins))), count) * other / rate


def test_a_clean_folder_has_one_finding(sounds):
    found = audit(audio(str(sounds)))
    assert len(found) == 36 and not groups(found) and set(codes(found)) == {"lengths", "ignored-file"}
    assert codes(found)["lengths"].what.startswith("36 sounds of 8,000 Hz are 0.2")
    assert all(sample.digest for sample in found.samples)


def test_exact_copies_in_any_container(tmp_path):
    for i in range(3):
        save(tmp_path / "a" / f"{i}.wav", speech(i))
    samples, rate = soundfile.read(tmp_path / "a" / "0.wav", dtype="int16")
    save(tmp_path / "b" / "x.flac", samples, rate)
    save(tmp_path / "b" / "y.aiff", np.stack([samples, samples], 1), rate)
    found = audit(audio(str(tmp_path)))
    assert groups(found) == [["a/0.wav", "b/x.flac", "b/y.aiff"]]
    assert codes(found)["exact-copies"].what.startswith("2 sounds repeat") and "conflicting-labels" in codes(found)


def changed(samples):
    quiet = np.zeros(len(samples) // 20)
    return {"half.wav": (samples / 2, 8000), "again.ogg": (samples, 8000), "again.mp3": (samples, 8000),
            "16.wav": (resampled(samples, 8000, 16000), 16000), "44.wav": (resampled(samples, 8000, 44100), 44100),
            "ends.wav": (np.concatenate([quiet, samples, quiet]), 8000), "down.wav": (-samples, 8000)}  # fmt: skip


@pytest.mark.parametrize("name", changed(np.zeros(100)))
def test_near_copies_are_the_same_recording(tmp_path, name):
    """In at least five of six."""
    for i in range(6):
        save(tmp_path / "a" / f"{i}.wav", speech(i))
        samples, rate = changed(speech(i))[name]
        save(tmp_path / "a" / f"{i}-{name}", samples, rate)
    found = groups(audit(audio(str(tmp_path))))
    assert len(found) >= 5 and all(pair[0][:3] == pair[1][:3] and len(pair) == 2 for pair in found)


def test_one_melody_over_other_noise_is_no_copy(tmp_path):
    """The pictures are alike, and the waves are not."""
    for i in range(8):
        save(tmp_path / "a" / f"{i}.wav", tone(440.0 * 1.003**i, 0.5, 8000, random.Random(i)))
    assert not groups(audit(audio(str(tmp_path))))


def test_agreement_is_the_peak_of_the_cross_correlation():
    one, other = speech(0), speech(1)
    direct = np.abs(np.correlate(one - one.mean(), other - other.mean(), "full")).max()
    direct /= np.linalg.norm(one - one.mean()) * np.linalg.norm(other - other.mean())

    def spectrum(wave):
        return _spectrum(Sound(8000, len(wave), 1, lambda start, stop: wave[start:stop].astype(np.float32)))

    assert agreement(spectrum(one), spectrum(other)) == pytest.approx(direct, abs=0.02)
    assert agreement(spectrum(one), spectrum(np.concatenate([np.zeros(900), -3 * one]))) > 0.999


def test_a_sound_that_comes_from_no_file_is_looked_at_through_its_reader(sounds):
    dataset = audio(str(sounds))
    bare = dataset.replace(
        samples=tuple(s.__class__(s.key, s.key, s.label) for s in dataset.samples),
        load=lambda sample: _sound.opened(sounds / sample.key),
        read_bytes=lambda sample: (sounds / sample.key).read_bytes(),
    )
    assert [s.digest for s in audit(bare).samples] == [s.digest for s in audit(dataset).samples]
    first = _sound.opened(sounds / "hum/0.wav")
    assert _sound_scan.scan(first).content == _sound_scan.scan(sounds / "hum/0.wav").content


# ----------------------------------------------------------------------------------------------------------- findings


def test_unreadable_sounds_are_left_out_and_listed(sounds):
    (sounds / "hum" / "void.wav").write_bytes(b"")
    (sounds / "hum" / "page.wav").write_bytes(b"<html>")
    write_wav(sounds / "ring" / "none.wav", np.zeros(0))
    bad = np.zeros(100, np.float32)
    bad[3] = np.nan
    save(sounds / "ring" / "nan.wav", bad, subtype="FLOAT")
    found = audit(audio(str(sounds)))
    assert len(found) == 36 and unreadable(found.issues) == {
        "hum/void.wav": "empty file (0 bytes)", "hum/page.wav": "not a sound (it is a web page)",
        "ring/none.wav": "no sound in it (0 samples)", "ring/nan.wav": "samples are not finite (NaN or infinity)",
    }  # fmt: skip


def test_what_was_converted_is_counted(tmp_path):
    save(tmp_path / "a" / "1.wav", np.stack([speech(0), speech(1)], 1))
    save(tmp_path / "a" / "2.wav", np.stack([speech(seed) for seed in range(2, 8)], 1))
    data = io.BytesIO()
    soundfile.write(data, speech(8), 8000, format="MP3")
    (tmp_path / "a" / "3.wav").write_bytes(data.getvalue())
    save(tmp_path / "a" / "4.wav", speech(9))
    said = codes(audit(audio(str(tmp_path))))
    assert said["stereo"].keys == ("a/1.wav",) and said["channels"].keys == ("a/2.wav",)
    assert said["other-format"].keys == ("a/3.wav",) and "of another format" in said["other-format"].what


def test_silence_clipping_and_what_is_too_short_or_too_loud(sounds):
    write_wav(sounds / "hum" / "silent.wav", np.full(4000, 0.0009))
    write_wav(sounds / "hum" / "loud.wav", 20 * speech(1))
    write_wav(sounds / "hum" / "click.wav", speech(2)[:300])
    save(sounds / "hum" / "int.wav", (speech(3) * 32768).astype(np.float32), subtype="FLOAT")
    said = codes(audit(audio(str(sounds))))
    assert said["silence"].keys == ("hum/silent.wav",) and said["clipping"].keys == ("hum/loud.wav",)
    assert said["very-short"].keys == ("hum/click.wav",) and said["beyond-full-scale"].keys == ("hum/int.wav",)
    assert all(said[code].severity == "warning" for code in ("silence", "clipping", "very-short", "beyond-full-scale"))


def test_a_header_that_lies(sounds):
    path = sounds / "hum" / "0.wav"
    data = path.read_bytes()
    path.write_bytes(data[: 44 + 2 * 800])
    found = audit(audio(str(sounds)))
    issue, there = codes(found)["lying-header"], _sound.opened(path)
    assert issue.keys == ("hum/0.wav",) and there.frames == 800
    assert f"(hum/0.wav: {(len(data) - 44) / 16000:.2f} s said, 0.10 s there)" in issue.what


def test_mixed_rates_are_a_note(sounds):
    for i in range(3):
        save(sounds / "hum" / f"cd{i}.wav", speech(i, 0.3, 44100), 44100)
    said = codes(audit(audio(str(sounds))))
    assert "rates differ: 8,000 Hz (36), 44,100 Hz (3): each sound is resampled" in said["mixed-rates"].what
    assert said["mixed-rates"].severity == "note" and "rate-tells-classes" not in said
    assert said["lengths"].what.startswith("39 sounds are ")


def test_the_rate_the_channels_or_the_length_tell_classes_apart(tmp_path):
    for i in range(5):
        save(tmp_path / "a" / f"{i}.wav", speech(i, 0.6))
        save(tmp_path / "b" / f"{i}.wav", speech(9 + i, 0.6, 44100), 44100)
        save(tmp_path / "c" / f"{i}.wav", np.stack([speech(20 + i, 3.0), speech(30 + i, 3.0)], 1))
    said = codes(audit(audio(str(tmp_path))))
    expected = "the rate tells the classes apart: class a is 8,000 Hz, class b is 44,100 Hz; a model may learn that"
    assert expected in said["rate-tells-classes"].what and said["rate-tells-classes"].keys == ("b",)
    assert "class a is mono, class c is stereo" in said["channels-tells-classes"].what
    assert "class a is 0.60 s, class c is 3.00 s" in said["length-tells-classes"].what
    (tmp_path / "b" / "0.wav").unlink()
    assert "rate-tells-classes" not in codes(audit(audio(str(tmp_path)))), "four sounds say little"


def test_transcripts(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.wav", speech(i))
    save(tmp_path / "3.wav", soundfile.read(tmp_path / "0.wav")[0])
    (tmp_path / "t.csv").write_text("path,text\n0.wav,one\n1.wav,two\n2.wav,\n3.wav,three\n")
    found = audit(csv(str(tmp_path / "t.csv")))
    require_classes(found)
    assert found.kind == "transcript" and codes(found)["conflicting-labels"].keys == ("0.wav", "3.wav")
    assert "one-sample-class" not in codes(found)
    (tmp_path / "t.csv").write_text("path,text\n0.wav,\n1.wav, \n")
    with pytest.raises(DataError) as caught:
        require_classes(audit(csv(str(tmp_path / "t.csv"))))
    assert "no transcripts" in caught.value.what and "fill in" in caught.value.hint


def test_spoken_digits(data):
    """3,000 recordings by six speakers: none is a copy, nothing is wrong, and it takes seconds."""
    started = time.perf_counter()
    found = audit(open_data(f"{data / 'fsdd' / 'recordings'}(pattern='{{label}}_{{group}}_{{}}')"))
    assert len(found) == 3000 and len(found.classes) == 10 and time.perf_counter() - started < 60
    assert [issue.code for issue in found.issues] == ["lengths"]
    assert {sample.group for sample in found.samples} == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
