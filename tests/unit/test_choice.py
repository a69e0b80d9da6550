"""What a fresh reader found in the automatic choice, each as a test that would have caught it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import graft
from graft import averages, run
from graft.backbones.toy import toy
from graft.errors import DataError, UsageError
from graft.features import Feed
from graft.nn import heads
from graft.paired import corrected, folds, mean, tied
from graft.trials import Way
from graft.types import Dataset, Model, Sample

SOUP = "soup(ingredients=('lp_ft(start=\"ridge\", last=1)', 'norm_affine(start=\"ridge\")'), epochs=1)"


def memory(labels: str, groups: str = "") -> Dataset:
    samples = tuple(Sample(str(i), i, label, group=groups[i] if groups else None) for i, label in enumerate(labels))
    return Dataset("memory", "image", samples, tuple(sorted(set(labels))), lambda s: None, lambda s: b"")


def test_a_soup_has_the_scale_of_the_training_features(flowers: Path, tmp_path: Path) -> None:
    """It is averaged after the head's scale was set, for every ingredient."""
    result = graft.fit(str(flowers), backbone="toy", strategy=SOUP, out=str(tmp_path / "run"), valid=0.2)
    loaded = run.load(tmp_path / "run")
    trunk = graft.fit(str(flowers), backbone="toy", strategy="solved(probe='ridge')", out=str(tmp_path / "plain"),
                      valid=0.2)  # fmt: skip
    plain = run.load(Path(trunk["run"]))
    scale, mean = loaded.model.head[0], plain.model.head[0]  # type: ignore[index]
    torch.testing.assert_close(scale.mean, mean.mean)
    torch.testing.assert_close(scale.deviation, mean.deviation)
    assert result["test_openings"] == 1


def test_a_head_on_another_device_takes_a_closed_form() -> None:
    head = heads.build("linear", 4, 3).to("meta")
    heads.set_affine(head, torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("seed", [20240101, -1, 2**40])
def test_any_seed_makes_folds(seed: int) -> None:
    assert len(folds(memory("ab" * 20), 0.15, seed)) == 10


def test_folds_that_would_train_on_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="one class alone"):
        folds(memory("a" * 10 + "b" * 10, "x" * 10 + "y" * 10), 0.15, 0)


def test_three_equal_differences_of_few_samples_are_no_certainty() -> None:
    found = corrected(np.full(3, 0.1), 0.25, size=20)
    assert found.low < 0 < found.high <= 1 and found.value == pytest.approx(0.1)
    assert corrected(np.zeros(5), 0.25, size=20).upper == 0, "but equal outcomes are equal"


def test_trunks_without_pretrained_weights_have_nothing_to_transfer(flowers: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to transfer"):
        graft.fit(str(flowers), backbone="small(size=16)", strategy="auto", out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_compare_names_what_cannot_be_measured_and_goes_on(flowers: Path) -> None:
    found = graft.compare(str(flowers), strategies=["norm_affine(epochs=1)", "ridge"], backbones=["pixels(size=4)"])
    best, failed = found["ways"]
    assert best["strategy"] == "ridge" and "normalisation" in failed["error"]
    with pytest.raises(UsageError, match="auto"):
        graft.compare(str(flowers), strategies=["auto"])


def test_compare_gives_the_same_twice_and_json_that_strict_readers_take(flowers: Path) -> None:
    def once() -> dict[str, object]:
        return graft.compare(str(flowers), strategies=["ridge", "centroid", "full(epochs=1)"], backbones=["toy"])

    first, second = once(), once()
    assert [{**row, "seconds": 0} for row in first["ways"]] == [{**row, "seconds": 0} for row in second["ways"]]  # type: ignore[attr-defined]
    json.dumps(first, allow_nan=False)


def test_a_probe_on_all_stages_is_saved_and_predicts(flowers: Path, tmp_path: Path) -> None:
    result = graft.fit(str(flowers), backbone="toy", strategy="ridge", features="stages", out=str(tmp_path / "run"))
    rows, _ = graft.predict(result["run"], str(flowers))
    assert len(rows) == 36 and all(row["label"] for row in rows)


def test_a_part_of_a_feed_is_what_a_feed_of_the_part_would_be(flowers: Path) -> None:
    from graft.data._audit import audit
    from graft.data._sniff import open_data

    dataset, rows = audit(open_data(str(flowers))), torch.tensor([3, 1, 8])
    trunk = toy().eval()
    whole = Feed(dataset, trunk, device=torch.device("cpu"))
    whole.pooled()
    alone = Feed(replace(dataset, samples=tuple(dataset.samples[i] for i in rows)), trunk, device=torch.device("cpu"))
    torch.testing.assert_close(whole.part(rows, trunk).pooled(), alone.pooled())
    blank = toy(pretrained=False).eval()
    assert not torch.equal(whole.part(rows, blank).pooled(), alone.pooled()), "nothing is kept of other weights"


def test_few_samples_leave_the_choice_of_a_trunk_to_the_prior_and_many_do_not() -> None:
    parts = folds(memory("ab" * 20), 0.15, 0)
    a, b = ({k: np.full(len(part.test), worth) for k, part in enumerate(parts)} for worth in (0.8, 0.7))
    noisy = {k: hits - 0.1 * (-1.0) ** np.arange(len(hits)) * 9 for k, hits in a.items()}
    assert tied(noisy, b, parts) and not tied(a, b, parts) and tied(a, a, parts)
    np.testing.assert_allclose(mean([a, b])[0], 0.75)


def test_wise_ft_starts_from_the_probe_that_its_training_started_from() -> None:
    asked: list[str] = []

    class Stub:
        def train(self, way: Way, fold: int) -> Model:
            asked.append(way.strategy)
            return Model(toy(), torch.nn.Linear(32, 2))

    averages._start(Stub(), {}, Way("toy", "discriminative(start='ridge', epochs=1)"), 0)  # type: ignore[arg-type]
    assert asked == ["solved(probe='ridge')"]
