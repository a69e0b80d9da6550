"""What the audit says of sounds that can be read: rates, channels and lengths; silence, clipping, headers that lie."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from graft.data import _kinds
from graft.data._sound_scan import Facts, off
from graft.types import Issue, Sample

_SILENT = 0.001  # of full scale: -60 dB
_CLIPPED = 0.001  # of the samples
_LOUD = 8.0  # times full scale: integers that were written as floats
_SHORT = 0.05  # seconds
_MANY = 5  # sounds of a class, to say what is usual in it
_USUAL = 0.8  # of them have it
_LONGER = 4.0  # times the median of the others
_Test = Callable[[Facts], bool]
_WRONG: tuple[tuple[str, str, str, _Test], ...] = (
    ("silence", "sounds are silent (nothing above -60 dB of full scale)", "remove them, or record them again",
     lambda facts: facts.peak < _SILENT),
    ("clipping", "sounds are clipped: more than 0.1 % of their samples stand at full scale, in runs",
     "record them at a lower volume", lambda facts: facts.clipped > _CLIPPED and facts.peak <= _LOUD),
    ("beyond-full-scale", "sounds go far beyond full scale, as integers do that were written as floats",
     "divide them by 32768, and write them again", lambda facts: facts.peak > _LOUD),
    ("very-short", "sounds are shorter than 0.05 s", "see what was cut away", lambda facts: facts.seconds < _SHORT),
)  # fmt: skip


def found(kind: str, samples: Sequence[Sample], facts: Sequence[Facts]) -> list[Issue]:
    """All findings. `facts` are those of the samples, in their order."""
    issues = [_lengths(facts), *_rates(facts)]
    for code, what, hint, wrong in _WRONG:
        keys = tuple(sample.key for sample, fact in zip(samples, facts, strict=True) if wrong(fact))
        if keys:
            issues.append(Issue(code, "warning", f"{len(keys):,} {what}", keys, hint))
    return [*issues, *_lies(samples, facts), *_tells(kind, samples, facts)]


def _lengths(facts: Sequence[Facts]) -> Issue:
    seconds = sorted(fact.seconds for fact in facts)
    rates = {fact.rate for fact in facts}
    of = f" of {_hertz(rates.pop())}" if len(rates) == 1 else ""
    if len(facts) == 1:
        return Issue("lengths", "note", f"1 sound{of} is {seconds[0]:,.2f} s long")
    what = (f"{len(facts):,} sounds{of} are {seconds[0]:,.2f} to {seconds[-1]:,.2f} s long, half of them up to "
            f"{median(seconds):,.2f} s; {_time(sum(seconds))} in all")  # fmt: skip
    return Issue("lengths", "note", what)


def _time(seconds: float) -> str:
    steps = ((3600.0, "hours"), (60.0, "minutes"), (0.0, "seconds"))
    size, name = next((size, name) for size, name in steps if seconds >= 2 * size)
    return f"{seconds / (size or 1):,.1f} {name}"


def _hertz(rate: int) -> str:
    return f"{rate:,} Hz"


def _rates(facts: Sequence[Facts]) -> Iterator[Issue]:
    counts = Counter(fact.rate for fact in facts)
    if len(counts) > 1:
        listed = ", ".join(f"{_hertz(rate)} ({count:,})" for rate, count in counts.most_common(8))
        more = ", ..." if len(counts) > 8 else ""
        what = f"rates differ: {listed}{more}: each sound is resampled to what the trunk was trained on"
        yield Issue("mixed-rates", "note", what)


def _lies(samples: Sequence[Sample], facts: Sequence[Facts]) -> Iterator[Issue]:
    wrong = [(sample.key, fact) for sample, fact in zip(samples, facts, strict=True) if off(fact)]
    if wrong:
        key, worst = max(wrong, key=lambda pair: abs(pair[1].said - pair[1].seconds))
        what = (f"the headers of {len(wrong):,} sounds say another length than there is, and what is there is used "
                f"({key}: {worst.said:,.2f} s said, {worst.seconds:,.2f} s there)")  # fmt: skip
        yield Issue("lying-header", "warning", what, tuple(key for key, _ in wrong), "see whether they were cut short")


# ----------------------------------------------------------------------------------- what may be learned in their place


def _tells(kind: str, samples: Sequence[Sample], facts: Sequence[Facts]) -> Iterator[Issue]:
    """Rate, channels or length where they alone tell classes apart."""
    classes: dict[str, list[Facts]] = defaultdict(list)
    for sample, fact in zip(samples, facts, strict=True):
        for name in _kinds.names(kind, sample.label):
            classes[name].append(fact)
    large = {name: rows for name, rows in classes.items() if len(rows) >= _MANY}
    if kind != "class" or len(large) < 2:
        return
    yield from _usual(large, "rate", "the rate tells", lambda fact: _hertz(fact.rate))
    yield from _usual(large, "channels", "the number of channels tells", lambda fact: _channels(fact.channels))
    yield from _long(large)


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"of {count} channels")


def _usual(
    classes: Mapping[str, Sequence[Facts]], code: str, begin: str, value: Callable[[Facts], str]
) -> Iterator[Issue]:
    usual: dict[str, str] = {}
    for name, rows in sorted(classes.items()):
        most, count = Counter(map(value, rows)).most_common(1)[0]
        if count >= _USUAL * len(rows):
            usual[name] = most
    groups: dict[str, list[str]] = defaultdict(list)
    for name, most in usual.items():
        groups[most].append(name)
    if len(groups) > 1:
        common = max(groups, key=lambda most: len(groups[most]))
        rest = [name for most, names in groups.items() if most != common for name in names]
        shown = ", ".join(f"class {name} is {usual[name]}" for name in (groups[common][0], *rest[:3]))
        yield _tell(f"{code}-tells-classes", begin, shown, rest)


def _long(classes: Mapping[str, Sequence[Facts]]) -> Iterator[Issue]:
    """Classes whose median length differs from that of all others."""
    middle = {name: median(fact.seconds for fact in rows) for name, rows in sorted(classes.items())}
    far = []
    for name, length in middle.items():
        others = median(fact.seconds for other, rows in classes.items() if other != name for fact in rows)
        if max(length, others) > _LONGER * min(length, others):
            far.append(name)
    if far:
        near = [name for name in middle if name not in far]
        shown = ", ".join(f"class {name} is {middle[name]:,.2f} s" for name in (*near[:1], *far[:3]))
        yield _tell("length-tells-classes", "the length tells", shown, far)


def _tell(code: str, begin: str, shown: str, classes: Sequence[str]) -> Issue:
    what = f"{begin} the classes apart: {shown}; a model may learn that instead"
    return Issue(code, "warning", what, tuple(classes), "record all classes in the same way")
