"""One grammar for the command line, the recipe, the log and the record: `name:argument(key=literal, ...)`.

    linear_probe
    lp_ft(epochs=5, lr=1e-3)
    torchvision:resnet50
    local:weights/net.safetensors(arch='resnet18')

Values are Python literals and nothing else, so a spec can be stored, compared and read back without running code.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from graft.errors import UsageError, did_you_mean

_FORM = re.compile(r"(?P<name>[A-Za-z_][\w-]*)(?::(?P<target>[^()]+|.*?))?(?P<call>\(.*\))?\s*", re.DOTALL)
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
_LISTED = {str: "texts", int: "whole numbers", float: "numbers", bool: "True and False"}


@dataclass(frozen=True)
class Spec:
    """A plugin's name, what it points at (a model id, a file), and its keyword arguments."""

    name: str
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        head = self.name if self.target is None else f"{self.name}:{self.target}"
        inside = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{head}({inside})" if inside else head

    def with_options(self, **more: Any) -> Spec:
        return Spec(self.name, self.target, {**self.options, **more})

    def bind(self, function: Callable[..., Any], *leading: Any) -> Any:
        """Call `function(*leading[, target], **options)`; a wrong name or type is a UsageError with the right one."""
        return function(*self.check(function, *leading), **self.options)

    def check(self, function: Callable[..., Any], *leading: Any) -> tuple[Any, ...]:
        """The positional arguments of `bind`, which this does without the call: raises what it would raise."""
        arguments = leading if self.target is None else (*leading, self.target)
        try:
            bound = inspect.signature(function).bind(*arguments, **self.options).arguments
        except TypeError as error:
            raise UsageError(f"{self}: {error}", _options_hint(self, function, len(leading))) from None
        for key, kind in _hints(function, len(leading)).items():
            if key in bound and not fits(bound[key], kind):
                hint = f"{key} takes {in_words(kind)}{_example(function, key)}"
                raise UsageError(f"{self}: {key} is {bound[key]!r}, which is not what it takes", hint)
        return arguments


def parse(text: str) -> Spec:
    """Read a spec; raises UsageError with the place of the mistake."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"cannot read '{text}'", "write it as name, name:target or name(key=value, ...)")
    options = _literals(match["call"] or "()", text)
    return Spec(match["name"].replace("-", "_"), match["target"], options)


def _literals(call: str, text: str) -> dict[str, Any]:
    try:
        node = ast.parse(f"f{call}", mode="eval").body
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("arguments need names: key=value")
        if len({keyword.arg for keyword in node.keywords}) < len(node.keywords):
            raise ValueError("an argument is named twice")
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (SyntaxError, ValueError, AssertionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        hint = "values are literals: numbers, True, 'text in quotes', (1, 2)"
        raise UsageError(f"cannot read '{text}': {reason}", hint) from None


def fits(value: object, kind: Any) -> bool:
    """Whether a literal has the type of an annotation; what is not a literal's type is not judged, and fits.

    An integer may stand for a float, a list for a tuple, True for neither.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        kinds = inner[:1] * len(value) if inner[-1:] == (...,) else inner
        return len(value) == len(kinds) and all(map(fits, value, kinds))
    if kind is float:
        return type(value) in (int, float)
    return kind not in _WORDS or type(value) is kind


def in_words(kind: Any, none: str = "None") -> str:
    """An annotation as a hint says it: `float | None` is "a number or None"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(in_words(one, none) for one in inner)
    if origin is tuple:
        count = "" if inner[-1:] == (...,) else f"{len(inner)} "
        return f"a list of {count}{_LISTED.get(inner[0], 'values') if inner else 'nothing'}"
    return none if kind is NoneType else _WORDS.get(kind, "another value")


def _hints(function: Callable[..., Any], skip: int) -> dict[str, Any]:
    """The annotations of the named parameters after the first `skip`; {} for what cannot be asked, such as classes."""
    if not inspect.isroutine(function):
        return {}
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError):  # names that only a type checker imports
        return {}
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    named = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {name: hints[name] for name in named if name in hints}


def _example(function: Callable[..., Any], key: str) -> str:
    """How a list is written, which the words do not say: the default."""
    default = inspect.signature(function).parameters[key].default
    return f", such as {key}={default!r}" if isinstance(default, tuple) else ""


def _options_hint(spec: Spec, function: Callable[..., Any], skip: int) -> str:
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    names = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    unknown = [key for key in spec.options if key not in names]
    if unknown and names:
        return did_you_mean(unknown[0], names)
    return f"{spec.name}({', '.join(str(p) for p in parameters)})"
