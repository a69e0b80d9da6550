"""How a trunk comes on without labels: the figures against other libraries, what is looked at, that looking changes
nothing, and collapses that really happen."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import graft
from conftest import draw_flowers, draw_sounds
from graft import build, run, spread, watching
from graft.console import Console
from graft.data._sniff import open_data
from graft.errors import DataError, Interrupted, UsageError
from graft.recipe import make
from graft.reporting import page
from graft.types import Dataset, Json, Sample

TINY: Json = {"backbone": "toy(size=16, dim=16, pretrained=False)", "batch_size": 16, "valid": 0.2, "report": False}
FAST = "full(epochs=3, lr=5e-3, head_lr=5e-3)"
SMALL = "simclr(dim=16, hidden=32)"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data are small here, so that a few queries must do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watching, "FEWEST", 5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_flowers(tmp_path / "photos", each=12, size=20)


@pytest.fixture
def loose(photos: Path, tmp_path: Path) -> Path:
    """The same without class folders."""
    (tmp_path / "loose").mkdir()
    for path in photos.rglob("*.png"):
        shutil.copy(path, tmp_path / "loose" / f"{path.parent.name}-{path.name}")
    for path in (tmp_path / "loose").iterdir():
        path.rename(path.with_name(f"{hash(path.name) % 10**9}.png"))
    return tmp_path / "loose"


def pretrain(data: Path | str, **options: Any) -> Json:
    return graft.pretrain(str(data), **{**TINY, "task": SMALL, "strategy": FAST, **options})


def figures(look: Json) -> Json:
    return {name: value for name, value in look.items() if name != "seconds"}


# -------------------------------------------------------------------------------------------------------- the figures


def test_the_effective_rank_is_e_to_the_entropy_of_the_singular_values() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    unit = features / features.norm(dim=1, keepdim=True)
    values = np.linalg.svd(unit.numpy().astype(np.float64), compute_uv=False)
    assert spread.effective_rank(features) == pytest.approx(np.exp(entropy(values)), rel=1e-4)


@pytest.mark.parametrize("directions", [1, 2, 5])
def test_features_of_a_few_equal_directions_have_so_many_ranks(directions: int) -> None:
    features = torch.eye(6)[torch.arange(60) % directions] * 3
    assert spread.effective_rank(features) == pytest.approx(directions, rel=1e-3)


def test_one_row_of_a_large_norm_does_not_decide_the_rank() -> None:
    features = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    before = spread.effective_rank(features)
    features[0] *= 1e4
    assert spread.effective_rank(features) == pytest.approx(before) and before > 60


def test_features_that_are_all_alike_have_one_rank_and_no_spread() -> None:
    alike = torch.full((40, 8), 0.7)
    assert spread.effective_rank(alike) == pytest.approx(1, abs=1e-3)
    assert spread.spread(alike) == pytest.approx(0, abs=1e-6)


def test_features_that_are_evenly_spread_have_a_spread_of_one() -> None:
    features = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    assert spread.spread(features) == pytest.approx(1, abs=0.01)
    assert spread.spread(5 * features) == pytest.approx(spread.spread(features))


def test_neighbours_vote_as_those_of_scikit_learn_do() -> None:
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 3, 200)
    features = draw.standard_normal((200, 6)) + 1.2 * targets[:, None]
    asked = np.arange(200) >= 140
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    model = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    expected = model.fit(unit[~asked], targets[~asked]).score(unit[asked], targets[asked])
    most = np.bincount(targets[~asked]).argmax()
    found = watching.neighbours(*(torch.from_numpy(one) for one in (features, targets, asked)))
    assert found == pytest.approx((expected, (targets[asked] == most).mean()))


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 12, 20, 30, 100, 300, 1000])
def test_looks_come_after_the_first_the_last_and_some_between(epochs: int) -> None:
    looks = [epoch for epoch in range(1, epochs + 1) if watching.due(epoch, epochs)]
    assert looks[0] == 1 and looks[-1] == epochs and min(epochs, 8) <= len(looks) <= 14
    assert max(np.diff([0, *looks])) <= max(2, epochs / 5)


# -------------------------------------------------------------------------------------------------- what is looked at


def test_class_folders_are_watched_and_not_learned_from(photos: Path) -> None:
    found = pretrain(photos)
    assert [look["phase"] for look in found["watch"]] == ["start", "all", "all", "all", "end"]
    assert [look["epoch"] for look in found["watch"]][:4] == [0, 1, 2, 3]
    for look in found["watch"]:
        assert 0 <= look["knn"] <= 1 and look["majority"] == pytest.approx(1 / 3, abs=0.2)
        assert look["queries"] == 9 and look["samples"] == 36 and look["of"] == 16
    assert json.loads(Path(found["run"], "labels.json").read_text()) == []
    assert all(line["label"] is None for line in run.splits(Path(found["run"])))


def test_what_is_kept_is_what_is_looked_at_last(photos: Path) -> None:
    found = pretrain(photos)
    model = run.load(Path(found["run"])).model
    features, last = model.backbone(model.backbone.prepare(pictures(photos))).pooled.detach(), found["watch"][-1]
    assert spread.effective_rank(features) == pytest.approx(last["rank"], rel=1e-4)
    assert spread.spread(features) == pytest.approx(last["spread"], rel=1e-4)
    assert last["epoch"] == found["phases"][0]["best_epoch"] + 1


def pictures(root: Path) -> list[Any]:
    from PIL import Image

    return [Image.open(path).convert("RGB") for path in sorted(root.rglob("*.png"))]


def test_without_labels_rank_and_spread_are_watched(loose: Path) -> None:
    found = pretrain(loose)
    assert len(found["watch"]) == 5 and all(look["knn"] is None for look in found["watch"])
    assert all(1 <= look["rank"] <= 16 and 0 < look["spread"] < 1 for look in found["watch"])


def test_other_labelled_data_may_be_watched(loose: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "rose" / "broken.png").write_bytes(b"")
    found = pretrain(loose, watch=str(photos))
    assert all(look["knn"] is not None and look["samples"] == 36 for look in found["watch"])


def test_a_sealed_test_part_is_never_looked_at(photos: Path, tmp_path: Path) -> None:
    for part, each in (("train", 8), ("test", 4)):
        for label in ("daisy", "rose", "tulip"):
            (tmp_path / "given" / part / label).mkdir(parents=True)
            for i in range(each):
                number = i if part == "train" else 8 + i
                shutil.copy(photos / label / f"{number}.png", tmp_path / "given" / part / label)
    for watch in (None, str(photos)):  # the same pictures, where nothing says that they are the test part
        found = pretrain(tmp_path / "given", watch=watch, out=f"run{watch is None}")
        assert found["splits"]["test"] == 12 and all(look["samples"] == 24 for look in found["watch"])


def test_the_validation_part_asks_where_it_is_large_enough(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    seen: list[watching.Watch] = []
    made = watching.watch
    monkeypatch.setattr(watching, "FEW", 9)
    monkeypatch.setattr(watching, "watch", lambda *given: seen.append(made(*given)) or seen[-1])  # type: ignore[func-returns-value, arg-type]
    pretrain(photos, valid=0.25)
    train, valid = seen[0].feeds
    assert len(train) + len(valid) == 36 and seen[0].asked.tolist() == [False] * len(train) + [True] * len(valid)


def labels_of(counts: list[int]) -> Dataset:
    names = [f"{i:05d}" for i in range(len(counts))]
    samples = [Sample(f"{name}/{i}", i, name) for name, count in zip(names, counts, strict=True) for i in range(count)]
    return replace(open_data("digits"), samples=tuple(samples), classes=tuple(names), kind="class")


@pytest.mark.parametrize("counts", [[2] * 10_000, [1] * 500 + [4] * 2000, [40] * 50, [600] * 3 + [5] * 30])
def test_every_query_has_others_of_its_class(counts: list[int]) -> None:
    """Of very many classes some are drawn."""
    found = watching._parted(labels_of(counts), 300, 0).samples
    asked = [sample for sample in found if sample.split == "valid"]
    assert 60 <= len(asked) <= 150 and 280 <= len(found) <= 300
    assert {sample.label for sample in asked} <= {sample.label for sample in found if sample.split != "valid"}


def test_of_a_few_queries_there_is_no_share(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FEWEST", 30)
    for look in pretrain(photos)["watch"]:
        assert look["knn"] is None and look["majority"] is None and look["queries"] == 0
        assert look["rank"] > 1 and look["spread"] > 0 and look["samples"] == 36


def test_texts_and_sounds_are_watched(tmp_path: Path) -> None:
    rows = [f"{'the cat drinks milk' if i % 2 else 'a dog chases cars'} {i},{'xy'[i % 2]}" for i in range(40)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows))
    bert = "bert(layers=1, dim=16, heads=2, vocabulary=300, length=16)"
    texts = graft.pretrain("texts.csv", backbone=bert, strategy="full(epochs=1)", valid=0.2, report=False)
    draw_sounds(tmp_path / "sounds", each=6)
    trunk = "cnn_tdnn(rate=8000, mels=16, dim=8, widths=(4,), blocks=1)"
    sounds = graft.pretrain("sounds", task="masked_spectrogram", backbone=trunk, strategy="full(epochs=1)", valid=0.2,
                            report=False)  # fmt: skip
    for found in (texts, sounds):
        assert [look["epoch"] for look in found["watch"]][:2] == [0, 1] and found["watch"][0]["knn"] is not None


def test_what_learns_from_labels_is_not_watched(photos: Path) -> None:
    found = graft.fit(str(photos), backbone="toy", strategy="linear_probe(epochs=1)", report=False)
    assert "watch" not in found
    with pytest.raises(UsageError, match="--watch is for trunks that learn without labels"):
        graft.fit(str(photos), backbone="toy", strategy="linear_probe(epochs=1)", watch=str(photos))


WRONG: list[tuple[str, type[Exception], str]] = [
    ("texts.csv", UsageError, "holds text samples, and photos image samples"),
    ("loose", DataError, "has no classes of which"),
    ("nowhere", DataError, "nowhere"),
]


@pytest.mark.parametrize(("watch", "error", "what"), WRONG)
def test_nothing_to_watch_by(watch: str, error: type[Exception], what: str, photos: Path, loose: Path) -> None:
    Path("texts.csv").write_text("text,label\na b c,x\nd e f,y\n")
    with pytest.raises((error, UsageError), match=what):
        pretrain(photos, watch=watch, out="run")
    assert not Path("run").exists()


# --------------------------------------------------------------------------------------------- looking changes nothing


def weights(found: Json) -> dict[str, torch.Tensor]:
    return run.load(Path(found["run"])).model.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_watched_run_learns_the_same(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = pretrain(photos)
    monkeypatch.setattr(watching, "watch", lambda *given: None)
    alone = pretrain(photos)
    assert "watch" not in alone and same(weights(watched), weights(alone))


def test_a_look_leaves_modes_gradients_and_the_generator(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look, seen = watching.Watch.look, []

    def spied(self: watching.Watch, model: Any) -> Json:
        for module in list(model.modules())[::3]:
            module.train()
        before = state(model)
        found = look(self, model)
        seen.append(before == state(model))
        return found

    monkeypatch.setattr(watching.Watch, "look", spied)
    pretrain(photos, strategy="full(epochs=1)")
    assert seen == [True] * 3


def state(model: Any) -> tuple[Any, ...]:
    moving = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    tensors = [t.sum().item() for t in model.state_dict().values()]
    modes = [module.training for module in model.modules()]
    return moving, tensors, modes, torch.get_rng_state().tolist(), torch.is_grad_enabled()


class Stops(Console):
    """A console that presses Ctrl-C after a number of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(quiet=True)
        self.steps = steps

    @contextmanager
    def training(self) -> Iterator[Callable[[Json], None]]:
        def tell(event: Json) -> None:
            if event["event"] == "step" and event["done"] == self.steps:
                os.kill(os.getpid(), signal.SIGINT)

        yield tell


def test_an_interrupted_run_ends_with_the_same_weights_and_looks(photos: Path) -> None:
    whole = pretrain(photos, out="whole")
    with pytest.raises(Interrupted):
        pretrain(photos, out="broken", console=Stops(4))
    broken = pretrain(photos, out="broken", resume=True)
    assert same(weights(whole), weights(broken))
    assert list(map(figures, whole["watch"])) == list(map(figures, broken["watch"]))


def test_looks_of_epochs_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    for event in ({"event": kind, "phase": "all", "epoch": n} for n in (1, 2, 3) for kind in ("epoch", "watch")):
        run.append(tmp_path, event)
    run.append(tmp_path, {"event": "watch", **watching.START})
    run.rewind(tmp_path, "all", 1)
    assert [(e["event"], e["epoch"]) for e in run.events(tmp_path)] == [("epoch", 1), ("watch", 1), ("watch", 0)]


# ---------------------------------------------------------------------------------------------------------- collapses

LONG = "full(epochs=16, lr=1e-2, head_lr=1e-2)"


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_flowers(tmp_path_factory.mktemp("garden") / "garden", each=20, size=20)


def collapsed(found: Json) -> list[Json]:
    return [issue for issue in found["issues"] if issue["code"] == "collapsed"]


def test_pairs_without_anything_that_keeps_them_apart_collapse(
    garden: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BatchNorm is one of the things that do."""
    monkeypatch.setattr("graft.tasks.vicreg.projector", lambda *widths, bias=True: nn.Linear(widths[0], widths[-1]))
    more = {"backbone": "toy(size=16)", "batchnorm": "eval", "console": Console()}
    found = pretrain(garden, task="vicreg(variance=0, covariance=0, dim=16)", strategy=LONG, **more)
    assert collapsed(found) and "have collapsed" in collapsed(found)[0]["what"]
    assert "--task vicreg" in collapsed(found)[0]["hint"] and "lr=0.0033" in collapsed(found)[0]["hint"]
    assert capsys.readouterr().err.count("have collapsed") == 1


def test_a_student_without_a_predictor_collapses(garden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor BatchNorm, which can keep it up alone (Richemond et al. 2020, arXiv:2010.10241)."""
    from graft.tasks import byol

    monkeypatch.setattr(byol, "projector", lambda *widths: nn.Linear(widths[0], widths[-1]))
    guessed = lambda head, pooled, inputs: (head(pooled), head.taught(inputs))  # noqa: E731
    monkeypatch.setattr(byol, "guessed", guessed)
    more = {"backbone": "toy(size=16)", "batchnorm": "eval"}
    found = pretrain(garden, task="byol(dim=32, hidden=64, momentum=0.5)", strategy=LONG, **more)
    assert collapsed(found)


HEALTHY = ("vicreg(dim=32, hidden=64)", "simclr(dim=16, hidden=32)", "byol(dim=32, hidden=64)")


@pytest.mark.parametrize("task", HEALTHY)
def test_what_keeps_them_apart_does_not(task: str, garden: Path) -> None:
    found = pretrain(garden, task=task, strategy=LONG)
    assert not collapsed(found) and not any(watching.collapses(found["watch"]))


RANDOM = ("toy(pretrained=False)", "small(size=32)", "bundled:digits48(pretrained=False)", "small(size=16, expand=64)",
          *(f"torchvision:{name}(pretrained=False)" for name in ("resnet18", "squeezenet1_1", "efficientnet_b0"))
          )  # fmt: skip


@pytest.mark.parametrize("trunk", RANDOM)
def test_random_weights_are_no_collapse(trunk: str, photos: Path) -> None:
    backbone = build.backbone(trunk).eval()
    with torch.inference_mode():
        features = backbone(backbone.prepare(pictures(photos)[::2])).pooled
    look = {"phase": "all", "rank": spread.effective_rank(features), "spread": spread.spread(features)}
    start = {**look, "phase": "start"}
    assert not watching.collapse(look) and not any(watching.collapses([start, look, {**look, "embedded": 0.01}]))


def looked(phase: str, rank: float, spread: float = 0.5, **more: Any) -> Json:
    return {"phase": phase, "epoch": 3, "rank": rank, "spread": spread, **more}


BEFORE, UP, DOWN = looked("start", 40.0), looked("all", 30.0), looked("all", 1.1, 0.01)


def test_a_collapse_after_what_is_kept_is_a_warning() -> None:
    recipe = make({"data": "x", "task": "simclr", "strategy": "full(lr=3e-3)"})
    later = watching.issues([BEFORE, UP, DOWN, looked("end", 30.0)], recipe)
    assert [issue.severity for issue in later] == ["warning"] and "epoch 3" in later[0].what
    assert "lr=0.001" in later[0].hint
    assert [i.severity for i in watching.issues([BEFORE, DOWN, {**DOWN, "phase": "end"}], recipe)] == ["error"]
    assert watching.issues([BEFORE, DOWN, UP, looked("end", 20.0)], recipe) == []
    assert not watching.issues([], recipe)


def test_a_trunk_that_is_worse_than_it_began_is_a_warning() -> None:
    """By Newcombe's example: 56 of 70 less 48 of 80 is at least 0.0524 (1998, table II a, method 10)."""
    recipe = make({"data": "x", "task": "rotation", "strategy": "full(lr=3e-3)"})

    def said(before: int, after: int, queries: int = 75, most: float = 0.1) -> list[str]:
        start, kept = (looked(phase, 40.0, knn=right / queries, queries=queries, majority=most)
                       for phase, right in (("start", before), ("end", after)))  # fmt: skip
        return [issue.code + issue.what for issue in watching.issues([start, UP, kept], recipe)]

    assert said(63, 48) == ["worse-than-beforek-NN 64.0 % of 75, and 84.0 % before the first epoch"]
    assert not said(63, 58) and not said(48, 63) and not said(63, 48, most=0.8)
    assert not watching.issues([BEFORE, UP, looked("end", 30.0)], recipe), "no classes are known"
    first, second = {"knn": 0.8, "queries": 70, "majority": 0.1}, {"knn": 0.6, "queries": 80}
    assert watching._lost(first, second) == pytest.approx(0.0524, abs=1e-4)


def test_features_that_were_alike_before_are_no_matter_of_the_rate() -> None:
    recipe = make({"data": "x", "task": "simclr", "strategy": "full(lr=3e-3)"})
    (found,) = watching.issues([looked("start", 3.1, 0.12), DOWN], recipe)
    assert "look alike" in found.hint and "rate" not in found.hint


COLLAPSED = (DOWN, looked("all", 4.3, 0.05), looked("all", 9.0, 0.2, embedded=0.01))
NOT = (looked("all", 1.1), looked("all", 30.0, 0.01), looked("all", 9.0, 0.2), looked("all", 30.0, embedded=0.01),
       looked("start", 1.0, 0.0), looked("all", 9.0, 0.2, embedded=0.3))  # fmt: skip


def test_a_collapse_is_low_in_all_and_markedly_lower_than_at_the_start() -> None:
    assert all(watching.collapses([BEFORE, look])[1] for look in COLLAPSED)
    assert not any(watching.collapses([BEFORE, look])[1] for look in NOT)
    assert not any(watching.collapses([looked("start", 6.0, 0.08), looked("all", 4.3, 0.05)]))


def test_the_start_does_not_hide_a_later_collapse() -> None:
    poor = looked("start", 2.6, 0.04)
    assert watching.collapses([poor]) == [""] and watching.collapses([poor, DOWN])[1]
    assert watching.collapse(DOWN) and not watching.collapse({**DOWN, "phase": "start"})


# ------------------------------------------------------------------------------------------------------------ the page


@pytest.mark.usefixtures("with_pages")
def test_the_report_and_the_card_say_how_the_trunk_came_on(photos: Path, loose: Path) -> None:
    known, unknown = (Path(pretrain(data, report=True)["run"]) for data in (photos, loose))
    english, chinese = page.page(known), page.page(known, language="zh")
    for said in (
        "Are its features any good?",
        "Effective rank of the features by epoch",
        "on 9 labelled samples",
        "views found again",
        f"graft fit DATA --backbone trained:{known}",
        "whether it is better",
    ):
        assert said in english, said
    assert "graft predict" not in english and "chance</th>" not in english
    assert "它的特征好用吗？" in chinese and "有效秩" in chinese and "k 近邻准确率" in chinese
    assert "k-NN accuracy by these features on 9 labelled samples" in (known / "README.md").read_text()
    assert "Nobody knows" in page.page(unknown) and "k-NN" not in (unknown / "README.md").read_text()
