"""One grammar both ways: what is printed can be read back, and what cannot be read says where."""

from __future__ import annotations

import keyword
import string
from functools import partial
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft import registry
from graft.errors import UsageError
from graft.spec import Spec, parse

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8).filter(lambda name: not keyword.iskeyword(name))
TARGETS = st.text(string.ascii_letters + string.digits + "/._- ", min_size=1, max_size=20).map(str.strip).filter(bool)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
VALUES: st.SearchStrategy[Any] = SCALARS | st.tuples(SCALARS, SCALARS) | st.lists(SCALARS, max_size=2)


@settings(max_examples=150, deadline=None)
@given(NAMES, st.none() | TARGETS, st.dictionaries(NAMES, VALUES, max_size=3))
def test_round_trip(name: str, target: str | None, options: dict[str, Any]) -> None:
    spec = Spec(name, target, options)
    assert parse(str(spec)) == spec
    assert str(parse(str(spec))) == str(spec)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("linear_probe", Spec("linear_probe")),
        ("linear-probe", Spec("linear_probe")),
        (" lp_ft( epochs = 5, lr=1e-3 ) ", Spec("lp_ft", None, {"epochs": 5, "lr": 1e-3})),
        ("torchvision:resnet50", Spec("torchvision", "resnet50")),
        ("timm:hf_hub:user/net.v1", Spec("timm", "hf_hub:user/net.v1")),
        ("local:a b/net.pth(arch='small(size=64)')", Spec("local", "a b/net.pth", {"arch": "small(size=64)"})),
        ("mlp(hidden=(1024, 512), dropout=-0.5)", Spec("mlp", None, {"hidden": (1024, 512), "dropout": -0.5})),
        ("a(b='x)y(')", Spec("a", None, {"b": "x)y("})),
    ],
)
def test_reading(text: str, spec: Spec) -> None:
    assert parse(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "1st", "f(", "f(1)", "f(**{'a': 1})", "f(a=b)", "f(a=open('x'))", "f(a=1, a=2)", "f(a=1)(b=2)", "f(a=1) g",
     "f(a=1 + x)", "f(a=[i for i in (1,)])"],
)  # fmt: skip
def test_only_literals_are_read(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint


def plugin(model: str, name: str = "", *, epochs: int = 1, lr: float = 0.1) -> tuple[str, str, int, float]:
    return model, name, epochs, lr


def test_bind() -> None:
    assert parse("plugin(epochs=3)").bind(plugin, "m") == ("m", "", 3, 0.1)
    assert parse("plugin:x(lr=1)").bind(plugin, "m") == ("m", "x", 1, 1)
    assert Spec("plugin").with_options(lr=2).options == {"lr": 2}
    with pytest.raises(UsageError) as caught:
        parse("plugin(epoch=3)").bind(plugin, "m")
    assert caught.value.hint == "did you mean 'epochs'?"


def test_an_error_inside_a_plugin_is_its_own() -> None:
    def broken(*, a: int = 0) -> None:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        parse("broken(a=1)").bind(broken)


# --------------------------------------------------------------------------------------------------------------- types


def typed(model: str, *, n: int = 1, lr: float = 0.1, deep: bool = True, name: str | None = None,
          widths: tuple[int, ...] = (1, 2), mean: tuple[float, float, float] | None = None,
          either: tuple[int, ...] | int = 3, free=None, own: dict[str, Any] | None = None) -> None:  # type: ignore[no-untyped-def]  # fmt: skip
    """One parameter of each kind that a plugin has."""


FITTING = ["n=3", "lr=1", "lr=1e-3", "deep=False", "name='a'", "name=None", "widths=(1,)", "widths=[1, 2]",
           "widths=()", "mean=(1, 0.5, 2)", "mean=None", "either=4", "either=(4, 5)", "free='x'", "own={'a': 1}",
           "own=3"]  # fmt: skip


@pytest.mark.parametrize("option", FITTING)
def test_a_literal_that_fits(option: str) -> None:
    parse(f"typed({option})").bind(typed, "m")


@pytest.mark.parametrize(
    ("option", "words"),
    [("n='5'", "n takes a whole number"), ("n=1.0", "n takes a whole number"), ("n=True", "n takes a whole number"),
     ("n=None", "n takes a whole number"), ("lr='a'", "lr takes a number"), ("lr=True", "lr takes a number"),
     ("deep=1", "deep takes True or False"), ("name=3", "name takes a text or None"),
     ("widths=3", "widths takes a list of whole numbers, such as widths=(1, 2)"),
     ("widths=(1, 'a')", "widths takes a list of whole numbers, such as widths=(1, 2)"),
     ("mean=(1, 2)", "mean takes a list of 3 numbers or None"),
     ("mean='abc'", "mean takes a list of 3 numbers or None"),
     ("either='3'", "either takes a list of whole numbers or a whole number")],
)  # fmt: skip
def test_a_literal_of_another_type(option: str, words: str) -> None:
    spec = parse(f"typed({option})")
    for act in (spec.bind, spec.check):
        with pytest.raises(UsageError, match="which is not what it takes") as caught:
            act(typed, "m")
        assert caught.value.hint == words
        assert f"{next(iter(spec.options))} is {next(iter(spec.options.values()))!r}, which" in caught.value.what


def test_a_target_is_checked_too() -> None:
    def resize(size: int) -> int:
        return size

    with pytest.raises(UsageError, match="size is 'big'"):
        parse("resize:big").bind(resize)
    assert parse("resize(size=3)").bind(resize) == 3


def test_what_cannot_be_asked_is_not_judged() -> None:
    """Classes, partial functions, names that only a type checker imports: the call itself decides."""

    def unknown(*, a: Nowhere = 1, **more: int) -> object:  # type: ignore[name-defined]  # noqa: F821
        return a, more

    assert parse("f(a='x', b='y')").bind(unknown) == ("x", {"b": "y"})
    assert parse("f(name='a')").bind(Spec).name == "a"
    assert parse("f(n='x')").bind(partial(lambda **given: given, m=1)) == {"m": 1, "n": "x"}


def test_every_plugin_can_be_asked() -> None:
    for kind in registry.KINDS:
        for name in registry.names(kind):
            assert "return" in get_type_hints(registry.find(kind, name)), f"{kind} {name}"
