"""Which trunks there are to choose from, and their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graft
from graft import zoo
from graft.backbones import bundled
from graft.backbones.toy import toy
from graft.console import Console
from graft.errors import DataError, UsageError
from graft.types import Dataset, Recipe, Sample

QUIET = Console(quiet=True)


def rows(**trunks: tuple[int, str]) -> tuple[list[dict[str, Any]], list[np.ndarray | None]]:
    """One row for each name = (parameters, hits as a text of 0 and 1)."""
    hits: list[np.ndarray | None] = [np.array(list(text), float) for _, text in trunks.values()]
    made = [{"backbone": name, "parameters": size, "score": float(np.mean(list(map(int, text)))), "tie": False}
            for name, (size, text) in trunks.items()]  # fmt: skip
    return made, hits


def ordered(**trunks: tuple[int, str]) -> list[tuple[str, bool]]:
    return [(row["backbone"], row["tie"]) for row in zoo._ordered(*rows(**trunks))]


# ------------------------------------------------------------------------------------------------------------- names


def test_trunks_are_joined_by_a_plus_each_once_and_in_order() -> None:
    assert zoo.trunks("toy + pixels") == ("toy", "pixels")
    assert zoo.trunks(" toy(dim=8)  +  pixels + toy( dim = 8 )") == ("toy(dim=8)", "pixels")
    assert zoo.trunks("toy") == ("toy",)
    with pytest.raises(UsageError):
        zoo.trunks("toy + ")


def test_auto_means_every_bundled_trunk_or_the_default_where_one_is_asked_for() -> None:
    assert zoo.trunks("auto") == tuple(f"bundled:{name}" for name in bundled.names("image"))
    assert zoo.trunks("auto", "text") == ("minilm",)
    data = Dataset("d", "image", (Sample("a", 0, "a"), Sample("b", 1, "b")), ("a", "b"), lambda s: None, lambda s: b"")
    assert zoo.settled(Recipe(data="d", strategy="full"), data).backbone == bundled.DEFAULT in zoo.trunks("auto")
    text = data.replace(modality="text", kind="number", classes=(), samples=(Sample("a", 0, 1.0), Sample("b", 1, 2.0)))
    assert zoo.settled(Recipe(data="d", strategy="full"), text).backbone == "minilm"
    assert (
        zoo.settled(Recipe(data="d"), text).task == "regression"
        and zoo.settled(Recipe(data="d"), text).backbone == "auto"
    )


def test_a_strategy_that_takes_one_trunk_is_not_given_two() -> None:
    assert zoo.one_trunk("toy(dim=8)") == "toy(dim=8)"
    with pytest.raises(UsageError, match="2 backbones") as caught:
        zoo.one_trunk("toy + pixels")
    assert "auto" in caught.value.hint


# ------------------------------------------------------------------------------------------------------------- order


def test_ties_with_the_best_go_to_the_trunk_with_fewer_parameters() -> None:
    """`small` is one sample of eight worse than `large`: within one standard error. `bad` is not, small as it is."""
    found = ordered(large=(900, "11111101"), small=(10, "11111001"), bad=(1, "10000000"))
    assert found == [("small", True), ("large", True), ("bad", False)]


def test_of_equal_size_the_better_score_comes_first() -> None:
    assert ordered(a=(5, "1101"), b=(5, "1111")) == [("b", True), ("a", True)]


def test_what_is_worse_beyond_noise_is_no_tie_however_small() -> None:
    found = ordered(worse=(1, "11110000" * 4), best=(900, "11111110" * 4))
    assert found == [("best", False), ("worse", False)]


def test_the_noise_is_that_of_the_difference_and_not_of_each_score() -> None:
    """Both scores have standard errors of 5 points; but wherever they differ, on 6 of 100 samples, `a` is right."""
    assert ordered(a=(9, "1" * 56 + "0" * 44), b=(1, "1" * 50 + "0" * 50)) == [("a", False), ("b", False)]


# ------------------------------------------------------------------------------------------------------ what is scored


def test_a_trunk_for_another_modality_is_refused() -> None:
    letters = Dataset("letters", "text", (Sample("a", 0, "x"),), ("x",), lambda s: "", lambda s: b"")
    with pytest.raises(DataError, match="toy.* is for image, and letters holds text"):
        zoo.check_modality(toy().info, letters)


@pytest.mark.parametrize(("labels", "enough"), [("aabb", True), ("aaab", True), ("aab", False), ("aabbc", False)])
def test_two_samples_a_class_on_average_are_needed(labels: str, enough: bool) -> None:
    samples = tuple(Sample(str(i), i, label) for i, label in enumerate(labels))
    dataset = Dataset("few", "image", samples, tuple(sorted(set(labels))), lambda s: None, lambda s: b"")
    if enough:
        zoo.require_enough(dataset)
        return
    with pytest.raises(DataError, match="too few") as caught:
        zoo.require_enough(dataset)
    assert "--strategy" in caught.value.hint


def test_many_samples_are_thinned_evenly_in_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Few:
        targets = torch.tensor([0] * 60 + [1] * 30 + [-1] * 10)
        samples = tuple(Sample(str(i), i) for i in range(100))
        pool = Dataset("memory", "image", samples, ("a", "b"), lambda s: None, lambda s: b"")

    monkeypatch.setattr(zoo, "MOST", 30)
    found = zoo._few(Few()).tolist()  # type: ignore[arg-type]
    assert len(set(found)) == 30 and sum(i < 60 for i in found) == 20 and max(found) < 90
    monkeypatch.setattr(zoo, "MOST", 90)
    assert zoo._few(Few()).tolist() == list(range(90))  # type: ignore[arg-type]


def test_of_copies_one_is_scored_as_the_others_would_find_their_twin() -> None:
    class Copies:
        targets = torch.zeros(4, dtype=torch.long)
        samples = tuple(Sample(str(i), i, group=group) for i, group in enumerate(("copies:a", "p", "copies:a", "p")))
        pool = Dataset("memory", "image", samples, ("a", "b"), lambda s: None, lambda s: b"")

    assert zoo._few(Copies()).tolist() == [0, 1, 3]  # type: ignore[arg-type]


def test_rank_leaves_out_what_fit_would_seal(flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Dataset] = []
    ranked = zoo.ranked
    monkeypatch.setattr(zoo, "ranked", lambda trials, *rest: seen.append(trials.pool) or ranked(trials, *rest))  # type: ignore[func-returns-value]
    found = graft.rank(str(flowers), backbones=["toy", "pixels"], seed=3)
    run = tmp_path / "run"
    graft.fit(str(flowers), backbone="toy", strategy="centroid", seed=3, out=str(run))
    parts = {line["key"]: line["split"] for line in map(json.loads, (run / "splits.jsonl").read_text().splitlines())}
    kept = {key for key, part in parts.items() if part != "test"}
    assert {sample.key for sample in seen[0].samples} == kept and found["samples"] == len(kept) == 30
    assert {row["backbone"] for row in found["trunks"]} == {"toy", "pixels"}
    assert all(0 <= row["score"] <= 1 and row["se"] > 0 and row["offline"] for row in found["trunks"])
    assert found["best"] == found["trunks"][0]["backbone"]


def test_rank_of_a_single_trunk_is_no_tie(flowers: Path) -> None:
    (row,) = graft.rank(str(flowers), backbones=["toy"])["trunks"]
    assert not row["tie"] and row["parameters"] == toy().info.parameters
