"""Graft's own network of sounds: what padding may not do to it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graft.backbones.cnn_tdnn import cnn_tdnn
from graft.errors import UsageError
from graft.nn.cnn_tdnn import normed

torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 4, 6, 5)], ids=["in time", "in time and frequency"])
def test_statistics_of_training_are_those_of_real_frames(shape: tuple[int, ...]) -> None:
    """As numpy's mean and variance over the frames that are there, whatever stands behind them."""
    torch.manual_seed(0)
    norm = (nn.BatchNorm1d if len(shape) == 3 else nn.BatchNorm2d)(4, momentum=1.0)
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    x = torch.randn(shape)
    x.movedim(2, 1)[~mask] = 1e6
    made = normed(norm, x, mask)
    real = x.movedim(2, 1)[mask]  # (N, C, ...)
    over = [0, *range(2, real.ndim)]
    count = real.numel() // 4
    torch.testing.assert_close(norm.running_mean, real.mean(over), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var, real.var(over, correction=0) * count / (count - 1))
    assert not made.movedim(2, 1)[~mask].any(), "padding stays zero"


def test_a_longer_neighbour_changes_nothing_in_training_but_the_statistics() -> None:
    torch.manual_seed(0)
    trunk = cnn_tdnn(rate=8000, mels=16, dim=8, widths=(4, 6), blocks=1, dropout=0.0).train()
    waves = [torch.randn(4000), torch.randn(2400)]
    short = [waves[1][:2400], waves[1]]
    alike = trunk(trunk.preprocess.batch(short)).pooled
    torch.testing.assert_close(alike[0], alike[1])
    assert trunk(trunk.preprocess.batch(waves)).pooled.isfinite().all()


@pytest.mark.parametrize("options", [{"dim": 0}, {"widths": ()}, {"rate": 10}, {"mels": 2}, {"blocks": -1}])
def test_sizes_that_make_no_network_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="makes? no network"):
        cnn_tdnn(**options)  # type: ignore[arg-type]
