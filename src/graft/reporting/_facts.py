"""The files of a run folder, as its report reads them. A file that a run does not have is None, or empty."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from graft.console import safe
from graft.errors import DataError
from graft.recipe import pretext
from graft.store import read_json
from graft.types import Json

METRICS = (
    "accuracy",
    "word_accuracy",
    "f1_micro",
    "f1",
    "r2",
    "explained",
    "retrieval",
)  # what tasks choose by: higher is better
SHOWN_FORMAT = 1


@final
@dataclass(frozen=True)
class Facts:
    """What a run was asked, did and came to. Texts in it are printable, each on one line."""

    folder: Path
    result: Json
    ladder: Json | None
    recipe: Json
    backbone: Json
    data: Json
    environment: Json
    adapted: Json | None
    openings: list[Json]
    issues: list[Json]
    epochs: list[Json]  # the epochs of metrics.jsonl, in order
    shown: Json

    @property
    def scores(self) -> Json:
        """Of the sealed test part, else of the validation part."""
        return self.result.get("test") or self.result.get("valid") or {}

    @property
    def part(self) -> str:
        return "test" if self.result.get("test") else "valid"

    @property
    def metric(self) -> str:
        """What the run was chosen by."""
        known = (self.ladder or {}).get("verdict", {}).get("metric") or self.result.get("metric")
        return str(known or next((name for name in METRICS if name in self.scores), "accuracy"))

    @property
    def report(self) -> Json:
        """What the task says of the scored part: per class, confusion, ..."""
        return self.result.get("report") or {}

    @property
    def pretext(self) -> bool:
        """Whether a trunk learned without labels."""
        return pretext(str(self.result.get("task") or self.recipe.get("task") or ""))

    @property
    def looks(self) -> list[Json]:
        """How a trunk came on that learned without labels: at the start, after some epochs, and as it is kept."""
        found = self.result.get("watch")
        return [look for look in found if isinstance(look, dict)] if isinstance(found, list) else []

    @property
    def modality(self) -> str:
        return str(self.shown.get("modality") or self.backbone.get("modality") or "")

    @property
    def scored(self) -> int:
        """Samples of the scored part."""
        return int(self.report.get("samples") or self.result.get("splits", {}).get(self.part, 0))

    @property
    def name(self) -> str:
        return str(self.data.get("name") or self.folder.name)


def read(folder: Path) -> Facts:
    """Raises DataError for a folder that holds no finished run, IntegrityError for a damaged file."""
    result = _result(folder)
    ladder = _of(folder, "ladder.json", dict) or ({"verdict": result["verdict"], "rungs": result.get("rungs", [])}
                                                  if "verdict" in result else None)  # fmt: skip
    shown = _of(folder, "shown.json", dict) or {}
    asked = _of(folder, "chosen.json", dict) or _of(folder, "recipe.json", dict) or {}
    return Facts(
        folder,
        result,
        ladder,
        asked,
        _of(folder, "backbone.json", dict) or {},
        _of(folder, "data.json", dict) or {},
        _of(folder, "environment.json", dict) or {},
        _of(folder, "adapted.json", dict),
        _of(folder, "sealed.json", list) or [],
        result.get("issues") or _of(folder, "issues.json", list) or [],
        _epochs(folder / "metrics.jsonl"),
        shown if shown.get("format", SHOWN_FORMAT) == SHOWN_FORMAT else {},
    )


def _result(folder: Path) -> Json:
    """result.json, or why there is none."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "give the folder of a run: ls runs")
    result: Json | None = _of(folder, "result.json", dict)
    if result is None and (folder / "manifest.json").exists() and not (folder / "splits.jsonl").exists():
        raise DataError(f"the run in {folder} is from the hub: what a report shows stays with whoever made it",
                        "give the folder that graft fit has made")  # fmt: skip
    if result is None and (folder / "recipe.json").exists():
        data = (_of(folder, "recipe.json", dict) or {}).get("data", "DATA")
        raise DataError(f"the run in {folder} is not finished: it has no result.json yet",
                        f"finish it: graft fit {data} --out {folder} --resume")  # fmt: skip
    if result is None:
        raise DataError(
            f"{folder} is no run of Graft: it has no result.json", "give the folder that graft fit has made"
        )
    if not {"test", "valid", "gain"} & result.keys():
        raise DataError(f"{folder}/result.json is no result of graft fit or graft adapt",
                        "give the folder that graft fit has made")  # fmt: skip
    return result


def _of(folder: Path, name: str, kind: type) -> Any:
    """A JSON file of a run; None where the run has none, or it holds something else."""
    if not (folder / name).exists():
        return None
    found = clean(read_json(folder / name))
    return found if isinstance(found, kind) else None


def clean(value: Any) -> Any:
    """Texts on one line, without what reverses it or cannot be encoded; numbers as they are."""
    if isinstance(value, str):
        return safe(" ".join(value.split())) if len(value) < 20_000 else safe(value)
    if isinstance(value, list):
        return [clean(each) for each in value]
    if isinstance(value, dict):
        return {safe(key): clean(each) for key, each in value.items()}
    return value


def _epochs(path: Path) -> list[Json]:
    """A line that a kill has cut short is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and event.get("event") == "epoch":
            found.append(clean(event))
    return found
