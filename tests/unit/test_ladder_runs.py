"""Whole runs of the automatic choice on a few small images: budget, resume, what is left in the folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graft
from graft import contest, ladder
from graft.contest import Contest
from graft.errors import Interrupted, UsageError
from graft.ladder import Ladder
from graft.trials import Trials, Way
from graft.types import Dataset, Json, Model, Recipe


@pytest.fixture
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of two epochs, and no probe left out because a busy machine was slow: the same ladder every time."""
    monkeypatch.setattr(contest, "epochs_for", lambda *a: 2)
    monkeypatch.setattr(contest, "CHEAP", 1.0)
    monkeypatch.setattr(ladder, "ON_THE_BEST", ("svm_rbf",))


def fit(data: Path, out: Path, **options: Any) -> Json:
    return graft.fit(str(data), backbone="toy", strategy="auto", budget="20s", out=str(out), **options)


def lines(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("_brief")
def test_what_a_run_has_chosen_is_not_chosen_again(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped during the final training: the checkpoints there are of the way that was chosen before."""
    before = fit(flowers, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    monkeypatch.setattr(Ladder, "climb", lambda self: pytest.fail("it climbs again"))
    again = fit(flowers, tmp_path / "run", resume=True)
    assert again["strategy"] == before["strategy"] and again["verdict"] == before["verdict"]


@pytest.mark.usefixtures("_brief")
def test_a_run_from_end_to_end(flowers: Path, tmp_path: Path) -> None:
    result, run = fit(flowers, tmp_path / "run"), tmp_path / "run"
    assert result["seconds"] <= 1.1 * 20 and result["budget"] == 20
    assert result["verdict"]["transfer"] in ("helps", "hurts", "unclear") and result["verdict"]["sentences"]
    assert {r["name"] for r in result["rungs"]} >= {"probes", "random frozen", "pixels", "scratch", "norms"}
    assert len(json.loads((run / "sealed.json").read_text())) == result["test_openings"] == 1
    told = json.loads((run / "ladder.json").read_text())
    assert told["verdict"] == result["verdict"] and told["rungs"] == json.loads(json.dumps(result["rungs"]))
    chosen = json.loads((run / "chosen.json").read_text())
    assert (chosen["strategy"], chosen["backbone"]) == (result["strategy"], result["backbone"]) and chosen["valid"] == 0
    rows, _ = graft.predict(run, str(flowers))
    assert len(rows) == 36 and all(row["label"] in ("daisy", "rose", "tulip") for row in rows)
    again = graft.fit(recipe=run / "chosen.json", out=str(tmp_path / "again"))
    assert again["test"] == result["test"] and again["splits"] == result["splits"]
    assert "verdict" not in again


@pytest.mark.usefixtures("_brief")
def test_nothing_of_the_sealed_part_is_measured(flowers: Path, tmp_path: Path) -> None:
    pools: list[Dataset] = []
    with pytest.MonkeyPatch.context() as patch:
        begin = Trials.__init__

        def watched(self: Trials, recipe: Recipe, pool: Dataset, *rest: Any, **more: Any) -> None:
            pools.append(pool)
            begin(self, recipe, pool, *rest, **more)
            raise Interrupted(2, "seen enough", "")

        patch.setattr(Trials, "__init__", watched)
        with pytest.raises(Interrupted):
            fit(flowers, tmp_path / "run")
    splits = [json.loads(line) for line in (tmp_path / "run" / "splits.jsonl").read_text().splitlines()]
    sealed = {line["key"] for line in splits if line["split"] == "test"}
    assert len(sealed) == 6 and sealed.isdisjoint(sample.key for sample in pools[0].samples)
    assert len(pools[0]) == 30 and not (tmp_path / "run" / "sealed.json").exists()


@pytest.mark.usefixtures("_brief")
def test_an_interrupted_ladder_goes_on_with_what_it_has_measured(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, int]] = []
    measure: Callable[..., Model | None] = Trials.measure

    def counted(self: Trials, way: Way, fold: int, *rest: Any) -> Model | None:
        if stop and len(measured) == 64:
            raise Interrupted(2, "interrupted", "")
        measured.append((str(way), fold))
        return measure(self, way, fold, *rest)

    monkeypatch.setattr(Trials, "measure", counted)
    stop = True
    with pytest.raises(Interrupted):
        fit(flowers, tmp_path / "run")
    before, stop = lines(tmp_path / "run"), False
    assert len(measured) == 64
    first = set(measured)
    measured.clear()
    result = fit(flowers, tmp_path / "run", resume=True)
    after = lines(tmp_path / "run")
    assert after[: len(before)] == before and first.isdisjoint(measured)
    keys = [(json.dumps(line["way"]), line["fold"]) for line in after]
    assert len(set(keys)) == len(keys), "nothing is measured twice"
    assert result["test"] and result["test_openings"] == 1
    assert fit(flowers, tmp_path / "run", resume=True)["already_done"]


@pytest.mark.usefixtures("_brief")
def test_a_budget_that_is_refused_on_resume_costs_no_trial(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> bool:
        raise Interrupted(2, "interrupted", "")

    with monkeypatch.context() as patch:
        patch.setattr(Contest, "race", stop)
        with pytest.raises(Interrupted):
            fit(flowers, tmp_path / "run")
    before = lines(tmp_path / "run")
    monkeypatch.setattr(Trials, "extraction", lambda *a: 1e6)
    with pytest.raises(UsageError, match="too small"):
        fit(flowers, tmp_path / "run", resume=True)
    assert lines(tmp_path / "run") == before


def test_the_budget_is_kept_with_trainings_of_full_length(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "CHEAP", 1.0)
    monkeypatch.setattr(ladder, "ON_THE_BEST", ())
    result = graft.fit(str(flowers), backbone="toy", strategy="auto", budget="8s", out=str(tmp_path / "run"))
    assert result["seconds"] <= 1.1 * 8 and result["test"]
