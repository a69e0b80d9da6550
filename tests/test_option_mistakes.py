"""Options of the wrong type or out of their range: refused with a hint, never a traceback and never in silence.

Through the command line in this process, as in test_mistakes; here each case is one option.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from graft import cli

QUICK = ("--strategy", "linear_probe(epochs=1)", "--device", "cpu")
PROBE = ("--backbone", "toy", *QUICK)


@pytest.fixture(autouse=True)
def _here(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Beside the folder of flowers; the command line's signal handlers go with the test."""
    monkeypatch.chdir(flowers.parent)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def graft(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["graft", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
        raise SystemExit(0)
    return int(end.value.code or 0)


OPTIONS = [
    (
        "--strategy",
        "linear_probe(epochs='5')",
        "epochs is '5', which is not what it takes",
        "epochs takes a whole number",
    ),
    ("--strategy", "full(lr='a')", "lr is 'a', which is not what it takes", "lr takes a number"),
    ("--strategy", "full(lr=-1e-3)", "lr is -0.01, which", "learning rate"),
    ("--strategy", "full(lr=1e999)", "lr is inf", "learning rate"),
    ("--schedule", "cosine(warmup='a')", "warmup is 'a'", "warmup takes a number"),
    ("--schedule", "one_cycle(start=0)", "one_cycle(start=0)", "one_cycle"),
    ("--backbone", "small(widths=3)", "widths is 3", "widths takes a list of whole numbers, such as"),
    ("--backbone", "toy(size='big')", "size is 'big'", "size takes a whole number"),
    ("--terms", "l2_sp(alpha='much')", "alpha is 'much'", "alpha takes a number"),
    ("--head", "mlp(hidden='wide')", "hidden is 'wide'", "whole numbers"),
    ("--augment", "basic(scale='x')", "scale is 'x'", "scale takes a number"),
    ("--augment", "basic(scale=0)", "scale=0", "0 < scale <= 1"),
    ("--augment", "trivial(scale=1.5)", "scale=1.5", "0 < scale <= 1"),
    ("--augment", "basic(colour=1.0)", "colour=1.0", "0 <= colour < 1"),
    ("--augment", "basic(rotate=-10)", "rotate=-10", "0 <= rotate <= 180"),
    ("--mix", "mixup(alpha=0)", "alpha=0", "alpha > 0"),
    ("--mix", "cutmix(alpha='a')", "alpha is 'a'", "alpha takes a number"),
    ("--mix", "mixup(num_classes=9)", "num_classes", "alpha"),
    ("--optimizer", "sgd(lr=0.0)", "lr is not set here", "set it in the strategy"),
    ("--optimizer", "sgd(weight_decay=5.0)", "weight_decay is not set here", "--weight-decay"),
    ("--optimizer", "adamw(betas=(0.9,))", "betas", "torch.optim"),
]


@pytest.mark.parametrize(("flag", "text", "what", "hint"), OPTIONS, ids=[text for _, text, *_ in OPTIONS])
def test_a_wrong_option(flag: str, text: str, what: str, hint: str, monkeypatch: pytest.MonkeyPatch,
                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    trunk = QUICK if flag == "--backbone" else PROBE
    assert graft(monkeypatch, "fit", "flowers", "--out", "run", *trunk, flag, text) == 2
    said = capsys.readouterr()
    error, _, fix = said.err.partition("fix: ")
    assert "Traceback" not in said.err and not said.out
    assert what in " ".join(error.split()) and hint in " ".join(fix.split())


@pytest.mark.parametrize("terms", ["l2_sp", 5, [1], {"a": 1}])
def test_terms_of_a_recipe(terms: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.json").write_text(json.dumps({"data": "flowers", "terms": terms}))
    assert graft(monkeypatch, "fit", "--recipe", "recipe.json", "--out", "run") == 2
    assert "terms takes a list of texts" in capsys.readouterr().err


def test_very_long_pictures_are_trained_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One pixel wide: a picture like any other, and not gigabytes on the way to the canvas."""
    for number, size in enumerate([(1, 65000), (65000, 1)]):
        Image.new("RGB", size, (number, 90, 40)).save(f"flowers/rose/long{number}.png")
    assert graft(monkeypatch, "fit", "flowers", "--out", "run", "--json", *PROBE) == 0
    assert sum(json.loads(capsys.readouterr().out)["splits"].values()) == 38
