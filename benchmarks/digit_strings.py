"""Strings of 1 to 5 spoken digits, made by joining clips of free-spoken-digit-dataset, with transcripts in words.

    python benchmarks/digit_strings.py RECORDINGS OUT --held-out george --strings 2400

One string is spoken by one speaker, with 50 to 250 ms of that recording's own noise between the digits. The held-out
speaker's strings are the test part, a tenth as many as the others' together but at least 240.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
LONGEST = 5
Wave = NDArray[np.float32]


def clips(recordings: Path) -> dict[str, list[tuple[int, Wave]]]:
    """{speaker: (digit, wave)}"""
    found = defaultdict(list)
    for path in sorted(recordings.glob("*.wav")):
        digit, speaker, _ = path.stem.split("_")
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == RATE
        found[speaker].append((int(digit), wave[:, 0]))
    return found


def joined(some: list[tuple[int, Wave]], draw: random.Random) -> tuple[Wave, str]:
    """The wave of a string, and what is said in it."""
    parts: list[Wave] = []
    for _, wave in some:
        quiet = np.sort(np.abs(wave))[len(wave) // 10]
        noise = np.random.default_rng(draw.randrange(2**32)).standard_normal(draw.randrange(400, 2000))
        parts += [wave, (quiet * noise).astype(np.float32)]
    return np.concatenate(parts[:-1]), " ".join(WORDS[digit] for digit, _ in some)


def make(recordings: Path, out: Path, held_out: str, strings: int, seed: int = 0) -> Path:
    """`out`/strings.csv with path, transcript, speaker, split."""
    draw, found = random.Random(seed), clips(recordings)
    rows = [("path", "transcript", "speaker", "split")]
    for speaker, known in found.items():
        count = max(240, strings // 10) if speaker == held_out else strings // (len(found) - 1)
        apart = known[::10]  # clips of the validation part, which the training part does not hear
        rest = [clip for i, clip in enumerate(known) if i % 10]
        for number in range(count):
            split = "test" if speaker == held_out else ("valid" if number % 10 == 0 else "train")
            some = {"test": known, "valid": apart, "train": rest}[split]
            wave, words = joined(draw.choices(some, k=draw.randint(1, LONGEST)), draw)
            path = out / speaker / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wave, RATE, "PCM_16")
            rows.append((f"{speaker}/{number}.wav", words, speaker, split))
    with (out / "strings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return out / "strings.csv"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--held-out", default="george")
    parser.add_argument("--strings", type=int, default=2400)
    asked = parser.parse_args()
    print(make(asked.recordings, asked.out, asked.held_out, asked.strings))
