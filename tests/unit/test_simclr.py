"""NT-Xent against equation 1 of the paper, as a loop, and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graft.errors import UsageError
from graft.tasks._pairs import TwoViews
from graft.tasks.simclr import nt_xent, simclr

torch.set_num_threads(1)


def embeddings(count: int, dim: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, dim, generator=draw), torch.randn(count, dim, generator=draw)


def equation_1(first: Tensor, second: Tensor, temperature: float) -> float:
    """Algorithm 1 with views 2k-1 and 2k of sample k next to one another, one view after the other."""
    views = [view / view.norm() for pair in zip(first.double(), second.double(), strict=True) for view in pair]
    total = 0.0
    for i, one in enumerate(views):
        others = {k: math.exp(float(one @ other) / temperature) for k, other in enumerate(views) if k != i}
        total -= math.log(others[i ^ 1] / sum(others.values()))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_loss_is_equation_1(temperature: float) -> None:
    first, second = embeddings(7, 5)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(equation_1(first, second, temperature), rel=1e-5)


def test_the_loss_is_a_cross_entropy_over_all_other_views() -> None:
    first, second = embeddings(6, 4)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    cosines = unit @ unit.T / 0.5
    others = torch.stack([torch.cat([row[:i], row[i + 1 :]]) for i, row in enumerate(cosines)])  # (2 B, 2 B - 1)
    own = torch.tensor([i + 5 if i < 6 else i - 6 for i in range(12)])
    torch.testing.assert_close(nt_xent(first, second, 0.5), F.cross_entropy(others, own))


@pytest.mark.parametrize("count", [2, 5, 16])
def test_embeddings_that_are_all_alike_are_guessed_among_all_others(count: int) -> None:
    alike = torch.ones(count, 3)
    assert float(nt_xent(alike, 2 * alike, 0.5)) == pytest.approx(math.log(2 * count - 1), rel=1e-6)


def test_equal_views_of_orthogonal_samples() -> None:
    first, own = torch.eye(8), math.exp(1 / 0.5)
    assert float(nt_xent(first, 3 * first, 0.5)) == pytest.approx(-math.log(own / (own + 14)), rel=1e-6)


def test_gradients_are_finite_and_only_the_direction_counts() -> None:
    first, second = embeddings(4, 3)
    first.requires_grad_()
    nt_xent(first, second, 0.1).backward()
    assert first.grad is not None and first.grad.isfinite().all() and first.grad.any()
    assert torch.allclose((first.grad * first).sum(1), torch.zeros(4), atol=1e-5)


def test_options() -> None:
    task = simclr(temperature=0.2, dim=8, hidden=16, scale=0.5, flip=False, colour=0.0, grey=0.0)
    assert isinstance(task, TwoViews)
    assert (task.view.scale, task.view.flip, task.view.colour, task.view.grey) == (0.5, False, 0.0, 0.0)
    first, second = embeddings(4, 3)
    assert torch.equal(task.objective(first, second), nt_xent(first, second, 0.2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("dim", 0),
        ("hidden", 1.5),
        ("scale", 0),
        ("scale", 1.1),
        ("colour", 2),
        ("grey", -0.1),
        ("temperature", math.inf),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        simclr(**{name: value})  # type: ignore[arg-type]
