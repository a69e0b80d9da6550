"""Guessing hidden words: against the head of transformers, and pretraining from a corpus to a trunk that is used."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graft import api, build, cli, planning, run
from graft.backbones._tokens import Tokens
from graft.backbones.bert import bert
from graft.console import Console
from graft.device import seeded
from graft.errors import DataError, Interrupted, ResourceError, UsageError
from graft.masking import Masked
from graft.nn.tied import HiddenWords
from graft.tasks.mlm import mlm
from graft.types import Backbone, Batch, Dataset, Features, Info, Inputs, Json, Predictions, Sample, Text

torch.set_num_threads(1)
WHO = {"cat": "drinks milk", "dog": "eats bones", "bird": "sings songs", "girl": "reads books", "man": "smokes pipes"}
PLACES = ("at home", "in town", "on monday", "every day", "with joy", "for hours")
TINY = "bert(layers=1, dim=64, heads=2, vocabulary=400, length=32)"
FAST: Json = {"backbone": TINY, "batch_size": 16, "strategy": "full(epochs=12, lr=1e-2, head_lr=1e-2)",
              "schedule": "cosine(warmup=0.1)", "ema": 0.9, "task": "mlm(share=0.25)", "valid": 0.2}  # fmt: skip


def sentences(count: int = 200) -> list[str]:
    """Who does it says what is done: a word can be guessed from the others."""
    draw = random.Random(0)

    def one(who: str) -> str:
        return f"the {who} {WHO[who]} {draw.choice(PLACES)}"

    return [f"{one(draw.choice(list(WHO)))} and {one(draw.choice(list(WHO)))}" for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join(sentences()))
    return path


@pytest.fixture(scope="module")
def pretrained(corpus: Path) -> Path:
    out = corpus.parent / "pretrained"
    api.pretrain(str(corpus), out=str(out), **FAST)
    return out


# ------------------------------------------------------------------------------------------------------- the task


def trunk() -> Backbone:
    with seeded(0):
        return bert(layers=1, dim=16, heads=2, vocabulary=330, length=32, corpus=lambda: map(Text, sentences(50)))


def head_of(backbone: Backbone) -> HiddenWords:
    with seeded(1):
        head = mlm().head(backbone.info)
    assert isinstance(head, HiddenWords)
    head.tie(backbone)
    return head


def masked(backbone: Backbone, texts: list[str], share: float = 0.3) -> Inputs:
    tokens = backbone.preprocess
    return tokens.batch([tokens.sample(Text(text)) for text in texts], Masked(share), list(range(len(texts))))


def features_of(backbone: Backbone, texts: list[str]) -> Features:
    with torch.no_grad():
        found: Features = backbone.eval()(masked(backbone, texts))
    return found


def batch(count: int) -> Batch:
    return Batch(Inputs(torch.empty(0)), torch.zeros(count, dtype=torch.long), torch.arange(count))


def test_the_head_is_berts() -> None:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertOnlyMLMHead

    backbone = trunk()
    head, words = head_of(backbone), backbone.heads["words"].weight
    theirs = BertOnlyMLMHead(BertConfig(hidden_size=16, vocab_size=len(words))).eval()
    state = {
        "predictions.transform.dense.weight": head.change[0].weight,
        "predictions.transform.dense.bias": head.change[0].bias,
        "predictions.transform.LayerNorm.weight": head.change[2].weight,
        "predictions.transform.LayerNorm.bias": head.change[2].bias,
        "predictions.decoder.weight": words,
        "predictions.decoder.bias": torch.randn(len(words)),
    }
    head.bias.data.copy_(state["predictions.decoder.bias"])
    theirs.load_state_dict({"predictions.bias": state["predictions.decoder.bias"], **state}, strict=False)
    found = features_of(backbone, sentences(6))
    assert found.tokens is not None and found.places is not None
    logits = theirs(found.tokens)
    labels = torch.where(found.places[..., 0] >= 0, found.places[..., 0], -100)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(mlm().loss(head, found, batch(6)), expected, rtol=1e-3, atol=1e-3)


def test_gradients_reach_the_table_and_every_parameter_of_the_head() -> None:
    backbone = trunk()
    head = head_of(backbone)
    mlm().loss(head, backbone(masked(backbone, sentences(6))), batch(6)).backward()
    words = backbone.heads["words"].weight
    assert words.grad is not None and (words.grad.abs().sum(1) > 0).all(), "every word competes with the right one"
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert words is not head.bias and id(words) not in {id(p) for p in head.parameters()}
    assert set(head.state_dict()) == {f"change.{n}.{k}" for n in (0, 2) for k in ("weight", "bias")} | {"bias"}


def test_sums_of_each_text_by_hand() -> None:
    backbone, task, texts = trunk(), mlm(), sentences(5)
    head, found = head_of(backbone).eval(), features_of(backbone, texts)
    head.requires_grad_(False)
    backbone.requires_grad_(False)
    made = task.predict(head, found).values
    assert found.tokens is not None and found.places is not None
    for i in range(5):
        truth = found.places[i, :, 0]
        logits, truth = head(found.tokens[i])[truth >= 0], truth[truth >= 0]
        expected = [F.cross_entropy(logits, truth, reduction="sum"), (logits.argmax(1) == truth).sum(), len(truth)]
        assert made[i].tolist() == pytest.approx([float(value) for value in expected], rel=1e-4)
    loss = task.loss(head, found, batch(5))
    assert float(loss) == pytest.approx(task.score(Predictions(made), torch.zeros(5))["loss"], rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert task.loss(head, found, batch(5)).dtype is task.predict(head, found).values.dtype is torch.float32


def test_figures() -> None:
    task, values = mlm(), torch.tensor([[4.0, 1, 2], [2.0, 3, 4], [0.0, 0, 0], [6.0, 0, 2]])
    said, targets = Predictions(values), torch.zeros(4)
    score = task.score(said, targets)
    assert score == pytest.approx({"accuracy": 4 / 8, "loss": 12 / 8, "perplexity": math.exp(1.5)})
    measures = task.measure(said, targets)
    assert measures.keys() == score.keys() and measures == task.measure(said, targets)
    assert all(m.low <= m.value == score[name] <= m.high and m.method for name, m in measures.items())
    assert task.report(said, targets)["hidden"] == 8 and task.baselines(values, targets, values) == {}
    json.dumps([score, task.report(said, targets)], allow_nan=False)


def test_what_each_text_adds_has_the_standard_error_of_the_ratio() -> None:
    task, draw = mlm(), torch.Generator().manual_seed(0)
    counts = torch.randint(1, 20, (400,), generator=draw)
    right = torch.binomial(counts.float(), torch.full((400,), 0.4), generator=draw)
    said, targets = Predictions(torch.stack([counts.float(), right, counts.float()], 1)), torch.zeros(400)
    each = task.each(said, targets)
    assert float(each.mean()) == pytest.approx(task.score(said, targets)["accuracy"], abs=1e-12)
    rows = torch.randint(400, (3000, 400), generator=draw)
    drawn = right[rows].sum(1) / counts[rows].sum(1)
    assert float(each.std() / 20) == pytest.approx(float(drawn.std()), rel=0.06)


def test_rows_say_how_much_was_guessed() -> None:
    samples = tuple(Sample(str(i), i) for i in range(2))
    dataset = Dataset("some", "text", samples, (), lambda s: Text("x"), lambda s: b"", kind="none")
    first, second = mlm().rows(Predictions(torch.tensor([[2.0, 1, 2], [0.0, 0, 0]])), dataset)
    assert first["label"] == "1 of 2" and first["probability"] == pytest.approx(math.exp(-1))
    assert second["label"] == "0 of 0" and second["probability"] == 0


def test_a_batch_without_hidden_words_moves_nothing_and_cannot_be_scored() -> None:
    backbone, task = trunk(), mlm()
    head, found = head_of(backbone), features_of(backbone, sentences(3))
    assert found.places is not None
    none = found._replace(places=torch.full_like(found.places, -1))
    loss = task.loss(head, none, batch(3))
    loss.backward()
    assert loss == 0 and not task.predict(head, none).values.any()
    with pytest.raises(DataError, match="none of 3 texts"):
        task.score(task.predict(head, none), torch.zeros(3))
    with pytest.raises(DataError, match="do not belong"):
        task.score(Predictions(torch.ones(3, 2)), torch.zeros(3))
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((3, 3), math.nan)), torch.zeros(3))


def test_texts_of_which_nothing_was_hidden_are_refused() -> None:
    backbone = trunk()
    head, found = head_of(backbone), backbone(backbone.prepare(map(Text, sentences(3))))
    for refused in (lambda: mlm().loss(head, found, batch(3)), lambda: mlm().predict(head, found)):
        with pytest.raises(UsageError, match="no word is hidden"):
            refused()


@pytest.mark.parametrize("share", [0, 1, 1.5, "a", True])
def test_a_share_lies_between_none_and_all(share: Any) -> None:
    with pytest.raises(UsageError, match="share"):
        mlm(share=share)
    assert mlm(share=0.3).view == Masked(0.3) and mlm(("a", "b")).targets is not None


class Bare:
    """A preprocessing without a mask."""

    def json(self) -> Json:
        return {"kind": "words"}


def test_trunks_that_cannot_hide_words_are_refused() -> None:
    backbone = trunk()
    backbone.preprocess = Bare()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="no token that hides"):
        head_of(backbone)
    backbone.heads = {}
    with pytest.raises(UsageError, match="no table of words"):
        head_of(backbone)
    other = trunk()
    other.info = Info(**{**other.info.__dict__, "dim": 8})
    with pytest.raises(UsageError, match="8 features, and a table of words with 16"):
        head_of(other)


# ------------------------------------------------------------------------------------------------------ pretraining


def result(folder: Path) -> Json:
    found: Json = json.loads((folder / "result.json").read_text())
    return found


def unigram(tokens: Tokens) -> float:
    """The entropy of the corpus's tokens: the loss of who knows their shares, and nothing of a text."""
    counts = Counter(i for text in sentences() for i in tokens.sample(Text(text))[1:-1, 0].tolist())
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())


def test_pretraining_learns_more_than_how_frequent_words_are(pretrained: Path) -> None:
    loaded, found = run.load(pretrained), result(pretrained)
    assert isinstance(loaded.model.backbone.preprocess, Tokens)
    assert found["valid"]["loss"]["value"] < 0.6 * unigram(loaded.model.backbone.preprocess)
    assert found["valid"]["accuracy"]["value"] > 0.3 and found["splits"]["test"] == 0
    assert found["valid"]["perplexity"]["value"] == pytest.approx(math.exp(found["valid"]["loss"]["value"]))
    assert found["task"] == "mlm(share=0.25)" and not (pretrained / "trunk.json").exists()


def test_validation_hides_the_same_words_each_time(pretrained: Path, corpus: Path) -> None:
    first, again = (api.evaluate(pretrained, str(corpus))["scores"] for _ in range(2))
    assert first == again
    rows, _ = api.predict(pretrained, str(corpus))
    assert len(rows) == 200 and all(" of " in row["label"] for row in rows)


def test_a_trained_trunk_goes_on_where_it_stopped(pretrained: Path, corpus: Path, tmp_path: Path) -> None:
    options = FAST | {"backbone": f"trained:{pretrained}", "strategy": "full(epochs=3, lr=1e-3, head_lr=1e-2)"}
    found = api.pretrain(str(corpus), out=str(tmp_path / "more"), **options)
    scratch = api.pretrain(str(corpus), out=str(tmp_path / "scratch"), **options | {"backbone": TINY})
    assert found["valid"]["loss"]["value"] < 0.8 * scratch["valid"]["loss"]["value"]


def test_a_trained_trunk_is_fitted_to_labels(pretrained: Path, tmp_path: Path) -> None:
    rows = [f"{text},{'milk' if 'cat' in text else 'other'}" for text in sentences()]
    (tmp_path / "labels.csv").write_text("text,label\n" + "\n".join(dict.fromkeys(rows)))
    found = api.fit(str(tmp_path / "labels.csv"), backbone=f"trained:{pretrained}", out=str(tmp_path / "run"),
                    strategy="lp_ft(epochs=2)", controls=False)  # fmt: skip
    assert found["test"]["accuracy"]["value"] > 0.8


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


def test_interrupted_pretraining_goes_on_bit_for_bit(corpus: Path, tmp_path: Path) -> None:
    options = FAST | {"strategy": "full(epochs=2, lr=5e-3)"}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    api.pretrain(str(corpus), out=str(whole), **options)
    with pytest.raises(Interrupted):
        api.pretrain(str(corpus), out=str(broken), console=Stops(14), **options)
    api.pretrain(str(corpus), out=str(broken), resume=True, **options)
    first, second = (weights(folder) for folder in (whole, broken))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def weights(folder: Path) -> dict[str, Tensor]:
    return run.load(folder).model.state_dict()


def test_labels_are_ignored(tmp_path: Path) -> None:
    rows = [f"{text},{'xy'[i % 2]}" for i, text in enumerate(sentences(60))]
    (tmp_path / "labels.csv").write_text("text,label\n" + "\n".join(rows))
    found = api.pretrain(
        str(tmp_path / "labels.csv"), out=str(tmp_path / "run"), **FAST | {"strategy": "full(epochs=1)"}
    )
    assert sum(found["splits"].values()) == 60 and json.loads((tmp_path / "run" / "labels.json").read_text()) == []


@pytest.mark.parametrize("strategy", ["auto", "ridge"])
def test_what_trains_no_trunk_is_refused_before_anything_is_written(
    strategy: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no way to pretrain"):
        api.pretrain(str(corpus), out=str(tmp_path / "run"), **FAST | {"strategy": strategy})
    assert not (tmp_path / "run").exists()


def test_a_frozen_stage_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stand still"):
        api.pretrain(str(corpus), out=str(tmp_path / "run"), **FAST | {"strategy": "full(epochs=1, last=0)"})


def test_rates_from_scratch_and_for_a_trunk_that_has_learned(monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    asked: list[Json] = []
    monkeypatch.setattr(api, "fit", lambda data, controls, **options: asked.append(options))
    for backbone in (None, "minilm", "minilm(pretrained=False)"):
        api.pretrain(str(corpus), backbone=backbone)
    scratch, more, blank = asked
    assert scratch["backbone"] == "bert" and "5e-4" in scratch["strategy"] and scratch["task"] == "mlm"
    assert more["backbone"] == "minilm" and more["strategy"] == "full(epochs=3)" and "5e-4" in blank["strategy"]
    recipe = planning.recipe_of(str(corpus), None, more)
    assert recipe.schedule == "cosine(warmup=0.1)" and recipe.label_smoothing == 0 and recipe.weight_decay == 0.01
    build.check_strategy(recipe)


def test_the_command(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    words = ["pretrain", str(corpus), "--task", "mlm", "--backbone", TINY, "--strategy", "full(epochs=1)", "--json"]
    monkeypatch.setattr(sys, "argv", ["graft", *words, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 0 and json.loads(out)["valid"]["perplexity"]["value"] > 1
    assert "perplexity" in err and "accuracy" in err
