"""A fast way is taken where it gives the same features, and left, with a word, where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graft
from graft import registry
from graft.backbones._images import Images
from graft.backbones.toy import toy
from graft.engine import FEW, Engine
from graft.engines._prepared import FastLinear, fold, prepared
from graft.prefix import Prefix, Run, widest
from graft.rows import onednn
from graft.spec import Spec
from graft.types import Backbone, Features, Info, Inputs

torch.set_num_threads(1)


def prefix(*stages: nn.Module, inputs: int = 3) -> tuple[Prefix, Tensor]:
    """A trunk of these stages that pools planes by their mean, and some of its inputs."""
    info = Info(Spec("x"), "image", 8)
    made = Backbone(info, stages, Images(8, 8), lambda out: Features(out.x.flatten(1)))
    return Prefix(made.eval(), len(stages), "pooled").eval(), torch.randn(9, inputs, 8, 8)


def statistics(module: nn.Module) -> None:
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(one.running_var, 0.5, 2)  # type: ignore[arg-type]


def run(engine: Engine, trunk: Prefix, x: Tensor, rows: int = 100) -> Tensor:
    ready = engine.ready(trunk, lambda: Inputs(x[:8]), "key", rows)
    with torch.inference_mode():
        return ready.run(x, None)


class Twice(nn.Module):
    """The output of a convolution goes into BatchNorm, and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.norm(x) - x


class Far(nn.Module):
    """What bf16 cannot hold: small differences of large numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1)[:, :8] + 50, torch.eye(8)).float() - 50


def test_batchnorm_is_folded_where_it_follows_a_convolution() -> None:
    trunk, x = prefix(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)))
    statistics(trunk)
    before = trunk(x)
    made = prepared(trunk, x, None, torch.float32)
    assert [type(m) for m in made.modules()].count(nn.BatchNorm2d) == 1, "the second one follows no convolution"
    assert torch.allclose(made(x), before, atol=1e-5) and torch.equal(trunk(x), before)


def test_a_shared_batchnorm_is_not_folded() -> None:
    norm = nn.BatchNorm2d(3)
    trunk, x = prefix(nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm))
    statistics(trunk)
    before = trunk(x)
    fold(trunk, x, None)
    assert torch.allclose(trunk(x), before, atol=1e-5)


def test_a_wrong_fold_is_found_out() -> None:
    trunk, x = prefix(Twice())
    statistics(trunk)
    words: list[str] = []
    assert torch.allclose(run(Engine(say=words.append), trunk, x), trunk(x), atol=1e-6)
    assert len(words) == 1 and "gives other features" in words[0]


def test_linear_layers_by_another_library_give_the_same() -> None:
    layer = nn.Linear(40, 30)
    fast = FastLinear(40, 30)
    fast.load_state_dict(layer.state_dict())
    x = torch.randn(2, 7, 40)
    if onednn() is not None:
        assert torch.allclose(fast.requires_grad_(False)(x), layer(x), atol=1e-5)
    assert torch.allclose(fast(x.bfloat16().float()), layer(x), atol=1e-1)


def test_auto_leaves_bf16_where_features_change() -> None:
    trunk, x = prefix(Far())
    words: list[str] = []
    found = run(Engine("eager", torch.bfloat16, auto=True, say=words.append), trunk, x)
    assert torch.allclose(found, trunk(x), atol=1e-3) and "another way" in words[0]


def test_what_bf16_costs_is_said_where_it_was_asked_for() -> None:
    trunk, x = prefix(Far())
    words: list[str] = []
    found = run(Engine("eager", torch.bfloat16, say=words.append), trunk, x)
    assert not torch.allclose(found, trunk(x), atol=1e-3) and "cosine" in words[0]


def test_bf16_is_taken_where_features_stay() -> None:
    trunk = Prefix(toy().eval(), 4, "pooled")
    x, words = torch.randn(9, 3, 16, 16), []
    found = run(Engine("eager", torch.bfloat16, auto=True, say=words.append), trunk, x)
    least = torch.cosine_similarity(found.float(), trunk(x)).min()
    assert 0.999 < least < 1 and not torch.allclose(found.float(), trunk(x), atol=1e-6) and not words


def test_a_wrong_fold_is_found_out_in_bf16_too() -> None:
    trunk, x = prefix(Twice())
    statistics(trunk)
    words: list[str] = []
    found = run(Engine("eager", torch.bfloat16, say=words.append), trunk, x)
    assert torch.allclose(found, trunk(x), atol=1e-5) and "another way" in words[0]


def test_what_is_changed_in_place_is_not_folded() -> None:
    trunk, x = prefix(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)))
    statistics(trunk)
    before = trunk(x)
    fold(trunk, x, None)
    assert torch.allclose(trunk(x), before, atol=1e-5)
    assert any(isinstance(m, nn.BatchNorm2d) for m in trunk.modules())


def test_float32_holds_inside_of_another_autocast() -> None:
    """Predictions are made within one."""
    trunk, x = prefix(Far())
    words: list[str] = []
    with torch.autocast("cpu", torch.bfloat16):
        found = run(Engine("eager", torch.bfloat16, auto=True, say=words.append), trunk, x)
    assert torch.allclose(found, trunk(x), atol=1e-3) and words


def test_few_rows_are_run_plainly() -> None:
    trunk, x = prefix(Twice())
    words: list[str] = []
    run(Engine("eager", torch.bfloat16, auto=True, say=words.append), trunk, x, rows=FEW - 1)
    assert not words, "an engine was built for a few rows"


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :8]


class Whole(nn.Module):
    """Holds for the number of samples that it has seen first, as a graph does whose sizes became constants."""

    seen: int = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.seen or len(x)
        return x.flatten(1)[:, :8] if len(x) == self.seen else x.flatten(1)[: self.seen, 1:9]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("failing", ["build", "run", "shape", "size"])
def test_an_engine_that_fails_is_left(failing: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine() -> Callable[..., Run]:
        def build(*asked: object) -> Run:
            if failing == "build":
                raise RuntimeError("no compiler\nand more")
            kinds = {"shape": lambda x, mask: x[:, 0], "run": lambda x, mask: 1 / 0, "size": lambda x, mask: whole(x)}
            return kinds[failing]  # type: ignore[return-value]

        return build

    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: engine if name == "strange" else find(kind, name))
    whole = Whole()
    trunk, x = prefix(First())
    words: list[str] = []
    assert torch.allclose(run(Engine("strange", dtype, say=words.append), trunk, x), x.flatten(1)[:, :8], atol=1e-5)
    assert words and "strange" in words[0] and "\n" not in words[0]


def test_an_engine_is_made_once_for_a_prefix() -> None:
    trunk, x = prefix(nn.Conv2d(3, 4, 3))
    engine = Engine()
    first = engine.ready(trunk, lambda: Inputs(x), "a", 100)
    assert engine.ready(trunk, lambda: Inputs(x), "a", 50) is first
    assert engine.ready(trunk, lambda: Inputs(x), "b", 100) is not first


def test_wide_networks_run_in_small_batches() -> None:
    small, x = prefix(nn.Conv2d(3, 4, 3, padding=1))
    assert widest(small, x, None) == 4 * 64
    wide, y = prefix(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(2, 3, 512, 512)
    sizes = [Engine().ready(trunk, lambda: Inputs(of), "k", 99).batch for trunk, of in ((small, x), (wide[0], y))]  # noqa: B023
    assert sizes == [64, 8]


def test_the_default_where_the_processor_has_bf16(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run, and what it says of one picture and of many: the same but for rounding."""
    monkeypatch.chdir(flowers.parent)
    asked = {"backbone": "toy", "strategy": "ridge"}
    plainly = graft.fit("flowers", out="fp32", precision="fp32", **asked)
    monkeypatch.setattr("graft.device.fast_bf16", lambda: True)
    run = graft.fit("flowers", out="bf16", **asked)
    losses = [found["test"]["loss"]["value"] for found in (run, plainly)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05), "of five pictures, some of them far from any class"
    many = {row["path"]: row for row in graft.predict("bf16", "flowers")[0]}
    (one,) = graft.predict("bf16", "flowers/rose/0.png")[0]
    assert len(many) == 36 > FEW and abs(many["rose/0.png"]["probability"] - one["probability"]) < 0.01
    assert graft.evaluate("bf16", "flowers")["scores"]["accuracy"]["value"] > 0.5
