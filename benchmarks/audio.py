"""Sounds: spoken digits of six speakers (free-spoken-digit-dataset), and whether what other speech taught helps.

python benchmarks/audio.py official speakers adapt strings rates --data FOLDER --out benchmarks/results

official    the published split: recordings 0-4 of each digit and speaker are the test part
speakers    one speaker is left out at a time: the mean over speakers, and the worst one
adapt       a new speaker: nothing, AdaBN without labels, 5 labelled recordings of each digit
strings     speech recognition by CTC of 1 to 5 digits, held-out speaker, from scratch and pretrained
rates       the same recordings at 8, 16 and 44.1 kHz, mono and stereo: the same predictions
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from _report import report
from digit_strings import make

import graft
from graft.left_out import leave_one_out
from graft.recipe import make as recipe_of
from graft.trials import Way

TRUNK = "bundled:words8k"
SCRATCH = "cnn_tdnn(rate=8000, dim=192)"  # the same network
TRAIN = "full(epochs=16, lr=3e-3, head_lr=3e-3)"
TUNE = "lp_ft(head_epochs=4, epochs=8, lr=1e-3)"
SHOTS = 5
Row = dict[str, Any]


def tables(recordings: Path, out: Path) -> None:
    """A copy of the recordings with official.csv, speakers.csv (no split), and two tables for each speaker."""
    names = sorted(path.name for path in recordings.glob("*.wav"))
    for name in names:
        shutil.copyfile(recordings / name, out / name)
    parts = [(name, *name.removesuffix(".wav").split("_")) for name in names]
    head = ("path", "label", "speaker")
    official = [(n, d, "test" if int(i) < 5 else "train") for n, d, _, i in parts]
    write(out / "official.csv", ("path", "label", "split"), official)
    write(out / "speakers.csv", head, [(n, d, s) for n, d, s, _ in parts])
    for speaker in sorted({s for _, _, s, _ in parts}):
        own = [(n, d, s) for n, d, s, _ in parts if s == speaker]
        few = {(n, d, s) for n, d, s, i in parts if s == speaker and int(i) < SHOTS}
        write(out / f"without-{speaker}.csv", head, [(n, d, s) for n, d, s, _ in parts if s != speaker])
        write(out / f"few-{speaker}.csv", head, sorted(few))
        write(out / f"rest-{speaker}.csv", head, [row for row in own if row not in few])


def write(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def fit(data: str, out: Path, **options: Any) -> Row:
    """What a folder that stays holds is not made again."""
    return graft.fit(data, out=str(out), controls=False, resume=True, **options)


# ------------------------------------------------------------------------------------------------------------ the parts


def official(work: Path) -> list[Row]:
    rows = []
    for trunk, strategy in (("mfcc", "svm_rbf"), ("spectrogram:bundled:tiny64", "lda"), (TRUNK, "lda"),
                            (TRUNK, TUNE), (SCRATCH, TRAIN)):  # fmt: skip
        out = work / f"official-{len(rows)}"
        result = fit(f"{work}/official.csv", out, backbone=trunk, strategy=strategy, valid=0.0)
        figures = {**result["test"]["accuracy"], "samples": result["splits"]["test"]}
        rows.append({"what": f"{strategy} on {trunk}", **figures, "seconds": result["seconds"]})
    return rows


def speakers(work: Path) -> list[Row]:
    ways = (Way("mfcc", "svm_rbf"), Way("mfcc(count=20, segments=0)", "svm_rbf"),
            Way("spectrogram:bundled:tiny64", "lda"), Way(SCRATCH, TRAIN), Way(TRUNK, "lda"), Way(TRUNK, "ridge"),
            Way(TRUNK, TUNE))  # fmt: skip
    recipe = recipe_of({"data": f"{work}/speakers.csv", "strategy": "lda", "backbone": TRUNK})
    found = leave_one_out(recipe, f"{work}/speakers.csv", "speaker", ways, folder=work)
    return [{"what": f"{way.strategy} on {way.backbone}", "mean": row["mean"]["value"], "low": row["mean"]["low"],
             "high": row["mean"]["high"], "worst": row["worst"]["value"], "worst speaker": row["worst"]["group"],
             "gain": row["gain"], "groups": row["groups"], "seconds": row.get("seconds")}
            for way, row in zip(ways, found["ways"], strict=True)]  # fmt: skip


def adapt(work: Path) -> list[Row]:
    rows = []
    for table in sorted(work.glob("few-*.csv")):
        speaker = table.stem.removeprefix("few-")
        rest = str(work / f"rest-{speaker}.csv")
        run = work / f"without-{speaker}"
        fit(f"{run}.csv", run, backbone=TRUNK, strategy=TUNE, valid=0.0, test=0.0)
        row: Row = {"what": speaker, "nothing": accuracy(run, rest)}
        for name, data in (("adabn", rest), ("refit", str(table)), ("tune", str(table))):
            shutil.rmtree(work / name, ignore_errors=True)
            graft.adapt(str(run), data, method=name, out=str(work / name))
            row[name] = accuracy(work / name, rest)
        rows.append(row)
        print(json.dumps(row), flush=True)
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "what"}
    worst = {key: float(min(row[key] for row in rows)) for key in means}
    return [*rows, {"what": "mean", **means}, {"what": "worst", **worst}]


def accuracy(run: Path, data: str) -> float:
    return float(graft.evaluate(str(run), data)["scores"]["accuracy"]["value"])


def strings(work: Path) -> list[Row]:
    """Many strings and few, each way with two seeds; the head alone with one."""
    recordings, rows = Path(os.environ["GRAFT_DATA"]) / "fsdd" / "recordings", []
    for count, epochs in ((2400, 12), (480, 40)):
        table = make(recordings, work / f"strings-{count}", "george", count)
        same = f"full(epochs={epochs}, lr=3e-3, head_lr=3e-3)"
        ways = [(TRUNK, f"linear_probe(epochs={epochs})", 0), *((t, same, s) for s in (0, 1) for t in (SCRATCH, TRUNK))]
        for trunk, strategy, seed in ways:
            out = work / f"spelt-{len(rows)}"
            result = fit(str(table), out, backbone=trunk, strategy=strategy, batch_size=32, seed=seed)
            wer = result["test"]["wer"]
            rows.append({"what": f"{strategy} on {trunk}", "strings": count, "seed": seed, "wer": wer["value"],
                         "low": wer["low"], "high": wer["high"], "cer": result["test"]["cer"]["value"],
                         "valid wer": result["valid"]["wer"]["value"], "seconds": result["seconds"]})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def rates(work: Path) -> list[Row]:
    run = work / "rates"
    fit(f"{work}/official.csv", run, backbone=TRUNK, strategy="lda", valid=0.0)
    names = [row["path"] for row in csv.DictReader((work / "official.csv").open()) if row["split"] == "test"]
    plain, rows = None, []
    for rate in (8000, 16000, 44100):
        for channels in (1, 2):
            folder = work / f"at-{rate}-{channels}"
            folder.mkdir()
            for name in names:
                wave, own = soundfile.read(work / name, dtype="float32")
                made = wave if rate == own else soxr.resample(wave, own, rate)
                soundfile.write(folder / name, np.stack([made] * channels, 1), rate, "PCM_16")
            said = {row["path"]: row for row in graft.predict(str(run), str(folder))[0]}
            plain = plain or said
            pairs = [(plain[name], said[name]) for name in names]
            rows.append({"what": f"{rate} Hz, {channels} channels", "samples": len(pairs),
                         "same label": float(np.mean([a["label"] == b["label"] for a, b in pairs])),
                         "largest change of a probability": max(abs(a["probability"] - b["probability"])
                                                                for a, b in pairs)})  # fmt: skip
    return rows


PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "official": official, "speakers": speakers, "adapt": adapt, "strings": strings, "rates": rates}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=[*PARTS, []])
    parser.add_argument("--data", type=Path, default=os.environ.get("GRAFT_DATA"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, help="a folder that stays: ways that it has are not measured again")
    asked = parser.parse_args()
    os.environ["GRAFT_DATA"] = str(asked.data)
    for part in asked.parts:
        with tempfile.TemporaryDirectory() as folder:
            work = asked.work or Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            tables(asked.data / "fsdd" / "recordings", work)
            rows = PARTS[part](work)
        report(f"audio_{part}", rows, {"data": "free-spoken-digit-dataset, 3,000 recordings", "part": part},
               asked.out / f"audio_{part}.json")  # fmt: skip


if __name__ == "__main__":
    main()
