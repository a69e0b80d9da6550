"""What the commands share: the app, the flags that several have, a flag for each field of a recipe, and how results are
printed."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_type_hints

import typer

from graft import registry
from graft.console import Console, safe
from graft.recipe import Recipe

Options = dict[str, Any]

app = typer.Typer(
    name="graft",
    help="Transfer learning with proof: from labelled examples to the best model that pretrained knowledge can give.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[str | None, typer.Option(help="the run folder; the next free runs/<data>-<n> if not given")]
Resume = Annotated[bool, typer.Option("--resume", help="go on with the run in --out, or start it")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object on standard output (predict: one for each line)")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="say nothing but errors")]
Run = Annotated[str, typer.Argument(help="a folder that `graft fit` made, or hub:user/name")]
Data = Annotated[str, typer.Argument(help="a folder, a file, a .csv or .jsonl, or a data set by name")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
Language = Annotated[str, typer.Option(help="of the report: en or zh")]
TextColumn = Annotated[str | None, typer.Option("--text", help="the column of a table that holds the texts")]
LabelColumn = Annotated[str | None, typer.Option("--label", help="the column of a table that holds the labels")]
PairColumn = Annotated[str | None, typer.Option("--pair", help="the column of the second texts, if there are pairs")]
Backbones = Annotated[
    list[str] | None, typer.Option("--backbone", "--backbones", help="a trunk; may be given several times")
]


def with_recipe(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb one flag for each field of a recipe; those that were not said arrive as None."""
    hints = get_type_hints(Recipe)
    own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    flags = []
    for one in fields(Recipe):
        if one.default is MISSING or one.name in {p.name for p in own}:
            continue
        kind: Any = list[str] if one.name in ("terms", "backbone") else hints[one.name]
        words = f"{one.metadata['help']} [default: {one.default if one.default not in (None, ()) else 'none'}]"
        known = _completion(one.name) if one.name in registry.KINDS else None
        flag: Any = Annotated[kind | None, typer.Option(help=words, show_default=False, autocompletion=known)]
        flags.append(inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flag))

    def wrapped(**given: Any) -> None:
        if "backbone" not in {p.name for p in own}:
            given["backbone"] = " + ".join(given["backbone"] or ()) or None  # several, for auto to choose from
        verb(**given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapped.__signature__ = inspect.Signature([*parameters, *flags])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in (*parameters, *flags)}
    wrapped.__name__, wrapped.__doc__ = verb.__name__, verb.__doc__
    return wrapped


def _completion(kind: str) -> Callable[[str], list[str]]:
    """What the shell offers after --strategy, --backbone, --task."""
    return lambda incomplete: [name for name in registry.names(kind) if name.startswith(incomplete)]


def emit(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(result: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """The table is what the verb is asked for, so it goes to standard output; or the JSON object does."""
    if as_json:
        emit(result)
    for line in lines if not as_json else ():
        typer.echo(safe(line))


def done(result: dict[str, Any], console: Console, as_json: bool) -> None:
    if result.get("already_done"):
        made = result.get("made")
        changed = f"{' and '.join(made)} had been missing" if made else "nothing was changed"
        console.say(f"{result['run']} is already done; {changed}")
    if as_json:
        emit(result)
