"""`graft explain`: why a run says what it says of a sample; and the short form of it for the report.

How is the business of the explainers (explainers/). Here the sample is opened, the class found, the nearest training
samples looked up where they still lie, and a picture made of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from graft import build, registry, run, trust
from graft.alike import Known, Near, known_to
from graft.console import Console
from graft.data import _text
from graft.data._audit import audit
from graft.data._files import is_image, is_sound
from graft.data._sniff import exists, without_options
from graft.device import pick
from graft.engine import Engine
from graft.errors import DataError, MissingExtra, UsageError, did_you_mean
from graft.explainers._asked import KINDS, Answer, Question
from graft.explainers._place import PICTURE
from graft.features import Feed
from graft.intake import for_prediction
from graft.recipe import AUTO
from graft.scoring import predict
from graft.spec import parse
from graft.store import place, read_json, replacing
from graft.types import Dataset, Json, Model, Predictions, Sample, Task, Text

ORDER = {"image": ("gradcam", "occlusion"), "text": ("integrated_gradients", "occlusion"),
         "audio": ("integrated_gradients", "occlusion")}  # fmt: skip
NOUNS = {"image": "an image", "text": "a text", "audio": "a sound"}
NEAREST = 5  # training samples that are shown
NAME = 40  # characters of a text that its picture is named by
_PATH = re.compile(r"\S+\.(txt|md|csv|tsv|json|jsonl|html?)|[~.]{0,2}/\S+", re.IGNORECASE)


def explain(folder: Path, file: str, *, method: str, target: str | None, out: str | None, device: str,
            console: Console) -> Json:  # fmt: skip
    """{"run", "file", "label", "probability", "target", "target_probability", "method", "picture": path, "regions" or
    "words": the strongest, "scale": what a weight of 1 is worth, "alike": nearest training samples, "notes"}. Weights
    are in -1..1. A region has a "box" (left, top, right, bottom) in pixels of the upright picture, or of a sound
    "seconds" and "hertz".

    Raises UsageError, DataError, MissingExtra.
    """
    from graft.explainers._strongest import strongest

    loaded = run.load(folder)
    ways = _ways(method, loaded)
    chosen = None if target is None else _class(target, loaded.classes)
    data = Path(without_options(loaded.recipe.data)).expanduser()
    picture = None if out is None else place(Path(out), data, PICTURE)
    dataset = _opened(file, loaded)
    said, feed = _said(loaded, dataset, device)
    index = int(said.values[0].argmax()) if chosen is None else chosen
    question = Question(loaded.model, loaded.task, dataset.load(dataset.samples[0]), index, feed.needs)
    by_likeness = parse(ways[0]).name == "neighbours"  # what is refused is refused before minutes of features
    known = known_to(loaded, feed, dataset.samples[0].digest) if by_likeness else None
    used, answer = _answered(replace(question, known=known.features if known else None), ways)
    known = known or known_to(loaded, feed, dataset.samples[0].digest)
    picture = picture or place(Path(f"{_stem(file)}-{parse(used).name}.png"), data, PICTURE)
    near = _near(replace(question, known=known.features), known, answer)
    result = {"run": str(folder), "file": file, **_labelled(loaded.task, said, dataset),
              "target": loaded.classes[index], "target_probability": float(said.values[0, index]), "method": used,
              "picture": str(picture), **strongest(question, answer),
              "alike": [{"key": one.sample.key, "label": one.sample.label, "similarity": round(one.cosine, 4)}
                        for one in near], "notes": [known.note] if known.note else []}  # fmt: skip
    _draw(picture, question, answer, result, near, known)
    _tell(console, result)
    return result


def brief(
    model: Model, task: Task, feed: Feed, rows: Sequence[int], targets: Sequence[int], seconds: float
) -> list[Json]:
    """For the report, as many as fit into `seconds`: by occlusion, of what speaks for class `targets[i]` in row
    `rows[i]`: reporting/_shape.py's Why of each."""
    from graft.explainers._sheet import pieces, small

    if task.kind not in KINDS or task.needs != "pooled":
        return []
    made: list[Json] = []
    model, began, longest = model.eval(), time.monotonic(), 0.0
    for row, target in zip(rows, targets, strict=True):
        start = time.monotonic()
        if start - began + longest >= seconds:
            break
        question = Question(model, task, feed.dataset.load(feed.dataset.samples[row]), target, feed.needs)
        answer: Answer = registry.find("explainer", "occlusion")(question, cells=7)
        words = [(word, round(weight or 0.0, 3)) for word, weight in pieces(question.raw, answer.words)] \
            if question.modality == "text" else None  # fmt: skip
        made.append({"method": "occlusion", "picture": None if words else small(question, answer), "words": words})
        longest = max(longest, time.monotonic() - start)
    return made


# --------------------------------------------------------------------------------------------------- what is asked


def _ways(method: str, loaded: run.Loaded) -> tuple[str, ...]:
    """Explainers to be tried, the best first. Raises UsageError for one that does not exist, and for runs whose labels
    are no classes."""
    task = loaded.task
    if task.kind not in KINDS or task.needs != "pooled":
        name = parse(loaded.recipe.task).name
        what = f"only classes of whole samples are explained, and {loaded.folder} is for {name}"
        raise UsageError(what, f"graft predict {loaded.folder} DATA says what it says")
    if method == AUTO:
        return ORDER[loaded.model.backbone.info.modality]
    asked = parse(method)
    asked.check(registry.find("explainer", asked.name), None)
    return (method,)


def _class(target: str, classes: tuple[str, ...]) -> int:
    if target not in classes:
        raise UsageError(f"the run knows no class '{target}'", did_you_mean(target, classes))
    return classes.index(target)


def _opened(file: str, loaded: run.Loaded) -> Dataset:
    """The one sample. Raises UsageError for what the run is not for, DataError for what is missing or unreadable."""
    modality = loaded.model.backbone.info.modality
    if not file.strip():
        raise DataError("the text is empty", "give a text, or a file")
    kind = "image" if is_image(file) else "audio" if is_sound(file) else "text"
    there = exists(file)
    if there and Path(file).expanduser().is_dir():
        raise UsageError(f"{file} is a folder, and one sample is explained at a time", "name a file in it")
    if kind != modality and (there or kind != "text" or not _PATH.fullmatch(file)):
        what = f"{loaded.folder} is for {modality}, and {file[:NAME]!r} is {NOUNS[kind]}"
        raise UsageError(what, f"give {NOUNS[modality]}, such as one of those that it was trained on")
    return for_prediction(file, loaded) if modality != "text" else audit(_one_text(file, there, loaded))


def _one_text(file: str, there: bool, loaded: run.Loaded) -> Dataset:
    """The text of a file, or the text itself; a tab stands between two that belong together."""
    if not there and _PATH.fullmatch(file):
        raise DataError(f"there is no file '{file}'", f"see what is there: ls {Path(file).parent}")
    found = _text.read_text(Path(file).expanduser(), []).strip() if there else file
    first, tab, second = found.partition("\t")
    paired = tab and read_json(loaded.folder / "data.json").get("pairs")
    text = Text(first, second) if paired else Text(found)
    return _text.dataset("text", [Sample(Path(file).name if there else "text", text)], [], Path("."), "none")


def _said(loaded: run.Loaded, dataset: Dataset, device: str) -> tuple[Predictions, Feed]:
    """The run's probabilities, calibrated where it has learned how, as `graft predict` gives them."""
    where = pick(device)
    model, engine = loaded.model.to(where).eval(), Engine.of(replace(loaded.recipe, device=str(where)))
    needs = build.needs(loaded.recipe, loaded.task)
    feed = Feed(dataset, model.backbone, device=where, needs=needs, targets=(), engine=engine, keep=False)
    said, sure = predict(model, loaded.task, feed, len(model.backbone.stages)), trust.read(loaded.folder)
    return sure.calibrated(said) if sure and loaded.task.kind == "class" else said, feed


def _labelled(task: Task, said: Predictions, dataset: Dataset) -> Json:
    row = task.rows(said, dataset)[0]
    return {"label": row["label"], "probability": row["probability"]}


def _answered(question: Question, ways: Sequence[str]) -> tuple[str, Answer]:
    """By the first way that the model allows; what was asked for by name must."""
    for way in ways:
        asked = parse(way)
        try:
            return way, asked.bind(registry.find("explainer", asked.name), question)
        except (UsageError, MissingExtra):
            if way == ways[-1]:
                raise
    raise AssertionError("one way at least")


# ----------------------------------------------------------------------------------------------------- what is written


def _near(question: Question, known: Known, answer: Answer) -> list[Near]:
    if known.dataset is None:
        return []
    found = answer if answer.near else registry.find("explainer", "neighbours")(question, k=NEAREST)
    return [Near(known.dataset.samples[row], cosine) for row, cosine in found.near]


def _stem(file: str) -> str:
    """What a picture is called: after its file, or after the first words of a text."""
    stem = Path(file).stem if exists(file) else re.sub(r"[^\w-]+", "-", file)
    return stem[:NAME].strip("-.") or "text"


def _draw(path: Path, question: Question, answer: Answer, result: Json, near: Sequence[Near], known: Known) -> None:
    from graft.explainers._draw import write
    from graft.explainers._sheet import sheet, tile

    tiles = [tile(question, known.dataset.load(one.sample), str(one.sample.label), one.cosine)
             for one in near[:NEAREST] if known.dataset is not None]  # fmt: skip
    with replacing(path) as temporary:
        write(temporary, sheet(question, answer, result, tiles, known.note))


def _tell(console: Console, result: Json) -> None:
    probability = f" {result['probability']:.4f}" if isinstance(result["probability"], float) else ""
    console.row("says", f"{result['label']}{probability}")
    words = ", ".join(f"{one['word']} {one['weight']:+.2f}" for one in result.get("words", [])[:5])
    scale = result.get("scale")
    unit = f" (1 is {scale['worth']:.2g} in {scale['unit']})" if scale else ""
    console.row("why", f"{result['target']}, by {result['method']}{unit}{': ' * bool(words)}{words}")
    for one in result["alike"]:
        console.row("like", f"{one['label']} {one['similarity']:.2f}  {one['key']}")
    for note in result["notes"]:
        console.row("note", note)
    console.row("picture", result["picture"])
