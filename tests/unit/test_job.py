"""One run from end to end: where it is written, what it opens, and that it can be gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import graft
from graft import api, build, intake, run
from graft.errors import DataError, Interrupted, UsageError
from graft.train import Loop
from graft.types import Flow, Result

FAST: dict[str, Any] = {"backbone": "toy", "strategy": "linear_probe(epochs=2)"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")


def test_each_run_gets_the_next_folder_and_resume_means_the_newest(flowers: Path) -> None:
    first, second = (graft.fit(str(flowers), **FAST, seed=seed)["run"] for seed in (0, 1))
    assert (first, second) == ("runs/flowers-1", "runs/flowers-2")
    again = graft.fit(str(flowers), **FAST, seed=1, resume=True)
    assert again["run"] == "runs/flowers-2" and again["already_done"]


def test_an_interrupted_run_goes_on_in_its_own_folder(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Loop, flow: Flow) -> list[Result]:
        raise Interrupted(2, "interrupted", "")

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run", stop)
        with pytest.raises(Interrupted):
            graft.fit(str(flowers), **FAST)
    result = graft.fit(str(flowers), **FAST, resume=True)
    assert result["run"] == "runs/flowers-1" and result["test"] and not list(Path("runs").glob("flowers-2"))


def test_a_second_process_is_refused_and_told_who_is_there(flowers: Path) -> None:
    folder = run.new_folder(str(flowers), "runs/mine")
    with run.locked(folder), pytest.raises(DataError, match="another process is at work .* process [0-9]+ on"):
        graft.fit(str(flowers), **FAST, out="runs/mine", resume=True)


def test_a_run_is_not_written_into_the_data_or_among_other_files(flowers: Path, tmp_path: Path) -> None:
    before = sorted(flowers.rglob("*"))
    for out in (str(flowers), str(flowers / "deep" / "run")):
        with pytest.raises(UsageError, match="into the data"):
            graft.fit(str(flowers), **FAST, out=out)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("dear mother")
    with pytest.raises(UsageError, match="no run"):
        graft.fit(str(flowers), **FAST, out=str(tmp_path / "letters"))
    assert sorted(flowers.rglob("*")) == before


def test_labels_of_the_sealed_part_are_used_once_and_counted_before(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baselines, too, are compared with the sealed labels only after the opening is on the record."""
    said: list[str] = []
    measure, opening = build.task, run.open_sealed

    def built(*args: Any, **kwargs: Any) -> Any:
        task = measure(*args, **kwargs)
        inner = task.measure

        def told(predictions: Any, targets: Any) -> Any:
            said.append("measure")
            return inner(predictions, targets)

        task.measure = told  # type: ignore[method-assign]
        return task

    monkeypatch.setattr(build, "task", built)
    monkeypatch.setattr(run, "open_sealed", lambda *a: said.append("opened") or opening(*a))  # type: ignore[func-returns-value]
    result = graft.fit(str(flowers), **FAST)
    assert said == ["measure", "opened", "measure", "measure", "measure"]  # valid; then test, majority, centroid
    assert result["test_openings"] == 1 and set(result["baselines"]) == {"majority", "centroid"}


def test_a_run_with_class_weights_in_its_task_can_be_loaded(flowers: Path) -> None:
    result = graft.fit(str(flowers), **FAST, task="classification(class_weights='balanced')")
    assert len(graft.predict(result["run"], str(flowers))[0]) == 36


def test_patience_of_nothing_is_refused(flowers: Path) -> None:
    with pytest.raises(UsageError, match="patience"):
        graft.fit(str(flowers), **FAST, patience=0)


def test_a_file_that_goes_away_or_changes_is_named(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(flowers.parent / "empty"))  # rows of an earlier test need no file
    audit, victim = intake.audit, flowers / "rose" / "3.png"

    def then_gone(*args: Any, **kwargs: Any) -> Any:
        found = audit(*args, **kwargs)
        victim.unlink()
        return found

    monkeypatch.setattr(intake, "audit", then_gone)
    with pytest.raises(DataError, match="3.png"):
        graft.fit(str(flowers), **FAST)


def test_metrics_of_what_is_done_again_are_dropped(tmp_path: Path) -> None:
    for event in ({"event": "epoch", "phase": "head", "epoch": n} for n in (1, 2, 3)):
        run.append(tmp_path, event)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epo')  # a line that a kill has cut
    run.rewind(tmp_path, "head", 2)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_pretraining_writes_a_trunk_with_its_card(flowers: Path) -> None:
    result = api.pretrain(str(flowers), backbone="toy(pretrained=False)", strategy="full(epochs=1, lr=0.01)", valid=0.3)
    card = json.loads((Path(result["run"]) / "trunk.json").read_text())
    assert card["architecture"].startswith("toy(") and card["recipe"]["backbone"] == "toy(pretrained=False)"
    assert card["recipe"]["data"] == "flowers", "no folder of this machine is in a card"
    assert (Path(result["run"]) / "trunk.safetensors").exists()
