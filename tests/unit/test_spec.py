"""One grammar both ways: what is printed can be read back, and what cannot be read says where."""

from __future__ import annotations

import keyword
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
