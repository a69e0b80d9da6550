"""Runs adapted to another domain: closed forms of AdaBN, a shift that it undoes, a folder that is a run of its own."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import graft
from graft import cli, registry, run
from graft.adaptation.adabn import adabn
from graft.backbones._images import Images
from graft.backbones._readout import maps
from graft.domains import alike, by_content, source_of
from graft.errors import DataError, GraftError, IntegrityError, UsageError
from graft.spec import Spec
from graft.types import Backbone, Dataset, Info, Inputs, Model, Sample

torch.set_num_threads(1)
EPS = 1e-5


def network(layers: int, seed: int = 0) -> Model:
    """Convolutions, each with a BatchNorm of any statistics and scale; the last ones are defined before the first."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norms = [nn.BatchNorm2d(4) for _ in range(layers)]
        for norm in norms:
            for tensor in (norm.running_mean, norm.weight, norm.bias):
                assert tensor is not None
                nn.init.normal_(tensor)
            assert norm.running_var is not None
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
        convolutions = [nn.Conv2d(3 if i == 0 else 4, 4, 3) for i in range(layers)]
    stage = Backward(convolutions, norms)
    return Model(Backbone(Info(Spec("none"), "image", 4), [stage], Images(12, 12), maps), nn.Linear(4, 2)).eval()


class Backward(nn.Module):
    def __init__(self, convolutions: list[nn.Conv2d], norms: list[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norms[::-1])
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, reversed(self.norms), strict=True):
            x = norm(convolution(x)).relu()
        return x


def pictures(count: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return scale * torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) + shift


def batches(x: Tensor, size: int = 64) -> Callable[[int], Iterator[Inputs]]:
    return lambda stage: (Inputs(few) for few in x.split(size))


def moments(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    array = x.double().numpy()
    return array.mean((0, 2, 3)), array.var((0, 2, 3))


def norm(model: Model, number: int) -> nn.BatchNorm2d:
    found = list(model.backbone.stages[0].norms)[::-1][number]  # type: ignore[arg-type]
    assert isinstance(found, nn.BatchNorm2d)
    return found


def convolved(model: Model, x: Tensor, number: int) -> Tensor:
    layer: nn.Module = model.backbone.stages[0].convolutions[number]  # type: ignore[index, union-attr, assignment]
    with torch.no_grad():
        return layer(x)  # type: ignore[no-any-return]


# --------------------------------------------------------------------------------------------------------------- adabn


def test_the_statistics_are_numpys_over_all_samples_and_positions() -> None:
    model, x = network(1), pictures(23, 1, 3.0, 1.0)
    adabn(model, batches(x, 5), None, mix=0)
    mean, variance = moments(convolved(model, x, 0))
    assert norm(model, 0).running_mean.numpy() == pytest.approx(mean, rel=1e-5, abs=1e-6)  # type: ignore[union-attr]
    assert norm(model, 0).running_var.numpy() == pytest.approx(variance, rel=1e-4)  # type: ignore[union-attr]


def test_a_second_layer_sees_what_the_first_makes_with_its_new_statistics() -> None:
    """In the order in which they run, which is not that in which they are defined."""
    model, x = network(2), pictures(40, 2, 3.0, 1.0)
    adabn(model, batches(x, 7), None, mix=0)
    with torch.no_grad():
        between = norm(model, 0)(convolved(model, x, 0)).relu()
    mean, variance = moments(convolved(model, between, 1))
    assert norm(model, 1).running_mean.numpy() == pytest.approx(mean, rel=1e-4, abs=1e-5)  # type: ignore[union-attr]
    assert norm(model, 1).running_var.numpy() == pytest.approx(variance, rel=1e-4)  # type: ignore[union-attr]


def test_the_source_counts_as_so_many_samples() -> None:
    model, x = network(1), pictures(10, 3, 3.0)
    held = [tensor.double().numpy().copy() for tensor in (norm(model, 0).running_mean, norm(model, 0).running_var)]  # type: ignore[union-attr]
    adabn(model, batches(x), None, mix=30)
    found = norm(model, 0).running_mean, norm(model, 0).running_var
    for new, old, tensor in zip(moments(convolved(model, x, 0)), held, found, strict=True):
        assert tensor.numpy() == pytest.approx(0.75 * old + 0.25 * new, rel=1e-4, abs=1e-5)  # type: ignore[union-attr]


def test_neither_the_batches_nor_the_order_matter() -> None:
    states = []
    for size, order in ((1, torch.arange(30)), (64, torch.arange(30)), (7, torch.arange(29, -1, -1))):
        model = network(3)
        adabn(model, batches(pictures(30, 4, 2.0)[order], size), None)
        states.append(model.backbone.state_dict())
    for other in states[1:]:
        for name, tensor in states[0].items():
            torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5)


def test_new_samples_look_to_the_rest_as_the_source_did() -> None:
    """Statistics that never were those of the source: what each channel gives has the source's moments again."""
    before, after, old, new = network(2), network(2), pictures(50, 5), pictures(60, 6, 0.2, 3.0)
    adabn(after, batches(new), batches(old), mix=0)
    with torch.no_grad():
        expected = moments(norm(before, 0)(convolved(before, old, 0)))
        found = moments(norm(after, 0)(convolved(after, new, 0)))
        plain = moments(norm(before, 0)(convolved(before, new, 0)))
    for a, b, c in zip(expected, found, plain, strict=True):
        assert b == pytest.approx(a, rel=1e-2, abs=1e-2) and not np.allclose(c, a, rtol=0.1)


def test_the_same_domain_changes_nothing() -> None:
    model, x = network(3), pictures(50, 7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adabn(model, batches(x), batches(x), mix=0)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-3, atol=1e-4)


def test_adabn_needs_batchnorm_and_a_number_of_samples() -> None:
    bare = Model(Backbone(Info(Spec("bare"), "image", 3), [nn.Conv2d(3, 3, 1)], Images(12, 12), maps), nn.Linear(3, 2))
    with pytest.raises(UsageError, match="has no BatchNorm layers") as caught:
        adabn(bare, batches(pictures(4, 0)), None)
    assert "--method tune" in caught.value.hint
    with pytest.raises(UsageError, match="mix=-1"):
        adabn(network(1), batches(pictures(4, 0)), None, mix=-1)


def test_sequences_come_in_batches_of_one_length() -> None:
    sizes = torch.tensor([3, 5, 3, 3, 9])
    found = alike(sizes, 5)
    assert all(len(sizes[rows].unique()) == 1 for rows in found)
    assert sorted(torch.cat(found).tolist()) == list(range(5))


def test_folds_of_one_new_speaker_keep_copies_together() -> None:
    samples = tuple(Sample(f"{i}", None, "ab"[i % 2], group="new", digest=f"{i // 2}") for i in range(6))
    dataset = Dataset("d", "image", samples, ("a", "b"), lambda sample: None, lambda sample: b"")
    assert [sample.group for sample in by_content(dataset).samples] == ["0", "0", "1", "1", "2", "2"]
    two = dataset.replace(samples=(*samples, Sample("6", None, "a", group="other")))
    assert by_content(two) is two


# ---------------------------------------------------------------------------------------------------------------- runs


def write(
    root: Path, name: str, rows: range, change: Callable[[np.ndarray], np.ndarray], labelled: bool = True
) -> None:
    """A table of digits, enlarged, as another camera sees them."""
    found = load_digits()
    (root / name).mkdir(parents=True)
    lines = ["path,label,camera"]
    for i in rows:
        pixels = np.rint(found.images[i] * (255 / 16)).astype(np.uint8).repeat(2, 0).repeat(2, 1)
        Image.fromarray(change(pixels)).save(root / name / f"{i}.png")
        lines.append(f"{name}/{i}.png,{found.target[i] if labelled else ''},{name}")
    (root / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def faint(pixels: np.ndarray) -> np.ndarray:
    return (0.3 * pixels + 100).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits, and the digits of another camera: many, a few, and some without labels."""
    root = tmp_path_factory.mktemp("adapt")
    write(root, "source", range(500), lambda pixels: pixels)
    write(root, "faint", range(600, 900), faint)
    write(root, "few", range(900, 960), faint)
    write(root, "bare", range(960, 1000), faint, labelled=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        graft.fit("source.csv", backbone="toy", strategy="ridge", valid=0, test=0.2, out="run", device="cpu")
    return root


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The run's folder is the same before and after."""
    monkeypatch.chdir(place)
    before = tree(place / "run")
    yield place
    assert tree(place / "run") == before


def tree(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_adabn_undoes_another_contrast(here: Path, tmp_path: Path) -> None:
    found = graft.adapt("run", "faint.csv", out=str(tmp_path / "new"))
    assert found["before"]["value"] < 0.4 < 0.65 < found["after"]["value"]
    assert found["word"] == "helps" and found["gain"]["low"] > 0.3 and "labels were not used" in found["measured_on"]
    again = graft.evaluate(tmp_path / "new", "faint.csv")
    assert again["scores"]["accuracy"]["value"] == pytest.approx(found["after"]["value"])
    assert again["seen_before"] == {"train": 300}, "the new run knows what it was adapted to"


def test_without_the_source_the_layers_own_statistics_are_taken_for_its_own(here: Path, tmp_path: Path) -> None:
    """These never were those of the digits: the network is one of random weights."""
    loaded = run.load(here / "run")
    assert len(source_of(loaded) or ()) == 400, "the training part alone"
    moved = loaded._replace(recipe=loaded.recipe.__class__(**{**loaded.recipe.__dict__, "data": "gone.csv"}))
    assert source_of(moved) is None


def test_the_new_folder_is_a_run_and_names_its_parent(here: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    found = graft.adapt("run", "bare.csv", out=str(new))
    assert found["word"] == "unknown" and found["after"] is None
    assert any(issue["code"] == "not-scored" for issue in found["issues"])
    about = json.loads((new / "adapted.json").read_text())
    assert about["manifest"] == hashlib.sha256((here / "run" / "manifest.json").read_bytes()).hexdigest()
    assert about["method"] == "adabn" and about["parent"] == "run" and not about["labels_used"]
    parts = [line["split"] for line in run.splits(new)]
    assert parts.count("test") == 100 and parts.count("train") == 440
    rows, _ = graft.predict(new, "bare.csv")
    assert len(rows) == 40 and {row["label"] for row in rows} <= set("0123456789")
    assert graft.evaluate(new, "source.csv")["seen_before"]["test"] == 100
    assert len(json.loads((new / "sealed.json").read_text())) == 2, "the parent's opening, and this one"
    (new / "adapted.json").write_text("{}")
    with pytest.raises(IntegrityError):
        run.load(new)


def test_a_run_can_be_adapted_twice(here: Path, tmp_path: Path) -> None:
    graft.adapt("run", "faint.csv", out=str(tmp_path / "one"))
    assert len(source_of(run.load(tmp_path / "one")) or ()) == 300
    found = graft.adapt(tmp_path / "one", "few.csv", out=str(tmp_path / "two"))
    assert found["word"] == "unclear" and found["adapted_from"]["parent"].endswith("one")


@pytest.mark.parametrize("method", ["refit", "refit(probe='lda')", "tune(start='logistic', epochs=2)"])
def test_a_few_labelled_samples_help(method: str, here: Path, tmp_path: Path) -> None:
    found = graft.adapt("run", "few.csv", method=method, out=str(tmp_path / "new"))
    assert found["word"] == "helps" and found["adapted_from"]["labels_used"] and "folds" in found["measured_on"]
    scored = graft.evaluate(tmp_path / "new", "faint.csv")["scores"]["accuracy"]
    assert scored["low"] > graft.evaluate("run", "faint.csv")["scores"]["accuracy"]["high"]
    assert run.load(tmp_path / "new").recipe.strategy == ("ridge" if method == "refit" else "solved(probe='ridge')")


def test_tune_scores_no_sample_that_it_was_fitted_to(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft import adapting

    learned, asked = [], []
    fit, said = adapting.Adaptation._fit, adapting.Adaptation._said

    def spy_fit(self: Any, model: Model, recipe: Any, feed: Any, rows: Tensor, tell: Any) -> None:
        learned.append((id(model), {feed.dataset.samples[i].key for i in rows.tolist()}))
        fit(self, model, recipe, feed, rows, tell)

    def spy_said(self: Any, model: Model, dataset: Dataset, *more: Any) -> Any:
        asked.append((id(model), {sample.key for sample in dataset.samples}))
        return said(self, model, dataset, *more)

    monkeypatch.setattr(adapting.Adaptation, "_fit", spy_fit)
    monkeypatch.setattr(adapting.Adaptation, "_said", spy_said)
    graft.adapt("run", "few.csv", method="refit", out=str(tmp_path / "new"))
    folds = learned[:-1]
    assert len(folds) == 5 and len(learned[-1][1]) == 60, "the last one learns from all"
    for (name, train), (other, test) in zip(folds, asked[1 : 2 * len(folds) : 2], strict=True):
        assert name == other and not train & test and len(train | test) == 60


def test_the_sealed_part_stays_sealed(here: Path, tmp_path: Path) -> None:
    found = graft.adapt("run", "source.csv", method="refit", out=str(tmp_path / "new"))
    assert found["samples"] == 400
    assert next(issue["count"] for issue in found["issues"] if issue["code"] == "sealed") == 100


def test_tune_says_what_it_cannot_train(here: Path, tmp_path: Path) -> None:
    graft.fit("few.csv", backbone="toy", strategy="knn", out=str(tmp_path / "knn"), test=0, device="cpu")
    with pytest.raises(UsageError, match="fitted in one step") as caught:
        graft.adapt(tmp_path / "knn", "faint.csv", method="tune", out=str(tmp_path / "new"))
    assert caught.value.hint == "--method refit" and not (tmp_path / "new").exists()


MISTAKES: dict[str, tuple[dict[str, Any], type[GraftError], str, str]] = {
    "no run": ({"folder": "nothing"}, UsageError, "not a run folder", "graft fit"),
    "no labels": ({"data": "bare.csv", "method": "tune"}, DataError, "has no labels", "--method adabn"),
    "no such method": ({"method": "adabm"}, UsageError, "no adaptation called 'adabm'", "adabn"),
    "no such option": ({"method": "tune(epoch=3)"}, UsageError, "epoch", "epochs"),
    "no such stage": ({"method": "tune(last=9)"}, UsageError, "last=9", "between 0 and"),
    "no such data": ({"data": "feint.csv"}, DataError, "feint.csv", "few.csv"),
    "into a run": ({"out": "run"}, UsageError, "holds a run already", "--out"),
    "other folder": ({"out": "source"}, UsageError, "files that are no run", "--out"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, here: Path, tmp_path: Path) -> None:
    options, kind, what, hint = MISTAKES[name]
    asked = {"folder": "run", "data": "few.csv", "out": str(tmp_path / "new"), **options}
    with pytest.raises(kind) as caught:
        graft.adapt(asked.pop("folder"), asked.pop("data"), **asked)
    assert what in caught.value.what and (hint in caught.value.hint or name == "no such data")
    assert not (tmp_path / "new").exists(), "a folder was left behind"


def test_the_command_line(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["graft", "adapt", "run", "faint.csv", "--out", str(tmp_path / "new"), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert not ended.value.code and json.loads(said.out)["word"] == "helps"
    assert "adaptation helps" in said.err and "before" in said.err and "read back" in said.err
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == json.loads(said.out)


def test_the_methods_are_listed() -> None:
    assert {"adabn", "tune", "refit"} <= set(registry.names("adaptation"))
