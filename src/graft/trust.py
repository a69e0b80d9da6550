"""How far a run's predictions can be trusted: learned from samples that its weights have not seen, kept beside them.

trust.json         the temperature, on what it was made, the threshold of "unlike the training data"
trust.safetensors  of held-out samples the scores of their classes; and a bank of training features
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graft import calibration, confidence, conformal, held_out, novelty, run
from graft.checkpoint import load_tensors, save_tensors
from graft.confidence import Sets as Sets
from graft.confidence import Trust as Trust
from graft.confidence import measured as measured
from graft.errors import IntegrityError, UsageError
from graft.features import Feed
from graft.held_out import Held
from graft.novelty import Array, Bank, Familiar, Rows
from graft.scoring import predict
from graft.store import DAMAGED, read_json, read_sealed_json, replacing, write_json
from graft.types import Dataset, Features, Json, Model, Predictions, Task

FILES, FORMAT = run.TRUSTED, 2  # signed like the model, where they are there


class Looked(NamedTuple):
    """What was predicted, with how far each sample (N,) is from the training data; None where the run does not say."""

    dataset: Dataset
    trust: Trust | None
    far: Tensor | None

    @property
    def digests(self) -> list[str]:
        return [sample.digest for sample in self.dataset.samples]


# -------------------------------------------------------------------------------------------------------------- learn


def learn(
    folder: Path, model: Model, task: Task, train: Feed, valid: Feed, validated: Predictions | None, still: int = 0
) -> Trust | None:
    """From the validation part (`validated` are its predictions), else from what `held_out.keep` kept; writes FILES.
    `still` is how many of the trunk's stages never moved. None where the task has no classes, its head takes no pooled
    features, or nothing was held out."""
    if task.kind != "class" or task.needs != "pooled":
        return None
    held = held_out.validated(valid, validated) if validated is not None else held_out.out_of_fold(folder, train)
    if held is None or not len(held.rows) or not held.probabilities.isfinite().all():  # a diverged model is told later
        return None
    model.eval()
    moved, temperature = still < len(model.backbone.stages), _temperature(held)
    values = confidence.tempered(held.probabilities, temperature)
    bank, own, far = _bank(model, train, held, len(task.classes))
    trust = Trust(temperature, held.made_on, *confidence.true_scores(values, held.targets), held.targets, bank,
                  Familiar(far, values[torch.from_numpy(own)].amax(1).double().numpy()),
                  held_out.notes(held, len(task.classes), moved))  # fmt: skip
    _write(folder, trust, moved and held.feed is train)
    return trust


def _temperature(held: Held) -> float:
    rows = held_out.some(torch.arange(len(held.rows)), held_out.FITTED // held.probabilities.shape[1])
    if len(held.rows) < held_out.FEW:
        return 1.0
    return calibration.temperature(held.probabilities[rows].numpy(), held.targets[rows].numpy())


def _bank(model: Model, train: Feed, held: Held, classes: int) -> tuple[Bank, Rows, Array]:
    """Training features as the final trunk sees them; which held-out samples (m,) say what is familiar, and how far
    these are from the bank (m,): from its rows of other groups."""
    labelled = torch.nonzero(train.targets.cpu() >= 0)[:, 0]
    rows = labelled[torch.from_numpy(novelty.chosen(train.targets.cpu()[labelled].numpy()))]
    own = held_out.some(torch.arange(len(held.rows)), novelty.ROWS)
    asked = held.rows[own]
    if held.feed is not train:  # no group is divided between the two
        known = novelty.bank(_features(model, train, rows).numpy(), classes)
        return known, own.numpy(), novelty.distances(known, _features(model, held.feed, asked).numpy())
    every, where = torch.unique(torch.cat([rows, asked]), return_inverse=True)
    seen = _features(model, train, every).numpy()[where.numpy()]  # each sample once: the trunk may be a large one
    inside, outside = seen[: len(rows)], seen[len(rows) :]
    groups = _groups(train)
    far = novelty.apart(inside, groups[rows.numpy()], outside, groups[asked.numpy()], classes)
    return novelty.bank(inside, classes), own.numpy(), far


def _groups(feed: Feed) -> Rows:
    """(N,) the number of each sample's group: a patient, a speaker, copies; a sample without one is its own."""
    names = [f"group {one.group}" if one.group else f"sample {i}" for i, one in enumerate(feed.dataset.samples)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _features(model: Model, feed: Feed, rows: Tensor) -> Tensor:
    return feed.part(rows, model.backbone, needs=feed.needs).pooled()


# ------------------------------------------------------------------------------------------------------ what is kept


def _write(folder: Path, trust: Trust, fitted: bool) -> None:
    assert trust.bank is not None and trust.familiar is not None, "learn makes both"
    bank, familiar = trust.bank, trust.familiar
    arrays = {"bank": bank.rows, "centre": bank.centre, "far": familiar.far, "sure": familiar.sure}
    arrays |= {} if bank.axes is None else {"axes": bank.axes}
    tensors = {"lac": trust.lac, "aps": trust.aps, "targets": trust.targets}
    with replacing(folder / FILES[1]) as temporary:
        save_tensors(temporary, tensors | {name: torch.from_numpy(array) for name, array in arrays.items()})
    unlike = {"neighbours": bank.neighbours, "stated": novelty.STATED, "threshold": 1 - novelty.STATED,
              "training_samples": len(bank.rows), "familiar_samples": len(familiar.far),
              "trunk_fitted_to_familiar": fitted}  # fmt: skip
    facts = {"temperature": trust.temperature, "made_on": trust.made_on, "samples": len(trust.targets)}
    write_json(folder / FILES[0], {"format": FORMAT, **facts, "unlike": unlike, "notes": list(trust.notes)})


def read(folder: Path) -> Trust | None:
    """What `learn` wrote into a finished run folder; None for a run without it. Raises IntegrityError."""
    manifest = folder / "manifest.json"
    if not manifest.is_file() or not set(FILES) <= read_sealed_json(manifest)["files"].keys():
        return None
    try:
        facts, classes = read_json(folder / FILES[0]), len(read_json(folder / "labels.json"))
        return _trust(facts, load_tensors(folder / FILES[1]), classes)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / FILES[0]} is damaged: {error}", DAMAGED) from None


def _trust(facts: Json, tensors: dict[str, Tensor], classes: int) -> Trust:
    """Raises KeyError, TypeError or ValueError for what `_write` did not write."""
    if facts["format"] != FORMAT:
        raise ValueError(f"it is of format {facts['format']}, and this version reads {FORMAT}")
    temperature, neighbours = float(facts["temperature"]), int(facts["unlike"]["neighbours"])
    if not (math.isfinite(temperature) and temperature > 0 and neighbours >= 1):
        raise ValueError(f"a temperature of {temperature:g}, or {neighbours} neighbours")
    lac, aps, targets = tensors["lac"].double(), tensors["aps"].double(), tensors["targets"].long()
    rows, centre, axes = tensors["bank"].numpy(), tensors["centre"].numpy(), tensors.get("axes")
    far, sure = tensors["far"].double().numpy(), tensors["sure"].double().numpy()
    wide = rows.shape[1:] == ((len(centre),) if axes is None else tuple(axes.shape[1:]))
    deep = axes is None or (axes.ndim == 2 and len(axes) == len(centre))
    alike = lac.shape == aps.shape == targets.shape == (len(lac),) and far.shape == sure.shape == (len(far),)
    if not (alike and wide and deep and rows.ndim == 2 and len(rows)):
        raise ValueError("its tensors do not belong together")
    numbers = [lac.numpy(), aps.numpy(), rows, centre, far, sure, *([] if axes is None else [axes.numpy()])]
    if not all(np.isfinite(one).all() for one in numbers):
        raise ValueError("its tensors hold what is no number")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(f"it is of other classes than the {classes} of labels.json")
    bank = Bank(rows, centre, neighbours, None if axes is None else axes.numpy())
    return Trust(temperature, str(facts["made_on"]), lac, aps, targets, bank, Familiar(far, sure),
                 tuple(map(str, facts["notes"])))  # fmt: skip


# ---------------------------------------------------------------------------------------- what predict and evaluate ask


def predicted(loaded: run.Loaded, feed: Feed) -> tuple[Predictions, Looked]:
    """What a run says of a feed, as `looked` gives it, and of its features nothing is kept. Nothing moves any more: all
    of the trunk is a frozen prefix, unless the task hides a part of each sample."""
    model, task = loaded.model, loaded.task
    return looked(read(loaded.folder), model, task, feed, 0 if task.view else len(model.backbone.stages))


def looked(trust: Trust | None, model: Model, task: Task, feed: Feed, boundary: int) -> tuple[Predictions, Looked]:
    """`predict`, and how far from the training data each sample is: the trunk runs once. Raises IntegrityError where
    `trust` is of another trunk."""
    if trust is None or trust.bank is None:
        return predict(model, task, feed, boundary), Looked(feed.dataset, trust, None)
    width = len(trust.bank.centre)
    far = torch.zeros(len(feed), dtype=torch.float64)

    def seen(rows: Tensor, features: Features) -> None:
        if features.pooled.shape[1] != width:
            what = f"{FILES[1]} holds features of {width} numbers, and the trunk makes {features.pooled.shape[1]}"
            raise IntegrityError(what, DAMAGED)
        found = trust.distances(features.pooled.float())
        assert found is not None, "there is a bank"
        far[rows] = found

    return predict(model, task, feed, boundary, seen=seen), Looked(feed.dataset, trust, far)


def asked(loaded: run.Loaded, coverage: float, sets: str, abstain_below: float | None) -> Sets:
    """What a user asks of `graft predict`. Raises UsageError for what is no coverage, method or probability, and where
    the run has no trust.json to answer with."""
    if not 0 < coverage < 1:
        hint = f"--coverage {coverage / 100:g}" if 50 <= coverage < 100 else "--coverage 0.9"
        raise UsageError(f"a coverage of {coverage:g} is not between 0 and 1", hint)
    conformal.check(coverage, sets)
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        hint = f"--abstain-below {abstain_below / 100:g}" if 10 <= abstain_below <= 100 else "--abstain-below 0.8"
        raise UsageError(f"{abstain_below:g} is no probability to abstain below", hint)
    wanted = Sets(coverage, sets, abstain_below)
    flags = {"--coverage": "coverage", "--sets": "method", "--abstain-below": "abstain_below"}
    said = [flag for flag, name in flags.items() if getattr(wanted, name) != getattr(Sets(), name)]
    if said:
        required(loaded, said[0])
    return wanted


def said(loaded: run.Loaded, predictions: Predictions, looked: Looked, asked: Sets) -> list[Json]:
    """The rows of `graft predict`: those of the task, and, where the run has trust.json, with calibrated probability,
    set, unlike, abstained."""
    plain = loaded.task.rows(predictions, looked.dataset)
    if looked.trust is None:
        return plain
    sure = looked.trust.rows(predictions, looked.far, looked.digests, asked)
    rows = [{**row, **more} for row, more in zip(plain, sure, strict=True)]
    return rows if asked.abstain_below is None else [_abstaining(row, asked.abstain_below) for row in rows]


def _abstaining(row: Json, below: float) -> Json:
    if row["probability"] >= below:
        return {**row, "abstained": False}
    return {**row, "label": None, "abstained": True, "candidate": row["label"]}


def required(loaded: run.Loaded, flag: str) -> Trust:
    """Raises UsageError for a run without trust.json."""
    found = read(loaded.folder)
    if found is not None:
        return found
    folder, leave = loaded.folder, f"leave {flag} out"
    if loaded.task.kind != "class" or loaded.task.needs != "pooled":
        raise UsageError(f"{flag} is for classes, and {loaded.task.metric} is what {folder} was made for", leave)
    if (folder / "adapted.json").exists():
        what = f"{flag}: {folder} is adapted, and how sure the run that it was made of may be says nothing of it"
        raise UsageError(what, f"{leave}, or fit a run to the new data: graft fit DATA")
    asked = read_json(folder / "recipe.json")
    more = " --valid 0.15" if not asked.get("valid") else ""
    what = f"{flag}: {folder} has no trust.json: nothing was held out or kept, or an older version made it"
    raise UsageError(what, f"graft fit --recipe {folder / 'recipe.json'}{more} --out {folder}-2, or {leave}")


def evaluated(trust: Trust, raw: Predictions, looked: Looked, targets: Tensor) -> Json:
    """`measured`, of what was looked at."""
    return measured(trust, raw, targets, looked.far, looked.digests)


def told_apart(trust: Trust, raw: Predictions, looked: Looked, other: Predictions, other_looked: Looked) -> Json:
    """{"unlike_other": {"samples", "auroc": Metric, "flagged": Metric}} of data that hold none of the classes."""
    pairs = ((raw, looked), (other, other_looked))
    ours, theirs = (trust.unlikeness(trust.calibrated(said).values, one.far) for said, one in pairs)
    assert ours is not None and theirs is not None, "learn makes a bank"
    return {"unlike_other": confidence.told_apart(ours, theirs)}
