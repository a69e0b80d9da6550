"""The command line: the verbs of api.py, with the fields of a recipe as flags. Nothing heavy is imported before a verb
runs, so that `graft --help` answers at once.

Talk goes to standard error, data to standard output. Exit codes are those of errors.py.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import MISSING, fields
from types import FrameType
from typing import Annotated, Any, get_type_hints

import typer

from graft import registry
from graft.console import Console, safe
from graft.errors import GraftError, Interrupted, ResourceError
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
Run = Annotated[str, typer.Argument(help="a folder that `graft fit` made")]
Data = Annotated[str, typer.Argument(help="a folder, a file, a .csv or .jsonl, or a data set by name")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
TextColumn = Annotated[str | None, typer.Option("--text", help="the column of a table that holds the texts")]
LabelColumn = Annotated[str | None, typer.Option("--label", help="the column of a table that holds the labels")]
Language = Annotated[str, typer.Option(help="of the report: en or zh")]
PairColumn = Annotated[str | None, typer.Option("--pair", help="the column of the second texts, if there are pairs")]


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
    _done(result, console, as_json)


Backbones = Annotated[
    list[str] | None, typer.Option("--backbone", "--backbones", help="a trunk; may be given several times")
]


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
    _table(result, tables.ranking(result["trunks"]), as_json)


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
    _table(result, tables.comparison(result["ways"]), as_json)


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
    """Train a trunk by the same loop: on images from random weights, which writes trunk.safetensors and its card; on
    texts by guessing hidden words, for trained:<its folder>."""
    from graft import api

    console = Console(quiet=quiet)
    options |= {"text": text, "label": label, "pair": pair}
    result = api.pretrain(data, out=out, resume=resume, console=console, **options)
    _done(result, console, as_json)


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
    """What is wrong with the data: unreadable files, copies, leaks, wrong labels, shortcuts; before anything is trained.
    Your files are never written."""
    from graft import api, checking

    console = Console(quiet=quiet)
    columns: Options = {"text": text, "label": label, "pair": pair}
    split: Options = {"test": test, "valid": valid, "sealed": sealed}
    result = api.check(data, backbone=backbone, seed=seed, fix=fix, console=console, **columns, **split)
    _table(result, checking.table(result), as_json)


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

        _table(result, groups.table(result["groups"]), as_json)
    elif as_json:
        emit(result)


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
    _done(result, console, as_json)


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
    _done(result, console, as_json)


@app.command()
def report(
    run: Run,
    language: Language = "en",
    price: Annotated[float | None, typer.Option(help="of an hour of this machine, in your currency")] = None,
    watts: Annotated[float | None, typer.Option(help="that this machine draws; an estimate if not given")] = None,
    out: Annotated[
        str | None, typer.Option(help="the file to write; report.html in the run folder if not given")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's report anew: one self-contained page, in English or Chinese."""
    from graft import api

    result = api.report(run, language=language, price=price, watts=watts, out=out)
    Console(quiet=quiet).say(f"report        {result['report']}")
    _done(result, Console(quiet=quiet), as_json)


@app.command()
def push(
    run: Run,
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
    _done(result, console, as_json)


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


def _line(row: dict[str, Any]) -> str:
    """path, label ("?" where it abstains), probability; then the set and "unlike", where the run knows them."""
    if "error" in row:
        return f"{safe(row['path'])}\t\t\t{safe(row['error'])}"
    label = "?" if row.get("abstained") else _label(row["label"])
    sure = [" | ".join(row["set"]), "unlike the training data" * row["unlike"]] if "set" in row else []
    return "\t".join([safe(row["path"]), safe(label), _probability(row), *map(safe, sure)]).rstrip("\t")


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


def _table(result: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """The table is what the verb is asked for, so it goes to standard output; or the JSON object does."""
    if as_json:
        emit(result)
    for line in lines if not as_json else ():
        typer.echo(safe(line))


def _done(result: dict[str, Any], console: Console, as_json: bool) -> None:
    if result.get("already_done"):
        console.say(f"{result['run']} is already done; nothing was changed")
    if as_json:
        emit(result)


def _stop(number: int, frame: FrameType | None) -> None:
    """Ctrl-C or SIGTERM outside training, which has its own way to stop."""
    raise Interrupted(number, "interrupted", "run the same command again; what was kept in the cache is used")


def _unexpected(error: Exception) -> int:
    """What no error of ours describes: memory is said as such, the rest is our own bug."""
    if os.environ.get("GRAFT_DEBUG"):
        traceback.print_exc()
    no_room = isinstance(error, RuntimeError) and "not enough memory" in str(error)  # as PyTorch says it on a CPU
    if no_room or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        hint = "a smaller --batch-size, a smaller backbone, or GRAFT_MEMORY=1 to keep less"
        Console().error(ResourceError(f"out of memory: {error}", hint))
        return ResourceError.exit_code
    what = f"a bug of Graft: {type(error).__name__}: {error}"
    Console().error(GraftError(what, "GRAFT_DEBUG=1 shows where; please report it"))
    return GraftError.exit_code


def main() -> None:
    """Run a verb; every refusal is a sentence and an exit code, and a traceback only with GRAFT_DEBUG=1."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin cost ten times the time beside another job
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        app(standalone_mode=True)
    except GraftError as error:
        Console().error(error)
        if os.environ.get("GRAFT_DEBUG"):
            traceback.print_exc()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        sys.exit(_unexpected(error))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
