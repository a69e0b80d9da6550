"""The data as every verb sees them: read, audited, split, and measured against what a trunk can read."""

from __future__ import annotations

from dataclasses import replace

from graft.backbones._tokens import Tokens
from graft.backbones._words import Words
from graft.console import Console
from graft.data._audit import audit, require_classes
from graft.data._sniff import open_data
from graft.data._split import split
from graft.recipe import AUTO, Recipe
from graft.spec import parse
from graft.types import Backbone, Dataset, Issue


def read(recipe: Recipe, console: Console) -> Dataset:
    """Read, audited, and split with the recipe's seed. Raises DataError for what cannot be learned from."""
    opened, corpus = open_data(recipe.data), parse(recipe.task).name == "mlm"
    opened = _corpus(opened) if corpus else opened
    with console.phase("reading", len(opened), "samples") as bar:
        dataset = audit(opened, progress=lambda done, total: bar(done))
    require_classes(dataset, labelled=not corpus)
    console.found(dataset)
    share = 0.0 if recipe.strategy == AUTO else recipe.valid  # auto makes its own folds of all that is not sealed
    dataset = split(dataset, valid=share, test=recipe.test, seed=recipe.seed, sealed=recipe.sealed)
    console.split_into(dataset)
    console.issues(dataset.issues)
    return dataset


def _corpus(dataset: Dataset) -> Dataset:
    """Any samples without their labels."""
    samples = tuple(replace(sample, label=None) for sample in dataset.samples)
    issues = tuple(issue for issue in dataset.issues if issue.code != "no-label-column")
    return dataset.replace(samples=samples, classes=(), kind="none", issues=issues)


def pool_of(recipe: Recipe, console: Console) -> Dataset:
    """All labelled samples but the sealed test part."""
    return read(recipe, console).where(lambda sample: sample.split != "test")


def joined(dataset: Dataset) -> Dataset:
    """Nothing is left to be chosen by a validation part: it is trained on."""
    samples = tuple(replace(s, split="train") if s.split == "valid" else s for s in dataset.samples)
    return dataset.replace(samples=samples)


def cut_short(dataset: Dataset, backbone: Backbone) -> list[Issue]:
    """What a trunk leaves out of texts that are longer than it can read, counted."""
    preprocess = backbone.preprocess
    if not isinstance(preprocess, Tokens | Words):
        return []
    lost = {sample.key: preprocess.cut(dataset.load(sample)) for sample in dataset.samples}
    keys = tuple(sorted((key for key, count in lost.items() if count), key=lambda key: -lost[key]))
    if not keys:
        return []
    what = (f"{len(keys):,} of {len(lost):,} texts are longer than the {preprocess.length} tokens that are read: "
            f"{sum(lost.values()):,} tokens are cut, at most {lost[keys[0]]:,} of one text")  # fmt: skip
    windows = backbone.info.source.with_options(long="windows")
    hint = f'--backbone "{windows}" reads them whole' if isinstance(preprocess, Tokens) else "divide them"
    return [Issue("cut-texts", "warning", what, keys, hint)]
