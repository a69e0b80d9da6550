"""What the leaks are worth: a probe on the given test part, fitted with the copies of test samples, and without.

Barz & Denzler (2020, "Do we train on test data?", J. Imaging 6) found copies of 3.3 % of CIFAR-10's test images and
10 % of CIFAR-100's among the training images.
"""

from __future__ import annotations

from collections.abc import Iterator

from graft.checks._seen import Seen
from graft.types import Issue, Metric


def leak_score(seen: Seen) -> Iterator[Issue]:
    """A warning where the difference is beyond noise, else a note. The same test samples are asked twice."""
    found = seen.leaking
    if found is None:
        return
    given, clean, gain = found.scores.values()
    sure = gain.low > 0
    worth = f"{100 * gain.value:+.1f} points [{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
    what = (f"with the {found.copies:,} copies of test samples in train, a probe is right on {_rate(given)} of the "
            f"test part, and without them on {_rate(clean)}: {worth}" + ("" if sure else ", within noise"))  # fmt: skip
    hint = "scores that others report on this split may be too good by as much" if sure else ""
    yield Issue("leak-score", "warning" if sure else "note", what, (), hint)


def _rate(metric: Metric) -> str:
    return f"{100 * metric.value:.1f} % [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"
