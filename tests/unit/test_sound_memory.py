"""Long sounds do not take the memory of all: they are measured by their headers, and go together in small batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graft.backbones._heard import as_heard
from graft.backbones._mel import LogMel, Mel
from graft.backbones._pictures import Pictures
from graft.backbones._sounds import Sounds
from graft.backbones.cnn_tdnn import cnn_tdnn
from graft.canvas import Canvas
from graft.errors import DataError, ResourceError
from graft.features import TOGETHER, Feed
from graft.scoring import predict
from graft.types import Backbone, Dataset, Features, Model, Predictions, Sample, Sound, UnreadableSample

pytest.importorskip("soxr", reason="needs soxr")
CPU = torch.device("cpu")
PICTURES = Pictures(Mel(8000, 8, 20.0, 4000.0, 0.025, 0.01, 80.0), 32, (0.5,) * 3, (0.5,) * 3)


class Noises:
    """Sounds of noise at 8 kHz; counts the seconds of each that were read."""

    def __init__(self, *seconds: float, rate: int = 8000) -> None:
        self.seconds, self.rate = seconds, rate
        self.reads: Counter[int] = Counter()
        self.opened: Counter[int] = Counter()

    def load(self, sample: Sample) -> Sound:
        number = sample.source
        self.opened[number] += 1

        def read(start: int, stop: int) -> NDArray[np.float32]:
            self.reads[number] += 1
            made = np.random.default_rng(number).standard_normal(round(self.seconds[number] * self.rate))
            return (0.1 * made[start:stop]).astype(np.float32)

        return Sound(self.rate, round(self.seconds[number] * self.rate), 1, read)

    def dataset(self, **changes: Any) -> Dataset:
        samples = tuple(Sample(f"{i}.wav", i, str(i % 2), digest=str(i)) for i in range(len(self.seconds)))
        made = Dataset("noises", "audio", samples, ("0", "1"), self.load, lambda sample: b"")
        return made.replace(**changes)


def sounds(rate: int = 8000, heard: float | None = 300.0) -> Sounds:
    return Sounds(rate, LogMel(rate=rate, mels=8), heard)


def trunk() -> Backbone:
    torch.manual_seed(0)
    return cnn_tdnn().eval()


class Means:
    """A task that says of each sound the mean of its tokens, or the tokens themselves."""

    def __init__(self, each: bool = False) -> None:
        self.each = each

    def predict(self, head: nn.Module, features: Features) -> Predictions:
        assert features.tokens is not None and features.mask is not None
        real = features.tokens * features.mask.unsqueeze(2)
        return Predictions(real if self.each else real.sum(1) / features.mask.sum(1, keepdim=True))


# ----------------------------------------------------------------------------------------------------------- measured


@pytest.mark.parametrize("rates", [(44100, 16000), (48000, 16000), (22050, 8000), (8000, 16000), (11111, 16000),
                                   (32000, 8000), (192000, 8000), (16000, 16000)])  # fmt: skip
def test_the_length_of_a_sound_is_known_before_it_is_read(rates: tuple[int, int]) -> None:
    made = np.random.default_rng(0)
    for frames in (*range(1, 40), *made.integers(40, 100_000, 60).tolist(), 61 * rates[0] + 7):
        raw = Sound(rates[0], int(frames), 1, lambda start, stop: np.zeros(stop - start, np.float32))
        for heard in (None, 0.9):
            preprocess = sounds(rates[1], heard)
            assert preprocess.expected(raw) == len(preprocess.sample(raw)), (frames, heard)


def test_sizes_need_no_sound() -> None:
    noises, preprocess = Noises(0.5, 1.03, 0.2), sounds()
    canvas = Canvas(noises.dataset(), preprocess)
    sizes = canvas.sizes()
    assert sizes is not None and not noises.reads
    assert sizes.tolist() == [preprocess.positions(one) for one in canvas.take(torch.arange(3))]


def test_what_does_not_fit_is_not_read_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", "0.0001")
    noises = Noises(*[2.0] * 20)
    canvas = Canvas(noises.dataset(), sounds())
    canvas.fill()
    assert not noises.reads and canvas.store.too_large and canvas.store.kept is None
    again = [canvas.take(torch.tensor([3, 4])) for _ in range(2)]
    assert noises.reads == {3: 2, 4: 2} and all(torch.equal(a, b) for a, b in zip(*again, strict=True))


def test_sounds_are_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    noises = Noises(*[1.0] * 6)
    canvas = Canvas(noises.dataset(), sounds())
    canvas.ahead(torch.arange(4))
    assert len(canvas.store.coming) == 4
    found = canvas.take(torch.tensor([2, 0, 5]))
    assert [len(one) for one in found] == [8000] * 3 and set(canvas.store.coming) == {1, 3}
    canvas.fill()
    assert set(noises.reads.values()) == {1} and not canvas.store.coming
    monkeypatch.setattr("graft.canvas.AHEAD", 2 * 4 * 8000)
    fresh = Canvas(noises.dataset(), sounds())
    fresh.ahead(torch.arange(6))
    assert set(fresh.store.coming) == {0, 1}, "no more than so many bytes"


def test_a_sound_that_vanished_is_named() -> None:
    def gone(start: int, stop: int) -> NDArray[np.float32]:
        raise UnreadableSample("the file does not exist")

    data = Noises(1.0, 1.0).dataset(load=lambda sample: Sound(8000, 8000, 1, gone))
    canvas = Canvas(data, sounds())
    canvas.ahead(torch.tensor([1]))
    with pytest.raises(DataError, match=r"1\.wav could be read before"):
        canvas.take(torch.tensor([1]))


# ------------------------------------------------------------------------------------------------------ small batches


@pytest.mark.parametrize("boundary", [0, 1, 2])
def test_predictions_do_not_depend_on_the_batches(boundary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, asked = trunk(), []
    feed = Feed(Noises(*np.linspace(0.3, 2.0, 9)).dataset(), backbone, device=CPU, needs="tokens")
    model = Model(backbone, nn.Identity())
    whole = predict(model, Means(), feed, boundary).values  # type: ignore[arg-type]
    batch = feed.batch
    monkeypatch.setattr(feed, "batch", lambda rows, *more: (asked.append(rows), batch(rows, *more))[1])
    monkeypatch.setattr("graft.features.TOGETHER", 3.0)
    again = predict(model, Means(), feed, boundary).values  # type: ignore[arg-type]
    sizes = feed.sizes()
    assert sizes is not None and feed.most is not None and len(asked) > 3
    assert all(len(rows) * int(sizes[rows].max()) <= feed.most for rows in asked)
    assert torch.allclose(again, whole, atol=1e-5)


def test_kept_rows_have_the_mask_of_the_sound() -> None:
    backbone, rows = trunk(), torch.tensor([2, 0])
    feed = Feed(Noises(0.4, 1.0, 1.7).dataset(), backbone, device=CPU, needs="tokens")
    expected = backbone.encode(feed.batch(rows, 0), 0, 1)
    feed.open(1)
    found = feed.batch(rows, 1)
    assert found.mask is not None and expected.mask is not None and torch.equal(found.mask, expected.mask)
    assert torch.allclose(found.x * _wide(found.mask, found.x), expected.x * _wide(found.mask, found.x), atol=1e-5)


def _wide(mask: Tensor, x: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


def test_batches_of_five_seconds_are_whole() -> None:
    """64 of them, for frames and for windows."""
    backbone = trunk()
    for preprocess in (backbone.preprocess, Sounds(8000, PICTURES)):
        backbone.preprocess = preprocess
        feed = Feed(Noises(5.0).dataset(), backbone, device=CPU)
        sizes = feed.sizes()
        assert sizes is not None and feed.most is not None and 64 * int(sizes[0]) <= feed.most, TOGETHER


def test_predictions_of_every_moment_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = trunk()
    feed = Feed(Noises(0.3, 2.0, 0.4).dataset(), backbone, device=CPU, needs="tokens")
    model = Model(backbone, nn.Identity())
    whole = predict(model, Means(each=True), feed).values  # type: ignore[arg-type]
    sizes = feed.sizes()
    assert sizes is not None and whole.shape[1] == int(sizes.max())
    assert all(not whole[row, size:].any() and whole[row, size - 1].any() for row, size in enumerate(sizes.tolist()))
    monkeypatch.setattr("graft.scoring.GIGA", 1000)
    monkeypatch.setattr("graft.scoring.memory_budget", lambda: 100_000)
    with pytest.raises(ResourceError, match=r"3 samples, each as long as 1\.wav"):
        predict(model, Means(each=True), feed)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- too short for their words


def test_windows_are_no_frames() -> None:
    """A window holds many frames: how many of them a transcript needs is not compared with windows."""
    data = Noises(0.5, 0.02).dataset(kind="transcript", classes=tuple("abcdefgh"))
    data = data.replace(samples=tuple(replace(sample, label="abcdefgh") for sample in data.samples))
    (issue,) = as_heard(data, sounds(), "keep")
    assert issue.code == "too-short-for-transcript" and issue.keys == ("1.wav",)
    assert not as_heard(data, Sounds(8000, PICTURES), "keep")
