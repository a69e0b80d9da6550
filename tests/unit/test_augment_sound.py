"""Views of sounds: pure functions of the seed, and each part against its closed form."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from graft import augment_sound
from graft.augment_sound import Basic, Masks, faster, heard_through, noise, noisy, shifted, warped
from graft.errors import MissingExtra, UsageError

torch.set_num_threads(1)
RATE = 16_000
OFF = "shift=0, noise=None, speed=0, gain=0, channel=0, warp=0, masks=0"
EACH = ["shift=0.3", "noise=(0, 20)", "speed=0.2", "gain=10", "channel=4", "warp=0.2", "masks=3"]


def sine(pitch: float, count: int = 8000, rate: int = RATE) -> Tensor:
    return torch.sin(2 * math.pi * pitch * torch.arange(count, dtype=torch.float64) / rate).float()


def mel(frames: int = 60, bins: int = 64) -> Tensor:
    return torch.randn(frames, bins, generator=torch.Generator().manual_seed(0))


def alone(part: str) -> str:
    """`basic` with nothing but one part."""
    name = part.partition("=")[0]
    others = [one for one in OFF.split(", ") if not one.startswith(name)]
    return f"basic({', '.join([part, *others])})"


def view_of(text: str) -> Basic:
    made = augment_sound.build(text)
    assert isinstance(made, Basic)
    return made


def decibels(share: Tensor) -> float:
    return 10 * math.log10(float(share))


# ----------------------------------------------------------------------------------------------------------- the whole


@pytest.mark.parametrize("text", ["basic", "specaugment", *map(alone, EACH)])
def test_a_view_is_a_function_of_the_seed(text: str) -> None:
    view, wave, frames = augment_sound.build(text), sine(440, 4000), mel()
    assert view is not None
    torch.manual_seed(1)
    before = torch.get_rng_state(), wave.clone(), frames.clone()
    first, second = view.wave(wave, RATE, 5), view.spectrogram(frames, 5)[0]
    np.random.seed(3)
    view.wave(sine(300), RATE, 6)
    assert torch.equal(first, view.wave(wave, RATE, 5)) and torch.equal(second, view.spectrogram(frames, 5)[0])
    after = torch.get_rng_state(), wave, frames
    assert all(map(torch.equal, before, after)), "the global generator moved, or what was given"
    assert first.dtype == second.dtype == torch.float32 and second.shape == frames.shape
    waves = {view.wave(wave, RATE, seed).numpy().tobytes() for seed in range(9)}
    seen = {view.spectrogram(frames, seed)[0].numpy().tobytes() for seed in range(9)}
    assert max(len(waves), len(seen)) > 3 and view.spectrogram(frames, 5)[1] is None


def test_the_seeds_of_a_feed_are_taken() -> None:
    view = view_of("basic")
    assert torch.equal(view.wave(sine(440), RATE, 2**63 - 1), view.wave(sine(440), RATE, 2**63 - 1))
    assert view.spectrogram(mel(), 2**63 - 1)[0].shape == (60, 64)


def test_nothing_is_done_where_all_is_left_out() -> None:
    view, wave, frames = view_of(f"basic({OFF})"), sine(440), mel()
    assert all(torch.equal(view.wave(wave, RATE, seed), wave) for seed in range(5))
    assert all(torch.equal(view.spectrogram(frames, seed)[0], frames) for seed in range(5))
    assert augment_sound.build("none") is None


@pytest.mark.parametrize("part", EACH)
def test_only_the_speed_changes_the_length(part: str) -> None:
    lengths = {len(view_of(alone(part)).wave(sine(440), RATE, seed)) for seed in range(20)}
    assert (lengths == {8000}) is not part.startswith("speed")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 160])
@pytest.mark.parametrize("frames", [(1, 1), (1, 64), (2, 2), (3, 40)])
def test_the_shortest_sounds_have_views(count: int, frames: tuple[int, int]) -> None:
    view = view_of("basic(shift=0.9, speed=1)")
    for seed in range(30):
        wave, seen = view.wave(torch.ones(count), RATE, seed), view.spectrogram(mel(*frames), seed)[0]
        assert len(wave) >= 1 and wave.isfinite().all() and seen.shape == frames and seen.isfinite().all()


def test_silence_stays_silence() -> None:
    view = view_of("basic(noise=(-5, 0))")
    assert not any(view.wave(torch.zeros(4000), RATE, seed).any() for seed in range(10))


def test_the_name_of_a_view_says_every_option() -> None:
    """It is part of the key of what is kept."""
    names = {repr(augment_sound.build(alone(part))) for part in EACH}
    options = ["bins=0.1", "frames=7", "share=0.4", "masks=5"]
    names |= {repr(augment_sound.build(f"specaugment({one})")) for one in options}
    assert len(names) == len(EACH) + len(options) and "object at" not in "".join(names)
    assert repr(view_of("basic(noise=[5, 30])")) == repr(view_of("basic(noise=(5, 30))"))


WRONG = [
    *("basics", "spec_augment", "trivial", "specaugment:LD", "none(", "basic(pitch=1)"),
    *("basic(shift=1)", "basic(shift=-0.1)", "basic(speed=-0.1)", "basic(speed=1.1)", "basic(warp=0.6)"),
    *("basic(noise=10)", "basic(noise=(30, 5))", "basic(noise=(5, 1e999))", "basic(noise=(1, 2, 3))"),
    *("basic(gain=41)", "basic(gain='6')", "basic(channel=-1)"),
    *("basic(masks=1.5)", "basic(masks=-1)", "basic(masks=21)", "specaugment(masks=True)"),
    *("specaugment(bins=2)", "specaugment(bins=27)", "specaugment(frames=-1)", "specaugment(share=1.5)"),
]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_names(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        augment_sound.build(text)
    assert caught.value.hint


def test_a_name_that_is_nearly_right_is_told() -> None:
    with pytest.raises(UsageError, match="no augmentation 'spec_augment' of sounds") as caught:
        augment_sound.build("spec_augment")
    assert "specaugment" in caught.value.hint


# ------------------------------------------------------------------------------------------------------------ the wave


def test_a_shifted_wave_keeps_its_length_and_zeros_come_in() -> None:
    wave = torch.arange(1.0, 8)
    assert shifted(wave, 2).tolist() == [0, 0, 1, 2, 3, 4, 5] and shifted(wave, -3).tolist() == [4, 5, 6, 7, 0, 0, 0]
    assert torch.equal(shifted(wave, 0), wave) and not shifted(wave, 7).any() and not shifted(wave, -9).any()


@pytest.mark.parametrize("most", [0.1, 0.5])
def test_shifts_cover_what_shift_says(most: float) -> None:
    view, wave = view_of(alone(f"shift={most}")), torch.ones(1000)
    moved = [view.wave(wave, RATE, seed) for seed in range(300)]
    zeros = torch.stack([(one == 0).float().mean() for one in moved])
    assert float(zeros.max()) <= most + 1e-6 and float(zeros.mean()) == pytest.approx(most / 2, rel=0.15)
    assert 100 < sum(bool(one[0] == 0) for one in moved) < 200, "as often later as earlier"


@pytest.mark.parametrize("snr", [-10.0, 0.0, 5.0, 17.3, 40.0])
@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_the_signal_to_noise_ratio_is_exact(snr: float, colour: float) -> None:
    wave = 0.3 * sine(440) * torch.hann_window(8000)
    added = noisy(wave, snr, noise(8000, colour, np.random.default_rng(0))).double() - wave.double()
    assert decibels(wave.double().square().mean() / added.square().mean()) == pytest.approx(snr, abs=1e-3)


def test_ratios_come_from_their_range_in_half_of_the_views() -> None:
    wave, found = 0.1 * sine(440), []
    for seed in range(400):
        added = (view_of(alone("noise=(5, 30)")).wave(wave, RATE, seed) - wave).double()
        found += [decibels(wave.double().square().mean() / added.square().mean())] if added.any() else []
    assert 160 < len(found) < 240 and min(found) > 4.99 and max(found) < 30.01
    assert sum(found) / len(found) == pytest.approx(17.5, abs=1.5)


@pytest.mark.parametrize(("colour", "octave"), [(0.0, 0.0), (0.5, -1.505), (1.0, -3.01)])
def test_noise_falls_by_so_many_decibels_an_octave(colour: float, octave: float) -> None:
    """Power per hertz; pink noise falls by 10 log10(2)."""
    power = torch.fft.rfft(noise(1 << 18, colour, np.random.default_rng(1)).double()).abs().square()
    low, high = (power[start : 2 * start].mean() for start in (1 << 12, 1 << 16))
    assert decibels(high / low) / 4 == pytest.approx(octave, abs=0.1)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_a_faster_sine_is_shorter_and_higher(factor: float) -> None:
    made = faster(sine(500, 16_000), RATE, factor)
    assert len(made) == pytest.approx(16_000 / factor, abs=1) and made.dtype == torch.float32
    expected, inner = sine(500 * factor, len(made)), slice(400, -400)
    assert float((made[inner] - expected[inner]).abs().max()) < 1e-3


def test_what_would_alias_is_filtered() -> None:
    made = faster(sine(7500, 16_000), RATE, 1.25)[400:-400]
    assert decibels(made.square().mean() / 0.5) < -60


def test_speeds_cover_what_speed_says() -> None:
    view, found = view_of(alone("speed=0.25")), []
    for seed in range(200):
        found.append(8000 / len(view.wave(sine(440), RATE, seed)))
    assert 0.79 < min(found) < 0.83 and 1.2 < max(found) < 1.26
    assert sum(map(math.log, found)) / 200 == pytest.approx(0, abs=0.03)


def test_without_soxr_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MissingExtra, match="soxr") as caught:
        view_of("basic").wave(sine(440), RATE, 0)
    assert "audio" in caught.value.hint
    assert len(view_of("basic(speed=0)").wave(sine(440), RATE, 0)) == 8000


def test_gains_are_in_decibels() -> None:
    view, wave = view_of(alone("gain=6")), sine(440)
    made = [view.wave(wave, RATE, seed) for seed in range(200)]
    levels = [20 * math.log10(float(one.std() / wave.std())) for one in made]
    assert all(
        torch.allclose(one, wave * 10 ** (level / 20), atol=1e-5) for one, level in zip(made, levels, strict=True)
    )
    assert -6.001 <= min(levels) < -5 and 5 < max(levels) <= 6.001


def test_a_channel_changes_levels_at_its_points_as_it_says() -> None:
    """The points are evenly spread over the mel scale: mel(8000 Hz) = 2840, so the third of five is at 1767 Hz."""
    response, at = np.array([3.0, -2.0, 6.0, 0.0, -9.0]), [700 * math.expm1(2840.02 * i / 4 / 1127) for i in range(5)]
    for level, pitch in zip(response[1:4], at[1:4], strict=True):
        wave = sine(pitch) * torch.hann_window(8000)
        made = heard_through(wave, RATE, response)
        assert decibels(made.square().mean() / wave.square().mean()) == pytest.approx(level, abs=0.05)
    flat = heard_through(sine(440), RATE, np.full(5, 6.0206))
    assert torch.allclose(flat, 2 * sine(440), atol=1e-3)
    assert torch.allclose(heard_through(sine(440), RATE, np.zeros(5)), sine(440), atol=1e-5)


def test_a_channel_adds_no_delay() -> None:
    click = torch.zeros(801)
    click[400] = 1
    made = heard_through(click, RATE, np.array([3.0, -2.0, 6.0, 0.0, -9.0]))
    assert int(made.argmax()) == 400 and torch.allclose(made, made.flip(0), atol=1e-6)


# ----------------------------------------------------------------------------------------------------- the spectrogram


def runs(marks: Tensor) -> list[int]:
    """Lengths of runs of True."""
    edges = torch.nn.functional.pad(marks.int(), (1, 1)).diff()
    return ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()


def test_masks_are_bands_and_stretches_at_the_mean() -> None:
    frames = mel(100)
    for seed in range(100):
        seen, truth = Masks(1, 0.25, 100, 0.3).spectrogram(frames, seed)
        hidden = seen != frames
        bands, stretches = hidden.all(0), hidden.all(1)
        assert truth is None and torch.equal(hidden, bands | stretches[:, None])
        assert (seen[hidden] == frames.mean()).all()
        assert len(runs(bands)) <= 1 and len(runs(stretches)) <= 1
        assert int(bands.sum()) <= 16 and int(stretches.sum()) <= 30


def test_masks_are_as_wide_and_as_far_apart_as_in_the_paper() -> None:
    """Widths are uniform up to the most, and every place is masked."""
    hidden = [Masks(1, 0.25, 20, 1.0).spectrogram(mel(100), seed)[0] != mel(100) for seed in range(2000)]
    bands, stretches = torch.stack([one.all(0) for one in hidden]), torch.stack([one.all(1) for one in hidden])
    for marks, most in ((bands, 16), (stretches, 20)):
        widths = marks.sum(1)
        assert set(widths.tolist()) == set(range(most + 1)) and float(widths.float().mean()) == pytest.approx(
            most / 2, rel=0.05
        )
        assert marks.any(0).all()


def test_a_short_sound_loses_a_share_and_a_long_one_frames() -> None:
    view = augment_sound.build("specaugment(bins=0, frames=50, share=0.2, masks=1)")
    assert view is not None
    for size, most in ((100, 20), (1000, 50)):
        widths = [int((view.spectrogram(mel(size), seed)[0] != mel(size)).all(1).sum()) for seed in range(400)]
        assert max(widths) == most


def test_more_masks_hide_more() -> None:
    shares = []
    for count in (0, 1, 2, 4):
        hidden = [Masks(count, 0.2, 100, 0.2).spectrogram(mel(), seed)[0] != mel() for seed in range(100)]
        shares.append(float(torch.stack(hidden).float().mean()))
    assert shares[0] == 0 and shares == sorted(set(shares)) and shares[2] == pytest.approx(1 - 0.9**4, abs=0.05)


def centres(bins: int) -> np.ndarray:
    """Hz: the middles of HTK's triangles from 0 to 8 kHz."""
    ends = 2595 * np.log10(1 + 8000 / 700)
    return np.asarray(700 * (10 ** (np.linspace(0, ends, bins + 2)[1:-1] / 2595) - 1))


@pytest.mark.parametrize("factor", [0.85, 0.95, 1.0, 1.1, 1.2])
def test_a_warped_bin_shows_a_factor_of_its_frequency(factor: float) -> None:
    """On a spectrogram whose values are the frequencies themselves. A line lies between two bins."""
    hz = centres(256)
    made = warped(torch.from_numpy(hz).float().expand(3, -1), factor)[1].numpy()
    low = (hz < 4800 * min(factor, 1) / factor) & (hz * factor > hz[0])
    assert made[low] == pytest.approx(factor * hz[low], rel=2e-3)
    expected = 8000 - (8000 - 4800 * min(factor, 1)) / (8000 - 4800 * min(factor, 1) / factor) * (
        8000 - hz[~low & (hz > 4000)]
    )
    assert made[~low & (hz > 4000)] == pytest.approx(np.minimum(expected, hz[-1]), rel=2e-3)
    assert (np.diff(made) >= 0).all() and made[-1] == pytest.approx(hz[-1], rel=1e-2)


def test_no_warp_changes_nothing() -> None:
    assert torch.allclose(warped(mel(), 1.0), mel(), atol=1e-4)


def test_warps_go_both_ways() -> None:
    """A peak at the middle bin moves up as often as down."""
    peak, view = torch.full((4, 64), -5.0), view_of(alone("warp=0.2"))
    peak[:, 30:33] = 0
    moved = torch.tensor([float(view.spectrogram(peak, seed)[0][0].argmax()) for seed in range(200)]) - 31
    assert -8 < float(moved.min()) < -2 and 2 < float(moved.max()) < 8 and abs(float(moved.mean())) < 1
