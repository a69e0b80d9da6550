"""Reading a file never runs code, nothing is sent anywhere, and no setting lets a download bring its own code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "graft"
FILES = sorted(SRC.rglob("*.py"))
IMPORTER = "backbones/_weights.py"  # the one file that may read foreign .pt and .pth, with weights_only
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "code"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.hub.load", "torch.jit.load",
         "np.load", "numpy.load", "torch.save"}  # fmt: skip
ARRAYS = {"np.load", "numpy.load"}


def calls(tree: ast.AST) -> list[tuple[str, dict[str, str]]]:
    """Every call as its dotted name and the source of its keyword arguments."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(n.func), {k.arg or "**": ast.unparse(k.value) for k in n.keywords}) for n in found]


@pytest.fixture(params=FILES, ids=lambda path: str(path.relative_to(SRC)))
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules(tree: ast.AST) -> set[str]:
    """Top-level names of everything that is imported, wherever in the file."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    harmless = {"pickle.UnpicklingError"}  # the name of an error, to catch it
    return {name.partition(".")[0] for name in names if name not in harmless}


def test_no_module_that_runs_what_it_reads(tree: ast.AST) -> None:
    assert not modules(tree) & MODULES


def test_no_call_that_runs_what_it_reads(tree: ast.AST, path: Path) -> None:
    for name, options in calls(tree):
        if name in ARRAYS and options.get("allow_pickle") == "False":
            continue
        assert name not in CALLS, name
        assert options.get("shell") != "True", f"{name}(shell=True)"


def test_torch_load_is_in_one_file_and_reads_only_weights(tree: ast.AST, path: Path) -> None:
    loads = [options for name, options in calls(tree) if name == "torch.load"]
    assert not loads or str(path.relative_to(SRC)) == IMPORTER
    assert all(options.get("weights_only") == "True" for options in loads)


def test_downloads_never_bring_code(tree: ast.AST) -> None:
    for name, options in calls(tree):
        assert options.get("trust_remote_code", "False") == "False", name


def test_only_one_file_of_ours_can_reach_the_network(tree: ast.AST, path: Path) -> None:
    """Where a name asks for a download. The other downloads are the libraries', asked for in the same way."""
    used = modules(tree) & {"socket", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "urllib"}
    assert not used or str(path.relative_to(SRC)) == IMPORTER
