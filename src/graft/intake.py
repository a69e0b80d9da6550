"""The data as every verb sees them: read, audited, split, measured against what a trunk can read, and for a run that is
asked about them in the form that it has learned from."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from graft import build, registry, run, seen, transcripts, zoo
from graft.backbones._heard import as_heard
from graft.backbones._sounds import Sounds
from graft.backbones._tokens import Tokens
from graft.backbones._words import Words
from graft.console import Console
from graft.data._audit import audit, require_classes
from graft.data._sniff import open_data, options_of, reader_of, with_columns
from graft.data._split import split
from graft.errors import DataError, did_you_mean
from graft.recipe import AUTO, Recipe
from graft.spec import parse
from graft.store import read_json
from graft.types import Backbone, Dataset, Issue, Raw, Sample, Text

SOME = 512  # texts that are held at once
OF_LABELS = (  # findings that say nothing of samples alone
    *("no-label-column", "no-labels", "missing-transcript", "bad-label", "padded-label", "number-label"),
    *("similar-classes", "class-not-in-train", "class-not-in-split"),
)


def read(recipe: Recipe, console: Console) -> Dataset:
    """Read, audited, split with the recipe's seed, and checked. Raises DataError for what cannot be learned from."""
    from graft.checking import quick  # which reads its data here

    dataset = audited(recipe, console)
    require_classes(dataset, labelled=not build.without_labels(recipe))
    console.found(dataset)
    dataset = divided(dataset, recipe)
    dataset = dataset.replace(issues=(*dataset.issues, *quick(dataset), *seen.by_trunks(recipe, dataset)))
    console.split_into(dataset)
    console.issues(dataset.issues)
    return dataset


def audited(recipe: Recipe, console: Console) -> Dataset:
    """Every sample that can be read, of a task without labels without them."""
    opened = open_data(recipe.data)
    opened = _corpus(opened) if build.without_labels(recipe) else opened
    with console.phase("reading", len(opened), "samples") as bar:
        return audit(opened, progress=lambda done, total: bar(done))


def divided(dataset: Dataset, recipe: Recipe) -> Dataset:
    """Split as the recipe says. Raises DataError where a part would be empty."""
    share = 0.0 if recipe.strategy == AUTO else recipe.valid  # auto makes its own folds of all that is not sealed
    dataset = split(dataset, valid=share, test=recipe.test, seed=recipe.seed, sealed=recipe.sealed)
    if dataset.kind == "transcript":
        dataset = transcripts.with_symbols(dataset, **transcripts.options(parse(recipe.task).options))
    return dataset


def _corpus(dataset: Dataset) -> Dataset:
    """Any samples without their labels."""
    samples = tuple(replace(sample, label=None) for sample in dataset.samples)
    issues = tuple(issue for issue in dataset.issues if issue.code not in OF_LABELS)
    return dataset.replace(samples=samples, classes=(), kind="none", issues=issues)


def pool_of(recipe: Recipe, console: Console) -> Dataset:
    """All labelled samples but the sealed test part."""
    return read(recipe, console).where(lambda sample: sample.split != "test")


def joined(dataset: Dataset) -> Dataset:
    """Nothing is left to be chosen by a validation part: it is trained on."""
    samples = tuple(replace(s, split="train") if s.split == "valid" else s for s in dataset.samples)
    return dataset.replace(samples=samples)


def as_read(dataset: Dataset, backbone: Backbone, case: str = "keep") -> list[Issue]:
    """What a trunk leaves out of samples that are longer than it takes, and what it makes of their rate, counted; of
    transcripts, written in `case`, those that are longer than their sound."""
    preprocess = backbone.preprocess
    if isinstance(preprocess, Sounds):
        return as_heard(dataset, preprocess, case)
    return _cut_short(dataset, backbone, preprocess) if isinstance(preprocess, Tokens | Words) else []


def _cut_short(dataset: Dataset, backbone: Backbone, preprocess: Tokens | Words) -> list[Issue]:
    lost = _lost(dataset, preprocess)
    keys = tuple(sorted((key for key, count in lost.items() if count), key=lambda key: -lost[key]))
    if not keys:
        return []
    what = (f"{len(keys):,} of {len(lost):,} texts are longer than the {preprocess.length} tokens that are read: "
            f"{sum(lost.values()):,} tokens are cut, at most {lost[keys[0]]:,} of one text")  # fmt: skip
    return [Issue("cut-texts", "warning", what, keys, _uncut(backbone))]


def _lost(dataset: Dataset, preprocess: Tokens | Words) -> dict[str, int]:
    """{key: tokens that are not read} of every text."""
    lost: dict[str, int] = {}
    for start in range(0, len(dataset.samples), SOME):
        samples = dataset.samples[start : start + SOME]
        texts = [dataset.load(sample) for sample in samples]
        found = preprocess.cuts(texts) if isinstance(preprocess, Tokens) else map(preprocess.cut, texts)
        lost |= zip((sample.key for sample in samples), found, strict=True)
    return lost


def _uncut(backbone: Backbone) -> str:
    """How long texts are read whole; sources without the option `long` have no way."""
    source = backbone.info.source
    options = inspect.signature(registry.find("backbone", source.name)).parameters
    if not isinstance(backbone.preprocess, Tokens) or "long" not in options:
        return "divide the long texts"
    return f'--backbone "{source.with_options(long="windows")}" reads them whole'


# ------------------------------------------------------------------------------------------------ what a run is asked


def for_prediction(data: str, loaded: run.Loaded) -> Dataset:
    """Every sample, without labels and parts, audited. Raises DataError for samples of which the run says nothing."""
    opened = _corpus(open_data(data))
    samples = tuple(replace(sample, split=None) for sample in opened.samples)
    return _seen_as_learned(opened.replace(samples=samples), loaded)


def for_evaluation(data: str, loaded: run.Loaded) -> Dataset:
    """The labelled samples, audited, with the run's classes. Raises DataError for labels that cannot be compared."""
    kind = loaded.task.kind
    opened = open_data(_as_labelled(data, loaded))
    dataset = _seen_as_learned(_corpus(opened) if kind == "none" else opened, loaded)
    dataset = _same_classes(dataset, loaded)
    without = tuple(sample.key for sample in dataset.samples if sample.label is None)
    if kind == "none" or not without:
        return dataset
    issue = Issue("unlabelled", "warning", f"{len(without)} samples without a label are left out", without)
    labelled = dataset.where(lambda sample: sample.label is not None)
    return labelled.replace(issues=(*dataset.issues, issue))


def _seen_as_learned(opened: Dataset, loaded: run.Loaded) -> Dataset:
    """The form that the task takes: of tags the words of texts, of answers questions with passages."""
    zoo.check_modality(loaded.model.backbone.info, opened)
    if opened.modality == "audio":
        dataset = audit(opened)
        heard = as_read(dataset.replace(kind="none"), loaded.model.backbone)
        return dataset.replace(issues=(*dataset.issues, *heard))
    if opened.modality != "text":
        return audit(opened)
    dataset = audit(_in_words(opened) if loaded.task.kind == "tags" else opened)
    return dataset.replace(issues=(*dataset.issues, *_pairs(dataset, loaded)))


def _in_words(dataset: Dataset) -> Dataset:
    """Texts that do not come in words are cut at blanks; the content hash stays that of the text."""
    load = dataset.load

    def cut(sample: Sample) -> Raw:
        text: Text = load(sample)
        words = tuple(text.text.split())
        return text if text.words is not None else Text(" ".join(words), None, words)

    return dataset.replace(load=cut)


def _pairs(dataset: Dataset, loaded: run.Loaded) -> list[Issue]:
    """Raises DataError for questions without a passage. Other texts that come in another number are said."""
    single = tuple(sample.key for sample in dataset.samples if dataset.load(sample).pair is None)
    if single and loaded.task.kind == "answers":
        what = f"the run learns from questions and passages; {single[0]} of {dataset.name} has no passage"
        raise DataError(what, "name the column of the passages: --pair passage")
    learned = read_json(loaded.folder / "data.json").get("pairs")  # of an older run it is not known
    alone = set(single)
    paired = tuple(sample.key for sample in dataset.samples if sample.key not in alone)
    other = {True: single, False: paired}.get(learned, ())
    if not other:
        return []
    words = ("single texts", "pairs of texts")
    what = f"the run learned from {words[learned]}, and these are {words[not learned]}: its answers mean little"
    return [Issue("other-pairs", "warning", what, other, "name the columns: --text first --pair second")]


def _as_labelled(data: str, loaded: run.Loaded) -> str:
    """Tables whose labels are read as the run's were: a small one may look as if it had others."""
    ways, reader = ("number", "labels", "kind", "transcript"), reader_of(data)
    if reader.name not in ("csv", "jsonl", "tables") or any(name in reader.options for name in ways):
        return data
    if "label" not in reader.options:
        learned = options_of(loaded.recipe.data)
        named: dict[str, Any] = {name: learned[name] for name in ways if name in learned}
        if named:
            return with_columns(data, **named)
    return with_columns(data, kind=loaded.task.kind) if loaded.task.kind in ("number", "labels", "transcript") else data


def _same_classes(dataset: Dataset, loaded: run.Loaded) -> Dataset:
    """The run's classes in the run's order; labels that it never saw, or of another kind, are refused by name."""
    classes, kind = loaded.classes, loaded.task.kind
    if dataset.kind not in (kind, "none"):
        words = zoo.LABELS
        what = f"the run learns from {words[kind]}, and {dataset.name} has {words[dataset.kind]}"
        raise DataError(what, "evaluate on labels of the same kind, or graft predict, which needs none")
    if kind != "none" and all(sample.label is None for sample in dataset.samples):
        raise DataError(f"{dataset.name} has no labels to compare with", "graft predict needs none")
    if kind == "transcript":
        return _same_symbols(dataset, loaded)
    foreign = sorted(set(dataset.classes) - set(classes))
    if foreign:
        hint = did_you_mean(foreign[0], classes) + "; rename the class, or leave it out"
        raise DataError(f"{dataset.name} has classes that the run does not know: {', '.join(foreign[:5])}", hint)
    return dataset.replace(classes=classes)


def _same_symbols(dataset: Dataset, loaded: run.Loaded) -> Dataset:
    case = transcripts.options(parse(loaded.recipe.task).options).get("case", "keep")
    texts = ((sample.key, sample.label) for sample in dataset.samples if sample.label is not None)
    unknown = transcripts.unknown(texts, loaded.classes, case)
    return dataset.replace(classes=loaded.classes, issues=(*dataset.issues, *unknown))
