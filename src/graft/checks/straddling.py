"""Groups that only the names of files tell of (patient12, video_3), and that stand in train and in test.

Groups that the data name by a column or a pattern are never divided; whether a given split divides them the split says.
"Same patient on both sides" is what made many medical scores unrepeatable (Kapoor & Narayanan 2023, Patterns 4, on
leakage).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from graft.checks._seen import Seen
from graft.types import Issue, Sample

WORDS = "patient|subject|subj|participant|speaker|spk|person|writer|case|video|vid|scene|session|slide"
NAMED = re.compile(rf"(?<![a-z])({WORDS})[ _-]?([a-z]?\d+)(?![a-z0-9])", re.IGNORECASE)
LEAST = 2  # such groups


def straddling(seen: Seen) -> Iterator[Issue]:
    """A warning with the samples of these groups, each with the name of its group."""
    parts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sample in seen.dataset.samples:
        name = _named(sample)
        if name:
            parts[name][sample.split or ""].append(sample.key)
    divided = {name: found for name, found in sorted(parts.items()) if len(found) > 1 and "train" in found}
    if len(divided) < LEAST:
        return
    rows = [(key, name) for name, found in divided.items() for keys in found.values() for key in keys]
    what = (f"names of files tell of groups ({', '.join(list(divided)[:3])}), {len(divided):,} of which stand in train "
            "and in another part; scores may be too good")  # fmt: skip
    hint = "say which samples belong together: a table with the columns path, label and group"
    yield Issue("names-straddle", "warning", what, tuple(key for key, _ in rows), hint, tuple(name for _, name in rows))


def _named(sample: Sample) -> str:
    """ "patient12", or nothing where the data name the group themselves, or the class is called so."""
    match = None if sample.own_group else NAMED.search(sample.key)
    if match is None or str(sample.label).casefold() in match[0].casefold():
        return ""
    return f"{match[1]}{match[2]}".casefold()
