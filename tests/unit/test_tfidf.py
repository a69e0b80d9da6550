"""The words of texts, as scikit-learn weighs them; and a logistic regression on them as they come."""

import json
import re
import time

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from graft.backbones._terms import analyzer, fitted, terms
from graft.backbones._words import patterns
from graft.backbones.tfidf import tfidf
from graft.errors import DataError, UsageError
from graft.features import Feed
from graft.probes import _choose, _data
from graft.probes.logistic import logistic
from graft.types import Dataset, Sample, Text

torch.set_num_threads(1)

WORDS = [f"w{i}" for i in range(300)] + ["Don't", "a", "I", "état", "我", "well-made", "3.5"]
SEEN = [
    "A good film, a very good film.",
    "I don't like this film!",
    "我喜欢这部电影",
    "ÉTAT d'esprit - 3.5",
    "good good good",
]


def documents(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 40), p=weights / weights.sum())) for _ in range(count)]


def reference(seen: list[str], most: int = 5000, ngrams: int = 2) -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, ngrams), max_features=most,
                           token_pattern=patterns().word).fit(seen)  # fmt: skip


def made(seen: list[str], **options):
    return tfidf(corpus=lambda: (Text(text) for text in seen), **options)


def pooled(backbone, texts: list[str]) -> torch.Tensor:
    return backbone(backbone.prepare(Text(text) for text in texts)).pooled


@pytest.mark.parametrize(("seen", "most", "ngrams"), [(SEEN, 5000, 2), (SEEN, 7, 1), (documents(80), 200, 2),
                                                      (documents(30), 5000, 3)])  # fmt: skip
def test_features_are_those_of_scikit_learn(seen, most, ngrams) -> None:
    backbone = made(seen, terms=most, ngrams=ngrams)
    asked = [*seen, *documents(20, seed=1), "", "nothing-known-here"]
    want = reference(seen, most, ngrams).transform(asked).toarray().astype(np.float32)
    assert backbone.info.dim == want.shape[1] <= most
    np.testing.assert_allclose(pooled(backbone, asked).numpy(), want, rtol=1e-6)


def test_by_hand() -> None:
    """idf = 1 + log((1 + N) / (1 + n)); weights (1 + log count) * idf, of length 1 together."""
    backbone = made(["b b b c", "c"], ngrams=1)
    b, c = (1 + np.log(3)) * (1 + np.log(3 / 2)), 1.0
    want = torch.tensor([b, c]) / np.hypot(b, c)
    torch.testing.assert_close(pooled(backbone, ["b b b c"])[0], want.float())


def test_words_of_one_letter_and_characters_are_terms() -> None:
    found = made(SEEN, ngrams=1).preprocess.terms
    assert {"a", "i", "我", "don't", "3.5", "état"} <= set(found) and "!" not in found


def test_a_pair_is_one_document() -> None:
    backbone = made(["a b", "c"])
    both = backbone(backbone.prepare([Text("a", "b")])).pooled
    assert torch.equal(both, pooled(backbone, ["a\nb"]))


def test_what_it_says_of_itself() -> None:
    backbone = made(SEEN)
    info = backbone.info
    assert (info.modality, info.sha256, info.parameters) == ("text", "", 0) and not list(backbone.parameters())
    features = backbone(backbone.prepare([Text("a film")]))
    assert features.tokens is None
    lengths = pooled(backbone, SEEN).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(len(SEEN)))


def test_a_sample_is_small_and_a_batch_is_padded() -> None:
    backbone = made(SEEN, ngrams=1)
    samples = [backbone.preprocess.sample(Text(text)) for text in ("good film", "", "a good film")]
    assert [one.shape for one in samples] == [(2, 2), (1, 2), (3, 2)] and samples[0].dtype is torch.float32
    inputs = backbone.preprocess.batch(samples)
    assert inputs.x.shape == (3, 3, 2) and inputs.mask.sum(1).tolist() == [2, 1, 3]


def test_a_rebuild_needs_no_texts() -> None:
    backbone = made(SEEN, terms=9, ngrams=1)
    config = json.loads(json.dumps(backbone.info.config))
    again = backbone.info.source.with_options(pretrained=False, config=config).bind(tfidf)
    assert torch.equal(pooled(again, SEEN), pooled(backbone, SEEN))
    record = json.loads(json.dumps(backbone.preprocess.json()))
    assert record["kind"] == "terms" and terms(record) == backbone.preprocess == again.preprocess


def test_a_feed_keeps_its_rows(tmp_path) -> None:
    texts = documents(70)
    samples = tuple(Sample(str(i), text, "x", digest=f"{i:064x}") for i, text in enumerate(texts))
    data = Dataset("d", "text", samples, ("x",), lambda s: Text(s.source), lambda s: s.source.encode())
    backbone = made(texts).eval()
    feed = Feed(data, backbone, device=torch.device("cpu"))
    assert torch.equal(feed.pooled(), pooled(backbone, texts))


def test_mistakes() -> None:
    with pytest.raises(UsageError, match="training texts") as error:
        tfidf()
    assert "graft fit" in error.value.hint
    with pytest.raises(DataError, match="no words"):
        made(["", "!?"])
    for option in ("terms", "ngrams"):
        with pytest.raises(UsageError, match=f"{option}=0"):
            made(SEEN, **{option: 0})


# -------------------------------------------------------------------------------- logistic regression on such features


def topics(count: int, classes: int = 2, seed: int = 0) -> tuple[list[str], torch.Tensor]:
    """Texts in which a quarter of the words are more frequent in one class than in the others."""
    rng = np.random.default_rng(seed)
    base = 1 / np.arange(1, 3001)
    liked = [base * np.where(np.arange(3000) % (2 * classes) == label, 4, 1) for label in range(classes)]
    targets = rng.integers(0, classes, count)
    words = np.array([f"w{i}" for i in range(3000)])
    return [" ".join(rng.choice(words, 40, p=liked[y] / liked[y].sum())) for y in targets], torch.tensor(targets)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dense", [False, True])
def test_logistic_as_features_come_is_scikit_learns(classes: int, dense: bool) -> None:
    texts, y = topics(200, classes)
    x = pooled(made(texts, terms=300, ngrams=1), texts) + (0.01 if dense else 0.0)
    arrays = logistic(c=3.0, standardize=False).fit(x, y, classes)
    known = _data.known(x, y, classes)
    model = LogisticRegression(C=3.0, max_iter=5000, tol=1e-9).fit(known.x, known.y)
    want = model.predict_proba(x.double().numpy())
    got = logistic(c=3.0, standardize=False).logits(arrays, x).softmax(1).numpy()
    assert got == pytest.approx(want, abs=1e-4)
    assert arrays.keys() == {"weight", "bias"} and arrays["weight"].shape == (classes, x.shape[1])


def test_logistic_chooses_of_its_grid_by_left_out_log_loss() -> None:
    texts, y = topics(300)
    x = pooled(made(texts, terms=500, ngrams=1), texts)
    known = _data.known(x, y, 2)
    fold = _choose.folds(known.y)
    losses = {}
    for c in (0.1, 1.0, 10.0, 100.0):
        scores = np.zeros(len(x))
        for number in range(_choose.FOLDS):
            model = LogisticRegression(C=c, max_iter=5000).fit(known.x[fold != number], known.y[fold != number])
            scores[fold == number] = model.decision_function(known.x[fold == number])
        losses[c] = _choose.log_loss(np.stack([-scores / 2, scores / 2], 1), known.y)
    best = min(losses, key=losses.get)
    chosen = logistic(standardize=False).fit(x, y, 2)
    given = logistic(c=best, standardize=False).fit(x, y, 2)
    torch.testing.assert_close(chosen["weight"], given["weight"])


def test_logistic_of_standardised_features_is_as_it_was() -> None:
    texts, y = topics(60)
    x = pooled(made(texts, terms=40, ngrams=1), texts)
    a, b = logistic(c=0.1).fit(x, y, 2), logistic(c=0.1, standardize=False).fit(x, y, 2)
    assert not torch.allclose(a["weight"], b["weight"])
    for key, value in logistic(c=0.1, standardize=True).fit(x, y, 2).items():
        assert torch.equal(value, a[key])


def test_five_thousand_texts_take_seconds() -> None:
    """40 of 5,000 terms in each, of two classes that like different ones."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    y = torch.tensor(rng.integers(0, 2, 5000))
    numbers = (torch.rand(5000, 40, generator=generator) ** 2 * 2500).long() * 2
    numbers += (torch.rand(5000, 40, generator=generator) < 0.4 + 0.2 * y[:, None]).long()
    x = torch.zeros(5000, 5000).scatter_(1, numbers, torch.rand(5000, 40, generator=generator) + 0.5)
    x = torch.nn.functional.normalize(x, dim=1)
    began = time.perf_counter()
    arrays = logistic(standardize=False).fit(x, y, 2)
    assert time.perf_counter() - began < 20
    assert (logistic().logits(arrays, x).argmax(1) == y).float().mean() > 0.8


def test_ascii_texts_are_divided_as_all_others_are() -> None:
    """They are most texts, and have a pattern of their own: a character class of all letters is six times as slow."""
    rng, signs = np.random.default_rng(0), list("abXYz019 '-.,_!\n\x1f&é")
    whole, analyze = re.compile(patterns().word), analyzer(1)
    for _ in range(3000):
        text = "".join(rng.choice(signs[: -1 if rng.random() < 0.9 else None], 25))
        assert analyze(text) == whole.findall(text.lower())


@pytest.mark.parametrize("most", [5, 50, 300, 2000])
def test_the_terms_are_those_that_scikit_learn_takes(most: int) -> None:
    """Among equally frequent ones, too."""
    seen = documents(200)
    want = reference(seen, most)
    names, idf = fitted(seen, 2, most)
    assert names == want.get_feature_names_out().tolist() and idf == want.idf_.tolist()
    assert fitted(["...", "!"], 2, most) == ([], [])


def test_samples_are_each_sample() -> None:
    preprocess, texts = made(SEEN).preprocess, [Text(one) for one in (*SEEN, "", "nothing-known-here")]
    assert all(map(torch.equal, preprocess.samples(texts), map(preprocess.sample, texts)))
