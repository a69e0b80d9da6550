"""Shared by all tests: one thread, no network, a cache of its own, and small data.

`make test` needs nothing outside the repository. Tests on real data take the `data` fixture and are skipped without it.
"""

from __future__ import annotations

import os
import random
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from graft import pages

torch.set_num_threads(1)  # a small network is many times faster on one thread, and bit-equal

MAKE_PAGES = pages.make

COLOURS = {"daisy": (240, 240, 230), "rose": (200, 30, 60), "tulip": (240, 180, 20)}


@pytest.fixture(scope="session", autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the user's cache, none may use the network, and all compute alike on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GRAFT_OFFLINE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("graft.device.fast_bf16", lambda: False)
        patch.setattr("graft.pages.make", lambda *args: None)  # seconds for each of hundreds of runs
        yield


@pytest.fixture
def with_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test write their report and model card, as a user's do."""
    monkeypatch.setattr("graft.pages.make", MAKE_PAGES)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets that $GRAFT_DATA names."""
    named = os.environ.get("GRAFT_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("real data are not here: set GRAFT_DATA to the folder that holds them")
    return Path(named)


def draw_flowers(root: Path, each: int = 12, size: int = 24, seed: int = 0) -> Path:
    """`root`/<class>/<n>.png: a disc in the colour of its class on a random ground. No two files are alike."""
    rng = random.Random(seed)
    for label, colour in COLOURS.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            grey = np.random.default_rng(rng.randrange(2**32)).normal(128, 60, (size, size)).clip(0, 255)
            image = Image.fromarray(grey.astype(np.uint8)).convert("RGB")  # Pillow's own noise depends on earlier tests
            image.paste(tuple(rng.randrange(256) for _ in range(3)), (0, 0, size, size // 2))
            at, radius = (rng.randrange(6, size - 6), rng.randrange(6, size - 6)), rng.randrange(4, 9)
            box = (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)
            ImageDraw.Draw(image).ellipse(box, fill=tuple(c - rng.randrange(15) for c in colour))
            image.save(root / label / f"{number}.png")
    return root


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder of three classes of a dozen small images each."""
    return draw_flowers(tmp_path / "flowers")


PITCHES = {"hum": 220.0, "ring": 550.0, "whistle": 1300.0}


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    """(n,) or (n, channels) of -1..1 as 16-bit PCM, by the standard library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def tone(pitch: float, seconds: float, rate: int, rng: random.Random) -> np.ndarray:
    """(n,) a note with two harmonics that rises and fades, over noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(rng.randrange(2**32)).standard_normal(len(time))
    parts = sum(np.sin(2 * np.pi * pitch * k * time + rng.random()) / k for k in (1, 2, 3))
    return np.asarray(0.2 * parts * np.hanning(len(time)) + 0.01 * noise)


def draw_sounds(root: Path, each: int = 12, rate: int = 8000, seed: int = 0) -> Path:
    """`root`/<class>/<n>.wav: notes of three pitches, 0.2 to 0.5 s; and `root`/sounds.csv with path, label, speaker.

    Speaker k plays every third note, a little higher than the one before. No two files are alike.
    """
    rng, lines = random.Random(seed), ["path,label,speaker"]
    for label, pitch in PITCHES.items():
        for number in range(each):
            speaker = number % 3
            note = tone(pitch * (1 + 0.05 * speaker) * rng.uniform(0.98, 1.02), rng.uniform(0.2, 0.5), rate, rng)
            write_wav(root / label / f"{number}.wav", note, rate)
            lines.append(f"{label}/{number}.wav,{label},s{speaker}")
    (root / "sounds.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of three classes of a dozen short sounds each, and a table of them with their speakers."""
    return draw_sounds(tmp_path / "sounds")
