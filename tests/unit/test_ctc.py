"""Speech recognition by CTC: the loss against all alignments, errors against jiwer, and a head that learns."""

from __future__ import annotations

import copy
import itertools
import math
import random
import weakref

import jiwer
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graft.errors import DataError, MissingExtra, ResourceError, UsageError
from graft.intervals import wilson
from graft.spec import Spec, parse
from graft.tasks import _ctc_errors
from graft.tasks._ctc_decoder import Decoder
from graft.tasks._ctc_targets import Transcripts, losses, losses_of, transcripts
from graft.tasks.ctc import Ctc, ctc
from graft.transcripts import encode
from graft.types import Batch, Dataset, Features, Info, Inputs, Predictions, Sample

torch.set_num_threads(1)
ABC = (" ", "a", "b", "c")
BLANK = len(ABC)
INFO = Info(source=Spec("toy"), modality="audio", dim=8)


def _dataset(labels: list[str | None]) -> Dataset:
    samples = tuple(Sample(str(i), i, label) for i, label in enumerate(labels))
    return Dataset("some", "audio", samples, ABC, lambda s: None, lambda s: b"", kind="transcript")


def _values(paths: list[str], sure: float = 1.0) -> Predictions:
    """One frame for each letter; "-" is the blank."""
    values = torch.zeros(len(paths), max(map(len, paths)), BLANK + 1)
    for row, path in zip(values, paths, strict=True):
        row[: len(path)] = (1 - sure) / BLANK
        for frame, letter in zip(row, path, strict=False):
            frame[BLANK if letter == "-" else ABC.index(letter)] = sure
    return Predictions(values, ABC)


def _path(text: str) -> str:
    return "".join(f"{a}-" if a == b else a for a, b in zip(text, text[1:] + "-", strict=False))


def _texts(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = ["a", "b", "c", "ab", "cab", "bb"]
    return [" ".join(rng.choice(words) for _ in range(rng.randrange(1, 6))) for _ in range(n)]


def _heard(truth: list[str], seed: int = 5) -> list[str]:
    """Words are changed, lost and added."""
    rng, said = random.Random(seed), []
    for text in truth:
        words = [w for w in text.split() if rng.random() > 0.15]
        words = [rng.choice(["c", "aa"]) if rng.random() < 0.2 else w for w in words]
        said.append(" ".join(words + ["b"] * (rng.random() < 0.2)))
    return said


def _case(n: int = 60) -> tuple[Predictions, list[str], list[str]]:
    truth = _texts(n, 1)
    said = _heard(truth)
    return _values([_path(text) or "-" for text in said], 0.9), truth, said


# ------------------------------------------------------------------------------------------------------------ loss


def _collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(s for s, _ in itertools.groupby(path) if s != BLANK)


@pytest.mark.parametrize("text", ["a", "ab", "aa", "a b", "ccc"])
def test_the_loss_is_minus_log_of_all_alignments(text: str) -> None:
    logs = torch.randn(1, 5, BLANK + 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64).log_softmax(2)
    targets = transcripts([text], ABC, "keep")
    ids = encode(text, ABC).ids
    total = sum(math.exp(sum(logs[0, t, s].item() for t, s in enumerate(path)))
                for path in itertools.product(range(BLANK + 1), repeat=5) if _collapsed(path) == ids)  # fmt: skip
    found, kept = losses(logs, torch.tensor([5]), targets)
    assert kept.tolist() == [True] and found.item() == pytest.approx(-math.log(total) / len(text), rel=1e-9)


def _features(sizes: list[int], dim: int = 8) -> Features:
    tokens = torch.randn(len(sizes), max(sizes), dim, generator=torch.Generator().manual_seed(0))
    return Features(tokens.mean(1), tokens, (), torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(1))


def _batch(labels: list[str | None]) -> Batch:
    made = ctc(ABC).targets(_dataset(labels))
    return Batch(Inputs(torch.empty(0)), made, torch.arange(len(made)))


def test_the_loss_is_torchs_mean_with_real_lengths() -> None:
    task, sizes, texts = ctc(ABC), [9, 12, 7], ["a b", "cab", "bb"]
    head, features = task.head(INFO).eval(), _features(sizes)
    logs = head(features.tokens).log_softmax(2).transpose(0, 1)
    ids = torch.tensor([i for text in texts for i in encode(text, ABC).ids])
    expected = F.ctc_loss(logs, ids, torch.tensor(sizes), torch.tensor([len(t) for t in texts]), blank=BLANK)
    assert torch.allclose(task.loss(head, features, _batch(texts)), expected)
    made = task.predict(head, features)
    assert task.score(made, _batch(texts).targets)["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert [int((row.sum(1) > 0).sum()) for row in made.values] == sizes


def test_sounds_too_short_are_left_out_of_the_loss_and_counted() -> None:
    task, head = ctc(ABC), ctc(ABC).head(INFO).eval()
    features, texts = _features([3, 3, 2]), ["ab", "aab", "abc"]
    alone = Features(features.pooled[:1], features.tokens[:1], (), features.mask[:1])  # type: ignore[index]
    assert torch.allclose(task.loss(head, features, _batch(texts)), task.loss(head, alone, _batch(["ab"])))
    made, targets = task.predict(head, features), _batch(texts).targets
    assert task.report(made, targets)["too_short"] == 2
    assert math.isfinite(task.score(made, targets)["loss"])
    assert np.isnan(losses_of(made.values, targets)).tolist() == [False, True, True]


def test_only_sounds_too_short_move_nothing_and_have_no_loss() -> None:
    task, head = ctc(ABC), ctc(ABC).head(INFO).eval()
    loss = task.loss(head, _features([2, 1]), _batch(["abc", "ab"]))
    loss.backward()
    assert loss == 0 and all((p.grad == 0).all() for p in head.parameters())  # type: ignore[union-attr]
    said = task.predict(head, _features([2, 1]))
    assert "loss" not in task.score(said, _batch(["abc", "ab"]).targets)
    json = task.measure(said, _batch(["abc", "ab"]).targets)
    assert "loss" not in json and json["word_accuracy"].value <= 0


def test_the_loss_is_the_same_each_time_and_gradients_are_finite_for_a_sure_mistake() -> None:
    task, head = ctc(ABC), ctc(ABC).head(INFO).eval()
    features = _features([6, 6])._replace(tokens=1e4 * _features([6, 6]).tokens)  # type: ignore[operator]
    grads = []
    for _ in range(2):
        head.zero_grad()
        task.loss(head, features, _batch(["abc", "a"])).backward()
        grads.append(torch.cat([p.grad.ravel() for p in head.parameters()]))  # type: ignore[union-attr]
    assert torch.equal(*grads) and torch.isfinite(grads[0]).all()


def test_a_trunk_without_frames_is_refused() -> None:
    with pytest.raises(UsageError, match="needs its frames"):
        ctc(ABC).predict(torch.nn.Identity(), Features(torch.zeros(2, 8)))


# --------------------------------------------------------------------------------------------------------- figures


def test_figures_are_jiwers() -> None:
    task, (made, truth, said) = ctc(ABC), _case()
    scores = task.score(made, task.targets(_dataset(truth)))
    assert scores["wer"] == pytest.approx(jiwer.wer(truth, said)) and scores["wer"] > 0.2
    assert scores["cer"] == pytest.approx(jiwer.cer(truth, said))
    assert scores["word_accuracy"] == pytest.approx(1 - scores["wer"])
    assert scores["exact"] == pytest.approx(np.mean([a == b for a, b in zip(truth, said, strict=True)]))
    report = task.report(made, task.targets(_dataset(truth)))
    whole = jiwer.process_words(truth, said)
    assert [report[name] for name in ("substitutions", "deletions", "insertions")] == [
        whole.substitutions, whole.deletions, whole.insertions]  # fmt: skip
    assert report["words"] == sum(len(text.split()) for text in truth) and report["samples"] == len(truth)


def test_figures_counted_by_hand() -> None:
    task = ctc(ABC)
    targets = task.targets(_dataset(["a b c", "ab", "c"]))
    scores = task.score(_values(["a-bb- -c", "a-b", "c b a c"]), targets)
    assert scores["wer"] == pytest.approx((2 + 0 + 3) / 5)  # "ab c" lost a word and changed one; three words too many
    assert scores["cer"] == pytest.approx((1 + 0 + 6) / 8) and scores["exact"] == pytest.approx(1 / 3)
    worse = task.score(_values(["c c c c c c c"]), task.targets(_dataset(["a"])))
    assert worse["word_accuracy"] == -6  # below 0


def test_an_empty_text_is_no_error_of_jiwer() -> None:
    found = _ctc_errors.errors(["", "a b", ""], ["a b", "", ""])
    assert found.words.tolist() == [2, 2, 0] and found.of_words.tolist() == [0, 2, 0]
    assert found.characters.tolist() == [3, 3, 0] and found.exact.tolist() == [0, 0, 1]


def test_blank_transcripts_are_none() -> None:
    task = ctc(ABC)
    targets = task.targets(_dataset(["a", " \t", "", None]))
    assert targets.known().tolist() == [True, False, False, False]
    made = _values(["a", "b", "b", "b"])
    assert task.score(made, targets)["word_accuracy"] == 1 and task.each(made, targets).tolist() == [1, 1, 1, 1]


def test_characters_outside_the_vocabulary_count_as_errors() -> None:
    task = ctc(ABC)
    targets = task.targets(_dataset(["aé b"]))
    assert targets.texts == ("aé b",) and targets.ids.tolist() == [[1, 0, 2]]
    scores = task.score(_values(["a b"]), targets)
    assert scores["wer"] == 0.5 and scores["cer"] == 0.25 and math.isfinite(scores["loss"])


def test_case_is_kept_unless_the_task_says_otherwise() -> None:
    made = _values(["a-b"])
    assert ctc(ABC).score(made, ctc(ABC).targets(_dataset(["AB"])))["wer"] == 1
    lower = ctc(ABC, case="lower")
    assert lower.score(made, lower.targets(_dataset(["AB"])))["wer"] == 0


def test_what_each_adds_has_the_deviation_of_the_bootstrap() -> None:
    task, (made, truth, _) = ctc(ABC), _case(200)
    targets = task.targets(_dataset(truth))
    each, metric = task.each(made, targets), task.measure(made, targets)["word_accuracy"]
    assert float(each.mean()) == pytest.approx(metric.value, abs=1e-12)
    width = 2 * 1.96 * float(each.std()) / math.sqrt(len(each))
    assert metric.high - metric.low == pytest.approx(width, rel=0.15) and metric.method == "bootstrap"
    exact = task.score(made, targets)["exact"] * len(truth)
    assert task.measure(made, targets)["exact"] == wilson(round(exact), len(truth))


def test_words_that_are_confused_are_named() -> None:
    task = ctc(ABC)
    report = task.report(_values(["c", "c", "b", "a b"]), task.targets(_dataset(["a", "a", "b c", "a"])))
    assert report["most_confused"] == [
        {"actual": "a", "predicted": "c", "count": 2},
        {"actual": "", "predicted": "b", "count": 1},
        {"actual": "c", "predicted": "", "count": 1},
    ]


def test_rows_say_text_and_how_probable_it_is() -> None:
    task, made = ctc(ABC), _values(["ab", "--", "a-a"], 0.8)
    rows = task.rows(made, _dataset([None, None, None]))
    assert [row["label"] for row in rows] == ["ab", "", "aa"]
    assert rows[0]["probability"] == pytest.approx(0.8)  # one alignment of two symbols: the root of 0.8 x 0.8
    assert rows[1]["probability"] == pytest.approx(0.64)  # no symbol: the whole
    assert rows[2]["probability"] == pytest.approx(math.sqrt(0.8**3))


def test_the_baseline_says_the_most_frequent_transcript() -> None:
    task = ctc(ABC)
    train = task.targets(_dataset(["a bb", "c", "a bb", None, "cab cab cab"]))
    said = task.baselines(torch.empty(5, 0), train, torch.empty(3, 0))["majority"]
    assert [row["label"] for row in task.rows(said, _dataset([None] * 3))] == ["a bb"] * 3
    assert task.report(said, task.targets(_dataset(["cab cab cab"] * 3)))["too_short"] == 0
    with pytest.raises(DataError, match="no training sample has a transcript"):
        task.baselines(torch.empty(1, 0), task.targets(_dataset([None])), torch.empty(1, 0))


def test_predictions_that_cannot_be_scored_are_refused() -> None:
    task, targets = ctc(ABC), ctc(ABC).targets(_dataset(["a"]))
    with pytest.raises(DataError, match="do not belong"):
        task.score(Predictions(torch.zeros(1, 3, 4)), targets)
    with pytest.raises(ResourceError, match="diverged"):
        task.score(Predictions(torch.full((1, 3, 5), math.nan)), targets)
    with pytest.raises(DataError, match="none of 1 samples has a label"):
        task.score(_values(["a"]), task.targets(_dataset([" "])))


# ------------------------------------------------------------------------------------------------ options, learning


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("head='mlp'", "no head called 'mlp'"),
        ("case='small'", "no way to write"),
        ("beam=-1", "beam=-1"),
        ("lm='word', beam=8", "no language model of 'word'"),
        ("lm='words'", "lm is for beam search"),
        ("dictionary=('a',)", "dictionary is for beam search"),
        ("dictionary='words.txt', beam=8", "no list of words"),
        ("dictionary=('a b',), beam=8", "not one word"),
        ("dictionary=(), beam=8", "without words"),
        ("order=0, beam=8", "order=0"),
        ("lm_weight=-1, beam=8", "lm_weight"),
        ("pieces=0", "pieces=0"),
        ("beams=8", "beams"),
    ],
)
def test_options_that_cannot_work_are_refused(options: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse(f"ctc({options})").bind(ctc, ABC)


def test_no_vocabulary_and_no_jiwer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for classes in ((), ("a", "a"), ("", "a")):
        with pytest.raises(DataError, match="no vocabulary"):
            ctc(classes)
    monkeypatch.setattr(_ctc_errors, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="jiwer"):
        ctc(ABC)


def _spoken(texts: list[str], classes: tuple[str, ...], seed: int) -> Features:
    """Two frames for each symbol, of its own direction, in noise; and one of silence after it."""
    noise = torch.Generator().manual_seed(seed)
    rows: list[Tensor] = []
    for text in texts:
        path = [at for symbol in encode(text, classes).ids for at in (symbol, symbol, len(classes))]
        rows.append(8 * torch.eye(32)[path] + torch.randn(len(path), 32, generator=noise))
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(tokens.shape[1]) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
    return Features(tokens.mean(1), tokens, (), mask)


@pytest.mark.parametrize("classes", [ABC, ("a", "ab", "b", "c", "▁", "▁a", "▁b", "▁c", "▁cab")])
def test_a_linear_head_learns_to_say_all_words(classes: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    task, texts, others = ctc(classes), _texts(40, 1), _texts(40, 2)
    head = task.head(Info(source=Spec("toy"), modality="audio", dim=32))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.03)
    batch = Batch(Inputs(torch.empty(0)), task.targets(_dataset(texts)), torch.arange(40))
    features = _spoken(texts, classes, 0)
    for _ in range(120):
        optimizer.zero_grad()
        task.loss(head.train(), features, batch).backward()
        optimizer.step()
    made = task.predict(head.eval(), _spoken(others, classes, 1))
    assert task.score(made, task.targets(_dataset(others)))["wer"] == 0


# ------------------------------------------------------------------------------------------------------------- once


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was called: the decoder, and the alignment of words."""
    made: list[str] = []
    decoder, aligned = Decoder.__call__, jiwer.process_words
    monkeypatch.setattr(Decoder, "__call__", lambda self, values: made.append("decoder") or decoder(self, values))
    monkeypatch.setattr(jiwer, "process_words", lambda *texts: made.append("words") or aligned(*texts))
    return made


def _everything(task: Ctc, predictions: Predictions, dataset: Dataset, targets: Transcripts) -> list[object]:
    return [task.score(predictions, targets), task.each(predictions, targets).tolist(),
            task.measure(predictions, targets), task.report(predictions, targets),
            task.rows(predictions, dataset)]  # fmt: skip


def test_what_is_asked_of_the_same_predictions_is_decoded_and_aligned_once(calls: list[str]) -> None:
    predictions, truth, _ = _case()
    task, dataset = ctc(ABC, beam=4), _dataset([*truth[:-1], None])
    assert isinstance(task, Ctc)
    targets = task.targets(dataset)
    found = _everything(task, predictions, dataset, targets)
    assert calls == ["decoder", "words"]
    other = Predictions(predictions.values.flip(0), ABC)
    assert task.score(other, targets) != found[0] and calls == ["decoder", "words"] * 2
    assert str(_everything(ctc(ABC, beam=4), predictions, dataset, targets)) == str(found)  # type: ignore[arg-type]


def test_other_targets_of_the_same_predictions_are_others(calls: list[str]) -> None:
    predictions, truth, said = _case()
    task = ctc(ABC)
    right, wrong = (task.targets(_dataset(list(texts))) for texts in (said, truth))
    assert task.score(predictions, right)["wer"] == 0 < task.score(predictions, wrong)["wer"]
    assert calls == ["decoder", "words", "words"]


def test_no_predictions_are_kept_alive() -> None:
    predictions, truth, _ = _case()
    task = ctc(ABC)
    assert isinstance(task, Ctc)
    targets = task.targets(_dataset(list(truth)))
    task.score(predictions, targets)
    gone = weakref.ref(predictions.values)
    del predictions
    assert gone() is None and task._said._made is None and task._ids._made is None
    assert copy.deepcopy(task) == task
