"""Cepstra and their statistics: no network, and nothing that a batch, a gain or the rate of a file changes."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from graft.backbones import _rebuild
from graft.backbones.mfcc import mfcc
from graft.errors import UsageError
from graft.features import Feed
from graft.types import Dataset, Sample, Sound

torch.set_num_threads(1)


def wave(count: int, rate: int = 16000, seed: int = 0) -> np.ndarray:
    time, rng = np.arange(count) / rate, np.random.default_rng(seed)
    made = 0.3 * np.sin(2 * np.pi * (300 + 900 * time) * time) + 0.003 * rng.standard_normal(count)
    return made.astype(np.float32)


def sound(samples: np.ndarray, rate: int = 16000) -> Sound:
    return Sound(rate, len(samples), 1, lambda start, stop: samples[start:stop])


def pooled(*samples: np.ndarray, **options) -> torch.Tensor:
    backbone = mfcc(**options)
    return backbone(backbone.prepare(sound(one) for one in samples)).pooled


def test_it_says_what_it_is() -> None:
    info = mfcc().info
    assert (info.modality, info.dim, info.parameters, info.sha256, info.licence) == ("audio", 182, 0, "", "none needed")


@pytest.mark.parametrize("samples", [1600, 1601, 160 * 23, 7000])
def test_mean_deviation_and_means_of_parts(samples) -> None:
    """Where the frames divide by five, parts are what numpy divides them into."""
    backbone = mfcc(segments=5)
    one = torch.from_numpy(wave(samples))
    frames = backbone.preprocess.front.inputs([one]).x[0]
    made = pooled(wave(samples))[0].view(7, 26)
    torch.testing.assert_close(made[0], frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made[1], frames.std(0, correction=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made[2:].mean(0), made[0], rtol=1e-3, atol=1e-3)
    fine = frames.repeat_interleave(5, 0).view(5, len(frames), 26).mean(1)  # each frame as five: whole in every part
    torch.testing.assert_close(made[2:], fine, rtol=1e-3, atol=1e-3)


def test_nothing_depends_on_the_batch() -> None:
    waves = [wave(n, seed=n) for n in (1, 200, 8000, 30000)]
    alone = torch.cat([pooled(one) for one in waves])
    torch.testing.assert_close(pooled(*waves), alone, rtol=1e-4, atol=1e-4)
    assert alone.isfinite().all()


def test_a_gain_and_silence() -> None:
    torch.testing.assert_close(pooled(wave(8000) * 20), pooled(wave(8000)), rtol=1e-3, atol=1e-3)
    assert pooled(np.zeros(8000, np.float32)).isfinite().all()


def test_the_rate_of_the_file_does_not_matter() -> None:
    soxr = pytest.importorskip("soxr")
    backbone, clip = mfcc(), wave(6000, 8000)
    files = [sound(soxr.resample(clip, 8000, rate).astype(np.float32), rate) for rate in (8000, 16000, 44100)]
    rows = backbone(backbone.prepare(files)).pooled
    assert torch.nn.functional.cosine_similarity(rows[:1], rows[1:]).min() > 0.99


def test_a_feed_and_a_rebuild() -> None:
    waves = [wave(3000 + 700 * i, seed=i) for i in range(40)]
    samples = tuple(Sample(f"{i}.wav", i, str(i % 2), digest=str(i)) for i in range(40))
    data = Dataset("sounds", "audio", samples, ("0", "1"), lambda one: sound(waves[one.source]), lambda one: b"")
    made = mfcc(count=20, segments=0, high=7000.0)
    record = json.loads(json.dumps({**asdict(made.info), "source": str(made.info.source)}))
    again = _rebuild.rebuild(record)
    assert again.preprocess.json() == made.preprocess.json() and again.info.dim == 80
    want = pooled(*waves, count=20, segments=0, high=7000.0)
    for boundary in (0, 1):
        feed = Feed(data, again.eval(), device=torch.device("cpu"))
        feed.open(boundary)
        found = feed.features(feed.batch(torch.arange(40), boundary), boundary).pooled
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_refused() -> None:
    for options in ({"segments": -1}, {"count": 0}, {"count": 41}, {"width": 2}, {"high": 9000.0}):
        with pytest.raises(UsageError) as caught:
            mfcc(**options)
        assert caught.value.hint
