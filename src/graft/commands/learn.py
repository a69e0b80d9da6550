"""The commands that train: fit, pretrain, adapt."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from graft.commands._flags import (
    AsJson,
    Data,
    Device,
    LabelColumn,
    Language,
    Out,
    PairColumn,
    Quiet,
    Resume,
    Run,
    TextColumn,
    app,
    done,
    with_recipe,
)
from graft.console import Console


@app.command()
@with_recipe
def fit(
    data: Annotated[str | None, typer.Argument(help="a folder, a .csv or .jsonl file, or a data set by name")] = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    recipe: Annotated[str | None, typer.Option(help="a recipe.json to repeat; flags change its values")] = None,
    out: Out = None,
    resume: Resume = False,
    language: Language = "en",
    report: Annotated[bool, typer.Option(help="write report.html and the model card")] = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Adapt a pretrained model to labelled data, and measure what it came to."""
    from graft import api

    console = Console(quiet=quiet)
    options |= {"text": text, "label": label, "pair": pair, "report": report, "language": language}
    result = api.fit(data, recipe=recipe, out=out, resume=resume, console=console, **options)
    done(result, console, as_json)


@app.command()
@with_recipe
def pretrain(
    data: Data,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    out: Out = None,
    resume: Resume = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Train a trunk by the same loop, from random weights or from those of --backbone: by labels, or without any
    (--task simclr, vicreg, byol, rotation, jigsaw, masked_autoencoder; texts mlm; sounds masked_spectrogram)."""
    from graft import api, planning

    console = Console(quiet=quiet)
    options |= {"text": text, "label": label, "pair": pair}
    result = api.pretrain(data, out=out, resume=resume, console=console, **options)
    for i, line in enumerate(planning.worth(result)):
        console.row("" if i else "next", line, "")
    done(result, console, as_json)


@app.command()
def adapt(
    run: Run,
    data: Data,
    method: Annotated[str, typer.Option(help="adabn needs no labels; tune, refit: graft list adaptation")] = "adabn",
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    device: Device = "auto",
) -> None:
    """Adapt a finished run to another domain, such as a new speaker or camera, and measure whether it helps; what comes
    of it is a run of its own."""
    from graft import api

    console = Console(quiet=quiet)
    columns = {"text": text, "label": label, "pair": pair}
    result = api.adapt(run, data, method=method, out=out, device=device, console=console, **columns)
    done(result, console, as_json)
