"""A data set through a frozen trunk, and heads on what comes of it: shared by benchmarks that fit probes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from graft import build, registry
from graft.cache import Cache
from graft.canvas import Canvas
from graft.console import Console
from graft.device import permutation
from graft.engine import Engine
from graft.features import Feed
from graft.intake import read
from graft.nn.fitted import Fitted
from graft.recipe import Recipe
from graft.spec import parse
from graft.types import Augment, Backbone, Dataset, Inputs

FOLDS = 5
PARTS = ("train", "valid", "test")


@final
@dataclass(frozen=True)
class Mirror:
    """The centre of a picture with left and right exchanged: a view without chance."""

    def __call__(self, samples: Tensor, size: int, seeds: Sequence[int]) -> Inputs:
        offset = round((samples.shape[-1] - size) / 2)
        return Inputs(samples[..., offset : offset + size, offset : offset + size].flip(-1))


@final
@dataclass(frozen=True)
class Seen:
    """Features `x` (N, D1 + ... + D): the means of all stages, those of the last one, `width` D of them, at the end."""

    data: Dataset
    x: Tensor
    y: Tensor
    width: int

    @staticmethod
    def of(recipe: Recipe, views: int = 1) -> Seen:
        """Read, audited and split as `graft fit` does. With two `views` the mean over a picture and its mirror."""
        console = Console()
        data, trunk = read(recipe, console), build.backbone(recipe.backbone).eval()
        plain, canvas = _through(data, trunk, recipe, None, None, console)
        if views == 2:
            plain = (plain + _through(data, trunk, recipe, Mirror(), canvas, console)[0]) / 2
        return Seen(data, plain, data.targets(), trunk.info.dim)

    @property
    def classes(self) -> int:
        return len(self.data.classes)

    def rows(self, *parts: str) -> Tensor:
        return torch.tensor([i for i, sample in enumerate(self.data.samples) if sample.split in parts])

    def features(self, rows: Tensor, of: str) -> Tensor:
        """`of`: "last" or "stages", as a recipe's features."""
        return self.x[rows] if of == "stages" else self.x[rows, -self.width :]

    def drawn(self, labels: int, draw: int) -> Tensor:
        """Rows of the train part, so many of each class, class by class."""
        train = self.rows("train")
        of_class = (train[self.y[train] == label] for label in range(self.classes))
        return torch.cat([rows[permutation(len(rows), "few", draw, i)[:labels]] for i, rows in enumerate(of_class)])

    def about(self) -> dict[str, Any]:
        copies = {key for issue in self.data.issues if issue.code == "leak" for key in issue.keys}
        return {"splits": {part: len(self.rows(part)) for part in PARTS}, "left_out_as_copies_of_test": len(copies)}


def _through(
    data: Dataset, trunk: Backbone, recipe: Recipe, augment: Augment | None, canvas: Canvas | None, console: Console
) -> tuple[Tensor, Canvas]:
    """What is decoded is shared by both views."""
    last = len(trunk.stages)
    with console.progress("features", len(data)) as bar:
        feed = Feed(data, trunk, device=torch.device("cpu"), augment=augment, views=1, needs="stages", canvas=canvas,
                    cache=Cache.default(), engine=Engine.of(recipe, console.say), tell=lambda n, _: bar(n))  # fmt: skip
        feed.open(last)
        return feed.batch(torch.arange(len(feed)), last).x, feed.canvas


class Way(NamedTuple):
    """A head, and which features it sees."""

    head: str
    of: str

    def __str__(self) -> str:
        return f"{self.head}, {self.of}"

    def fitted(self, seen: Seen, rows: Tensor, x: Tensor | None = None) -> Fitted:
        """`x`: the features of these rows, where several heads share them and so their Gram matrix."""
        asked = parse(self.head)
        made = Fitted(asked.bind(registry.find("probe", asked.name)), seen.classes)
        made.fit(seen.features(rows, self.of) if x is None else x, seen.y[rows])
        return made

    def logits(self, head: Fitted, seen: Seen, rows: Tensor) -> Tensor:
        with torch.inference_mode():
            said: Tensor = head(seen.features(rows, self.of))
        return said.double()

    def right(self, head: Fitted, seen: Seen, rows: Tensor) -> float:
        """Per cent."""
        return 100 * float((self.logits(head, seen, rows).argmax(1) == seen.y[rows]).double().mean())

    def loss_left_out(self, seen: Seen, rows: Tensor) -> float:
        """The log-loss of rows from `Seen.drawn`, each said by a head that was fitted without its fold."""
        fold, total = torch.arange(len(rows)) % FOLDS, 0.0
        for number in range(FOLDS):
            held, head = rows[fold == number], self.fitted(seen, rows[fold != number])
            total += float(F.cross_entropy(self.logits(head, seen, held), seen.y[held], reduction="sum"))
        return total / len(rows)
