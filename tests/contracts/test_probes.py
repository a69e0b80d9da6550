"""What every probe keeps. Probes are discovered."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits, load_iris
from torch import Tensor

from graft import registry
from graft.errors import DataError, IntegrityError, UsageError
from graft.nn.fitted import Fitted
from graft.types import Probe

torch.set_num_threads(1)


def iris() -> tuple[Tensor, Tensor]:
    data = load_iris()
    return torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)


def digits(n: int) -> tuple[Tensor, Tensor]:
    """Some of their 64 pixels never vary."""
    data = load_digits()
    return torch.tensor(data.data[:n], dtype=torch.float32), torch.tensor(data.target[:n])


def clouds(classes: int, each: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normal clouds around means that are three deviations long."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(classes, dim, generator=generator), dim=1) * 3
    targets = torch.arange(classes).repeat(each)
    return means[targets] + torch.randn(len(targets), dim, generator=generator) / dim**0.5, targets


def fitted(probe: Probe, data: tuple[Tensor, Tensor], classes: int) -> Fitted:
    head = Fitted(probe, classes)
    head.fit(*data)
    return head


@pytest.fixture(params=sorted(registry.names("probe")))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def probe(name: str) -> Probe:
    """With its own defaults, but for a forest of 40 trees: how many there are changes nothing here but the time."""
    made: Probe = registry.find("probe", name)(**({"trees": 40} if name == "forest" else {}))
    return made


def test_has_a_line_of_description_and_only_options_with_defaults(name: str) -> None:
    options = inspect.signature(registry.find("probe", name)).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert len(registry.names("probe")[name]) > 20


@pytest.mark.parametrize(("data", "classes", "least"), [(iris(), 3, 0.75), (digits(300), 10, 0.8)])
def test_predicts_what_it_has_not_seen(
    probe: Probe, data: tuple[Tensor, Tensor], classes: int, least: float
) -> None:  # fmt: skip
    """Far better than the majority, 1/3 and 1/10; of four features, angles and least squares tell little."""
    x, y = data
    head = fitted(probe, (x[::2], y[::2]), classes)
    logits = head(x[1::2])
    probabilities = logits.softmax(1)
    assert logits.shape == (len(x[1::2]), classes) and torch.isfinite(logits).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(logits), dtype=logits.dtype))
    assert (logits.argmax(1) == y[1::2]).double().mean() > least
    assert probabilities.gather(1, y[1::2, None]).mean() > 2 / classes - 0.2


def test_is_the_same_after_saving_and_loading(probe: Probe, tmp_path: Path) -> None:
    x, y = digits(100)
    head = fitted(probe, (x, y), 10)
    assert not list(head.parameters())
    model = torch.nn.Sequential(torch.nn.Identity(), head)  # below a prefix
    safetensors.torch.save_file(model.state_dict(), tmp_path / "head.safetensors")
    fresh = torch.nn.Sequential(torch.nn.Identity(), Fitted(probe, 10))
    for _ in range(2):  # into a fresh one, and into one that holds something
        fresh.load_state_dict(safetensors.torch.load_file(tmp_path / "head.safetensors"))
        assert torch.equal(fresh(x), head(x))


def test_loads_over_another_fit_whose_shapes_differ(probe: Probe) -> None:
    x, y = digits(100)
    few, many = fitted(probe, (x[:50], y[:50]), 10), fitted(probe, (x, y), 10)
    few.load_state_dict(many.state_dict())
    assert torch.equal(few(x), many(x))
    few.fit(x[:50], y[:50])
    assert not any(torch.equal(a, b) for a, b in zip(few(x), many(x), strict=True)), "the copy was not shared"


def test_what_is_missing_is_said(probe: Probe) -> None:
    x, y = digits(50)
    with pytest.raises(UsageError, match="not fitted"):
        Fitted(probe, 10)(x)
    with pytest.raises(RuntimeError, match="Missing key.*arrays"):
        Fitted(probe, 10).load_state_dict({})
    head = fitted(probe, (x, y), 10)
    state = head.state_dict()
    first = next(iter(state))
    del state[first]
    with pytest.raises(RuntimeError, match=f"Missing key.*{first}"):
        head.load_state_dict(state)
    foreign = Fitted(probe, 10)
    foreign.load_state_dict({"other": x})
    with pytest.raises(IntegrityError, match="other"):
        foreign(x)


def test_repeats_to_the_bit_and_in_any_order_of_the_samples(probe: Probe) -> None:
    """The forest too: its draws are of samples sorted by their content."""
    x, y = digits(80)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    once = fitted(probe, (x, y), 10)(x)
    assert torch.equal(fitted(probe, (x, y), 10)(x), once)
    assert torch.equal(fitted(probe, (x[order], y[order]), 10)(x), once)


def test_gives_the_same_whatever_batch_a_sample_comes_in(probe: Probe) -> None:
    x, y = digits(60)
    head = fitted(probe, (x, y), 10)
    single = torch.cat([head(row[None]) for row in x[:8]])
    torch.testing.assert_close(single, head(x)[:8], rtol=1e-9, atol=1e-9)
    assert head(x[:0]).shape == (0, 10)


def test_a_class_without_samples_gets_no_probability(probe: Probe) -> None:
    x, y = digits(120)
    head = fitted(probe, (x[(y != 0) & (y != 4)], y[(y != 0) & (y != 4)]), 12)
    probabilities = head(x).softmax(1)
    assert probabilities[:, [0, 4, 10, 11]].max() < 1e-3
    assert (probabilities.argmax(1) == y)[(y != 0) & (y != 4)].double().mean() > 0.9


def test_two_samples_of_each_class_are_enough(probe: Probe) -> None:
    x, y = clouds(3, 12, 8)
    head = fitted(probe, (x[:6], y[:6]), 3)
    assert (head(x).argmax(1) == y).double().mean() > 0.8


@pytest.mark.parametrize("counts", [(1, 1), (1, 6), (1, 1, 1, 1), (5, 1, 3)])
def test_one_sample_of_a_class_is_no_obstacle(probe: Probe, counts: tuple[int, ...]) -> None:
    x, y = clouds(len(counts), max(counts), 6)
    rows = torch.tensor([i for i, label in enumerate(y.tolist()) if i // len(counts) < counts[label]])
    logits = fitted(probe, (x[rows], y[rows]), len(counts))(x[rows])
    assert torch.isfinite(logits).all() and (logits.argmax(1) == y[rows]).double().mean() > 0.8


@pytest.mark.parametrize(("classes", "each", "dim"), [(2, 10, 300), (100, 2, 40)])
def test_two_and_a_hundred_classes_and_more_features_than_samples(
    probe: Probe, name: str, classes: int, each: int, dim: int
) -> None:  # fmt: skip
    x, y = clouds(classes, 2 * each, dim)
    half = classes * each
    head = fitted(probe, (x[:half], y[:half]), classes)
    least = 0.3 if (name, classes) == ("forest", 100) else 0.9  # a tree asks of one feature at a time
    assert head(x).shape == (len(x), classes)
    assert (head(x[half:]).argmax(1) == y[half:]).double().mean() > least


def test_features_that_never_vary_change_nothing(probe: Probe) -> None:
    x, y = clouds(3, 8, 5)
    constant = torch.cat([x, torch.full((len(x), 2), 1.0)], 1)
    assert (fitted(probe, (constant, y), 3)(constant).argmax(1) == y).double().mean() > 0.9
    assert torch.isfinite(fitted(probe, (torch.ones(6, 4), torch.arange(6) % 2), 2)(torch.ones(3, 4))).all()


def test_far_apart_scales_and_a_large_mean(probe: Probe, name: str) -> None:
    """Features of 1e-2 and 1e3 around 1e3: probes that standardise, and trees, do not see it."""
    x, y = clouds(3, 20, 5)
    wild = x.double() * torch.tensor([1e-2, 1.0, 1.0, 1e3, 10.0]) + 1e3
    accuracy = (fitted(probe, (wild, y), 3)(wild).argmax(1) == y).double().mean()
    assert accuracy > (0.6 if name in ("centroid", "knn") else 0.95)


def test_takes_every_float_type(probe: Probe) -> None:
    """Small whole numbers are the same in each."""
    x, y = digits(30)
    expected = fitted(probe, (x, y), 10)(x)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert torch.equal(fitted(probe, (x.to(dtype), y), 10)(x.to(dtype)), expected)


def test_autocast_does_not_round_it(probe: Probe) -> None:
    x, y = digits(30)
    head = fitted(probe, (x, y), 10)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head(x)
    assert torch.equal(rounded, head(x))


@pytest.mark.parametrize(
    ("change", "what"),
    [(lambda x, y: (x.index_fill(0, torch.tensor(3), torch.nan), y), "sample 3 "),
     (lambda x, y: (x.index_fill(0, torch.tensor(5), torch.inf), y), "sample 5 "),
     (lambda x, y: (x, y.index_fill(0, torch.tensor(0), -1)), "targets from -1"),
     (lambda x, y: (x, y + 1), "targets from 1 to 3"),
     (lambda x, y: (x, y * 0), "nothing to tell apart"),
     (lambda x, y: (x[:0], y[:0]), "nothing to tell apart"),
     (lambda x, y: (x[:-1], y), "do not belong to")],
)  # fmt: skip
def test_refuses_what_no_probe_can_be_fitted_to(probe: Probe, change: object, what: str) -> None:
    x, y = clouds(3, 4, 5)
    with pytest.raises(DataError, match=what) as caught:
        fitted(probe, change(x, y), 3)  # type: ignore[operator]
    assert caught.value.hint
