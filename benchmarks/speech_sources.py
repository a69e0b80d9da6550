"""Single spoken words of several languages, from public repositories, as one folder that `graft pretrain` takes.

    python benchmarks/speech_sources.py OUT dspspeech=FOLDER arabic=FOLDER commands=FOLDER azerbaijani=FOLDER ...

A class is a word of one source, a group is a speaker of it. Recordings are brought to 8 kHz, what is silent before and
after the word is cut, and what is longer than 1.5 s then is left out. No source has English digits, nor a speaker of
free-spoken-digit-dataset, which `benchmarks/audio.py` asks about.

    dspspeech    zhongyuchen/DSPSpeech-20 (MIT)           34 speakers, 20 Chinese and English words
    arabic       abdulkaderghandoura/arabic-speech-commands-dataset (CC BY 4.0)    30 speakers, 40 words
    commands     Speech Commands v0.02, test part (Warden 2018, CC BY 4.0)    674 speakers, 10 English words
    azerbaijani  Natavan-A/AudioMNIST_AZ                  58 speakers, digits
    gujarati     Nikunj1729/free-spoken-gujarati-digit-dataset    20 speakers, digits
    bengali      BachchuPaul/Bengali-Isolated-Spoken-Digit    about 30 speakers, digits
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE = 8000
LONGEST = 1.5  # seconds
QUIET = 35.0  # dB below the loudest frame of a recording: silence
AROUND = 0.05  # seconds that are kept before and after the word
LEAST, MOST = 20, 400  # recordings of one word of one source

_NAMES = {  # what stands before the suffix: named groups, `label` and `speaker`
    "dspspeech": r"(?P<speaker>\d+)-(?P<label>\d+)-\d+",
    "arabic": r"(?P<label>[^/]+)/(?P<speaker>\d+)_\w+_\d+",
    "commands": r"(?P<label>[a-z]+)/(?P<speaker>[0-9a-f]+)_nohash_\d+",
    "azerbaijani": r"(?P<label>\d)_(?P<speaker>\d+)_\d+",
    "gujarati": r"(?P<speaker>R\dS\d+)T\d+D(?P<label>\d+)",
    "bengali": r"(?P<label>[^/]+)/(?P<speaker>.+)",
}


class Word(NamedTuple):
    file: Path
    label: str
    speaker: str


def words(source: str, folder: Path) -> Iterator[Word]:
    """At most MOST recordings of each word, evenly spread over the names, which begin with the speakers."""
    found: dict[str, list[Word]] = {}
    for file in sorted(folder.rglob("*.wav")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        match = re.search(rf"(?:^|/){_NAMES[source]}$", name)
        if match:
            speaker = _bengali(match) if source == "bengali" else match["speaker"]
            found.setdefault(match["label"], []).append(Word(file, match["label"], speaker))
    for each in (some for some in found.values() if len(some) >= LEAST):
        some = np.linspace(0, len(each) - 1, min(MOST, len(each))).round().astype(int)
        yield from (each[i] for i in some)


def _bengali(match: re.Match[str]) -> str:
    """The names are in several orders; what is neither the word nor a number is the speaker."""
    parts = re.split(r"[^a-z]+", match["speaker"].lower())
    near = {match["label"], "khz", "f", "m", "pnach"}
    return "".join(sorted(part for part in parts if part and part not in near))


def spoken(wave: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """The word without the silence around it."""
    step = max(1, rate // 100)
    level = 10 * np.log10(np.square(wave[: len(wave) // step * step]).reshape(-1, step).mean(1) + 1e-10)
    loud = np.flatnonzero(level > level.max() - QUIET)
    around = round(AROUND * rate)
    return wave[max(0, loud[0] * step - around) : (loud[-1] + 1) * step + around]


def main(out: Path, sources: dict[str, Path]) -> None:
    rows = [("path", "label", "speaker")]
    for source, folder in sources.items():
        kept = 0
        for number, word in enumerate(words(source, folder)):
            wave, rate = soundfile.read(word.file, dtype="float32", always_2d=True)
            cut = spoken(wave.mean(1), rate) if len(wave) > rate // 10 else wave[:0, 0]
            if not 0.1 * rate <= len(cut) <= LONGEST * rate:
                continue
            path = out / source / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            made = soxr.resample(cut, rate, RATE)
            soundfile.write(path, made * min(1.0, 0.99 / max(1e-9, np.abs(made).max())), RATE, "PCM_16")
            rows.append((f"{source}/{number}.wav", f"{source}-{word.label}", f"{source}-{word.speaker}"))
            kept += 1
        print(f"{source}: {kept:,} words")
    with (out / "words.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), {name: Path(folder) for name, _, folder in (a.partition("=") for a in sys.argv[2:])})
