"""Networks of images on pictures of sounds: windows that do not know of each other, stages that stay apart."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from graft import build, parts, registry
from graft.backbones import _rebuild
from graft.backbones._mel import Mel
from graft.backbones._pictures import Pictures, pictures
from graft.backbones._sounds import Sounds
from graft.backbones.spectrogram import spectrogram
from graft.backbones.toy import toy as toy_network
from graft.engine import Engine
from graft.errors import UsageError
from graft.features import Feed
from graft.spec import Spec
from graft.types import Backbone, Dataset, Info, Model, Sample, Sound

torch.set_num_threads(1)

TOY, TIMM = "toy(size=16, dim=32)", "timm:vit_tiny_patch16_224(size=64)"


def wave(count: int, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """(n,) two tones, one of them rising, and some noise."""
    time, rng = np.arange(count) / rate, np.random.default_rng(seed)
    made = 0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time) + 0.1 * np.sin(2 * np.pi * 1500 * time)
    return (made + 0.003 * rng.standard_normal(count)).astype(np.float32)


def sound(samples: np.ndarray, rate: int = 16000) -> Sound:
    return Sound(rate, len(samples), 1, lambda start, stop: samples[start:stop])


def heard(backbone, *samples: np.ndarray):
    return backbone.prepare(sound(one) for one in samples)


def pooled(backbone, *samples: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.eval()(heard(backbone, *samples)).pooled


@pytest.fixture(scope="module")
def toy():
    return spectrogram(TOY)


# ------------------------------------------------------------------------------------------------------ the pictures

FRONT = Pictures(Mel(mels=8), 16, (0.0,) * 3, (1.0,) * 3, loud="white")


def test_low_pitches_are_at_the_bottom_and_the_loudest_is_white() -> None:
    time = torch.arange(16000) / 16000
    low, high = (FRONT.inputs([(2 * math.pi * pitch * time).sin()]).x[0, 0, 0] for pitch in (150, 5000))
    assert low.shape == (16, 16) and low.min() >= 0 and 0.9 < low.max() <= 1
    rows = [int(picture[:, 8].argmax()) for picture in (low, high)]
    assert rows[0] >= 14 and rows[1] <= 5
    assert FRONT.inputs([torch.zeros(8000)]).x.abs().max() < 1e-6, "silence is black"


def test_grey_values_do_not_know_a_gain() -> None:
    one = torch.from_numpy(wave(9000))
    torch.testing.assert_close(FRONT.inputs([one * 30]).x, FRONT.inputs([one]).x, rtol=0, atol=1e-4)


def test_colours_are_those_of_the_network(toy) -> None:
    one, images = torch.from_numpy(wave(8000)), spectrogram("bundled:tiny64", pretrained=False).preprocess.front
    plain = Pictures(images.mel, 64, (0.0,) * 3, (1.0,) * 3).inputs([one]).x
    mean, std = (torch.tensor(values)[:, None, None] for values in (images.mean, images.std))
    torch.testing.assert_close(images.inputs([one]).x, (plain - mean) / std)
    white = Pictures(images.mel, 64, (0.0,) * 3, (1.0,) * 3, loud="white").inputs([one]).x
    torch.testing.assert_close(white, 1 - plain)


def test_a_short_sound_fills_the_picture_or_leaves_silence_behind_it() -> None:
    one = torch.from_numpy(wave(4000))
    pad = Pictures(Mel(mels=8), 16, (0.0,) * 3, (1.0,) * 3, fit="pad", loud="white").inputs([one]).x[0, 0, 0]
    assert not pad[:, 4:].any() and pad[:, :4].any(0).all()
    assert FRONT.inputs([one]).x[0, 0, 0].any(0).all()


@pytest.mark.parametrize("count", [1, 159, 16000, 16001, 40000, 47999])
def test_windows_are_as_few_as_can_be_and_of_one_length(count) -> None:
    made = FRONT.inputs([torch.from_numpy(wave(count))])
    windows = math.ceil(count / 16000)
    assert FRONT.positions(count) == windows == made.x.shape[1] and made.places.shape == (1, windows, 2)
    places = made.places[0]
    assert places[0, 0] == 0 and places[-1, 1] == count and torch.equal(places[1:, 0], places[:-1, 1])
    lengths = places[:, 1] - places[:, 0]
    assert 0 < lengths.max() <= 16000 + 160 and lengths.max() - lengths.min() <= 2 * 160


def test_a_sound_does_not_depend_on_its_batch() -> None:
    waves = [torch.from_numpy(wave(n, seed=n)) for n in (1, 8000, 50000)]
    together = FRONT.inputs(waves)
    assert together.x.shape == (3, 4, 3, 16, 16) and together.mask.sum(1).tolist() == [1, 1, 4]
    for row, one in enumerate(waves):
        alone, count = FRONT.inputs([one]), FRONT.positions(len(one))
        assert torch.equal(together.x[row, :count], alone.x[0])
        assert torch.equal(together.places[row, :count], alone.places[0]) and (together.places[row, count:] == -1).all()


class Hiding:
    def wave(self, wave, rate, seed):
        return wave

    def spectrogram(self, mel, seed, top=8000.0):
        return torch.full_like(mel, 0.25), mel


def test_a_view_is_drawn(toy) -> None:
    made = FRONT.inputs([torch.from_numpy(wave(9000))], Hiding(), [3])
    assert made.truth is None
    torch.testing.assert_close(made.x, torch.full_like(made.x, 0.25))


@pytest.mark.parametrize(("options", "word"), [({"fit": "strech"}, "strech"), ({"loud": "red"}, "red"),
                                               ({"seconds": 0.0}, "seconds=0")])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(options, word) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        spectrogram(TOY, **options)
    assert caught.value.hint


# ------------------------------------------------------------------------------------------------------- the network


def test_a_window_is_seen_as_the_picture_that_it_is() -> None:
    """One window is what the network of images makes of that picture."""
    ours, inner = spectrogram("toy(size=16, dim=32)"), build.backbone(TOY).eval()
    made = heard(ours, wave(9000))
    with torch.inference_mode():
        want = inner(made._replace(x=made.x[0], mask=None, places=None)).pooled
        torch.testing.assert_close(ours.eval()(made).pooled, want)
    assert ours.info.modality == "audio" and ours.info.sha256 == inner.info.sha256 and not ours.heads
    assert (ours.info.dim, ours.info.parameters) == (32, inner.info.parameters)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in inner.parameters()]


def test_a_long_sound_is_the_mean_of_its_windows(toy) -> None:
    made = heard(toy, wave(40000))
    assert made.x.shape[1] == 3
    with torch.inference_mode():
        each = [
            toy.eval()(made._replace(x=made.x[:, i : i + 1], mask=made.mask[:, i : i + 1])).pooled for i in range(3)
        ]
        torch.testing.assert_close(toy(made).pooled, torch.stack(each).mean(0))


def test_padding_windows_do_not_leak(toy) -> None:
    short, long = wave(5000), wave(60000, seed=1)
    together = pooled(toy, short, long)
    torch.testing.assert_close(together, torch.cat([pooled(toy, short), pooled(toy, long)]), rtol=1e-5, atol=1e-6)


def test_batchnorm_does_not_count_padding() -> None:
    """In training, a batch of 1 and 3 windows is a batch of 4 pictures."""
    ours, inner = spectrogram(TOY), build.backbone(TOY)
    made = heard(ours, wave(5000), wave(40000, seed=1))
    for dropout in (m for one in (ours, inner) for m in one.modules() if isinstance(m, torch.nn.Dropout)):
        dropout.p = 0.0
    ours.train().encode(made)
    inner.train().encode(made._replace(x=made.x[made.mask], mask=None, places=None))
    norms = [[m for m in one.modules() if isinstance(m, torch.nn.BatchNorm2d)] for one in (ours, inner)]
    for one, other in zip(*norms, strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-5, atol=1e-6)


def test_stages_stay_apart_and_gradients_reach_them() -> None:
    ours = spectrogram(TOY)
    ours.train()(heard(ours, wave(5000), wave(40000, seed=1))).pooled.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())
    model = Model(ours, torch.nn.Linear(32, 2))
    assert parts.stages(model, last=1) == [ours.stages[2]] and len(parts.norms(model)) == 2


def test_every_stage_gives_its_mean(toy) -> None:
    with torch.inference_mode():
        made = toy.eval().every_stage(heard(toy, wave(5000), wave(40000, seed=1)))
    assert made.shape == (2, 16 + 32 + 32 + 32)


# ------------------------------------------------------------------------------------------------ feeds and engines


def dataset(*waves: np.ndarray) -> Dataset:
    samples = tuple(Sample(f"{i}.wav", i, str(i % 2), digest=str(i)) for i in range(len(waves)))
    return Dataset("sounds", "audio", samples, ("0", "1"), lambda one: sound(waves[one.source]), lambda one: b"")


@pytest.mark.parametrize("trunk", [TOY, TIMM])
@pytest.mark.parametrize("memory", ["1", "0"])
def test_a_feed_at_every_boundary(trunk, memory, monkeypatch) -> None:
    """What is kept of two sounds of 1 and 3 windows, or made again, gives what a pass from the start gives."""
    monkeypatch.setenv("GRAFT_MEMORY", memory)
    waves = [wave(5000), wave(40000, seed=1), wave(20000, seed=2)]
    torch.manual_seed(0)
    ours = spectrogram(trunk, pretrained=False)
    want = pooled(ours, *waves)[[1, 0]]
    for boundary in range(len(ours.stages) + 1):
        made = Feed(dataset(*waves), ours, device=torch.device("cpu"))
        made.open(boundary)
        with torch.inference_mode():
            found = made.features(made.batch(torch.tensor([1, 0]), boundary), boundary).pooled
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)


def test_an_engine_agrees() -> None:
    """Enough sounds that the engine prepares the prefix, with folded BatchNorm, and compares it."""
    waves, said = [wave(3000 + 1300 * i, seed=i) for i in range(40)], []
    ours, engine = spectrogram(TOY), Engine(say=said.append)
    made = Feed(dataset(*waves), ours.eval(), device=torch.device("cpu"), engine=engine)
    torch.testing.assert_close(made.pooled(), pooled(ours, *waves), rtol=1e-3, atol=1e-4)
    assert not said


# -------------------------------------------------------------------------------------------------- built once more


TEXTS = (
    "spectrogram:bundled:tiny64",
    "spectrogram:bundled:tiny64(seconds=0.5, fit='pad', mels=40, high=7600.0)",
    "spectrogram:pixels",
    "spectrogram(trunk='toy(size=16)', rate=8000)",
    f"spectrogram(trunk='{TIMM}')",
)


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_run_keeps_rebuilds_it(text) -> None:
    torch.manual_seed(0)
    made = spectrogram(TIMM, pretrained=False) if TIMM in text else build.backbone(text)
    record = json.loads(json.dumps({**asdict(made.info), "source": str(made.info.source)}))
    again = _rebuild.rebuild(record)
    again.load_state_dict(made.state_dict())
    assert str(again.info.source) == text and again.preprocess.json() == made.preprocess.json()
    assert pictures(json.loads(json.dumps(made.preprocess.front.json()))) == made.preprocess.front
    assert torch.equal(pooled(again, wave(20000)), pooled(made, wave(20000)))


def needy(name: str, *, pretrained: bool = True, config: dict | None = None) -> Backbone:
    """A trunk of a file, without which it has nothing but its config."""
    assert pretrained or config, "an offline rebuild"
    made = toy_network(pretrained=pretrained)
    made.info = Info(Spec("needy", name), "image", 32, config=config or {"facts": [1, 2]})
    return made


def test_what_the_inner_trunk_needs_goes_along(monkeypatch) -> None:
    """Its own config comes back to it."""
    found = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: needy if name == "needy" else found(kind, name))
    made = spectrogram("needy:gone/away")
    assert made.info.config == {"trunk": {"facts": [1, 2]}}
    record = json.loads(json.dumps({**asdict(made.info), "source": str(made.info.source)}))
    again = _rebuild.rebuild(record)
    assert again.info.config == made.info.config and str(again.info.source) == "spectrogram:needy:gone/away"


@pytest.mark.parametrize(("trunk", "word"), [("tfidf", "text"), ("mfcc", "audio"), ("spectrogram:toy", "audio"),
                                             ("tooy", "toy")])  # fmt: skip
def test_other_trunks_are_refused(trunk, word) -> None:
    with pytest.raises(UsageError) as caught:
        spectrogram(trunk)
    assert word in f"{caught.value.what} {caught.value.hint}"


# --------------------------------------------------------------------------------------------- one clip, many files


@pytest.mark.parametrize("trunk", [TOY, "bundled:tiny64"])
def test_the_rate_of_the_file_does_not_matter(trunk) -> None:
    """A clip as it was recorded at 8 kHz, and the same at 16 and 44.1 kHz."""
    soxr = pytest.importorskip("soxr")
    ours, clip = spectrogram(trunk), wave(12000, 8000)
    files = [sound(soxr.resample(clip, 8000, rate).astype(np.float32), rate) for rate in (8000, 16000, 44100)]
    assert isinstance(ours.preprocess, Sounds)
    with torch.inference_mode():
        rows = ours.eval()(ours.prepare(files)).pooled
    assert torch.nn.functional.cosine_similarity(rows[:1], rows[1:]).min() > 0.99
