"""Classes of very different size: the largest against the smallest (Japkowicz & Stephen 2002)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from graft.checks._seen import Seen
from graft.types import Issue

NOTED, UNEVEN = 5.0, 20.0  # the largest class, in sizes of the smallest


def imbalance(seen: Seen) -> Iterator[Issue]:
    """Of what is trained on. The keys are the classes that have less than one NOTED-th of the largest one."""
    labels = (s.label for s in seen.dataset.samples if s.split in ("train", None) and s.label is not None)
    counts = Counter(labels) if seen.dataset.kind == "class" else Counter()
    if len(counts) < 2:
        return
    (large, most), (small, least) = counts.most_common()[0], counts.most_common()[-1]
    if most < NOTED * least:
        return
    rare = sorted((name for name in counts if counts[name] * NOTED <= most), key=lambda name: (counts[name], name))
    what = (f"the classes are uneven: {large} has {most:,} training samples, {small} {least:,} "
            f"({most / least:,.0f} : 1)")  # fmt: skip
    if 2 * most > counts.total():
        what += f"; who always says {large} is right on {100 * most / counts.total():.0f} %"
    severity = "warning" if most >= UNEVEN * least else "note"
    hint = "read f1_macro and the figures by class, not accuracy; --class-weights balanced makes rare ones count more"
    yield Issue("imbalance", severity, what, tuple(rare), hint, tuple(f"{counts[name]:,} samples" for name in rare))
