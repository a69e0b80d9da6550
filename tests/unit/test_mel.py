"""Mel spectrograms against those of transformers, cepstra against scipy; frames that do not depend on the batch."""

import json
import math
import time

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.signal import savgol_filter

from graft.backbones._cepstra import Cepstra, cepstra, cosines, slopes
from graft.backbones._mel import LogMel, Mel, filters, log_mel
from graft.errors import UsageError

torch.set_num_threads(1)


def wave(count: int, seed: int = 0) -> torch.Tensor:
    """(n,) noise that rises and fades, over a tone."""
    rng = np.random.default_rng(seed)
    made = 0.1 * rng.standard_normal(count) * np.hanning(count) + 0.2 * np.sin(np.arange(count) * 0.2)
    return torch.from_numpy(made.astype(np.float32))


BANKS = [(16000, 512, 64, 20, 8000), (8000, 256, 23, 60, 3800), (44100, 2048, 128, 0, 22050)]


@pytest.mark.parametrize(("rate", "size", "mels", "low", "high"), BANKS)
def test_filters_are_those_of_transformers(rate, size, mels, low, high) -> None:
    reference = pytest.importorskip("transformers.audio_utils")
    want = reference.mel_filter_bank(size // 2 + 1, mels, low, high, rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(filters(rate, size, mels, low, high).numpy(), want, atol=1e-6)


@pytest.mark.parametrize("count", [1, 100, 399, 6880, 7001])
def test_power_is_that_of_transformers(count) -> None:
    """A frame is centred on the 10 ms that it stands for: 7.5 ms of zeros come before the first."""
    reference = pytest.importorskip("transformers.audio_utils")
    one, frames = wave(count), max(1, math.ceil(count / 160))
    around = np.pad(one.numpy(), (120, (frames - 1) * 160 + 280 - count))
    bank = reference.mel_filter_bank(257, 64, 20, 8000, 16000, norm=None, mel_scale="htk")
    want = reference.spectrogram(around, reference.window_function(400, "hann"), 400, 160, 512, power=2.0,
                                 center=False, mel_filters=bank).T  # fmt: skip
    np.testing.assert_allclose(Mel().power(one).numpy(), want, rtol=1e-4, atol=1e-9)
    decibels = reference.spectrogram(around, reference.window_function(400, "hann"), 400, 160, 512, power=2.0,
                                     center=False, mel_filters=bank, log_mel="dB", db_range=80.0).T  # fmt: skip
    np.testing.assert_allclose(Mel().log(one).numpy() * 10 / math.log(10), decibels, atol=1e-3)


@pytest.mark.parametrize("mels", [16, 64, 128, 224])
def test_every_filter_hears_something(mels) -> None:
    """Where 512 points are too coarse for narrow filters, more are taken."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(4000).astype(np.float32))
    assert (Mel(mels=mels).power(noise) > 0).all()


def test_a_gain_adds_one_number_and_silence_is_finite() -> None:
    one = wave(5000)
    louder, quieter = Mel().log(one * 10), Mel().log(one * 1e-3)
    torch.testing.assert_close(louder, Mel().log(one) + 2 * math.log(10), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(quieter, Mel().log(one) - 6 * math.log(10), rtol=1e-4, atol=1e-3)
    for way in ("clip", "utterance"):
        front = LogMel(normalise=way)
        torch.testing.assert_close(front.inputs([one]).x, front.inputs([one * 50]).x, rtol=1e-3, atol=1e-3)
    for way in ("clip", "utterance", "none"):
        assert LogMel(normalise=way).inputs([torch.zeros(3000), torch.zeros(1)]).x.isfinite().all()


@pytest.mark.parametrize("way", ["clip", "utterance", "none"])
def test_frames_of_a_wave_do_not_depend_on_the_batch(way) -> None:
    front, waves = LogMel(normalise=way, stack=3), [wave(n, n) for n in (1, 160, 161, 4801, 20000)]
    together = front.inputs(waves)
    assert together.x.shape == (5, math.ceil(20000 / 480), 3 * 64) and together.x.dtype is torch.float32
    for row, one in enumerate(waves):
        alone = front.inputs([one])
        count = max(1, math.ceil(len(one) / 480))
        assert front.positions(len(one)) == count == alone.x.shape[1] == int(together.mask[row].sum())
        assert torch.equal(together.x[row, :count], alone.x[0]) and alone.mask.all()
        assert not together.x[row, count:].any() and not together.mask[row, count:].any()


def test_what_normalising_leaves() -> None:
    one = wave(160 * 50)
    frames = LogMel(stack=1).inputs([one, wave(20000)]).x[0, :50]
    assert frames.mean(0).abs().max() < 1e-4, "each filter has mean 0 over the real frames"
    whole = LogMel(stack=1, normalise="utterance").inputs([one]).x
    assert abs(whole.mean()) < 1e-4 and abs(whole.std(correction=0) - 1) < 1e-4
    assert torch.equal(LogMel(stack=1, normalise="none").inputs([one]).x[0], Mel().log(one))


class Hiding:
    """Every second frame shows 7, and is to be guessed; nothing of sounds with an odd seed."""

    def wave(self, wave, rate, seed):
        return wave

    def spectrogram(self, mel, seed, top=8000.0):
        hidden = torch.arange(len(mel))[:, None] % 2 == 1
        return torch.where(hidden, 7.0, mel), torch.where(hidden, mel, math.nan) if seed % 2 == 0 else None


def test_a_view_sees_frames_before_they_are_stacked() -> None:
    front, waves = LogMel(stack=2), [wave(160 * 5), wave(160 * 9, 1)]
    plain, made = front.inputs(waves), front.inputs(waves, Hiding(), [0, 1])
    assert plain.truth is None and made.truth.shape == made.x.shape == (2, 5, 128)
    assert torch.equal(made.x[0, :3, :64], plain.x[0, :3, :64]) and (made.x[0, :2, 64:] == 7).all()
    assert torch.equal(made.truth[0, :2, 64:], plain.x[0, :2, 64:])
    assert made.truth[0, :, :64].isnan().all() and made.truth[0, 2:].isnan().all() and made.truth[1].isnan().all()
    assert not made.x[0, 2, 64:].any(), "the half of a position that is no frame is no frame to a view"
    assert front.inputs(waves, Hiding(), [1, 3]).truth is None


def test_json_builds_it_again() -> None:
    for front in (LogMel(), LogMel(rate=8000, mels=40, high=3800.0, stack=4, normalise="none")):
        assert log_mel(json.loads(json.dumps(front.json()))) == front
    front = Cepstra(Mel(mels=40, high=7000.0), 20, 5)
    assert cepstra(json.loads(json.dumps(front.json()))) == front


@pytest.mark.parametrize(("options", "word"), [({"low": 9000.0}, "low"), ({"high": 9000.0}, "8000 Hz"),
    ({"window": 0.005}, "hop"), ({"hop": 0.0}, "hop"), ({"mels": 0}, "mels"), ({"rate": 0}, "rate"),
    ({"stack": 0}, "stack"), ({"normalise": "clips"}, "clips")])  # fmt: skip
def test_what_cannot_be_is_refused(options, word) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        LogMel(**options)
    assert caught.value.hint


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(UsageError, match="mels=5000"):
        Mel(mels=5000)
    with pytest.raises(UsageError, match="narrow"):
        Mel(mels=200, low=100, high=200)
    with pytest.raises(UsageError, match="count=50"):
        Cepstra(Mel(mels=40), 50)
    with pytest.raises(UsageError, match="odd"):
        Cepstra(Mel(mels=40), 13, 4)


def test_cepstra_are_an_orthonormal_dct() -> None:
    level = np.random.default_rng(0).standard_normal((9, 40)).astype(np.float32)
    want = dct(level, type=2, norm="ortho", axis=1)[:, :13]
    np.testing.assert_allclose(torch.from_numpy(level) @ cosines(40, 13), want, atol=1e-5)
    one = wave(4800)
    logs = Mel(mels=40).log(one)
    made = Cepstra(Mel(mels=40)).inputs([one]).x[0]
    np.testing.assert_allclose(made[:, :13], dct((logs - logs.max()).numpy(), norm="ortho", axis=1)[:, :13], atol=1e-3)


@pytest.mark.parametrize(("frames", "width"), [(30, 9), (30, 5), (12, 3)])
def test_slopes_are_those_of_least_squares(frames, width) -> None:
    x = np.random.default_rng(0).standard_normal((frames, 4)).astype(np.float32)
    want = savgol_filter(x, width, polyorder=1, deriv=1, axis=0, mode="nearest")  # what librosa calls
    np.testing.assert_allclose(slopes(torch.from_numpy(x), width), want, atol=1e-5)


def test_slopes_of_a_line_and_of_one_frame() -> None:
    line = torch.arange(20.0)[:, None] * 3
    torch.testing.assert_close(slopes(line, 9)[4:-4], torch.full((12, 1), 3.0))
    assert torch.equal(slopes(torch.ones(1, 2), 9), torch.zeros(1, 2))


def test_three_hundred_clips_take_less_than_a_third_of_a_second() -> None:
    front, clips = LogMel(), [wave(6880, i) for i in range(300)]
    front.inputs(clips[:2])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        for start in range(0, 300, 50):
            front.inputs(clips[start : start + 50])
        took.append(time.perf_counter() - began)
    assert min(took) < 0.3
