"""The run folder: everything a run was asked, did and came to, and nothing that runs code when it is read.

model.safetensors    the weights                       labels.json         class names, in order
backbone.json        source, licence, architecture     preprocessing.json  how inputs are prepared
recipe.json          `graft fit --recipe` repeats it   environment.json    versions, processor, threads
data.json            counts and fingerprint            splits.jsonl        every sample: split, label, sha256
issues.json          findings about the data           metrics.jsonl       every phase and epoch
result.json          the figures                       sealed.json         each opening of the test part
chosen.json          the recipe that auto came to      ladder.json         its rungs and the verdict
trials.jsonl         every trial of auto: way, fold, each sample
out_of_fold.safetensors  what the way that auto chose says of samples that it was not fitted to
trust.json           temperature and thresholds         trust.safetensors  scores of held-out samples, training features
shown.json           what the report shows of the data  report.html        the report
README.md            the model card
manifest.json        sha256 of the files above that a prediction depends on
ckpt/                checkpoints of the training
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from graft import build
from graft.backbones._rebuild import preprocess, rebuild
from graft.backbones._rebuild import verify as verify
from graft.checkpoint import load_tensors, save_tensors
from graft.device import environment
from graft.errors import DataError, IntegrityError
from graft.recipe import AUTO
from graft.recipe import make as make_recipe
from graft.spec import Spec, parse
from graft.store import (
    disk_errors,
    read_json,
    read_sealed_json,
    replacing,
    sha256,
    write_json,
    write_sealed_json,
)
from graft.types import Backbone, Dataset, Info, Json, Model, Recipe, Task

SIGNED = ("model.safetensors", "backbone.json", "labels.json", "preprocessing.json", "recipe.json", "splits.jsonl")
TRUSTED = ("trust.json", "trust.safetensors")  # where predictions have honest confidence; trust.py
TRANSCRIPTS = "transcripts.json"  # of a run from the hub, which has no splits.jsonl: what a decoder counts words in
CHOSEN = "chosen.json"  # the recipe that auto came to, which repeats it without choosing again; signed like the others
LOCK, TRIALS = ".lock", "trials.jsonl"
SAID = "held_out"  # the folder of what trained ways of auto said out of fold, until one of them is chosen
BEGUN = ("recipe.json", "environment.json", "labels.json", "issues.json", "data.json", "splits.jsonl")


class Loaded(NamedTuple):
    """A run that was read back: ready to predict, without the network and without the source of its weights."""

    folder: Path
    model: Model
    task: Task
    classes: tuple[str, ...]
    recipe: Recipe


# --------------------------------------------------------------------------------------------------------- writing


def new_folder(data: str, out: str | None) -> Path:
    """`out`, or the next free runs/<name>-<n>, made now so that no other process takes it."""
    if out is not None:
        _make(Path(out))
        return Path(out)
    number = 1
    while True:
        folder = Path("runs") / f"{_stem(data)}-{number}"
        if not folder.exists() and _make(folder):
            return folder
        number += 1


def newest_folder(data: str) -> Path | None:
    """The last runs/<name>-<n> that was begun on these data: what --resume means without --out."""
    found = [f for f in Path("runs").glob(f"{glob.escape(_stem(data))}-*") if f.name.rpartition("-")[2].isdigit()]
    begun = [f for f in found if (f / "recipe.json").exists()]
    return max(begun, key=lambda f: int(f.name.rpartition("-")[2]), default=None)


def drop_if_empty(folder: Path) -> None:
    """Leave nothing behind when a run ended before it began."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()  # runs/, when this was to be the first


def _make(folder: Path) -> bool:
    """Whether it was made by us, just now."""
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise
            return False
    return True


def _stem(data: str) -> str:
    return Path(parse_name(data)).stem or "run"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time works in a run folder. Raises DataError that names the other one."""
    with disk_errors(folder), (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            what = f"another process is at work in {folder}: {file.read().strip() or 'unknown'}"
            raise DataError(what, "wait for it, or choose another --out") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)  # by its holder alone: another process that was refused leaves it


def parse_name(data: str) -> str:
    """A short name for a data argument: the last part of a path, or of a spec."""
    bare = data.rstrip("/").partition("(")[0]
    return bare.rpartition("/")[2].rpartition(":")[2]


def forget(folder: Path) -> None:
    """Undo `begin`: nothing was measured, and the same --out can be used again."""
    for name in (*BEGUN, TRIALS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / SAID, ignore_errors=True)


def begin_model(folder: Path, backbone: Backbone) -> None:
    """What rebuilds the trunk without its source."""
    write_json(folder / "preprocessing.json", backbone.preprocess.json())
    write_json(folder / "backbone.json", info_json(backbone.info))


def begin(folder: Path, recipe: Recipe, dataset: Dataset) -> None:
    """Everything that is known of the data. Raises ResourceError or UsageError where it cannot be written."""
    write_json(folder / "recipe.json", recipe.json())
    write_json(folder / "environment.json", environment())
    write_json(folder / "labels.json", list(dataset.classes))
    write_json(folder / "issues.json", [issue.json() for issue in dataset.issues])
    about = {"name": dataset.name, "fingerprint": fingerprint(dataset), "pairs": _pairs(dataset), **counts(dataset)}
    write_json(folder / "data.json", about)
    lines = [{"key": s.key, "split": s.split, "label": s.label, "sha256": s.digest} for s in dataset.samples]
    with replacing(folder / "splits.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def save_model(folder: Path, model: Model) -> None:
    with replacing(folder / "model.safetensors") as temporary:
        save_tensors(temporary, model.state_dict())
    signed = [*SIGNED, *(name for name in (CHOSEN, *TRUSTED) if (folder / name).exists())]
    files = {name: sha256(folder / name) for name in signed}
    write_sealed_json(folder / "manifest.json", {"format": 1, "files": files})


def append(folder: Path, event: Json, name: str = "metrics.jsonl", start: str = "") -> None:
    """One line of metrics.jsonl, or of another journal of the run; `start` ends a half line before it."""
    path = folder / name
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(start + json.dumps(event) + "\n")


def rewind(folder: Path, phase: str, epoch: int) -> None:
    """Drop what metrics.jsonl says of later epochs of a phase that goes on from an earlier one."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return
    kept = [e for e in events(folder)
            if not (e["event"] in ("epoch", "watch") and e["phase"] == phase and e["epoch"] > epoch)]  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")


def events(folder: Path, kind: str | None = None) -> list[Json]:
    """What metrics.jsonl says, or those events of it that are of one kind."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [event for line in lines if (event := _event(line))]
    return [event for event in found if kind in (None, event["event"])]


def _event(line: str) -> Json | None:
    """None for a line that a kill has cut short."""
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except json.JSONDecodeError:
        return None


def open_sealed(folder: Path, why: str) -> int:
    """Count an opening of the test part. Returns how often it has been opened."""
    path = folder / "sealed.json"
    openings = read_json(path) if path.exists() else []
    openings.append({"when": datetime.now(UTC).isoformat(timespec="seconds"), "why": why})
    write_json(path, openings)
    return len(openings)


# --------------------------------------------------------------------------------------------------------- reading


def load(folder: Path) -> Loaded:
    """Check every hash, rebuild the network without its original weights, and load the run's own."""
    verify(folder)
    try:
        return _load(folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:  # JSON, not of a run
        if "memory" in str(error):
            raise
        what = f"{folder} cannot be read as a run: {type(error).__name__}: {error}"
        raise IntegrityError(what, "make the run again with this version") from error


def _load(folder: Path) -> Loaded:
    signed = read_sealed_json(folder / "manifest.json")["files"]
    recipe = make_recipe(read_json(folder / (CHOSEN if CHOSEN in signed else "recipe.json")))
    classes = tuple(read_json(folder / "labels.json"))
    backbone = rebuild(read_json(folder / "backbone.json"))
    backbone.preprocess = preprocess(read_json(folder / "preprocessing.json"))
    tensors = load_tensors(folder / "model.safetensors")
    task = build.task(_without_weights(recipe), classes, scale=_scale(tensors), texts=_transcripts(folder, recipe))
    model = build.model(recipe, backbone, task)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise IntegrityError(
            f"{folder}: {str(error).splitlines()[0]}", "make the run again with this version"
        ) from None
    return Loaded(folder, model.eval(), task, classes, recipe)


def _scale(tensors: Mapping[str, Tensor]) -> tuple[float, float] | None:
    """The units in which a regression was trained, so that its loss is the same figure again; None: it is none."""
    if "head.centre" not in tensors or "head.spread" not in tensors:
        return None
    return tensors["head.centre"].item(), tensors["head.spread"].item()


def _transcripts(folder: Path, recipe: Recipe) -> tuple[str, ...] | None:
    """Those that were learned from: a decoder counts its words in them."""
    if parse(recipe.task).name != build.TASKS["transcript"]:
        return None
    if (folder / TRANSCRIPTS).exists():
        return tuple(read_json(folder / TRANSCRIPTS))
    lines = (line for line in splits(folder) if line["split"] not in ("valid", "test"))
    return tuple(line["label"] for line in lines if line["label"] is not None)


def _without_weights(recipe: Recipe) -> Recipe:
    """Class weights need the training counts, and a trained model needs no loss."""
    asked = parse(recipe.task)
    options = {key: value for key, value in asked.options.items() if key != "class_weights"}
    return replace(recipe, class_weights=None, task=str(Spec(asked.name, asked.target, options)))


def splits(folder: Path) -> list[Json]:
    """Every sample that the run knows; none of a run from the hub, which leaves them out."""
    if not (folder / "splits.jsonl").exists():
        return []
    return [json.loads(line) for line in (folder / "splits.jsonl").read_text(encoding="utf-8").splitlines()]


def difference(old: Recipe, new: Recipe) -> list[str]:
    """What a resumed run would do differently, field by field."""
    a, b = old.json(), new.json()
    open_ended = [key for key in ("task", "backbone") if b[key] == AUTO]  # what was settled when the data were read
    changed = [key for key in a if a[key] != b[key] and key not in ("budget", *open_ended)]  # more time is welcome
    return [f"{key}: {a[key]!r} -> {b[key]!r}" for key in changed]


# ----------------------------------------------------------------------------------------------------------- facts


def info_json(info: Info) -> Json:
    return {**info.__dict__, "source": str(info.source), "notes": list(info.notes)}


def _pairs(dataset: Dataset) -> bool | None:
    """Whether texts come in pairs; None for what is no text."""
    first = dataset.load(dataset.samples[0]) if dataset.modality == "text" else None
    return None if first is None else first.pair is not None


def counts(dataset: Dataset) -> Json:
    """Samples in each split, and of each class in it."""
    table: Json = {}
    for name in ("train", "valid", "test"):
        part = [s.label for s in dataset.samples if s.split == name]
        several = dataset.kind in ("labels", "tags")
        labels = Counter(one for label in part for one in (label or () if several else (label,)))
        named = dataset.classes if dataset.kind != "transcript" else ()  # those are symbols
        table[name] = {"samples": len(part), "classes": {c: labels[c] for c in named}}
    return {"splits": table}


def fingerprint(dataset: Dataset) -> str:
    """sha256 over every sample's content, label and split, in an order that does not depend on names."""
    lines = sorted(f"{s.digest} {s.label} {s.split}" for s in dataset.samples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
