"""The public names, and that asking for help or a name costs no torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import graft
from graft import errors

SAID = {
    "adapt",
    "check",
    "compare",
    "rank",
    "fit",
    "load",
    "pretrain",
    "predict",
    "evaluate",
    "explain",
    "push",
    "report",
}
SAID |= {"Recipe"}
HEAVY = "{'torch', 'torchvision', 'sklearn', 'numpy', 'PIL', 'timm', 'transformers'}"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_is_what_can_be_imported() -> None:
    tree = {name for name, value in vars(errors).items() if getattr(value, "exit_code", None)}
    assert set(graft.__all__) == SAID | tree
    for name in graft.__all__:
        assert callable(getattr(graft, name)), name
    assert dir(graft) == graft.__all__


def test_type_checkers_see_the_same_names() -> None:
    source = ast.parse(Path(graft.__file__).read_text(encoding="utf-8"))
    block = next(node for node in source.body if isinstance(node, ast.If))
    assert sorted(a.asname or "" for node in block.body for a in node.names) == graft.__all__  # type: ignore[attr-defined]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = graft.fitt


def test_import_graft_loads_nothing_heavy() -> None:
    assert python(f"import sys, graft; print({HEAVY} & {{m.partition('.')[0] for m in sys.modules}})") == "set()\n"


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["list"]])
def test_help_and_lists_load_nothing_heavy(arguments: list[str]) -> None:
    code = (f"import sys; sys.argv = ['graft', *{arguments}]\nfrom graft.cli import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            f"print('loaded', {HEAVY} & {{m.partition('.')[0] for m in sys.modules}})")  # fmt: skip
    assert python(code).endswith("loaded set()\n")


def test_help_answers_at_once() -> None:
    """In processor time, the best of three, so that a busy machine does not fail it."""
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "graft.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(spent) < 0.4, spent
