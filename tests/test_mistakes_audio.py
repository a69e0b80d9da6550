"""Every mistake that a user is likely to make with sounds, as far as data tell: what happened, where, and what helps.

The user's files are the same before and after.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import draw_sounds, write_wav
from graft.data._audit import audit, require_classes, unreadable
from graft.data._sniff import open_data
from graft.errors import GraftError
from graft.types import Dataset

soundfile = pytest.importorskip("soundfile", reason="needs soundfile")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of three classes, sounds/, and a table of them."""
    monkeypatch.chdir(tmp_path)
    draw_sounds(Path("sounds"), each=4)


def files() -> dict[str, str]:
    found = [p for p in Path().rglob("*") if p.is_file()]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def read(data: str) -> Dataset:
    """As every verb reads them."""
    before = files()
    try:
        dataset = audit(open_data(data))
        require_classes(dataset)
        return dataset
    finally:
        assert files() == before


def refused(data: str, code: int, what: str, fix: str) -> None:
    with pytest.raises(GraftError) as caught:
        read(data)
    assert caught.value.exit_code == code and what in caught.value.what and fix in caught.value.hint, caught.value


def said(data: str, code: str) -> tuple[str, ...]:
    return next(issue.keys for issue in read(data).issues if issue.code == code)


def note(seed: int = 0, count: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count) / 5


def encoded(format: str, samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, 8000, format=format)
    return out.getvalue()


NONSENSE = [
    ("./soundz", 3, "there is no folder or file './soundz'", "did you mean 'sounds'?"),
    ("sounds/hum/0.flac", 3, "there is no folder or file", "ls sounds/hum"),
    ("sounds(pattern='{word}_{}')", 2, "has the field {word}", "{label}_{group}_{}"),
    ("sounds(pattern='{label}-{}')", 3, "no file of sounds has a name of the form", "{label}_{group}_{}"),
    ("sounds/hum", 3, "hum has no labels", "sounds/hum(pattern="),
    ("sounds/sounds.csv(label='labl')", 3, "no column 'labl'", "did you mean 'label'?"),
    ("sounds/sounds.csv(transcript='text')", 3, "no column 'text'", "choose from: label, path, speaker"),
    ("sounds/sounds.csv(audio='file')", 3, "no column 'file'", "choose from"),
    ("sounds/sounds.csv(audio=3)", 2, "audio is 3, which is not what it takes", ""),
]


@pytest.mark.parametrize(("data", "code", "what", "fix"), NONSENSE)
def test_data_that_are_not_there(data: str, code: int, what: str, fix: str) -> None:
    refused(data, code, what, fix)


def test_a_folder_of_one_class() -> None:
    shutil.rmtree("sounds/ring")
    shutil.rmtree("sounds/whistle")
    refused("sounds", 3, "only one class, 'hum'", "pattern=")


def test_nothing_can_be_read() -> None:
    for path in Path("sounds").rglob("*.wav"):
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(
        "sounds", 3, "none of the 12 samples of sounds can be read: not a sound (it is a Git LFS pointer", "hum/0.wav"
    )


def test_formats_of_telephones() -> None:
    Path("sounds/hum/memo.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    assert said("sounds", "unsupported-format") == ("hum/memo.m4a",)
    Path("sounds/hum/memo.m4a").rename("sounds/hum/memo.wav")
    assert "an M4A or MP4 file; convert it to wav or flac" in unreadable(read("sounds").issues)["hum/memo.wav"]
    refused("sounds/hum/memo.m4a", 3, "there is no folder or file", "")
    shutil.rmtree("sounds")
    Path("sounds/hum").mkdir(parents=True)
    Path("sounds/hum/memo.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    refused("sounds", 3, "there are no sounds in sounds", "convert them to wav or flac")
    refused("sounds/hum/memo.m4a", 3, "a format that Graft does not read (.m4a)", "convert it to wav or flac")


def test_an_mp3_that_is_named_wav() -> None:
    Path("sounds/hum/0.wav").write_bytes(encoded("MP3", note()))
    assert said("sounds", "other-format") == ("hum/0.wav",) and len(read("sounds")) == 12


BROKEN = [
    (b"", "empty file"), (b"RIFF\0\0\0\0WAVE", "damaged header"), (b"%PDF-1.4", "a PDF"),
    (encoded("WAV", np.zeros(0)), "no sound in it"), (encoded("FLAC", note())[:60], "damaged header (of FLAC)"),
    (b"\xff\xf1\x50\x80\x02\x1f\xfc", "an AAC file"), (os.urandom(64).replace(b"\xff", b"a"), "not a sound"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_file_that_cannot_be_read_is_left_out_and_listed(content: bytes, reason: str) -> None:
    Path("sounds/hum/0.wav").write_bytes(content)
    found = read("sounds")
    assert len(found) == 11 and reason in unreadable(found.issues)["hum/0.wav"]


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_header_that_lies_about_the_length(part: float) -> None:
    data = Path("sounds/hum/0.wav").read_bytes()
    Path("sounds/hum/0.wav").write_bytes(data[: round(part * len(data))])
    Path("sounds/hum/1.wav").write_bytes(data[:40] + bytes(4) + data[44:])
    assert said("sounds", "lying-header") == ("hum/0.wav", "hum/1.wav") and len(read("sounds")) == 12


def test_rates_channels_and_silence() -> None:
    write_wav(Path("sounds/hum/cd.wav"), note(1), 44100)
    write_wav(Path("sounds/hum/film.wav"), np.stack([note(seed) for seed in range(2, 8)], 1))
    write_wav(Path("sounds/hum/nothing.wav"), np.zeros(4000))
    write_wav(Path("sounds/hum/shout.wav"), 9 * note(9))
    what = {issue.code: issue for issue in read("sounds").issues}
    assert "8,000 Hz (15), 44,100 Hz (1)" in what["mixed-rates"].what and what["channels"].keys == ("hum/film.wav",)
    assert what["silence"].keys == ("hum/nothing.wav",) and what["clipping"].keys == ("hum/shout.wav",)


def test_missing_transcripts_and_paths() -> None:
    rows = "hum/0.wav,one\nhum/1.wav,\nhum/9.wav,two\n../secret.wav,three\nhttps://a.b/c.wav,four\n"
    write_wav(Path("secret.wav"), note())
    Path("sounds/said.csv").write_text(f"path,sentence\n{rows}")
    assert said("sounds/said.csv", "missing-transcript") == ("row 3",)
    assert said("sounds/said.csv", "missing-file") == ("row 4: hum/9.wav",)
    assert said("sounds/said.csv", "outside-root") == ("row 5: ../secret.wav",)
    assert said("sounds/said.csv", "url") == ("row 6: https://a.b/c.wav",)
    Path("sounds/said.csv").write_text("path,sentence\nhum/0.wav,\nhum/1.wav,\n")
    refused("sounds/said.csv", 3, "said.csv has no transcripts", "fill in")


def test_labels_under_another_name() -> None:
    text = Path("sounds/sounds.csv").read_text().replace("label", "klang")
    Path("sounds/sounds.csv").write_text(text)
    refused(
        "sounds/sounds.csv", 3, "no column of sounds.csv is called label or transcript", "sounds.csv(label='klang')"
    )
    assert read("sounds/sounds.csv(label='klang')").classes == ("hum", "ring", "whistle")


def test_a_folder_whose_labels_stand_in_a_table() -> None:
    Path("flat").mkdir()
    for path in Path("sounds").rglob("*.wav"):
        path.rename(Path("flat") / f"{path.parent.name}_{path.name}")
    refused("flat", 3, "flat has no labels: there is nothing to tell apart", "flat(pattern='{label}_{}')")
    assert read("flat(pattern='{label}_{}')").classes == ("hum", "ring", "whistle")
    Path("flat/metadata.csv").write_text("file_name,label\nhum_0.wav,a\nring_0.wav,b\n")
    refused("flat", 3, "flat has no labels", "flat/metadata.csv")
    assert read("flat/metadata.csv").classes == ("a", "b")
