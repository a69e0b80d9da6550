"""Run folders as `fit` leaves them, of random predictions: what the tests of the report read. Nothing is trained."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from graft.intervals import wilson
from graft.tasks.classification import classification
from graft.types import Json, Metric, Predictions

WORDS = ("card", "address", "lost", "where", "now", "my", "not", "sent", "it", "new", "please", "know", "of", "the")
WAYS = (
    "ridge on bundled:tiny64",
    "norm_affine on bundled:natural48",
    "lp_ft on bundled:natural48",
    "discriminative on bundled:natural48",
)


def names(count: int, chinese: bool = False) -> list[str]:
    return [f"类别{i}" if chinese else f"class {i}" for i in range(count)]


def make_run(
    folder: Path,
    classes: Sequence[str],
    *,
    modality: str = "image",
    each: int = 12,
    ladder: bool = True,
    epochs: int = 6,
    text: str = "",
    seed: int = 0,
) -> Path:
    """All files that the report reads. `text` stands wherever a stranger's text may stand: keys, notes, issues."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(classes)), each)
    values = torch.from_numpy(rng.random((len(truth), len(classes)))).float()
    values[torch.arange(len(truth)), torch.from_numpy(truth)] += 0.45
    said = Predictions((4 * values).softmax(1), tuple(classes))
    result = _result(folder, said, torch.from_numpy(truth), classes, epochs, text)
    if ladder:
        put(folder, "ladder.json", _ladder(rng, text))
        result = {**read(folder, "ladder.json"), **result}
        put(folder, "chosen.json", recipe(folder, strategy="ridge", backbone="bundled:tiny64"))
    put(folder, "result.json", result)
    put(folder, "recipe.json", recipe(folder))
    put(folder, "labels.json", list(classes))
    put(folder, "issues.json", result["issues"])
    splits = {
        part: {"samples": each * len(classes), "classes": dict.fromkeys(classes, each)}
        for part in ("train", "valid", "test")
    }
    put(folder, "data.json", {"name": text or "flowers", "fingerprint": "ab" * 32, "pairs": None, "splits": splits})
    put(
        folder,
        "environment.json",
        {
            "python": "3.11.7",
            "system": "Linux x86_64",
            "commit": "c0ffee",
            "processor": "CPU",
            "gpu": None,
            "cores": 2,
            "threads": 2,
            "libraries": {"torch": "2.15.0"},
        },
    )
    put(
        folder,
        "backbone.json",
        {
            "source": "bundled:tiny64",
            "modality": modality,
            "dim": 384,
            "licence": "Apache-2.0",
            "sha256": "9b" * 32,
            "pretrained_on": "Tiny ImageNet",
            "parameters": 2_128_288,
        },
    )
    put(folder, "sealed.json", [{"when": "2026-11-21T20:52:57+00:00", "why": text or "final evaluation of fit"}])
    put(folder, "shown.json", _shown(rng, said, truth, classes, modality, text))
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(e) + "\n" for e in _events(epochs, text)), encoding="utf-8"
    )
    return folder


def put(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def recipe(folder: Path, **changes: Any) -> Json:
    return {
        "data": "flowers",
        "backbone": "auto",
        "task": "classification",
        "strategy": "auto",
        "budget": "10m",
        "terms": [],
        "seed": 0,
        "test": 0.15,
        **changes,
    }


def _result(
    folder: Path, said: Predictions, truth: torch.Tensor, classes: Sequence[str], epochs: int, text: str
) -> Json:
    task = classification(tuple(classes))
    most = torch.zeros(len(truth), len(classes))
    most[:, 0] = 1
    figures = {name: metric._asdict() for name, metric in task.measure(said, truth).items()}
    known = {name: metric._asdict() for name, metric in task.measure(Predictions(most), truth).items()}
    issues = [
        {
            "code": code,
            "severity": severity,
            "what": text or what,
            "count": len(keys),
            "keys": keys,
            "hint": text or hint,
            "details": [text or "a copy of train/7.png"] * len(keys),
        }
        for code, severity, what, keys, hint in ISSUES
    ]
    return {
        "run": str(folder),
        "data": "flowers",
        "backbone": "bundled:tiny64",
        "strategy": "ridge",
        "task": "classification",
        "splits": {"train": len(truth), "valid": len(truth), "test": len(truth)},
        "valid": figures,
        "test": figures,
        "test_openings": 1,
        "baselines": {"majority": known, "centroid": figures},
        "seconds": 75.3,
        "phases": [{"phase": text or "head", "epochs": epochs, "best_epoch": 2, "moved": 770, "seconds": 3.2}],
        "report": task.report(said, truth),
        "issues": issues,
        "confidence": _confidence(said, truth, text),
    }


ISSUES = (
    ("exact-copies", "note", "12 samples are exact copies of others", [f"{i}.png" for i in range(12)], ""),
    (
        "leak",
        "warning",
        "3 test samples have copies in training, and were left out",
        ["a.png", "b.png", "c.png"],
        "leave them out of the test part",
    ),
    (
        "shortcut",
        "error",
        "the class can be told from the size of the picture alone, with 97.0 %",
        [],
        "record all classes in the same way",
    ),
)


def _confidence(said: Predictions, truth: torch.Tensor, text: str) -> Json:
    top = said.values.max(1)
    right = (top.indices == truth).numpy()
    sure = top.values.numpy()
    edges = np.quantile(sure, np.linspace(0, 1, 9))
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (sure >= low) & (sure <= high)
        found = wilson(int(right[inside].sum()), int(inside.sum()))
        row = {
            "low": float(low),
            "high": float(high),
            "count": int(inside.sum()),
            "confidence": float(sure[inside].mean()),
            "accuracy": found.value,
            "accuracy_low": found.low,
            "accuracy_high": found.high,
        }
        rows.append({**row, "before": {**row, "confidence": min(0.99, row["confidence"] * 1.1)}})
    some = Metric(0.9, 0.85, 0.94, "clopper-pearson")._asdict()
    sets = {name: {"stated": 0.9, "coverage": some, "size": 1.3, "singletons": 0.8} for name in ("lac", "aps", "class")}
    pair = {
        "before": {**some, "value": 0.12, "low": 0.08, "high": 0.16},
        "after": {**some, "value": 0.03, "low": 0.01, "high": 0.06},
    }
    return {
        "temperature": 1.42,
        "made_on": text or "validation part",
        "samples": len(truth),
        "ece": pair,
        "brier": pair,
        "reliability": rows,
        "sets": sets,
        "unlike": {"threshold": 0.7, "stated": 0.05, "flagged": {**some, "value": 0.06, "low": 0.03, "high": 0.1}},
    }


def gain(value: float, low: float, high: float) -> Json:
    return {"value": value, "low": low, "high": high, "lower": low + 0.01, "upper": high - 0.01, "folds": 10}


def _ladder(rng: np.random.Generator, text: str) -> Json:
    over = {
        "majority": gain(0.31, 0.22, 0.4),
        "random frozen": gain(0.17, 0.07, 0.26),
        "pixels": gain(0.18, 0.03, 0.33),
        "scratch": gain(0.2, 0.014, 0.394),
    }
    tried = zip(
        ("probes", "norms", "last stage", "all"), WAYS, (0.81, 0.8, 0.83, 0.84), (4.0, 11.0, 40.0, 95.0), strict=True
    )
    rungs = [
        {
            "name": name,
            "way": text or way,
            "score": score,
            "gain": None if name == "probes" else gain(0.02, -0.01, 0.05),
            "folds": 10,
            "seconds": seconds,
            "kept": name in ("probes", "last stage"),
            "why": text or "the gain is real",
            "control": False,
            "metric": "accuracy",
            "recipe": None,
        }
        for name, way, score, seconds in tried
    ]
    rungs += [
        {
            "name": name,
            "way": f"ridge on {name}",
            "score": score,
            "gain": over[name],
            "folds": 10,
            "seconds": seconds,
            "kept": False,
            "why": "control",
            "control": True,
            "metric": "accuracy",
            "recipe": None,
        }
        for name, score, seconds in (("pixels", 0.63, 0.4), ("random frozen", 0.64, 0.6), ("scratch", 0.61, 30.0))
    ]
    rungs.append(
        {
            **rungs[1],
            "name": "soup",
            "way": None,
            "score": None,
            "gain": None,
            "kept": False,
            "why": "not measured: the budget does not allow it",
        }
    )
    verdict = {
        "transfer": "helps",
        "chosen": text or WAYS[2],
        "metric": "accuracy",
        "score": 0.83,
        "over": over,
        "cheapest_within_noise": text or WAYS[0],
        "fine_tuning": {"way": text or WAYS[2], **gain(0.02, -0.01, 0.05)},
        "measured_on": "on 10 folds",
        "notes": [text] if text else [],
        "sentences": [text] if text else [],
    }
    return {"verdict": verdict, "rungs": rungs, "budget": 600.0, "seconds": 60.0}


def _events(epochs: int, text: str) -> list[Json]:
    made: list[Json] = []
    for phase in (text or "head", "all"):
        made += [
            {
                "event": "epoch",
                "phase": phase,
                "epoch": i + 1,
                "epochs": epochs,
                "train_loss": 1 / (i + 1),
                "valid": {"accuracy": 0.6 + 0.03 * i, "loss": 1.1 / (i + 1)},
                "seconds": 0.1,
            }
            for i in range(epochs)
        ]
        made.append({"event": "phase_done", "phase": phase})
    return made


# -------------------------------------------------------------------------------------------------------- shown.json


def picture(rng: np.random.Generator, size: int = 96, warm: bool = False) -> Json:
    image = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    ImageDraw.Draw(image).ellipse((20, 20, 70, 70), fill=(220, 60, 20) if warm else (40, 120, 200))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=60)
    return {"data": base64.b64encode(out.getvalue()).decode(), "type": "image/webp", "width": size, "height": size}


def _item(rng: np.random.Generator, key: str, label: str | None, modality: str, text: str) -> Json:
    words = text or " ".join(rng.choice(WORDS, 14))
    return {
        "key": text or key,
        "label": label,
        "picture": None if modality == "text" else picture(rng),
        "text": words if modality == "text" else None,
    }


def _error(rng: np.random.Generator, a: str, b: str, i: int, modality: str, text: str) -> Json:
    item = _item(rng, f"test/{i}.png", a, modality, text)
    words = (
        [[word, float(rng.uniform(-1, 1))] for word in (item["text"] or "").split(" ")] if modality == "text" else None
    )
    why = {"method": "occlusion", "picture": None if modality == "text" else picture(rng, warm=True), "words": words}
    alike = [_item(rng, f"train/{i}-{k}.png", b, modality, text) for k in range(3)]
    return {
        "item": item,
        "actual": a,
        "predicted": b,
        "probability": 0.97 - 0.01 * i,
        "actual_probability": 0.02,
        "why": why,
        "alike": alike,
    }


def _shown(
    rng: np.random.Generator, said: Predictions, truth: np.ndarray, classes: Sequence[str], modality: str, text: str
) -> Json:
    guess = said.values.argmax(1).numpy()
    wrong = np.flatnonzero(guess != truth)
    places = rng.normal(0, 1, (len(truth), 2)) + 5 * np.stack([np.cos(truth), np.sin(1.7 * truth)], 1)
    points = [
        {
            "x": float(x),
            "y": float(y),
            "label": int(t),
            "part": "test",
            "right": bool(t == g),
            "key": text or f"{i}.png",
        }
        for i, ((x, y), t, g) in enumerate(zip(places, truth, guess, strict=True))
    ]
    pairs = [(classes[truth[i]], classes[guess[i]]) for i in wrong[:24]]
    confused = [
        {
            "actual": a,
            "predicted": b,
            "count": 3,
            "examples": [_item(rng, f"test/{a}-{k}.png", a, modality, text) for k in range(3)],
        }
        for a, b in dict.fromkeys(pairs[:6])
    ]
    sizes = [30, 60, 120, 240]
    errors = [0.1 + 1.2 * n**-0.5 for n in sizes]
    curve = {
        "metric": "accuracy",
        "sizes": sizes,
        "scores": [1 - e for e in errors],
        "low": [0.96 - e for e in errors],
        "high": [1.03 - e for e in errors],
        "fit": {"a": 0.1, "b": 1.2, "c": 0.5},
        "now": 1 - errors[-1],
        "doubled": {"value": 0.845, "low": 0.82, "high": 0.87, "gain": 0.022, "gain_low": 0.004, "gain_high": 0.04},
        "larger": {"trunk": "bundled:tiny64", "over": "bundled:natural48", "way": "ridge", **gain(0.03, 0.01, 0.05)},
        "says": "both",
    }
    return {
        "format": 1,
        "modality": modality,
        "part": "test",
        "errors": [_error(rng, a, b, i, modality, text) for i, (a, b) in enumerate(pairs)],
        "confused": confused,
        "map": {"method": "pca", "points": points},
        "curve": curve,
        "next": {
            "source": "unlabelled",
            "of": 400,
            "items": [_item(rng, f"new/{i}.png", None, modality, text) for i in range(50)],
        },
        "suspects": [_error(rng, a, b, i, modality, text) for i, (a, b) in enumerate(pairs[:8])],
        "cost": {
            "seconds": 75.3,
            "stages": {"choice": 60.1, "training": 9.0, "report": 4.1, "rest": 2.1},
            "processor": "CPU",
            "cores": 2,
            "busy": 1.9,
            "gpu": None,
            "watts": 35.0,
            "watt_hours": 0.73,
            "assumption": text or "35 W",
        },
        "notes": [text or "the map was made of 120 samples"],
    }
