"""The commands that help to choose before anything is trained: check, rank, compare, list."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from graft import registry
from graft.commands._flags import (
    AsJson,
    Backbones,
    Data,
    LabelColumn,
    Options,
    PairColumn,
    Quiet,
    TextColumn,
    app,
    emit,
    table,
    with_recipe,
)
from graft.console import Console


@app.command()
def check(
    data: Data,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    backbone: Annotated[str, typer.Option(help="the trunk whose features are looked at; auto: Graft's own")] = "auto",
    seed: Annotated[int, typer.Option(help="of the split that `fit` would make")] = 0,
    test: Annotated[float, typer.Option(help="share of the test part, where the data have none")] = 0.15,
    valid: Annotated[float, typer.Option(help="share of the validation part, where the data have none")] = 0.15,
    sealed: Annotated[str | None, typer.Option(help="the given part that is the test, if it is not called so")] = None,
    fix: Annotated[
        str | None, typer.Option(help="a new folder for a cleaned copy, or a .csv for a list of what to change")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What is wrong with the data before anything is trained: unreadable files, copies, leaks, wrong labels, shortcuts.
    Your files are never written. The exit code is 3 where `fit` would refuse the data."""
    from graft import api, checking

    console = Console(quiet=quiet)
    columns: Options = {"text": text, "label": label, "pair": pair}
    split: Options = {"test": test, "valid": valid, "sealed": sealed}
    result = api.check(data, backbone=backbone, seed=seed, fix=fix, console=console, **columns, **split)
    table(result, checking.table(result), as_json)
    if any(issue["severity"] == "error" for issue in result["issues"]):
        raise typer.Exit(3)


@app.command()
def rank(
    data: Data,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    backbones: Backbones = None,
    seed: Annotated[int, typer.Option(help="of the split: the test part that `fit` would seal is left out")] = 0,
    test: Annotated[float, typer.Option(help="share that is left out, where the data have no test part")] = 0.15,
    sealed: Annotated[str | None, typer.Option(help="the given part to leave out, if it is not called test")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """How well pretrained trunks suit the data, before anything is trained; all bundled ones for images, and
    minilm for texts, if none is named."""
    from graft import api, tables

    console = Console(quiet=quiet)
    trunks = backbones or ()
    result = api.rank(
        data, text=text, label=label, pair=pair, backbones=trunks, console=console, seed=seed, test=test, sealed=sealed
    )
    table(result, tables.ranking(result["trunks"]), as_json)


@app.command()
@with_recipe
def compare(
    data: Data,
    strategy: Annotated[list[str], typer.Option(help="a strategy or a probe; may be given several times")],
    backbone: Backbones = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Strategies side by side on the same folds, with paired differences; the sealed test part stays closed."""
    from graft import api, tables

    console = Console(quiet=quiet)
    options |= {"text": text, "label": label, "pair": pair}
    result = api.compare(data, strategies=strategy, backbones=backbone or (), console=console, **options)
    table(result, tables.comparison(result["ways"]), as_json)


@app.command("list")
def list_plugins(
    kind: Annotated[
        str,
        typer.Argument(
            help="backbone, reader, task, strategy, term, probe, ranker, engine, adaptation, check, explainer"
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """What can be named: backbones, readers, tasks, strategies, terms, probes, rankers, engines, adaptations, checks,
    explainers."""
    from graft.errors import UsageError, did_you_mean

    if kind and kind not in registry.KINDS:
        raise UsageError(f"there is no kind of plugin called '{kind}'", did_you_mean(kind, registry.KINDS))
    found = {k: registry.names(k) for k in ([kind] if kind else registry.KINDS)}
    if as_json:
        emit(found)
        return
    for one, plugins in found.items():
        for name, words in plugins.items():
            typer.echo(f"{one:<10} {name:<16} {words}")
