"""Every mistake that a user is likely to make: the right exit code, what happened, where, and what fixes it.

All go through the command line. 0 ok, 2 usage, 3 data or recipe refused, 5 resources, 6 integrity, 130 Ctrl-C. The
user's files are the same before and after, whatever happens.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from graft import cli
from graft.backbones._architectures import network_of
from graft.spec import parse

torch.set_num_threads(1)
QUICK = ("--strategy", "linear_probe(epochs=1)", "--device", "cpu")
PROBE = ("--backbone", "toy", *QUICK)


class Said(NamedTuple):
    code: int
    out: str
    err: str


def graft(*words: object) -> Said:
    """The command line in this process: a start of Python with torch costs seconds."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    sys.argv = ["graft", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Said(code, out.getvalue(), err.getvalue())


def refused(said: Said, code: int, *words: str) -> None:
    """Exit code, one sentence, one line that fixes it, each of the words; and nothing on standard output."""
    assert said.code == code, said
    assert "error: " in said.err and "fix: " in said.err, said.err
    assert "Traceback" not in said.err and not said.out
    for word in words:
        assert word in said.err, f"{word!r} is not in: {said.err}"


def picture(path: Path, seed: int, size: int = 16) -> None:
    """Blocks of random colours, so that no two of them are near copies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(blocks.repeat(size // 4, 0).repeat(size // 4, 1)).save(path)


def fill(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 8) -> Path:
    for c, name in enumerate(classes):
        for i in range(each):
            picture(root / name / f"{i}.png", 1000 * c + i)
    return root


def tree(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder and an empty cache, without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAFT_OFFLINE", "1")


class Untouched:
    """The user's folder; leaving the block proves that no file in it was written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> Path:
        self.before = tree(self.root)
        return self.root

    def __exit__(self, *error: object) -> None:
        assert tree(self.root) == self.before


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[Path]:
    with Untouched(fill(tmp_path / "photos")) as root:
        yield root


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied by those that damage it."""
    root = tmp_path_factory.mktemp("trained")
    fill(root / "photos")
    said = graft("fit", root / "photos", "--out", root / "run", *PROBE, "-q")
    assert said.code == 0, said.err
    return root / "run"


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


# ------------------------------------------------------------------------------------------------ data that are wrong


def test_no_such_folder(photos: Path) -> None:
    refused(graft("fit", "phots", *PROBE), 3, "phots", "did you mean 'photos'?")
    assert not Path("runs").exists(), "a run folder was left behind"


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(graft("fit", "empty", *PROBE), 3, "empty", "one folder per class")


def test_one_class(tmp_path: Path) -> None:
    fill(tmp_path / "one", ("cat",))
    refused(graft("fit", "one", *PROBE), 3, "only one class", "'cat'", "one folder per class")


def test_unlabelled(tmp_path: Path) -> None:
    picture(tmp_path / "loose" / "1.png", 1)
    picture(tmp_path / "loose" / "2.png", 2)
    refused(graft("fit", "loose", *PROBE), 3, "no labels", "one folder per class")


def test_a_class_with_one_sample_is_trained_on_and_said(photos: Path, tmp_path: Path) -> None:
    fill(tmp_path / "more", each=8)
    picture(tmp_path / "more" / "owl" / "0.png", 77)
    said = graft("fit", "more", "--json", *PROBE)
    assert said.code == 0, said.err
    codes = {issue["code"]: issue for issue in json.loads(said.out)["issues"]}
    assert codes["one-sample-class"]["keys"] == ["owl"] and "owl" in said.err


def test_every_class_with_one_sample(tmp_path: Path) -> None:
    fill(tmp_path / "few", ("cat", "dog", "owl"), each=1)
    refused(graft("fit", "few", *PROBE), 3, "too few samples", "at least three")


def bomb(path: Path, side: int = 20_000) -> None:
    """A PNG of 400 million pixels in about a kilobyte of header and nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def truncated(path: Path) -> None:
    picture(path, 5, size=64)
    path.write_bytes(path.read_bytes()[:120])


BAD = {
    "truncated": (truncated, "truncated image"),
    "empty": (lambda path: path.write_bytes(b""), "empty file (0 bytes)"),
    "text": (lambda path: path.write_text("not a picture"), "not an image"),
    "bomb": (bomb, "too many pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_left_out_and_listed(kind: str, tmp_path: Path) -> None:
    make, reason = BAD[kind]
    root = fill(tmp_path / "photos")
    make(root / "cat" / "bad.jpg")
    with Untouched(root):
        said = graft("fit", "photos", "--json", *PROBE)
    assert said.code == 0, said.err
    result = json.loads(said.out)
    issue = next(i for i in result["issues"] if i["code"] == "unreadable")
    assert issue["keys"] == ["cat/bad.jpg"] and reason in issue["what"] and issue["hint"]
    assert sum(result["splits"].values()) == 16
    assert "cat/bad.jpg" in said.err


def test_all_files_unreadable(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "junk" / name).mkdir(parents=True)
        for i, (make, _) in enumerate(BAD.values()):
            make(tmp_path / "junk" / name / f"{i}.jpg")
    with Untouched(tmp_path / "junk"):
        refused(graft("fit", "junk", *PROBE), 3, "none of the 8 samples", "can be read", "cat/0.jpg")


def table(root: Path, text: str) -> Path:
    (root / "table.csv").write_text(text)
    return root / "table.csv"


def test_label_column_missing(photos: Path, tmp_path: Path) -> None:
    rows = "".join(f"photos/cat/{i}.png,1\n" for i in range(4))
    file = table(tmp_path, f"path,lable_\n{rows}")
    with Untouched(tmp_path / "photos"):
        refused(graft("fit", file, *PROBE), 3, "table.csv", "label", "lable_")


def test_named_column_missing(photos: Path, tmp_path: Path) -> None:
    table(tmp_path, "path,species\nphotos/cat/1.png,cat\n")
    said = graft("fit", "table.csv(label='speces')", *PROBE)
    assert said.code in (2, 3)
    refused(said, said.code, "speces", "species")


def test_paths_outside_the_root(tmp_path: Path) -> None:
    fill(tmp_path / "secret")
    (tmp_path / "inside").mkdir()
    rows = "".join(f"../secret/{c}/{i}.png,{c}\n" for c in ("cat", "dog") for i in range(8))
    refused(graft("fit", table(tmp_path / "inside", f"path,label\n{rows}"), *PROBE), 3, "outside", "../secret")


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    fill(tmp_path / "secret", each=1)
    (tmp_path / "inside" / "cat").mkdir(parents=True)
    (tmp_path / "inside" / "cat" / "1.png").symlink_to(tmp_path / "secret" / "cat" / "0.png")
    refused(graft("fit", "inside", *PROBE), 3, "links", "copy the images")


def test_given_train_part_is_missing(tmp_path: Path) -> None:
    fill(tmp_path / "only" / "test")
    refused(graft("fit", "only", *PROBE), 3, "train")


# ---------------------------------------------------------------------------------------------------- words mistyped

TYPOS: list[tuple[list[str], str]] = [
    (["--backbone", "toyy"], "did you mean 'toy'?"),
    (["--backbone", "toy(sise=16)"], "did you mean 'size'?"),
    (["--backbone", "toy(size=)"], "cannot read"),
    (["--backbone", "torchvision:resnet81"], "resnet18"),
    (["--backbone", "timm:resnet18_typo_of_mine"], "resnet18"),
    (["--backbone", "bundled:no_such_trunk"], "no_such_trunk"),
    (["--strategy", "linear_prob"], "did you mean 'linear_probe'?"),
    (["--strategy", "linear_probe(epoch=1)"], "did you mean 'epochs'?"),
    (["--strategy", "linear_probe(1)"], "arguments need names"),
    (["--strategy", "full(last=99)"], "last"),
    (["--strategy", "__import__('os').system('true')"], "cannot read"),
    (["--terms", "l2sp"], "did you mean 'l2_sp'?"),
    (["--terms", "l2_sp(alfa=1)"], "did you mean 'alpha'?"),
    (["--task", "clasification"], "did you mean 'classification'?"),
    (["--head", "lineer"], "did you mean 'linear'?"),
    (["--head", "mlp(hiden=(8,))"], "did you mean 'hidden'?"),
    (["--head", "mlp(hidden=(0,))"], "widths"),
    (["--loss", "crossentropy"], "did you mean 'cross_entropy'?"),
    (["--optimizer", "adamm"], "did you mean 'adam"),
    (["--optimizer", "sgd(momentun=0.9)"], "momentum"),
    (["--schedule", "cosin"], "did you mean 'cosine'?"),
    (["--schedule", "cosine(warm=1)"], "warmup"),
    (["--precision", "fp31"], "did you mean 'fp32'?"),
    (["--device", "quantum"], "--device auto"),
    (["--augment", "basics"], "did you mean 'basic'?"),
    (["--augment", "basic(flp=True)"], "did you mean 'flip'?"),
    (["--mix", "mixupp"], "did you mean 'mixup'?"),
    (["--mix", "mixup(alfa=1)"], "alpha"),
    (["--batchnorm", "frozen"], "auto, train, eval"),
    (["--class-weights", "balancd"], "did you mean 'balanced'?"),
    (["--label-smoothing", "2"], "label_smoothing"),
    (["--batch-size", "0"], "batch_size"),
    (["--accumulate", "0"], "accumulate"),
    (["--ema", "1.5"], "ema"),
    (["--valid", "2"], "--valid 0.15"),
    (["--valid", "0.6", "--test", "0.5"], "--valid 0.15"),
    (["--sealed", "tset"], "sealed"),
]


@pytest.mark.parametrize(("flags", "hint"), TYPOS, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_mistyped_word(flags: list[str], hint: str, photos: Path) -> None:
    refused(graft("fit", "photos", "--out", "run", *(QUICK if flags[0] == "--backbone" else PROBE), *flags), 2, hint)
    again = graft("fit", "photos", "--out", "run", *PROBE, "-q") if Path("run").exists() else Said(0, "", "")
    assert again.code == 0, f"after the fix, the same --out is refused: {again.err}"


@pytest.mark.parametrize(
    "words", [["fit", "photos", "--bakbone", "toy"], ["fitt", "photos"], ["fit", "photos", "--batch-size", "many"],
              ["predict", "run"]],
)  # fmt: skip
def test_a_wrong_flag_or_verb(words: list[str], photos: Path) -> None:
    """These are the argument parser's own words; they name the mistake and the way to help."""
    said = graft(*words)
    assert said.code == 2 and "Traceback" not in said.err and "--help" in said.err


def test_no_data_named() -> None:
    refused(graft("fit", *PROBE), 2, "no data", "graft fit FOLDER")


def test_a_web_address() -> None:
    refused(graft("fit", "https://example.org/data.zip", *PROBE), 3, "not fetched", "download")


def test_a_number_that_is_not_finite(photos: Path) -> None:
    flags = ["--optimizer", "sgd", "--clip", "0", "--strategy", "full(epochs=3, lr=1e30)", "--batch-size", "4"]
    refused(graft("fit", "photos", "--out", "run", *PROBE, *flags), 5, "not finite", "lower the learning rate")


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [(None, 2, "nowhere.json"), ("{", 6, "damaged"), ('{"data": "photos", "bakbone": "toy"}', 2, "'backbone'"),
     ('{"data": "photos", "batch_size": "many"}', 2, "batch_size"), ("[1]", 2, "recipe")],
)  # fmt: skip
def test_a_recipe_that_is_wrong(content: str | None, code: int, word: str, photos: Path) -> None:
    if content is not None:
        Path("nowhere.json").write_text(content)
    refused(graft("fit", "--recipe", "nowhere.json", "--out", "run"), code, word)


# --------------------------------------------------------------------------------------------------- weights of others


def test_weights_of_another_architecture(photos: Path) -> None:
    """The message names the architecture that they do fit."""
    network = network_of(parse("resnet_cifar(depth=8)"))
    assert network is not None
    save_file(network.model.state_dict(), "other.safetensors")
    said = graft("fit", "photos", *QUICK, "--backbone", "local:other.safetensors(arch='resnet18')")
    refused(said, 3, "other.safetensors", "they fit arch='resnet_cifar(depth=8)'")


def test_weights_that_are_missing(photos: Path) -> None:
    refused(graft("fit", "photos", *QUICK, "--backbone", "local:none.safetensors(arch='resnet18')"), 3, "none.safe")


def test_weights_that_are_cut_short(photos: Path) -> None:
    save_file({"layer.weight": torch.zeros(300, 3)}, "cut.safetensors")
    Path("cut.safetensors").write_bytes(Path("cut.safetensors").read_bytes()[:1000])
    refused(graft("fit", "photos", *QUICK, "--backbone", "local:cut.safetensors(arch='resnet18')"), 6, "cut.safe")


def test_weights_that_hold_code(photos: Path) -> None:
    torch.save(nn.Linear(2, 2), "code.pt")  # a pickled object, not a state
    refused(graft("fit", "photos", *QUICK, "--backbone", "local:code.pt(arch='resnet18')"), 6, "code.pt")


def test_weights_that_need_a_network(photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    refused(graft("fit", "photos", *QUICK, "--backbone", "torchvision:alexnet"), 5, "local:")


# ------------------------------------------------------------------------------------------------------- run folders


def test_out_is_taken(photos: Path) -> None:
    assert graft("fit", "photos", "--out", "run", *PROBE, "-q").code == 0
    before = tree(Path("run"))
    refused(graft("fit", "photos", "--out", "run", *PROBE), 2, "holds a run already", "--resume")
    refused(graft("fit", "photos", "--out", "run", "--resume", *PROBE, "--seed", "1"), 3, "seed: 0 -> 1", "--out")
    done = graft("fit", "photos", "--out", "run", "--resume", *PROBE)
    assert done.code == 0 and "already done" in done.err
    assert tree(Path("run")) == before


def test_out_is_a_file(photos: Path) -> None:
    Path("run").write_text("mine")
    said = graft("fit", "photos", "--out", "run", *PROBE)
    refused(said, said.code, "run")
    assert said.code in (2, 5) and Path("run").read_text() == "mine"


def test_data_changed_before_resume(tmp_path: Path) -> None:
    fill(tmp_path / "photos")
    assert graft("fit", "photos", "--out", "run", *PROBE, "-q").code == 0
    for name in ("result.json", "manifest.json", "model.safetensors"):
        Path("run", name).unlink()
    picture(tmp_path / "photos" / "cat" / "new.png", 99)
    refused(graft("fit", "photos", "--out", "run", "--resume", *PROBE), 3, "data have changed", "--out")


@pytest.mark.parametrize("name", ["model.safetensors", "labels.json", "preprocessing.json", "backbone.json"])
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_flipped_bit(name: str, verb: str, finished: Path, photos: Path) -> None:
    content = bytearray((finished / name).read_bytes())
    content[len(content) // 2] ^= 1
    (finished / name).write_bytes(content)
    refused(graft(verb, finished, photos), 6, name, "restore")


def test_not_a_run(photos: Path) -> None:
    refused(graft("predict", photos, photos), 2, "not a run folder")
    refused(graft("evaluate", "nowhere", photos), 2, "not a run folder")


def test_a_run_that_never_ended(finished: Path, photos: Path) -> None:
    (finished / "manifest.json").unlink()
    refused(graft("predict", finished, photos), 3, "not finished", "--resume")


def test_evaluate_with_foreign_classes(finished: Path, tmp_path: Path) -> None:
    with Untouched(fill(tmp_path / "zoo", ("cat", "owl"))) as zoo:
        refused(graft("evaluate", finished, zoo), 3, "does not know", "owl", "cat, dog")


def test_evaluate_without_labels(finished: Path, tmp_path: Path) -> None:
    picture(tmp_path / "loose" / "1.png", 1)
    refused(graft("evaluate", finished, tmp_path / "loose"), 3, "no labels", "graft predict")


@pytest.mark.parametrize("kind", BAD)
def test_predict_on_an_unreadable_file(kind: str, finished: Path, tmp_path: Path) -> None:
    make, reason = BAD[kind]
    (tmp_path / "new").mkdir()
    make(tmp_path / "new" / "bad.png")
    refused(graft("predict", finished, tmp_path / "new" / "bad.png"), 3, reason, "bad.png")
    picture(tmp_path / "new" / "good.png", 3)
    with Untouched(tmp_path / "new"):
        said = graft("predict", finished, tmp_path / "new", "--json")
    good, bad = (json.loads(line) for line in said.out.splitlines())
    assert said.code == 0 and good["path"] == "good.png" and good["label"] in ("cat", "dog")
    assert bad["path"] == "bad.png" and bad["label"] is None and reason in bad["error"]
    assert "bad.png" in said.err


def test_predict_on_nothing(finished: Path) -> None:
    refused(graft("predict", finished, "nowhere.png"), 3, "nowhere.png")


# --------------------------------------------------------------------------------------- full disks and interruptions


def test_no_space_left(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(graft("fit", "photos", "--out", "run", *PROBE), 5, "disk is full", "bytes are left")


def command(*words: object, **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}
    program = [sys.executable, "-m", "graft.cli", *map(str, words)]
    return subprocess.Popen(program, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def test_a_limit_on_file_size(photos: Path) -> None:
    """The kernel refuses the write in the middle of a file, inside a library that does not speak Python's errors."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = command("fit", photos, "--out", "run", *PROBE, preexec_fn=limit)
    out, err = process.communicate(timeout=60)
    refused(Said(process.returncode, out, err), 5, "disk is full", "bytes are left", "--resume")
    assert graft("fit", photos, "--out", "run", *PROBE, "--resume", "-q").code == 0


def wait_for(path: Path, text: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.002)
    raise AssertionError(f"{path} never said {text}: {process.communicate()}")


def test_ctrl_c_then_resume_is_bit_equal(photos: Path) -> None:
    flags = ["--backbone", "toy", "--strategy", "full(epochs=150)", "--device", "cpu", "--precision", "fp32"]
    process = command("fit", photos, "--out", "broken", *flags)
    wait_for(Path("broken/metrics.jsonl"), '"epoch"', process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err and "--resume" in err, err
    assert not Path("broken/result.json").exists() and list(Path("broken/ckpt").glob("step-*"))
    resumed = graft("fit", photos, "--out", "broken", "--resume", *flags)
    assert resumed.code == 0 and "resumed" in resumed.err, resumed.err
    assert graft("fit", photos, "--out", "whole", *flags, "-q").code == 0
    broken, whole = load_file("broken/model.safetensors"), load_file("whole/model.safetensors")
    assert broken.keys() == whole.keys() and all(torch.equal(broken[k], whole[k]) for k in whole)


def test_ctrl_c_while_reading(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from graft import intake

    def pressed(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(intake, "audit", pressed)
    said = graft("fit", "photos", "--out", "run", *PROBE)
    assert said.code == 130 and "Traceback" not in said.err
