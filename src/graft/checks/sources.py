"""Classes that can be told from the names or folders of their files: they may come from different sources.

No model sees a name, but what was collected apart often differs in more than its class (Torralba & Efros 2011,
"Unbiased look at dataset bias"). Names that only repeat the class are normal, and a note at most.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graft.checks._metadata import Column, of_names
from graft.checks._seen import Seen
from graft.checks._told import Sampled, sampled, told
from graft.types import Issue

OWN = 0.98  # of the samples of a class have one word, and of those with the word one class: a code for the class


def sources(seen: Seen) -> Iterator[Issue]:
    """One finding: of what tells most, with the samples' share, and what is usual in the classes."""
    found = sampled(seen)
    columns = of_names(found.samples) if found else []
    alone = [(one, column) for column in columns if found and (one := told(found, [column])) and not one.classes]
    if found is None or not alone:
        return
    first, column = max(alone, key=lambda pair: pair[0].right.value)
    rate, repeats = first.right, all(_is_code(found, one) for _, one in alone)
    what = (f"the class can be told from {column.name} with {100 * rate.value:.1f} % [{100 * rate.low:.1f}, "
            f"{100 * rate.high:.1f}]; always the largest class: {100 * found.usual:.0f} %")  # fmt: skip
    what += f" ({_usual(seen, found, column)})"
    hint = "if the classes come from different sources, a model may learn these: mix the sources within classes"
    hint = "fine if the names were made from the classes; " + hint if repeats else hint
    harmless = repeats or column.name.startswith("the first word")  # what a name says is not in the pixels
    yield Issue("source", "note" if harmless else "warning", what, (), hint)


def _usual(seen: Seen, found: Sampled, column: Column) -> str:
    some = np.unique(found.y)[:3].tolist()
    return "; ".join(f'{seen.dataset.classes[c]}: "{column.shown(found.y == c)}"' for c in some)


def _is_code(found: Sampled, column: Column) -> bool:
    """Whether each class has a word of its own."""
    table = np.zeros((int(found.y.max()) + 1, len(column.words)))
    np.add.at(table, (found.y, column.values.astype(np.int64)), 1)
    table = table[table.sum(1) > 0]
    most = table.argmax(1)
    own = table.max(1) >= OWN * table.sum(1)
    return bool(own.all() and len(np.unique(most)) == len(most))
