"""Heads: what they are made of, and what is refused."""

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from graft.errors import UsageError
from graft.nn import heads


def test_linear_is_one_layer() -> None:
    head = heads.build("linear(standardize=False)", 7, 3)
    assert isinstance(head, nn.Linear) and head(torch.randn(5, 7)).shape == (5, 3)
    assert [tuple(p.shape) for p in heads.build("linear", 7, 3).parameters()] == [(3, 7), (3,)]


def test_standardize_is_that_of_scikit_learn_and_is_not_learned() -> None:
    features = torch.randn(50, 4) * torch.tensor([1e-2, 1.0, 1e3, 0.0]) + 5
    layer = heads.Standardize(4)
    assert torch.equal(layer(features), features), "until it is fitted it changes nothing"
    layer.fit(features)
    expected = StandardScaler().fit_transform(features.double().numpy())
    assert layer(features)[:, :3].numpy() == pytest.approx(expected[:, :3], abs=1e-2)
    assert torch.equal(layer(features)[:, 3], torch.zeros(50)) and not list(layer.parameters())


def test_mlp_is_built_as_tutorials_do() -> None:
    kinds = [type(layer) for layer in heads.mlp(8, 2, standardize=False)]  # type: ignore[attr-defined]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    head = heads.build("mlp(hidden=(256,), dropout=0.2, standardize=False)", 8, 2)
    assert [tuple(p.shape) for p in head.parameters()] == [(256, 8), (256,), (2, 256), (2,)]
    assert head[2].p == 0.2 and head(torch.randn(4, 8)).shape == (4, 2)  # type: ignore[index,union-attr]


def test_one_width_needs_no_comma() -> None:
    assert str(heads.build("mlp(hidden=64)", 8, 2)) == str(heads.build("mlp(hidden=(64,))", 8, 2))


@pytest.mark.parametrize(
    ("text", "hint"),
    [("linaer", "did you mean 'linear'"), ("mlp(hiden=(3,))", "did you mean 'hidden'"), ("mlp(dropout=1.0)", "< 1"),
     ("mlp(hidden=())", "hidden="), ("mlp(hidden=(8, -1))", "hidden="), ("mlp(hidden='8')", "hidden="),
     ("mlp(dropout='x')", "a number"), ("linear(bias=False)", "standardize")],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        heads.build(text, 8, 2)
    assert hint in caught.value.hint
