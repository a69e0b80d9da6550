"""Schedules against torch.optim.lr_scheduler, and the rules for decay and clipping."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from graft import optim
from graft.errors import UsageError
from graft.types import Group

TOTAL = 100


def theirs(scheduler: Any, steps: int = TOTAL, **options: Any) -> list[float]:
    """The learning rate that torch's scheduler gives at each step, from a peak of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    made, rates = scheduler(optimizer, **options), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        made.step()
    return rates


def ours(text: str, total: int = TOTAL) -> list[float]:
    schedule = optim.schedule(text)
    return [schedule(step, total, ()) for step in range(total)]


@pytest.mark.parametrize(
    ("text", "scheduler", "options"),
    [
        ("constant", lr_scheduler.ConstantLR, {"factor": 1.0}),
        ("step", lr_scheduler.MultiStepLR, {"milestones": [30, 60, 90], "gamma": 0.1}),
        ("step(at=(0.5,), factor=0.2)", lr_scheduler.StepLR, {"step_size": 50, "gamma": 0.2}),
        ("cosine(warmup=0.0)", lr_scheduler.CosineAnnealingLR, {"T_max": TOTAL}),
        ("cosine(warmup=0.0, floor=0.1)", lr_scheduler.CosineAnnealingLR, {"T_max": TOTAL, "eta_min": 0.1}),
        ("one_cycle", lr_scheduler.OneCycleLR, {"max_lr": 1.0, "total_steps": TOTAL, "cycle_momentum": False}),
        ("one_cycle(rise=0.5, start=10.0, end=100.0)", lr_scheduler.OneCycleLR, {"max_lr": 1.0, "total_steps": TOTAL,
         "pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 100.0, "cycle_momentum": False}),
        ("inverse_time(decay=0.3)", lr_scheduler.LambdaLR, {"lr_lambda": lambda t: 1 / (1 + 0.3 * t)}),
    ],
)  # fmt: skip
def test_schedules_equal_torch(text: str, scheduler: Any, options: dict[str, Any]) -> None:
    assert ours(text) == pytest.approx(theirs(scheduler, **options), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 4))
def test_plateau_equals_torch(scores: list[int], patience: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    made = lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=patience, threshold=0, eps=0)
    ours = optim.schedule(f"plateau(factor=0.5, patience={patience})")
    for done in range(len(scores)):
        made.step(scores[done])
        assert ours(0, 1, scores[: done + 1]) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_warm_up_is_linear_and_meets_the_cosine() -> None:
    rates = ours("cosine(warmup=0.2)")
    assert rates[:20] == pytest.approx([(i + 1) / 21 for i in range(20)])
    assert rates[20] == 1.0 and max(rates) == 1.0
    assert all(a > b for a, b in zip(rates[20:], rates[21:], strict=False))
    assert rates[60] == pytest.approx(0.5)


def test_triangular_is_equation_3_of_ulmfit() -> None:
    cut = math.floor(TOTAL * 0.1)
    shares = [t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1)) for t in range(TOTAL)]
    assert ours("triangular") == pytest.approx([(1 + p * 31) / 32 for p in shares])


@pytest.mark.parametrize("name", optim.SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_short_runs_never_leave_the_range(name: str, total: int) -> None:
    assert all(0 <= rate <= 1 and math.isfinite(rate) for rate in ours(name, total))


# ----------------------------------------------------------------------------------------------------------- optimisers


def test_only_weights_decay() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    made = optim.optimizer("sgd", [Group(tuple(net.parameters()), 0.5)], weight_decay=0.1)
    decayed = {id(p) for g in made.param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(net[0].weight), id(net[3].weight)}
    assert sum(len(g["params"]) for g in made.param_groups) == len(list(net.parameters()))
    assert {g["weight_decay"] for g in made.param_groups} == {0.1, 0.0}


def test_each_group_has_its_rate() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [Group(tuple(a.parameters()), 1e-2), Group(tuple(b.parameters()), 1e-4)]
    made = optim.optimizer("adamw", groups, 0.0)
    rates = {id(p): (g["lr"], g["peak"]) for g in made.param_groups for p in g["params"]}
    assert rates[id(a.weight)] == rates[id(a.bias)] == (1e-2, 1e-2) and rates[id(b.bias)] == (1e-4, 1e-4)


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
     ("sgd(momentum=0.0, nesterov=False)", torch.optim.SGD, {}), ("adam", torch.optim.Adam, {}),
     ("adamw(betas=(0.8, 0.9))", torch.optim.AdamW, {"betas": (0.8, 0.9)}), ("rmsprop", torch.optim.RMSprop, {})],
)  # fmt: skip
def test_optimisers_are_torch_s(text: str, kind: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    x, start = torch.randn(8, 3), torch.randn(2, 3)

    def end(make: Any) -> torch.Tensor:
        weight = nn.Parameter(start.clone())
        optimizer = make(weight)
        for _ in range(5):
            optimizer.zero_grad()
            (x @ weight.T).square().mean().backward()
            optimizer.step()
        return weight.detach()

    mine = end(lambda w: optim.optimizer(text, [Group((w,), 0.1)], 0.01))
    plain = end(lambda w: kind([w], lr=0.1, weight_decay=0.01, **options))
    torch.testing.assert_close(mine, plain, rtol=1e-6, atol=1e-6)  # fused kernels round otherwise


def test_who_says_how_it_computes_is_obeyed() -> None:
    weights = [Group((nn.Parameter(torch.zeros(1, 1)),), 0.1)]
    assert optim.optimizer("adamw", weights, 0.0).defaults["fused"]
    assert not optim.optimizer("adamw(foreach=True)", weights, 0.0).defaults["fused"]
    assert not optim.optimizer("adamw(fused=False)", weights, 0.0).defaults["fused"]


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 30.0, math.nan])
def test_clip_equals_torch(scale: float) -> None:
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.zeros(n)) for n in (3, 1, 7)] for _ in range(2))
    for a, b in zip(ours, theirs, strict=True):
        a.grad = scale * torch.randn_like(a)
        b.grad = a.grad.clone()
    optim.clip(ours, 1.0)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0, equal_nan=True)


def test_clip() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 3.0)
    optim.clip([parameter], 0.0)
    assert parameter.grad.norm() == 6.0
    optim.clip([parameter], 1.0)
    assert parameter.grad.norm() == pytest.approx(1.0, abs=1e-4)
    optim.clip([parameter], 5.0)
    assert parameter.grad.norm() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("text", ["adagrad", "sgd(moment=1)", "sgd(momentum=0.0, nesterov=True)", "sgd(momentum=-1.0)",
                                  "adamw(betas=(0.9,))", "adamw(betas=3)", "sgd(momentum='a')", "sgd:0.1",
                                  "adam(foreach=True, fused=True)"])  # fmt: skip
def test_wrong_optimisers(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        optim.optimizer(text, [Group((nn.Parameter(torch.zeros(1, 1)),), 0.1)], 0.0)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["cosin", "cosine(warm=0.1)", "cosine(step=3)", "step(0.3)",
                                  "cosine(warmup='a')", "step(at=0.3)", "plateau(patience=1.5)", "one_cycle(start=0)",
                                  "triangular(cut=0.0)", "inverse_time(decay=-1.0)", "cosine(floor=-1)",
                                  "inverse_time(decay=-0.3)", "plateau(factor=1e200)"])  # fmt: skip
def test_wrong_schedules(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        optim.schedule(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "place"), [("sgd(lr=0.0, weight_decay=5.0)", ""), ("sgd(lr=0.1)", "set it in the strategy"),
                        ("adamw(weight_decay=5.0)", "--weight-decay")],
)  # fmt: skip
def test_what_the_groups_set_is_not_the_optimiser_s(text: str, place: str) -> None:
    with pytest.raises(UsageError, match="is not set here") as caught:
        optim.check(text, "cosine")
    assert place in caught.value.hint and caught.value.hint


@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf, -math.inf])
def test_rates_and_decays_that_cannot_be(value: float) -> None:
    weights = (nn.Parameter(torch.zeros(1, 1)),)
    with pytest.raises(UsageError, match="lr is") as caught:
        optim.optimizer("sgd", [Group(weights, 0.1), Group(weights, value)], 0.0)
    assert "strategy" in caught.value.hint
    with pytest.raises(UsageError, match="weight_decay is") as caught:
        optim.optimizer("sgd", [Group(weights, 0.1)], value)
    assert "--weight-decay" in caught.value.hint
    assert optim.optimizer("sgd", [Group(weights, 0.0)], 0.0)
