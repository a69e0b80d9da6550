"""The three terms of VICReg against closed forms, and their sum against what the authors' code computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft.errors import UsageError
from graft.spec import Spec
from graft.tasks.vicreg import correlated, varying, vicreg, weighted
from graft.types import Info

torch.set_num_threads(1)


def embeddings(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) @ torch.randn(
        dim, dim, generator=torch.Generator().manual_seed(seed + 10)
    )


def published(x: Tensor, y: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """The definition of the authors' code: mse_loss of all values, half of each branch's hinge, covariances summed,
    the off-diagonal ones cut out of the flattened matrix."""
    same = F.mse_loss(x, y)
    hinges, sums = [], []
    for z in (x, y):
        z = z - z.mean(dim=0)
        hinges.append(torch.mean(F.relu(1 - torch.sqrt(z.var(dim=0) + 0.0001))) / 2)
        matrix, width = (z.T @ z) / (len(z) - 1), z.shape[1]
        sums.append(matrix.flatten()[:-1].view(width - 1, width + 1)[:, 1:].flatten().pow(2).sum().div(width))
    return weights[0] * same + weights[1] * sum(hinges) + weights[2] * sum(sums)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_the_loss_is_the_authors(weights: tuple[float, float, float]) -> None:
    x, y = 0.4 * embeddings(9, 6), 0.4 * embeddings(9, 6, 1)
    torch.testing.assert_close(weighted(x, y, weights), published(x, y, weights))


def test_invariance_is_the_mean_square_of_the_difference() -> None:
    z = embeddings(8, 4)
    assert float(weighted(z, z + 3, (1.0, 0.0, 0.0))) == pytest.approx(9, rel=1e-5)
    assert float(weighted(z, z, (1.0, 0.0, 0.0))) == 0


@pytest.mark.parametrize(("deviation", "expected"), [(0.0, 0.99), (0.5, 1 - (0.25 + 1e-4) ** 0.5), (2.0, 0.0)])
def test_variance_is_a_hinge_at_a_deviation_of_1(deviation: float, expected: float) -> None:
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None] * torch.ones(4, 3)
    z = 7 + signs * deviation * (3 / 4) ** 0.5  # the variance of four samples is over three
    assert float(varying(z)) == pytest.approx(expected, abs=1e-6)


def test_variance_keeps_a_gradient_where_all_are_nearly_alike() -> None:
    z = (1e-3 * embeddings(8, 4)).requires_grad_()
    varying(z).backward()
    assert z.grad is not None and z.grad.isfinite().all() and z.grad.any()


def test_covariance_of_equal_columns_and_of_orthogonal_ones() -> None:
    column = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    variance = float(column.var())
    assert float(correlated(column[:, None].expand(6, 5))) == pytest.approx(4 * variance**2, rel=1e-6)
    orthogonal = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert float(correlated(5 + orthogonal)) == pytest.approx(0, abs=1e-9)


def test_the_expander_has_three_layers_and_the_options_are_the_weights() -> None:
    task = vicreg(invariance=2, variance=3, covariance=4, dim=6, hidden=10)
    head = task.head(Info(Spec("toy"), "image", 5))
    linear = [m for m in head.modules() if isinstance(m, nn.Linear)]
    layers = [(m.in_features, m.out_features, m.bias is not None) for m in linear]
    assert layers == [(5, 10, False), (10, 10, False), (10, 6, False)], "as the authors' code has no bias at its end"
    x, y = embeddings(7, 6), embeddings(7, 6, 1)
    torch.testing.assert_close(task.objective(x, y), published(x, y, (2, 3, 4)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["invariance", "variance", "covariance"])
def test_a_weight_below_zero_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        vicreg(**{name: -1.0})  # type: ignore[arg-type]
