"""The mistakes of docs/tutorials.md, each in its smallest form: first that it is one, then that a run of Graft, read
from what it has left behind, does not have it.

The programs are our own and minimal: nothing of the tutorials is here but their mistakes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from torch import Tensor, nn

import graft
from conftest import draw_flowers
from graft import run
from graft.backbones.bundled import bundled
from graft.errors import DataError, IntegrityError
from graft.types import Backbone

torch.set_num_threads(1)
TRUNK = "bundled:tiny64"
KNOWN, SHOWN = 200, 300  # digits to learn from, and all of them


@pytest.fixture(scope="module")
def trunk() -> Backbone:
    return bundled("tiny64").eval()


@pytest.fixture(scope="module")
def digits(trunk: Backbone) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, D) as the trunk wants its inputs, features of raw values 0 to 255, and classes (N,)."""
    found = load_digits()
    pixels = (found.images[:SHOWN] * (255 / 16)).astype(np.uint8)
    pictures = [Image.fromarray(one).convert("RGB") for one in pixels]
    with torch.no_grad():
        prepared = trunk.prepare(pictures)
        canvas = torch.stack([trunk.preprocess.sample(one) for one in pictures])
        raw = prepared._replace(x=trunk.preprocess.centre(canvas).float())  # type: ignore[attr-defined]
        return trunk(prepared).pooled, trunk(raw).pooled, torch.from_numpy(found.target[:SHOWN])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flowers, others of them, and a linear probe that was fitted to them."""
    root = tmp_path_factory.mktemp("tutorials")
    draw_flowers(root / "flowers", each=14)
    draw_flowers(root / "others", each=6, seed=3)
    result = graft.fit(str(root / "flowers"), backbone=TRUNK, strategy="linear_probe(epochs=3)", out=str(root / "run"))
    (root / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return root


def ridge(features: Tensor, classes: Tensor) -> Callable[[Tensor], Tensor]:
    """A linear head in closed form: what it says of other features, as indices."""
    mean, spread = features.mean(0), features.std(0) + 1e-3
    known = (features - mean) / spread
    wanted = nn.functional.one_hot(classes, 10).float()
    weights = known.T @ torch.linalg.solve(known @ known.T + 10 * torch.eye(len(known)), wanted - wanted.mean(0))
    return lambda asked: (((asked - mean) / spread) @ weights + wanted.mean(0)).argmax(1)


def accuracy(said: Tensor, truth: Tensor) -> float:
    return float((said == truth).float().mean())


def small() -> nn.Sequential:
    """A trunk with BatchNorm, and nothing that a published one has not."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def steps(trunk: nn.Module, parameters: Any, count: int = 3) -> None:
    """Train a head on the trunk, with whatever `parameters` are given to the optimiser."""
    head = nn.Linear(8, 3)
    optimiser = torch.optim.SGD([*parameters, *head.parameters()], lr=0.01)
    for _ in range(count):
        loss = nn.functional.cross_entropy(head(trunk(torch.rand(16, 3, 16, 16))), torch.randint(3, (16,)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def result(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))
    return found


# ------------------------------------------------------------------------------------ 000: ResNet50 with its own top


def test_000_the_top_is_kept_and_pooled(place: Path, trunk: Backbone) -> None:
    """Loud: probabilities (N, 1000) have no height and width."""
    probabilities = torch.rand(2, 1000).softmax(1)
    with pytest.raises(IndexError):
        probabilities.mean((2, 3))
    head = run.load(place / "run").model.head.state_dict()
    assert {tuple(t.shape) for name, t in head.items() if name.endswith("weight")} == {(3, trunk.info.dim)}


def test_000_inputs_are_not_prepared(digits: tuple[Tensor, Tensor, Tensor], place: Path, trunk: Backbone) -> None:
    """Silent: the features of raw values are others, and worse."""
    features, raw, classes = digits
    known = slice(0, KNOWN)
    right = accuracy(ridge(features[known], classes[known])(features[KNOWN:]), classes[KNOWN:])
    wrong = accuracy(ridge(features[known], classes[known])(raw[KNOWN:]), classes[KNOWN:])
    assert right > 0.7 and wrong < 0.4
    assert run.load(place / "run").model.backbone.preprocess.json() == trunk.preprocess.json()


def test_000_only_the_accuracy_is_shown(place: Path) -> None:
    """Silent: who always says the frequent class is right in 90 % of the cases, and has learned nothing."""
    truth, said = np.repeat([0, 1], [90, 10]), np.zeros(100, int)
    assert (truth == said).mean() == 0.9 and f1_score(truth, said, average="macro", zero_division=0) < 0.5
    found = result(place)
    assert {"accuracy", "precision_macro", "recall_macro", "f1_macro"} <= found["test"].keys()
    assert {row["label"] for row in found["report"]["per_class"]} == {"daisy", "rose", "tulip"}
    assert "accuracy" in found["baselines"]["majority"], "what always saying the frequent class would be worth"
    assert all(metric["low"] <= metric["value"] <= metric["high"] for metric in found["test"].values())


# ------------------------------------------------------------------------- 001: "the parameters are fixed", and move


def test_001_frozen_in_words_alone(place: Path, trunk: Backbone) -> None:
    """Silent: all of the trunk is trained, at the rate of a random head."""
    naive = small()
    before = copied(naive)
    steps(naive, naive.parameters())
    assert {"0.weight", "1.weight"} <= moved(before, naive)
    kept = run.load(place / "run").model.backbone
    assert moved(copied(trunk), kept) == set() and len(kept.state_dict()) == len(trunk.state_dict())


def test_001_frozen_parameters_are_no_frozen_trunk(place: Path, trunk: Backbone) -> None:
    """Silent, and the usual repair: in training mode BatchNorm's statistics move, and with them the features."""
    naive, same = small(), torch.rand(4, 3, 16, 16)
    before, told = copied(naive), naive.eval()(same)
    naive.train().requires_grad_(False)
    steps(naive, ())
    assert moved(before, naive) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert not torch.allclose(naive.eval()(same), told)
    buffers, kept = dict(trunk.named_buffers()), dict(run.load(place / "run").model.backbone.named_buffers())
    assert len(buffers) > 10 and all(torch.equal(buffers[name], kept[name]) for name in buffers)


def test_001_the_head_is_trained_before_the_trunk_moves(place: Path, tmp_path: Path, trunk: Backbone) -> None:
    found = graft.fit(str(place / "others"), backbone=TRUNK, strategy="lp_ft(head_epochs=1, epochs=1, last=1)",
                      out=str(tmp_path / "run"))  # fmt: skip
    first, second = found["phases"]
    assert first["boundary"] == len(trunk.stages) > second["boundary"], "the trunk stands still in the first phase"
    assert first["moved"] < second["moved"]


def test_001_small_pictures_leave_no_map(trunk: Backbone, place: Path) -> None:
    """Silent: five halvings make one position of 32 pixels. Graft gives a trunk the size that it was trained with."""
    halved = nn.Sequential(*(nn.MaxPool2d(2) for _ in range(5)))
    assert halved(torch.rand(1, 3, 32, 32)).shape[-2:] == (1, 1)
    asked = json.loads((place / "run" / "preprocessing.json").read_text(encoding="utf-8"))
    assert asked["size"] == trunk.preprocess.json()["size"] == 64
    with torch.no_grad():
        maps = trunk(trunk.prepare([Image.new("RGB", (32, 32))])).maps
    assert min(maps[-1].shape[-2:]) > 1


# ---------------------------------------------------------- 002: a head on probabilities, chosen by the test part


def test_002_a_head_on_the_probabilities_of_other_classes(
    digits: tuple[Tensor, Tensor, Tensor], trunk: Backbone, place: Path
) -> None:
    """Silent: of the features only what tells the old classes apart is left. Here 0 to 4 are old, and 5 to 9 new."""
    features, _, classes = digits
    old, new = classes < 5, classes >= 5
    top = nn.functional.one_hot(ridge(features[old], classes[old])(features), 10).float()
    known = torch.arange(SHOWN) < KNOWN
    said = {}
    for name, seen in (("features", features), ("top", top)):
        head = ridge(seen[new & known], classes[new & known])
        said[name] = accuracy(head(seen[new & ~known]), classes[new & ~known])
    assert said["features"] > said["top"] + 0.15
    loaded = run.load(place / "run").model
    assert loaded.backbone.info.dim == trunk.info.dim == 384 and not loaded.backbone.heads


def test_002_partial_that_is_nearly_all(place: Path, tmp_path: Path, trunk: Backbone) -> None:
    """Silent: of 23 layers the last 20 are all weights but two."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convs = [9 * a * b + b for a, b in zip(widths, widths[1:], strict=False)]
    places = {1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17}  # of the convolutions; between them five poolings
    layers = [0] * 19
    for at, count in zip(sorted(places), convs, strict=True):
        layers[at] = count
    layers += [0, 25088 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 1000 + 1000]  # flatten and three dense layers
    assert len(layers) == 23 and sum(layers[-20:]) / sum(layers) > 0.999
    assert sum(count > 0 for count in layers[-20:]) == 14
    found = graft.fit(str(place / "others"), backbone=TRUNK, strategy="lp_ft(head_epochs=1, epochs=1, last=1)",
                      out=str(tmp_path / "run"))  # fmt: skip
    changed = moved(copied(trunk), run.load(tmp_path / "run").model.backbone)
    last = f"stages.{len(trunk.stages) - 1}."
    assert changed and all(name.startswith(last) for name in changed)
    assert 0 < found["phases"][1]["moved"] < trunk.info.parameters, "and it is said how much moved"


def test_002_the_test_part_chooses() -> None:
    """Silent: labels by chance, 50 samples, the best of 200 epochs. What is reported is the luck of the best."""
    rng = np.random.default_rng(0)
    truth, fresh, said = rng.integers(2, size=50), rng.integers(2, size=(200, 1000)), rng.integers(2, size=(200, 50))
    scores = (said == truth).mean(1)
    best = int(scores.argmax())
    assert scores[best] > 0.65
    assert abs((rng.integers(2, size=1000) == fresh[best]).mean() - 0.5) < 0.06


def parts(root: Path) -> Path:
    for seed, part in enumerate(("train", "valid", "test")):
        draw_flowers(root / part, each=8, seed=10 + seed)
    return root


def test_002_grafts_test_part_chooses_nothing(tmp_path: Path) -> None:
    """With other labels in the test part every weight is the same; it was opened once, after all else."""
    data = parts(tmp_path / "data")
    shutil.copytree(data, tmp_path / "other")
    (tmp_path / "other" / "test" / "rose").rename(tmp_path / "rose")
    (tmp_path / "other" / "test" / "tulip").rename(tmp_path / "other" / "test" / "rose")
    (tmp_path / "rose").rename(tmp_path / "other" / "test" / "tulip")
    quick: dict[str, Any] = {"backbone": "toy", "strategy": "lp_ft(head_epochs=2, epochs=3)", "device": "cpu"}
    made = [graft.fit(str(tmp_path / name), **quick, out=str(tmp_path / f"run-{name}")) for name in ("data", "other")]
    weights = [(tmp_path / f"run-{name}" / "model.safetensors").read_bytes() for name in ("data", "other")]
    assert weights[0] == weights[1] and made[0]["test"] != made[1]["test"]
    folder = tmp_path / "run-data"
    assert len(json.loads((folder / "sealed.json").read_text())) == made[0]["test_openings"] == 1
    lines = run.splits(folder)
    content = {part: {line["sha256"] for line in lines if line["split"] == part} for part in ("train", "valid", "test")}
    assert content["test"] and not content["test"] & (content["train"] | content["valid"])
    assert "test" not in (folder / "metrics.jsonl").read_text(encoding="utf-8")


def test_002_classes_are_encoded_apart(place: Path, tmp_path: Path) -> None:
    """Silent: where the test part lacks a class, every index after it means another."""
    train, test = ["daisy", "rose", "tulip"], ["rose", "tulip"]
    index = [{name: i for i, name in enumerate(sorted(set(names)))} for names in (train, test)]
    assert index[0]["rose"] != index[1]["rose"] and index[0]["tulip"] != index[1]["tulip"]
    shutil.copytree(place / "others", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "daisy")
    rows, _ = graft.predict(place / "run", str(tmp_path / "two"))
    own = float(np.mean([row["path"].startswith(row["label"]) for row in rows]))
    assert graft.evaluate(place / "run", str(tmp_path / "two"))["scores"]["accuracy"]["value"] == pytest.approx(own)
    assert json.loads((place / "run" / "labels.json").read_text()) == train
    (tmp_path / "two" / "rose").rename(tmp_path / "two" / "peony")
    with pytest.raises(DataError, match="peony"):
        graft.evaluate(place / "run", str(tmp_path / "two"))


def pictures_seen(monkeypatch: pytest.MonkeyPatch, cache: Path, work: Callable[[], None]) -> int:
    """How many pictures go through the first convolution of a trunk."""
    monkeypatch.setenv("GRAFT_CACHE", str(cache))
    seen = 0

    def count(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal seen
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            seen += len(given[0])

    hook = nn.modules.module.register_module_forward_pre_hook(count)  # type: ignore[arg-type]
    try:
        work()
    finally:
        hook.remove()
    return seen


def test_002_the_frozen_trunk_runs_in_every_epoch(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent, and ten times the time: a trunk that stands still says the same each time."""

    def naive(epochs: int) -> None:
        still = small().eval().requires_grad_(False)
        for _ in range(epochs):
            steps(still, (), count=2)

    counts = [pictures_seen(monkeypatch, tmp_path, lambda n=n: naive(n)) for n in (1, 10)]  # type: ignore[misc]
    assert counts[1] == 10 * counts[0]

    def ours(epochs: int) -> None:
        graft.fit(str(place / "others"), backbone="toy", strategy=f"linear_probe(epochs={epochs})", device="cpu",
                  out=str(tmp_path / f"run-{epochs}"))  # fmt: skip

    counts = [pictures_seen(monkeypatch, tmp_path / f"cache-{n}", lambda n=n: ours(n)) for n in (1, 10)]  # type: ignore[misc]
    assert counts[0] == counts[1] > 0


# ------------------------------------------------------------------------------ 003: another model than the trained one


def test_003_another_model_is_trained(place: Path, tmp_path: Path) -> None:
    """Silent: the model that is kept was never trained. Graft reads the saved one back and scores that."""
    trained, kept = nn.Linear(8, 3), nn.Linear(8, 3)
    before = copied(kept)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.1)
    nn.functional.cross_entropy(trained(torch.rand(9, 8)), torch.arange(9) % 3).backward()
    optimiser.step()
    assert moved(before, kept) == set()
    for line in run.splits(place / "run"):
        if line["split"] == "test":
            (tmp_path / "test" / line["label"]).mkdir(parents=True, exist_ok=True)
            shutil.copy(place / "flowers" / line["key"], tmp_path / "test" / line["key"])
    again = graft.evaluate(place / "run", str(tmp_path / "test"))
    assert again["scores"]["accuracy"]["value"] == result(place)["test"]["accuracy"]["value"]
    assert again["seen_before"] == {"test": again["samples"]}, "and knows that it has seen them"


def test_003_the_width_is_counted_by_hand(place: Path, trunk: Backbone) -> None:
    """Loud: 64 x 7 x 7 was meant for a pooling to 7 positions, and 224 pixels pooled by 7 leave 32."""
    maps = nn.AvgPool2d(7)(torch.rand(1, 64, 224, 224))
    assert maps[0].numel() == 64 * 32 * 32
    with pytest.raises(RuntimeError):
        nn.Linear(64 * 7 * 7, 10)(maps.flatten(1))
    weight = run.load(place / "run").model.head.state_dict()
    assert any(tensor.shape[-1] == trunk.info.dim for tensor in weight.values() if tensor.ndim == 2)


class Payload:
    """What a pickle may do when it is read; here it only makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_003_weights_that_run_code(place: Path, tmp_path: Path) -> None:
    """Silent: a whole pickle does what its author wants. Graft reads tensors and refuses the rest."""
    torch.save({"conv1.weight": Payload(tmp_path / "done")}, tmp_path / "model.pth")
    torch.load(tmp_path / "model.pth", weights_only=False)
    assert (tmp_path / "done").exists()
    (tmp_path / "done").unlink()
    with pytest.raises(IntegrityError, match="more than tensors"):
        graft.fit(str(place / "others"), backbone=f"local:{tmp_path / 'model.pth'}(arch='resnet18')",
                  strategy="linear_probe(epochs=1)", out=str(tmp_path / "run"))  # fmt: skip
    assert not (tmp_path / "done").exists()


def test_003_the_training_mode_predicts(place: Path) -> None:
    """Silent: in training mode an answer depends on the other pictures of the batch."""
    naive, pictures = small(), torch.rand(8, 3, 16, 16)
    naive.train()
    with torch.no_grad():
        assert not torch.allclose(naive(pictures)[:2], naive(pictures[:2]))
    together, _ = graft.predict(place / "run", str(place / "others" / "rose"))
    alone, _ = graft.predict(place / "run", str(place / "others" / "rose" / "0.png"))
    one = next(row for row in together if row["path"].endswith("0.png"))
    assert alone[0]["label"] == one["label"] and alone[0]["probability"] == pytest.approx(one["probability"], abs=1e-5)


def test_003_nothing_is_held_out(place: Path) -> None:
    """Silent: the samples that were learned from score what was remembered. Graft always seals a part, and says so."""
    parts = {line["split"] for line in run.splits(place / "run")}
    assert parts == {"train", "valid", "test"} and result(place)["test"]
    issues = graft.evaluate(place / "run", str(place / "flowers"))["issues"]
    assert any(issue["code"] == "seen-before" and issue["severity"] == "warning" for issue in issues)


# ---------------------------------------------------------------- 004: prepared for training, not for use


def test_004_only_the_training_inputs_are_prepared(
    digits: tuple[Tensor, Tensor, Tensor], place: Path, tmp_path: Path
) -> None:
    """Silent: a good head on inputs that look like nothing it has seen. Graft's artefact holds the preparation."""
    features, raw, classes = digits
    head = ridge(features[:KNOWN], classes[:KNOWN])
    assert accuracy(head(features[KNOWN:]), classes[KNOWN:]) > accuracy(head(raw[KNOWN:]), classes[KNOWN:]) + 0.3
    loaded = run.load(place / "run")
    with torch.no_grad(), Image.open(place / "others" / "rose" / "0.png") as picture:
        features_of = loaded.model.backbone(loaded.model.backbone.prepare([picture.convert("RGB")]))
        wanted = loaded.task.predict(loaded.model.head, features_of).values[0]
    rows, _ = graft.predict(place / "run", str(place / "others" / "rose" / "0.png"))
    assert rows[0]["label"] == loaded.classes[int(wanted.argmax())]


def test_004_a_probability_is_no_label(place: Path) -> None:
    """Silent: compared with labels, numbers between 0 and 1 are never right."""
    truth, said = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.7, 0.2])
    assert (said == truth).mean() == 0 and ((said > 0.5) == truth).all()
    rows, _ = graft.predict(place / "run", str(place / "others"))
    assert {row["label"] for row in rows} <= {"daisy", "rose", "tulip"} and all(0 < r["probability"] <= 1 for r in rows)
