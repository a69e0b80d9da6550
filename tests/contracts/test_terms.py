"""What every term keeps, on the toy backbone, and what its formula says. Terms are discovered."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.contracts.test_strategies import RECIPE, TRAIN, Job, Killed, State, differing
from torch import Tensor, nn
from torch.nn import functional as F

from graft import build, phase, registry
from graft.backbones.toy import toy
from graft.errors import UsageError
from graft.features import Feed
from graft.progress import own_parameters, own_state
from graft.types import Batch, Flow, Inputs, Model, Step, Term

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


def test_works_where_nothing_but_the_head_moves_or_says_that_it_cannot(term: Term, model: Model) -> None:
    """The loop then hands on what is kept of the trunk, and no samples."""
    model.backbone.requires_grad_(False)
    step = step_of(model)
    step = step._replace(batch=step.batch._replace(inputs=Inputs(step.features.pooled)))
    try:
        total = step.loss + term(step)
    except UsageError as refused:
        assert "stand still" in refused.what and refused.hint
        return
    total.backward()
    assert torch.isfinite(total) and model.head.weight.grad is not None


def test_is_fixed_by_the_seed_and_leaves_the_generator_alone(name: str, model: Model) -> None:
    recipe, states = replace(RECIPE, terms=(name,), strategy="full(epochs=1)"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(own_state(next(build.flow(recipe, model)).terms))
        assert torch.equal(before, torch.get_rng_state())
    assert differing(*states) == []


# ------------------------------------------------------------------------------------------------------------- resume

ONCE = {"distill": "distill(look='once')"}  # a teacher cannot look at what a frozen prefix makes of a sample
FLOWS = {
    "full": ("full(epochs=3)", {}),
    "lp_ft": ("lp_ft(head_epochs=2, epochs=2)", ONCE),
    "gradual": ("gradual(epochs=2)", ONCE),
    "solved": ("lp_ft(start='ridge', epochs=2)", ONCE),
}


def teach(other: object) -> Tensor:
    return Feed(TRAIN, other, device=torch.device("cpu"), targets=()).pooled()  # type: ignore[arg-type]


def watched(flow: Flow, seen: list[object]) -> Flow:
    """The flow, with what its terms own at hand."""
    at = next(flow, None)
    while at is not None:
        seen[:] = at.terms
        result = yield at
        try:
            at = flow.send(result)
        except StopIteration:
            return


def life(name: str, way: str, ckpt: Path | None = None, kill_at: int = -1) -> tuple[Job, State]:
    """A run from its beginning, or from what `ckpt` holds, and all tensors that it came to."""
    strategy, options = FLOWS[way]
    recipe = replace(RECIPE, strategy=strategy, terms=(options.get(name, name),), batch_size=22, optimizer="adam")
    job, seen = Job(way, recipe), []
    job.run(watched(build.flow(recipe, job.model, teach), seen), ckpt, kill_at)
    assert way == "solved" or len(own_parameters(seen)) == len(own_state(seen))
    return job, {**job.state(), **own_state(seen)}


@pytest.mark.parametrize("way", FLOWS)
def test_a_run_killed_in_any_of_its_phases_goes_on_bit_for_bit(
    name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the term owns: it moves in all phases that train, and its state goes from one to the next."""
    monkeypatch.setattr(phase, "SAVE_EVERY", -1.0)
    monkeypatch.setattr("graft.checkpoint.flush", lambda path: None)
    whole, state = life(name, way)
    ends = [i for i, event in enumerate(whole.events) if event["event"] == "phase_done"]
    middles = [(a + b) // 2 for a, b in zip([0, *ends], ends, strict=False)]
    for kill_at in sorted({*middles, *ends, *(end + 1 for end in ends[:-1])}):
        with pytest.raises(Killed):
            life(name, way, tmp_path / str(kill_at), kill_at)
        assert differing(state, life(name, way, tmp_path / str(kill_at))[1]) == [], kill_at


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
