"""A trunk that has learned from the samples it is measured on: with their labels that is a leak, and it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import graft
from graft import api

FAST = {"backbone": "toy(pretrained=False)", "strategy": "full(epochs=1)", "valid": 0.3}


def codes(found: dict[str, object]) -> dict[str, str]:
    issues: list[dict[str, str]] = found["issues"]  # type: ignore[assignment]
    return {issue["code"]: issue["severity"] for issue in issues if issue["code"].startswith("trunk-saw")}


@pytest.mark.parametrize(
    ("task", "said"), [("classification", {"trunk-saw-labels": "warning"}), ("rotation", {"trunk-saw-samples": "note"})]
)
def test_a_trunk_that_knows_the_samples_is_named(
    flowers: Path, tmp_path: Path, task: str, said: dict[str, str]
) -> None:
    graft.pretrain(str(flowers), task=task, out=str(tmp_path / "trunk"), **FAST)
    fitted = api.fit(
        str(flowers), backbone=f"trained:{tmp_path}/trunk", strategy="ridge", out=str(tmp_path / "run"), report=False
    )
    assert codes(fitted) == said
    compared = api.compare(str(flowers), backbones=[f"trained:{tmp_path}/trunk", "toy"], strategies=["ridge"])
    assert codes(compared) == said


def test_other_samples_and_other_trunks_are_not(flowers: Path, tmp_path: Path) -> None:
    assert codes(api.fit(str(flowers), backbone="toy", strategy="ridge", out=str(tmp_path / "run"), report=False)) == {}


def test_a_teacher_that_knows_the_labels_is_named(flowers: Path, tmp_path: Path) -> None:
    graft.pretrain(str(flowers), task="classification", out=str(tmp_path / "trunk"), **FAST)
    term = f"distill(teacher='trained:{tmp_path}/trunk', look='once')"
    found = api.fit(
        str(flowers), backbone="toy", strategy="full(epochs=1)", terms=(term,), out=str(tmp_path / "run"), report=False
    )
    assert codes(found) == {"trunk-saw-labels": "warning"}
