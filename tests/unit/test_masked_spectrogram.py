"""Guessing hidden frames: which are hidden, figures by hand, and a layer that learns to fill smooth spectrograms."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from graft.backbones._mel import LogMel
from graft.errors import DataError, ResourceError, UsageError
from graft.masking_sound import HiddenFrames
from graft.spec import Spec
from graft.tasks.masked_spectrogram import masked_spectrogram
from graft.types import Batch, Dataset, Features, Info, Inputs, Predictions, Sample

torch.set_num_threads(1)
MELS, STACK, DIM = 8, 2, 16
INFO = Info(Spec("frames"), "audio", DIM, config={"front": {"kind": "log_mel", "mels": MELS, "stack": STACK}})


def mel(frames: int = 60, bins: int = 64) -> Tensor:
    return 3 * torch.randn(frames, bins, generator=torch.Generator().manual_seed(0)) - 7


# ------------------------------------------------------------------------------------------------------------ the view


def test_the_seed_decides() -> None:
    view, frames = HiddenFrames(), mel()
    (seen, truth), (again, same) = (view.spectrogram(frames, 2**62 + 5) for _ in range(2))
    assert torch.equal(seen, again) and torch.equal(truth.nan_to_num(9), same.nan_to_num(9))
    assert len({view.hidden(60, seed).tobytes() for seed in range(20)}) > 15
    wave = torch.ones(5)
    assert view.wave(wave, 16_000, 3) is wave
    assert repr(view) == "HiddenFrames(share=0.15, span=7)"


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 14, 15, 60, 400])
@pytest.mark.parametrize(("share", "span"), [(0.15, 7), (0.5, 10), (0.9, 4), (0.01, 100)])
def test_hidden_frames_lie_in_spans(frames: int, share: float, span: int) -> None:
    view, size = HiddenFrames(share, span), min(span, frames // 2)
    for seed in range(50):
        marks = view.hidden(frames, seed)
        edges = np.flatnonzero(np.diff(np.pad(marks.astype(int), 1)))
        assert marks.shape == (frames,) and not marks.all()
        assert marks.any() == (frames > 1) and all(width % size == 0 for width in edges[1::2] - edges[::2])


@pytest.mark.parametrize("share", [0.1, 0.15, 0.5, 0.8])
def test_the_share_is_that_of_the_frames(share: float) -> None:
    marks = np.stack([HiddenFrames(share).hidden(203, seed) for seed in range(1500)])
    assert float(marks.mean()) == pytest.approx(share, rel=0.02)
    inner = marks.mean(0)[20:-20]
    assert 0.6 * share < inner.min() and inner.max() < 1.4 * share, "every frame is hidden now and then"


def test_what_is_hidden_is_told_in_units_of_the_sound() -> None:
    frames = mel()
    seen, truth = HiddenFrames().spectrogram(frames, 1)
    hidden = torch.from_numpy(HiddenFrames().hidden(60, 1))
    apart = frames - frames[~hidden].mean(0)
    assert torch.equal(truth.isnan(), ~hidden[:, None].expand(-1, 64)) and seen.shape == truth.shape == frames.shape
    assert torch.allclose(truth[hidden], (apart / apart.square().mean().sqrt())[hidden], atol=1e-5)
    louder = HiddenFrames().spectrogram(4 * frames + torch.arange(64), 1)[1]
    assert torch.allclose(louder[hidden], truth[hidden], atol=1e-4), "neither units nor the colour of a microphone"


def test_what_is_seen_does_not_depend_on_what_is_hidden() -> None:
    """But for the mean of each bin, which a front may have subtracted from all frames: then not at all."""
    view, hidden, first = HiddenFrames(0.3), torch.from_numpy(HiddenFrames(0.3).hidden(60, 4)), mel()
    second = torch.where(hidden[:, None], 5 * torch.randn(60, 64), first)
    one, two = (view.spectrogram(frames - frames.mean(0), 4)[0] for frames in (first, second))
    assert torch.allclose(one, two, atol=1e-5) and one[hidden].abs().max() < 1e-5
    seen = view.spectrogram(first, 4)[0]
    assert torch.allclose(seen.mean(0), first.mean(0), atol=1e-5)
    assert torch.allclose(seen[~hidden].diff(dim=0), first[~hidden].diff(dim=0), atol=1e-5)
    assert torch.allclose(seen[hidden], first.mean(0).expand(int(hidden.sum()), -1))


def test_sounds_without_any_difference_hide_zeros() -> None:
    seen, truth = HiddenFrames().spectrogram(torch.full((40, 8), -23.0), 0)
    assert (seen == -23).all() and not truth[~truth.isnan()].any() and truth.isnan().any(1).sum() < 40
    alone = HiddenFrames().spectrogram(mel(1), 0)
    assert torch.equal(alone[0], mel(1)) and alone[1].isnan().all()


def test_a_front_stacks_what_is_hidden_as_what_is_seen() -> None:
    front, waves = LogMel(mels=MELS, stack=STACK), [torch.randn(4000), torch.randn(9001)]
    made = front.inputs(waves, HiddenFrames(), [3, 4])
    assert made.truth is not None and made.mask is not None and made.truth.shape == made.x.shape
    assert made.truth[~made.mask].isnan().all()
    for i, seed in enumerate((3, 4)):
        frames = front.mel.frames(len(waves[i]))
        known = ~made.truth[i].reshape(-1, MELS).isnan().all(1)
        assert torch.equal(known[:frames], torch.from_numpy(HiddenFrames().hidden(frames, seed)))


# ------------------------------------------------------------------------------------------------------------ the task


def smooth(count: int, seed: int, sizes: tuple[int, int] = (30, 60)) -> list[Tensor]:
    """Spectrograms (T, MELS) of two slow waves in each bin."""
    draw = torch.Generator().manual_seed(seed)

    def one() -> Tensor:
        size = int(torch.randint(*sizes, (1,), generator=draw))
        pace, phase, height = (torch.rand(2, MELS, 1, generator=draw) for _ in range(3))
        angle = 2 * math.pi * ((0.01 + 0.02 * pace) * torch.arange(size) + phase)
        return ((0.5 + height) * angle.sin()).sum(0).T - 9

    return [one() for _ in range(count)]


def stacked(frames: Tensor, fill: float) -> Tensor:
    return nn.functional.pad(frames, (0, 0, 0, -len(frames) % STACK), value=fill).reshape(-1, STACK * MELS)


def hidden(spectrograms: list[Tensor], seed: int = 0, **options: Any) -> Inputs:
    """As a front gives them: (B, T, STACK * MELS)."""
    view = HiddenFrames(**options)
    pairs = [view.spectrogram(one - one.mean(0), seed + i) for i, one in enumerate(spectrograms)]
    x = pad_sequence([stacked(seen, 0.0) for seen, _ in pairs], True)
    truth = pad_sequence([stacked(truth, math.nan) for _, truth in pairs], True, math.nan)
    lengths = torch.tensor([-(-len(one) // STACK) for one in spectrograms])
    return Inputs(x, torch.arange(x.shape[1]) < lengths[:, None], None, truth)


class Layer(nn.Module):
    """One convolution over time, (B, T, STACK * MELS) -> (B, T, DIM)."""

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        self.conv = nn.Conv1d(STACK * MELS, dim, 11, padding=5)

    def forward(self, inputs: Inputs) -> Features:
        x = self.conv(inputs.x.mT).relu().mT
        return Features(x.mean(1), x, (), inputs.mask, inputs.places, inputs.truth)


def batch(count: int) -> Batch:
    return Batch(Inputs(torch.empty(0)), torch.zeros(count, dtype=torch.long), torch.arange(count))


def case(count: int = 6) -> tuple[nn.Module, Features]:
    torch.manual_seed(0)
    with torch.no_grad():
        return masked_spectrogram().head(INFO), Layer()(hidden(smooth(count, 1)))


def test_one_layer_learns_to_fill_smooth_spectrograms() -> None:
    torch.manual_seed(0)
    task, info = masked_spectrogram(), Info(INFO.source, "audio", 64, config=INFO.config)
    trunk, head, train = Layer(64), task.head(info), smooth(32, 0)
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], lr=1e-2)

    def score() -> dict[str, float]:
        with torch.no_grad():
            return task.score(task.predict(head, trunk(hidden(smooth(64, 9), 10**6))), torch.zeros(64))

    before = score()
    for epoch in range(60):
        optimizer.zero_grad()
        task.loss(head, trunk(hidden(train, epoch * 32)), batch(32)).backward()
        optimizer.step()
    after = score()
    assert before["explained"] < 0.1 and after["explained"] > 0.5 and after["loss"] < 0.5 * before["loss"]


def test_sums_of_each_sound_by_hand() -> None:
    task, (head, features) = masked_spectrogram(), case()
    head.requires_grad_(False)
    made = task.predict(head, features).values
    assert features.tokens is not None and features.truth is not None
    for i in range(6):
        truth = features.truth[i].double()
        known, said = ~truth.isnan(), head(features.tokens[i]).double()
        expected = [(said - truth)[known].square().sum(), truth[known].square().sum(), known.sum()]
        assert made[i].tolist() == pytest.approx([float(value) for value in expected], rel=1e-4)
        assert int(known.sum()) == MELS * HiddenFrames().hidden(len(smooth(6, 1)[i]), i).sum()
    loss = task.loss(head, features, batch(6))
    assert float(loss) == pytest.approx(task.score(Predictions(made), torch.zeros(6))["loss"], rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert task.loss(head, features, batch(6)).dtype is task.predict(head, features).values.dtype is torch.float32


def test_rows_do_not_depend_on_their_batch() -> None:
    task, (head, features) = masked_spectrogram(), case()
    assert features.tokens is not None and features.truth is not None and features.mask is not None
    whole = task.predict(head, features).values
    for i in range(6):
        size = int(features.mask[i].sum())
        few = Features(features.pooled[i : i + 1], features.tokens[i : i + 1, :size], (),
                       features.mask[i : i + 1, :size], None, features.truth[i : i + 1, :size])  # fmt: skip
        assert torch.allclose(task.predict(head, few).values, whole[i : i + 1], rtol=1e-5)


def test_who_knows_only_the_mean_explains_nothing_and_who_knows_all_everything() -> None:
    task, (head, features) = masked_spectrogram(), case()
    last = head[1]  # type: ignore[index]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    none = task.score(task.predict(head, features), torch.zeros(6))
    assert none["explained"] == pytest.approx(0, abs=1e-6)
    sums = task.predict(head, features).values
    sums[:, 0] = 0
    assert task.score(Predictions(sums), torch.zeros(6)) == {"explained": 1.0, "loss": 0.0}


def test_the_loss_moves_every_parameter_of_the_head() -> None:
    head, features = case()
    masked_spectrogram().loss(head, features, batch(6)).backward()
    grads = [p.grad for p in head.parameters()]
    assert len(grads) == 4 and all(grad is not None and grad.any() and grad.isfinite().all() for grad in grads)


def test_figures() -> None:
    task, values = masked_spectrogram(), torch.tensor([[4.0, 10, 8], [3.0, 2, 4], [0.0, 0, 0], [1.0, 4, 4]])
    said, targets = Predictions(values), torch.zeros(4)
    score = task.score(said, targets)
    assert score == pytest.approx({"explained": 1 - 8 / 16, "loss": 8 / 16})
    measures = task.measure(said, targets)
    assert measures.keys() == score.keys() and measures == task.measure(said, targets)
    assert all(m.low <= m.value == score[name] <= m.high and m.method for name, m in measures.items())
    assert task.report(said, targets)["hidden"] == 16 and task.baselines(values, targets, values) == {}
    json.dumps([score, task.report(said, targets)], allow_nan=False)


def test_what_each_sound_adds_has_the_standard_error_of_the_ratio() -> None:
    task, draw = masked_spectrogram(), torch.Generator().manual_seed(0)
    counts = torch.randint(1, 20, (400,), generator=draw).float()
    squares = counts * (0.5 + torch.rand(400, generator=draw))
    errors = squares * torch.rand(400, generator=draw)
    said, targets = Predictions(torch.stack([errors, squares, counts], 1)), torch.zeros(400)
    each = task.each(said, targets)
    assert each.dtype is torch.float64
    assert float(each.mean()) == pytest.approx(task.score(said, targets)["explained"], abs=1e-12)
    rows = torch.randint(400, (3000, 400), generator=draw)
    drawn = 1 - errors[rows].sum(1) / squares[rows].sum(1)
    assert float(each.std() / 20) == pytest.approx(float(drawn.std()), rel=0.06)


def test_rows_say_how_much_was_explained() -> None:
    samples = tuple(Sample(str(i), i) for i in range(2))
    dataset = Dataset("some", "audio", samples, (), lambda s: None, lambda s: b"", kind="none")
    rows = masked_spectrogram().rows(Predictions(torch.tensor([[1.0, 4, 8], [0.0, 0, 0]])), dataset)
    assert rows == [{"label": 0.75, "hidden": 8, "loss": 0.125}, {"label": 0.0, "hidden": 0, "loss": 0.0}]
    assert len(masked_spectrogram().targets(dataset)) == 2


def test_a_batch_without_hidden_frames_moves_nothing_and_cannot_be_scored() -> None:
    task, (head, features) = masked_spectrogram(), case(3)
    assert features.truth is not None
    none = features._replace(truth=torch.full_like(features.truth, math.nan))
    loss = task.loss(head, none, batch(3))
    loss.backward()
    assert loss == 0 and not task.predict(head, none).values.any()
    with pytest.raises(DataError, match="none of 3 sounds"):
        task.score(task.predict(head, none), torch.zeros(3))
    with pytest.raises(DataError, match="do not belong"):
        task.score(Predictions(torch.ones(3, 2)), torch.zeros(3))
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((3, 3), math.nan)), torch.zeros(3))


def test_sounds_of_which_nothing_was_hidden_are_refused() -> None:
    """A frozen prefix sees them as they are."""
    task, (head, features) = masked_spectrogram(), case(3)
    plain = features._replace(truth=None)
    for refused in (lambda: task.loss(head, plain, batch(3)), lambda: task.predict(head, plain)):
        with pytest.raises(UsageError, match="stand still"):
            refused()


def test_trunks_without_frames_are_refused() -> None:
    for config in ({}, {"front": {"kind": "pictures", "size": 64}}):
        with pytest.raises(UsageError, match="shows no frames") as caught:
            masked_spectrogram().head(Info(Spec("wav2vec2"), "audio", DIM, config=config))
        assert "wav2vec2" in caught.value.what and caught.value.hint


@pytest.mark.parametrize(("share", "span"), [(0, 7), (1, 7), (1.5, 7), ("a", 7), (True, 7), (0.1, 0), (0.1, 2.5)])
def test_a_share_lies_between_none_and_all_and_a_span_is_a_number(share: Any, span: Any) -> None:
    with pytest.raises(UsageError, match="share|span"):
        masked_spectrogram(share=share, span=span)
    assert masked_spectrogram(share=0.3, span=4).view == HiddenFrames(0.3, 4)
