"""The commands that show a finished run to others: report, push."""

from __future__ import annotations

from typing import Annotated

import typer

from graft.commands._flags import AsJson, Language, Quiet, app, done
from graft.console import Console

Own = Annotated[str, typer.Argument(help="a folder that `graft fit` made")]


@app.command()
def report(
    run: Own,
    language: Language = "en",
    price: Annotated[float | None, typer.Option(help="of an hour of this machine, in your currency")] = None,
    watts: Annotated[float | None, typer.Option(help="that this machine draws; an estimate if not given")] = None,
    out: Annotated[
        str | None, typer.Option(help="the file to write; report.html in the run folder if not given")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's report anew: one self-contained page, in English or Chinese; and its model card if it has none."""
    from graft import api

    console = Console(quiet=quiet)
    result = api.report(run, language=language, price=price, watts=watts, out=out)
    console.say(f"report        {result['report']}")
    if "card" in result:
        console.say(f"model card    {result['card']}")
    done(result, console, as_json)


@app.command()
def push(
    run: Own,
    name: Annotated[str, typer.Argument(help="user/name on the Hugging Face Hub")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list the files")] = False,
    private: Annotated[bool, typer.Option("--private", help="a repository that only you see")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Upload a run to the Hugging Face Hub, data only, with its card; `hub:user/name` then stands for the run."""
    from graft import api, hub

    console = Console(quiet=quiet)
    result = api.push(run, name, dry_run=dry_run, private=private)
    for line in hub.told(result):
        console.say(line)
    done(result, console, as_json)
