"""What every term keeps, on the toy backbone, and what its formula says. Terms are discovered."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graft import registry
from graft.backbones.toy import toy
from graft.types import Batch, Inputs, Model, Step, Term

torch.set_num_threads(1)
TERMS = sorted(registry.names("term"))


@pytest.fixture
def model() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model(toy(), nn.Linear(32, 3)).eval()


def step_of(model: Model) -> Step:
    """What the loop hands to a term: a batch of six, its features, and the task's loss."""
    pixels = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    batch = Batch(Inputs(pixels), torch.arange(6) % 3, torch.arange(6))
    features = model.backbone(batch.inputs)
    return Step(model, features, batch, F.cross_entropy(model.head(features.pooled), batch.targets))


def shift(model: Model, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def gradients(model: Model, value: Tensor) -> dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), grads, strict=True)}


@pytest.fixture(params=TERMS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def term(name: str, model: Model) -> Term:
    made: Term = registry.find("term", name)(model)
    return made


def test_takes_the_model_and_options_that_all_have_defaults(name: str) -> None:
    first, *options = inspect.signature(registry.find("term", name)).parameters.values()
    assert first.name == "model"
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert len(registry.names("term")[name]) > 20


def test_is_a_finite_number_without_dimensions_wherever_the_weights_are(term: Term, model: Model) -> None:
    for by in (0.0, 0.1, -0.3):
        shift(model, by)
        value = term(step_of(model))
        assert value.shape == () and value.dtype is torch.float32 and torch.isfinite(value)


def test_gradients_are_finite_and_the_weights_and_buffers_are_left_alone(term: Term, model: Model) -> None:
    shift(model, 0.1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = step_of(model)
    for name, gradient in gradients(model, term(step) + step.loss).items():
        assert torch.isfinite(gradient).all(), name
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_works_where_nothing_but_the_head_moves(term: Term, model: Model) -> None:
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    step = step_of(model)
    total = step.loss + term(step)
    total.backward()
    assert torch.isfinite(total) and model.head.weight.grad is not None


# -------------------------------------------------------------------------------------------------------------- l2_sp


def test_l2_sp_is_zero_at_the_start_and_the_closed_form_afterwards(model: Model) -> None:
    term = registry.find("term", "l2_sp")(model, alpha=0.2)
    assert term(step_of(model)) == 0
    shift(model, 0.5)
    count = sum(p.numel() for p in model.backbone.parameters())
    assert term(step_of(model)).item() == pytest.approx(0.5 * 0.2 * 0.25 * count, rel=1e-5)


def test_l2_sp_pulls_each_weight_of_the_trunk_back_by_alpha_times_its_way(model: Model) -> None:
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    term = registry.find("term", "l2_sp")(model, alpha=0.2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    for name, gradient in gradients(model, term(step_of(model))).items():
        expected = 0.2 * (dict(model.named_parameters())[name].detach() - start[name])
        torch.testing.assert_close(gradient, expected if name.startswith("backbone.") else torch.zeros_like(gradient))


def test_l2_sp_holds_only_what_moves(model: Model) -> None:
    term = registry.find("term", "l2_sp")(model, alpha=1.0)
    last = list(model.backbone.stages[2].parameters())
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(any(parameter is p for p in last))
    shift(model, 1.0)
    assert term(step_of(model)).item() == pytest.approx(0.5 * sum(p.numel() for p in last))
