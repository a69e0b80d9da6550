"""The story of a run, in about a dozen lines on standard error; results go to standard output and to files.

Everything is printed as rich `Text`, never as markup: a class folder called `[/red]` or `:bug:` is only a name here.
Names come from the data, so control characters, text-direction overrides and broken Unicode are shown as "?".
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from graft.errors import GraftError

if TYPE_CHECKING:  # types needs torch, and `graft --help` does not
    from graft.types import Dataset, Info, Issue, Metric

Json = dict[str, Any]
EVERY, MOST_ISSUES = 10.0, 5  # seconds between two lines of progress where there is no terminal; lines of findings
GRAVE = ("collapsed", "leak", "shortcut", "conflicting-labels", "class-not-in-train", "class-lost-in-train",
         "group-straddles", "conflicting-near-copies", "lying-header", "trunk-saw-labels")  # fmt: skip
FEW_GROUPS = 5  # in the test part, below which its interval says little of other groups
RATES = ("accuracy", "top", "precision", "recall", "f1", "balanced", "auroc", "coverage", "ece", "exact",
         "subset", "wer", "cer", "word_accuracy", "retrieval")  # fmt: skip
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


class Figure(NamedTuple):
    """A Metric as it is in JSON; types.Metric would bring torch."""

    value: float
    low: float
    high: float
    method: str = ""


class Bar(Protocol):
    """Progress of a phase: `done` steps of its total, and a word about it."""

    def __call__(self, done: int, note: str = "") -> None: ...


class Console:
    """Says what happens. `quiet` leaves only errors; NO_COLOR is respected; not a terminal means plain lines."""

    def __init__(
        self, quiet: bool = False, file: IO[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.quiet, self.clock = quiet, clock
        self.terminal = Terminal(file=file, stderr=file is None, highlight=False, soft_wrap=True)

    def say(self, line: str, style: str = "") -> None:
        """One line as it is; no markup."""
        if not self.quiet:
            self.terminal.print(Text(safe(line), style))

    def error(self, error: GraftError) -> None:
        """What went wrong and what to do about it; said even when quiet."""
        self.terminal.print(Text.assemble(("error: ", "bold red"), _lines(error.what)))
        if error.hint:
            self.terminal.print(Text.assemble(("  fix: ", "bold green"), _lines(error.hint)))

    def found(self, dataset: Dataset) -> None:
        """How much there is, of which classes, and how evenly."""
        labels = [sample.label for sample in dataset.samples if sample.label is not None]
        parts = [f"{len(dataset):,} {dataset.modality} samples", *_labels(dataset, labels)]
        missing = len(dataset) - len(labels) if dataset.kind != "none" else 0
        parts += [f"{missing:,} without a label"] if missing else []
        self.row("data", f"{dataset.name}: {', '.join(parts)}")

    def split_into(self, dataset: Dataset) -> None:
        """The sizes of the splits; the test part is not looked at before the end."""
        sizes = Counter(sample.split for sample in dataset.samples)
        known = [f"{name} {sizes[name]:,}" for name in ("train", "valid", "test") if sizes[name]]
        rest = sum(sizes.values()) - sum(sizes[name] for name in ("train", "valid", "test"))
        known += [f"{rest:,} in no split"] if rest else []
        self.row("split", ", ".join(known) + (" (test is sealed until the end)" if sizes["test"] else ""))
        groups = {part: {s.own_group for s in dataset.samples if s.split == part and s.own_group} for part in sizes}
        if any(groups.values()):
            counts = ", ".join(f"{part} {len(groups[part])}" for part in ("train", "valid", "test") if sizes[part])
            few = 0 < len(groups.get("test", ())) < FEW_GROUPS
            more = "; the test says little of new ones: graft evaluate --leave-out group" if few else ""
            self.row("", f"groups stay together: {counts}{more}")

    def trunk(self, info: Info, preprocess: Json) -> None:
        """The backbone, its licence, what it sees, and what its source wants the user to know."""
        facts = [str(info.source), f"{_short(info.parameters)} parameters", f"{info.dim} features"]
        facts += [f"pretrained on {info.pretrained_on}"] * bool(info.pretrained_on) + [f"licence {info.licence}"]
        facts += [f"{preprocess['size']} x {preprocess['size']} pixels"] if "size" in preprocess else []
        facts += [f"{preprocess['rate']:,} Hz"] if "rate" in preprocess else []
        self.row("backbone", ", ".join(facts))
        for note in info.notes:
            self.row("", note)

    def scores(self, figures: Mapping[str, Metric], title: str = "scores") -> None:
        """One line for each figure, with its 95 % interval."""
        width = max(map(len, figures), default=0)
        for i, (name, metric) in enumerate(figures.items()):
            self.row("" if i else title, f"{name:<{width}}  {figure(name, metric)}")

    def evaluated(self, result: Json) -> None:
        """The figures of `graft evaluate`, and what it shares with the run's own data."""
        self.row("data", f"{result['data']}: {result['samples']:,} samples")
        for i, (name, metric) in enumerate(result["scores"].items()):
            self.row("" if i else "scores", f"{name:<15} {figure(name, Figure(**metric))}")
        self.sure(result.get("confidence") or {})
        for issue in result["issues"]:
            count = f" ({issue['count']:,})" if issue["count"] else ""
            self.row(issue["severity"], issue["what"] + count, _COLOURS[issue["severity"]])

    def sure(self, confidence: Json) -> None:
        """How far probabilities, sets and warnings of strange samples hold what they promise."""
        for title, line in sureness(confidence):
            self.row(title, line)

    def issues(self, issues: Iterable[Issue], everything: bool = False) -> None:
        """Findings about the data, the worst first, a line for each kind: at most five, or `everything` there is."""
        kinds: dict[str, list[Issue]] = {}
        for issue in issues:
            kinds.setdefault(issue.code, []).append(issue)
        order = sorted(kinds.values(), key=_urgency)
        shown = order if everything or len(order) <= MOST_ISSUES else order[: MOST_ISSUES - 1]
        for group in shown:
            self.row(_worst(group), _finding(group), _COLOURS[_worst(group)])
        if len(shown) < len(order):
            self.row("", f"and {len(order) - len(shown)} more kinds of findings, in the report")

    @contextmanager
    def phase(self, name: str, total: int, unit: str = "") -> Iterator[Bar]:
        """Progress of `total` steps: a bar with the time left on a terminal, else a line now and then."""
        began, reached, said = self.clock(), 0, ""
        with self.progress(name, total) as show:

            def tell(done: int, note: str = "") -> None:
                nonlocal reached, said
                reached, said = done, note or said
                show(done, said)

            yield tell
        count = f"{reached}{'' if reached == total else f' of {total}'} {unit}".strip()
        self.row(name, ", ".join(part for part in (f"{count} in {duration(self.clock() - began)}", said) if part))

    @contextmanager
    def training(self) -> Iterator[Callable[[Json], None]]:
        """A listener for the training loop's events: a bar for each of its phases, and one line when it is done."""
        story = _Story(self)
        try:
            yield story
        finally:
            story.close()

    def progress(self, name: str, total: int, start: int = 0) -> AbstractContextManager[Bar]:
        lively = self.terminal.is_terminal and not self.terminal.is_dumb_terminal and not self.quiet
        return (self._bar if lively else self._plain)(name, total, start)

    @contextmanager
    def _bar(self, name: str, total: int, start: int) -> Iterator[Bar]:
        title, note = (TextColumn(f"{{task.fields[{key}]}}", markup=False) for key in ("name", "note"))
        columns = (title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
        with Progress(*columns, console=self.terminal, transient=True) as progress:
            task = progress.add_task("", total=total, completed=start, name=_title(name), note="")
            yield lambda done, note="": progress.update(task, completed=done, note=safe(note))

    @contextmanager
    def _plain(self, name: str, total: int, start: int) -> Iterator[Bar]:
        began = told = self.clock()

        def show(done: int, note: str = "") -> None:
            nonlocal told
            now = self.clock()
            if now - told >= EVERY and start < done < total:
                told = now
                left = f"about {duration((now - began) * (total - done) / (done - start))} left"
                self.row(name, ", ".join(part for part in (f"{done} of {total}", left, note) if part))

        yield show

    def row(self, title: str, text: str, style: str = "bold") -> None:
        if not self.quiet:
            self.terminal.print(Text.assemble((_title(title), style), safe(text)))


class _Story:
    """Turns the loop's events into bars and lines. A bar that an error leaves open is taken away by `close`."""

    def __init__(self, console: Console) -> None:
        self.console, self.name, self.note, self.stack = console, "training", "", ExitStack()
        self.bar: Bar | None = None
        self.extracting: Bar | None = None

    def __call__(self, event: Json) -> None:
        match event["event"]:
            case "phase":
                self.name, self.note = event["phase"], ""
                if event.get("plain") and event["boundary"] < event["stages"]:
                    what = (
                        f"the first {event['boundary']} stages stand still and see plain views; --views 4 augments them"
                    )
                    self.console.row("", what)
            case "features":
                self._features(event["done"], event["total"])
            case "step":
                self._step(event["done"], event["total"])
            case "epoch":
                epoch = f"epoch {event['epoch']}/{event['epochs']}"
                self.note = ", ".join(filter(None, (epoch, _valid(event["valid"]))))
            case "watch":
                self.console.row("watch", _watched(event))
            case "phase_done":
                self._done(event)
            case "damaged":
                names = ", ".join(event["names"])
                self.console.row("warning", f"damaged checkpoints were set aside: {names}", _COLOURS["warning"])
            case "resumed":
                self.console.say(f"{_title('resumed')}{event['phase']}, epoch {event['epoch'] + 1}")

    def close(self) -> None:
        self.stack.close()
        self.bar = self.extracting = None

    def _features(self, done: int, total: int) -> None:
        """A bar of its own while a frozen prefix is run; the phase's comes back with its next step."""
        if self.extracting is None:
            self.close()
            self.extracting = self.stack.enter_context(self.console.progress("features", total))
        self.extracting(done)
        if done >= total:
            self.close()

    def _step(self, done: int, total: int) -> None:
        self.bar = self.bar or self.stack.enter_context(self.console.progress(self.name, total, done))
        self.bar(done, self.note)

    def _done(self, event: Json) -> None:
        self.close()
        when = "done before" if event.get("again") else f"in {duration(event['seconds'])}"
        number = event["best_epoch"] + 1
        best = (
            f"kept epoch {number} of {event['epochs']}"
            if number
            else f"{event['epochs']} epochs were worse than before"
        )
        if not event["valid"]:
            best = f"{event['epochs']} epochs, loss {event['train_loss']:.3f}"
        if event.get("train_loss") == 0:
            best = "solved in one step"
        best += f": {_valid(event['valid'])}" if event["valid"] else ""
        self.console.row(event["phase"], f"{best}; {_short(event['moved'])} parameters moved, {when}")


def sureness(confidence: Json) -> Iterator[tuple[str, str]]:
    """Calibration, coverage of sets and strangeness, as far as a run knows them: the title and the line of each."""
    if "ece" in confidence:
        after, before = (Figure(**confidence["ece"][when]) for when in ("after", "before"))
        brier = figure("brier", Figure(**confidence["brier"]["after"]))
        yield "calibration", f"ECE {figure('ece', after)}, unscaled {100 * before.value:.1f} %; Brier {brier}"
    for i, (method, found) in enumerate(confidence.get("sets", {}).items()):
        covered = figure("coverage", Figure(**found["coverage"]))
        yield "" if i else "sets", (f"{method:<6} {100 * found['stated']:g} % stated, {covered} hold the truth, "
                                    f"{found['size']:.1f} classes")  # fmt: skip
    if "unlike" in confidence:
        found = confidence["unlike"]
        yield "unlike", f"{100 * found['stated']:g} % stated, {figure('coverage', Figure(**found['flagged']))} flagged"
    if "unlike_other" in confidence:
        found = confidence["unlike_other"]
        flagged, area = Figure(**found["flagged"]), Figure(**found["auroc"])
        yield "", f"of {found['samples']:,} others {figure('coverage', flagged)} flagged; AUROC {figure('area', area)}"


def figure(name: str, metric: Metric | Figure) -> str:
    """ "91.3 % [89.0, 93.2]" for a rate, "0.312 [0.28, 0.35]" for a loss."""
    value, low, high, _ = metric
    if math.isnan(value):
        return "not known"
    if name.startswith(RATES):
        return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    places = _places(value, 2) if value else 3
    bounds = max(places - 1, _places(high - low, 0) if high > low else 0)  # enough to see that they differ
    return f"{value:.{places}f} [{low:.{bounds}f}, {high:.{bounds}f}]"


def _places(value: float, more: int) -> int:
    """Decimals that show the first digit of a value and `more` after it."""
    return min(6, max(0, more - math.floor(math.log10(abs(value)))))


def duration(seconds: float) -> str:
    """ "4 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def safe(text: str) -> str:
    """Text that cannot move the cursor, colour the terminal, reverse the line, or fail to encode."""
    return _UNPRINTABLE.sub("?", str(text))


def _title(name: str) -> str:
    return f"{safe(name):<13} "


def _lines(text: str) -> str:
    return "\n       ".join(safe(line) for line in text.splitlines())


def _labels(dataset: Dataset, labels: list[Any]) -> list[str]:
    """What kind of labels there are, and how many of each."""
    if dataset.kind == "class":
        return [_classes(dataset.classes, Counter(labels))]
    if dataset.kind == "labels":
        counts = Counter(one for label in labels for one in label)
        return [_classes(dataset.classes, counts), f"{counts.total() / max(1, len(labels)):.1f} for each sample"]
    if dataset.kind == "tags":
        starts = Counter(tag[2:] for label in labels for tag in label if tag.startswith("B-"))
        return [f"{sum(map(len, labels)):,} words", _classes(tuple(sorted(starts)), starts)]
    if dataset.kind == "number":
        return [f"numbers from {min(labels):g} to {max(labels):g}"] if labels else []
    if dataset.kind == "transcript":
        return [f"{sum(len(label.split()) for label in labels):,} words in transcripts"]
    return [f"{sum(not label.texts for label in labels):,} without an answer"] * (dataset.kind == "answers")


def _classes(classes: tuple[str, ...], counts: Counter[str]) -> str:
    sizes = [counts[label] for label in classes]
    if len(classes) <= 4:
        return f"{len(classes)} classes ({', '.join(f'{c} {n:,}' for c, n in zip(classes, sizes, strict=True))})"
    return f"{len(classes)} classes of {min(sizes):,} to {max(sizes):,}"


def _worst(group: list[Issue]) -> str:
    return min((issue.severity for issue in group), key=list(_COLOURS).index)


def _urgency(group: list[Issue]) -> tuple[int, int]:
    """By severity, and first of all what makes a score mean little."""
    return list(_COLOURS).index(_worst(group)), GRAVE.index(group[0].code) if group[0].code in GRAVE else len(GRAVE)


def _finding(group: list[Issue]) -> str:
    """One line for all issues of a kind: what, how many samples, three of them, what to do."""
    keys = [key for issue in group for key in issue.keys]
    names = ", ".join(key if len(key) <= 60 else key[:29] + "..." + key[-28:] for key in keys[:3])
    text = group[0].what + (f", and {len(group) - 1} more like it" if len(group) > 1 else "")
    text += f" ({len(keys):,}: {names}{', ...' if len(keys) > 3 else ''})" if keys else ""
    return text + (f"; {group[0].hint}" if group[0].hint else "")


def _valid(scores: Mapping[str, float]) -> str:
    shown = [name for i, name in enumerate(scores) if not i or name == "loss"]  # the first one is what selects
    pairs = [(name, scores[name]) for name in shown]
    return ", ".join(f"{n} {100 * v:.1f} %" if n.startswith(RATES) else f"{n} {v:.3f}" for n, v in pairs)


def _watched(look: Json) -> str:
    """ "epoch 9/100: k-NN 41.2 % of 500 (guessing 10.0 %), rank 37.1 of 384, spread 0.62, 0.4 s"."""
    number = f"epoch {look['epoch']}" + (f"/{look['epochs']}" if look["epochs"] else "")
    when = {"start": "before", "end": f"kept, {number}"}.get(look["phase"], number)
    said = [f"rank {look['rank']:.1f} of {look['of']}", f"spread {look['spread']:.2f}", duration(look["seconds"])]
    if look["knn"] is not None:
        said.insert(
            0, f"k-NN {100 * look['knn']:.1f} % of {look['queries']:,} (guessing {100 * look['majority']:.1f} %)"
        )
    return f"{when}: {', '.join(said)}"


def _short(number: int) -> str:
    """11689512 -> "11.7 M"."""
    size, letter = next(((s, x) for s, x in ((10**9, " G"), (10**6, " M"), (1000, " k")) if number >= s), (1, ""))
    return f"{number / size:.1f}{letter}" if letter else str(number)
