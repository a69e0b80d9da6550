"""Every mistake that a user is likely to make with a trunk of their own: the exit code, what happened, and what helps.

All go through the command line, as in test_mistakes.py. The user's files are the same before and after, and what is
refused leaves no run behind.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import draw_flowers, draw_sounds
from graft import cli

TINY = ("--backbone", "toy(size=16, dim=16, pretrained=False)", "--strategy", "full(epochs=1)", "--device", "cpu")


class Said(NamedTuple):
    code: int
    out: str
    err: str


def graft(*words: object) -> Said:
    """The command line in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["graft", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return Said(code, out.getvalue(), err.getvalue())


def refused(said: Said, code: int, *words: str) -> None:
    """Exit code, one sentence, one line that fixes it, each of the words; nothing is printed or left behind."""
    assert said.code == code, said
    assert "error: " in said.err and "fix: " in said.err, said.err
    assert "Traceback" not in said.err and not said.out
    for word in words:
        assert word in said.err, f"{word!r} is not in: {said.err}"
    assert not Path("runs").exists(), "a run folder was left behind"


def contents() -> dict[str, bytes]:
    kept = ("loose", "flowers", "sounds", "table.csv", "broken", "numbers.csv")
    return {str(p): p.read_bytes() for name in kept for p in (Path(name), *Path(name).rglob("*")) if p.is_file()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """flowers/ in class folders, loose/ without, sounds/, table.csv of texts with classes, numbers.csv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    (draw_flowers(Path("flowers"), each=6) and draw_flowers(Path("other"), each=12, seed=3) / "rose").rename("loose")
    draw_sounds(Path("sounds"), each=3)
    Path("table.csv").write_text("text,label\n" + "".join(f"a text of number {i},{'xy'[i % 2]}\n" for i in range(8)))
    Path("numbers.csv").write_text("path,label\n" + "".join(f"flowers/rose/{i}.png,{i}.5\n" for i in range(6)))
    before = contents()
    yield
    assert {name: data for name, data in contents().items() if name in before} == before


WRONG: list[tuple[list[str], int, tuple[str, ...]]] = [
    (["loose", "--task", "simcrl"], 2, ("no task called 'simcrl'", "did you mean 'simclr'?")),
    (["loose", "--task", "simclr(temprature=0.1)"], 2, ("temprature", "temperature")),
    (["loose", "--task", "classification"], 3, ("learns from labels", "leave --task out", "--task simclr")),
    (["loose", "--task", "mlm"], 2, ("not for image samples", "--task simclr")),
    (["sounds", "--task", "rotation"], 2, ("not for audio samples", "--task masked_spectrogram")),
    (["table.csv", "--task", "byol"], 2, ("not for text samples", "--task mlm")),
    (["loose", "--strategy", "ridge"], 2, ("no way to pretrain", "--strategy full")),
    (["loose", "--strategy", "auto"], 2, ("no way to pretrain", "--strategy full")),
    (
        ["loose", "--task", "rotation", "--strategy", "gradual"],
        2,
        ("stand still", "views of rotation", "--strategy full"),
    ),
    (["loose", "--task", "byol", "--strategy", "wise_ft"], 2, ("stand still", "views of byol", "--strategy full")),
    (["loose", "--strategy", "lp_ft"], 2, ("stand still", "views of simclr", "head_epochs=0")),
    (["loose", "--strategy", "full(last=1)"], 2, ("stand still", "--strategy full")),
    (["sounds", "--task", "masked_spectrogram", "--strategy", "lp_ft"], 2, ("stand still", "--strategy full")),
    (["loose", "--augment", "basic"], 2, ("makes its own views", "leave --augment out", "scale=0.2")),
    (["flowers", "--task", "vicreg", "--augment", "trivial"], 2, ("vicreg makes its own views", "leave --augment out")),
    (["loose", "--views", "4"], 2, ("makes its own views", "leave --views out")),
    (["loose", "--mix", "mixup"], 2, ("makes its own views", "leave --mix out")),
    (["loose", "--head", "mlp(hidden=(8,))"], 2, ("simclr has no head", "leave --head out")),
    (["loose", "--label-smoothing", "0.1"], 2, ("simclr has no label_smoothing", "leave --label-smoothing out")),
    (["loose", "--watch", "table.csv"], 2, ("holds text samples, and loose image samples", "leave --watch out")),
    (["loose", "--watch", "loose"], 3, ("has no classes", "one folder per class")),
    (["loose", "--watch", "numbers.csv"], 3, ("numbers.csv", "too few samples", "leave --watch out")),
    (["loose", "--watch", "flower"], 3, ("flower", "did you mean 'flowers'?")),
    (["flowers", "--task", "classification", "--watch", "flowers"], 2, ("learn without labels", "leave --watch out")),
    (["loose/1.png"], 3, ("too few to learn a trunk from", "graft fit")),
    (["loose", "--backbone", "bundled:words8k"], 3, ("is for audio", "leave it out")),
    (["loos"], 3, ("loos", "did you mean 'loose'?")),
]


@pytest.mark.parametrize(("words", "code", "said"), WRONG, ids=[" ".join(one[0]) for one in WRONG])
def test_pretrain(words: list[str], code: int, said: tuple[str, ...]) -> None:
    own = [flag for flag in words if flag.startswith("--")]
    rest = [
        word for flag, value in zip(TINY[::2], TINY[1::2], strict=True) if flag not in own for word in (flag, value)
    ]
    refused(graft("pretrain", *words, *(rest if words[0] not in ("sounds", "table.csv") else rest[2:])), code, *said)


@pytest.mark.parametrize("strategy", [(), ("--strategy", "ridge"), ("--strategy", "auto")])
def test_fit_is_not_how_trunks_learn_without_labels(strategy: tuple[str, ...]) -> None:
    refused(graft("fit", "flowers", "--backbone", "toy", "--task", "simclr", *strategy), 2, "pretrain")


def test_all_images_are_unreadable() -> None:
    Path("broken").mkdir()
    for i in range(6):
        Path("broken", f"{i}.png").write_bytes(b"no picture")
    refused(graft("pretrain", "broken", *TINY), 3, "none of the 6 samples", "can be read", "broken")
    refused(graft("pretrain", "loose", "--watch", "broken", *TINY), 3, "has no classes")


def test_all_images_are_the_same() -> None:
    Path("broken").mkdir()
    for i in range(6):
        Path("broken", f"{i}.png").write_bytes(Path("loose/1.png").read_bytes())
    refused(graft("pretrain", "broken", *TINY), 3, "too few samples", "not copies")


def test_what_helps_helps() -> None:
    """The hints of above, followed; and what is said at the end can be done."""
    said = graft("pretrain", "loose", "--watch", "flowers", "--task", "simclr(dim=8, hidden=16, scale=0.2)", *TINY)
    assert said.code == 0 and "rank" in said.err, said.err
    compare, fit = (line for line in said.err.splitlines() if "graft " in line)
    trunks = "--backbone bundled:natural64 --backbone trained:runs/loose-1"
    assert f"graft compare flowers --strategy ridge {trunks}" in compare
    assert "graft fit flowers --backbone trained:runs/loose-1" in fit
    assert graft("fit", "flowers", "--backbone", "trained:runs/loose-1", "--strategy", "ridge").code == 0
