"""The commands that ask a finished run: predict, evaluate, explain."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from graft.commands._flags import (
    AsJson,
    Data,
    Device,
    LabelColumn,
    Options,
    PairColumn,
    Quiet,
    Run,
    TextColumn,
    app,
    done,
    emit,
    table,
)
from graft.console import Console, safe


@app.command()
def predict(
    run: Run,
    data: Data,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    abstain_below: Annotated[
        float | None, typer.Option(help="say nothing where the label is less probable than this, such as 0.8")
    ] = None,
    coverage: Annotated[float, typer.Option(help="share of the sets of classes that hold the right one")] = 0.9,
    sets: Annotated[str, typer.Option(help="how sets are made: lac, aps, or class (each class by itself)")] = "lac",
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Labels with honest probabilities for new files, the set of classes that covers the truth, and whether a file is
    unlike the training data; what cannot be read is listed, never guessed."""
    from graft import api

    columns: Options = {"text": text, "label": label, "pair": pair}
    sure: Options = {"coverage": coverage, "sets": sets, "abstain_below": abstain_below}
    rows, issues = api.predict(run, data, device=device, **columns, **sure)
    for row in rows:
        emit(row) if as_json else typer.echo(_line(row))
    Console().issues(issues, everything=True)


@app.command()
def evaluate(
    run: Run,
    data: Data,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    by: Annotated[str | None, typer.Option(help="figures by group, too: a column such as speaker, or group")] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(help="fit the run's recipe anew to all groups of this column but one, and score it on that one"),
    ] = None,
    unlike: Annotated[
        str | None, typer.Option(help="data of none of the classes: how well the run tells that they are strange")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    device: Device = "auto",
) -> None:
    """Figures with 95 % intervals of a run on other labelled data; of groups, such as speakers, with the worst one."""
    from graft import api

    console = Console(quiet=quiet)
    columns = {"text": text, "label": label, "pair": pair}
    result = api.evaluate(
        run, data, by=by, leave_out=leave_out, unlike=unlike, device=device, console=console, **columns
    )
    console.evaluated(result)
    if "groups" in result:
        from graft import groups

        table(result, groups.table(result["groups"]), as_json)
    elif as_json:
        emit(result)


@app.command()
def explain(
    run: Run,
    file: Annotated[str, typer.Argument(help="an image, a sound, a text file, or the text itself")],
    method: Annotated[str, typer.Option(help="auto, or one of: graft list explainer")] = "auto",
    target: Annotated[
        str | None, typer.Option(help="the class to be explained; the predicted one if not given")
    ] = None,
    out: Annotated[str | None, typer.Option(help="the picture to write, a .png")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    device: Device = "auto",
) -> None:
    """Why a run says what it says of one file, as a picture: what speaks for the class, and the training samples that
    are most like it."""
    from graft import api

    console = Console(quiet=quiet)
    result = api.explain(run, file, method=method, target=target, out=out, device=device, console=console)
    done(result, console, as_json)


def _line(row: dict[str, Any]) -> str:
    """path, label ("?" where it abstains), probability; then the set and "unlike", where the run knows them."""
    if "error" in row:
        return f"{safe(row['path'])}\t\t\t{safe(row['error'])}"
    label = "?" if row.get("abstained") else _label(row["label"])
    sure = [" | ".join(row["set"]), "unlike the training data" * row["unlike"]] if "set" in row else []
    return "\t".join([safe(row["path"]), safe(label), _probability(row), *map(safe, sure)])


def _label(label: Any) -> str:
    """A class, a number, several labels, or the entities of a text."""
    if isinstance(label, float):
        return f"{label:g}"
    if not isinstance(label, list | tuple):
        return str(label)
    entities = [f"{one['entity']}: {one['text']}" for one in label if isinstance(one, dict)]
    return "; ".join(entities) if entities else ", ".join(map(str, label))


def _probability(row: dict[str, Any]) -> str:
    """Of several labels in their order; nothing where there is none, as of a number."""
    found = row.get("probability")
    if isinstance(found, dict):
        return ", ".join(f"{found[name]:.4f}" for name in row["label"])
    return "" if found is None else f"{found:.4f}"
