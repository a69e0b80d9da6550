"""The story of a run: what is said, how much of it, and that no name can break the terminal."""

import io
import subprocess
import sys
from typing import Any

import pytest

from graft.console import EVERY, Console, duration, figure, safe
from graft.errors import DataError, UsageError
from graft.spec import Spec
from graft.types import Dataset, Info, Issue, Metric, Sample

EVIL = ("[/red]", "[bold", ":bug:", "a\x1b[31mb", "x\u202ey", "\udcff", "line\nbreak", "back\\")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _console(**options: Any) -> tuple[Console, io.StringIO, Clock]:
    file, clock = io.StringIO(), Clock()
    return Console(file=file, clock=clock, **options), file, clock


def _terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[Console, io.StringIO, Clock]:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return _console()


def _dataset(labels: dict[str, int], splits: tuple[str | None, ...] = ("train",)) -> Dataset:
    names = [label for label, count in labels.items() for _ in range(count)]
    samples = [Sample(f"{label}/{i}", None, label, splits[i % len(splits)]) for i, label in enumerate(names)]
    return Dataset("insects", "image", tuple(samples), tuple(labels), lambda s: None, lambda s: b"")


# -------------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("name", "metric", "text"),
    [("accuracy", (0.913, 0.89, 0.932), "91.3 % [89.0, 93.2]"), ("loss", (3.462, 3.443, 3.488), "3.46 [3.44, 3.49]"),
     ("f1_macro", (1.0, 0.9713, 1.0), "100.0 % [97.1, 100.0]"), ("loss", (0.5, 0.5, 0.5), "0.500 [0.50, 0.50]"),
     ("loss", (0.3124, 0.28, 0.35), "0.312 [0.28, 0.35]"), ("loss", (12.34, 11.2, 13.6), "12.3 [11, 14]"),
     ("loss", (0.00312, 0.0028, 0.0035), "0.00312 [0.0028, 0.0035]"), ("loss", (0.0, 0.0, 0.1), "0.000 [0.00, 0.10]"),
     ("top5", (float("nan"), 0, 1), "not known")],
)  # fmt: skip
def test_figures_read_well(name: str, metric: tuple[float, float, float], text: str) -> None:
    assert figure(name, Metric(*metric)) == text


def test_durations_read_well() -> None:
    assert [duration(s) for s in (0.04, 9.96, 59.4, 200, 3599.9, 7500)] == [
        "0.0 s", "10 s", "59 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"]  # fmt: skip


def test_scores_are_aligned() -> None:
    console, file, _ = _console()
    console.scores({"accuracy": Metric(0.5, 0.4, 0.6), "loss": Metric(1.0, 0.9, 1.1)}, "test")
    assert file.getvalue() == "test          accuracy  50.0 % [40.0, 60.0]\n              loss      1.00 [0.9, 1.1]\n"


# ---------------------------------------------------------------------------------------------------------- lines


def test_data_and_splits_are_told_in_a_line_each() -> None:
    console, file, _ = _console()
    console.found(_dataset({"ant": 2, "bee": 1200}))
    console.found(_dataset({name: n for n, name in enumerate("abcdef", 1)}))
    console.split_into(_dataset({"ant": 10}, ("train", "train", "valid", "test", None)))
    assert [line.partition(" ")[2].strip() for line in file.getvalue().splitlines()] == [
        "insects: 1,202 image samples, 2 classes (ant 2, bee 1,200)",
        "insects: 21 image samples, 6 classes of 1 to 6",
        "train 4, valid 2, test 2, 2 in no split (test is sealed until the end)",
    ]


def test_the_trunk_says_where_it_comes_from() -> None:
    console, file, _ = _console()
    info = Info(Spec("torchvision", "resnet18"), "image", 512, "BSD-3-Clause", "", 11_176_512, "ImageNet-1k", ("note",))
    console.trunk(info, {"kind": "images", "size": 224})
    assert file.getvalue().splitlines() == [
        "backbone      torchvision:resnet18, 11.2 M parameters, 512 features, pretrained on ImageNet-1k, "
        "licence BSD-3-Clause, 224 x 224 pixels",
        "              note",
    ]


def test_findings_are_grouped_with_the_worst_first_and_three_names() -> None:
    console, file, _ = _console()
    console.issues([
        Issue("small", "note", "few samples"),
        Issue("twins", "warning", "the same image twice", tuple(f"a/{i}.jpg" for i in range(1200)), "remove one"),
        Issue("twins", "warning", "the same image thrice", ("b.jpg",)),
        Issue("broken", "error", "cannot be read", ("c" * 200,)),
    ])  # fmt: skip
    first, second, third = file.getvalue().splitlines()
    assert first.startswith("error ") and len(first) < 120
    assert second == ("warning       the same image twice, and 1 more like it (1,201: a/0.jpg, a/1.jpg, a/2.jpg, ...); "
                      "remove one")  # fmt: skip
    assert third == "note          few samples"


@pytest.mark.parametrize(("kinds", "lines"), [(0, 0), (5, 5), (30, 5)])
def test_findings_take_at_most_five_lines(kinds: int, lines: int) -> None:
    console, file, _ = _console()
    console.issues(Issue(f"code{i}", "note", "something") for i in range(kinds))
    assert len(file.getvalue().splitlines()) == lines
    assert kinds <= 5 or "and 26 more kinds" in file.getvalue()


def test_errors_say_what_and_how_to_fix_it_even_when_quiet() -> None:
    console, file, _ = _console(quiet=True)
    console.say("hello")
    console.found(_dataset({"ant": 1}))
    console.error(UsageError("no such thing", "try another"))
    console.error(DataError("two\nlines"))
    assert file.getvalue() == "error: no such thing\n  fix: try another\nerror: two\n       lines\n"


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", EVIL)
def test_no_name_breaks_the_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for console, file, _ in (_console(), _terminal(monkeypatch)):
        console.found(_dataset({name: 1, "bee": 1}))
        console.issues([Issue("code", "warning", f"about {name}", (name,), name)])
        console.error(DataError(f"the class {name}", f"rename {name}"))
        console.say(name)
        with console.phase(name, 2) as tell:
            tell(1, name)
        text = file.getvalue()
        assert safe(name) in text and "\x1b[31mb" not in text and "\u202e" not in text
        text.encode("utf-8")


def test_long_lines_are_not_wrapped_where_there_is_no_terminal() -> None:
    console, file, _ = _console()
    console.say("word " * 100)
    assert file.getvalue().count("\n") == 1


# ------------------------------------------------------------------------------------------------------- progress


def test_without_a_terminal_progress_is_a_line_now_and_then() -> None:
    console, file, clock = _console()
    with console.phase("features", 100, "images") as tell:
        for done in range(1, 101):
            clock.now += 0.5
            tell(done)
    lines = file.getvalue().splitlines()
    assert len(lines) <= 50 / EVERY and lines[0] == "features      20 of 100, about 40 s left"
    assert lines[-1] == "features      100 images in 50 s"


def test_a_phase_that_ends_early_says_so_and_one_that_fails_says_nothing() -> None:
    console, file, _ = _console()
    with console.phase("full", 10, "epochs") as tell:
        tell(3, "accuracy 90.0 %")
    assert file.getvalue() == "full          3 of 10 epochs in 0.0 s, accuracy 90.0 %\n"
    with pytest.raises(ZeroDivisionError), console.phase("full", 10):
        raise ZeroDivisionError
    assert file.getvalue().count("\n") == 1


def test_on_a_terminal_progress_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    console, file, _ = _terminal(monkeypatch)
    with console.phase("features", 4) as tell:
        tell(2, "half")
        console.terminal.file.flush()
    text = file.getvalue()
    assert "\x1b[?25l" in text and "\x1b[?25h" in text  # the cursor was hidden, and is back
    assert text.rstrip("\n").splitlines()[-1].endswith("2 of 4 in 0.0 s, half")


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    console, file, _ = _console()
    console.error(DataError("what", "hint"))
    assert not any(f"[{code}" in file.getvalue() for code in range(30, 48))


def _events() -> list[dict[str, Any]]:
    scores = {"accuracy": 0.9, "loss": 0.3, "f1_macro": 0.8}
    steps = [{"event": "step", "epoch": 0, "done": i, "total": 4} for i in (1, 2)]
    epoch = {"event": "epoch", "phase": "full", "epoch": 1, "epochs": 2, "train_loss": 0.5, "valid": scores}
    done = {"event": "phase_done", "phase": "full", "epochs": 2, "best_epoch": 0, "valid": scores, "seconds": 3.0,
            "moved": 25_600}  # fmt: skip
    return [{"event": "phase", "phase": "full", "epochs": 2, "moved": 25_600, "boundary": 0}, *steps, epoch,
            {"event": "step", "epoch": 1, "done": 3, "total": 4}, done]  # fmt: skip


def test_training_is_told_in_one_line_for_each_phase() -> None:
    console, file, clock = _console()
    with console.training() as tell:
        for event in _events():
            clock.now += 6
            tell(event)
    assert file.getvalue().splitlines() == [
        "full          3 of 4, about 9.0 s left, epoch 1/2, accuracy 90.0 %, loss 0.300",
        "full          kept epoch 1 of 2: accuracy 90.0 %, loss 0.300; 25.6 k parameters moved, in 3.0 s",
    ]


def test_a_failed_training_takes_its_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    console, file, _ = _terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError), console.training() as tell:
        for event in _events()[:3]:
            tell(event)
        raise ZeroDivisionError
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


def test_importing_it_is_cheap() -> None:
    code = "import sys, graft.console; print([m for m in ('torch', 'sklearn', 'numpy') if m in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert made.stdout.strip() == "[]"
