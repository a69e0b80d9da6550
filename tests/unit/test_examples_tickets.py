"""The example data: well formed, without copies, and such that meaning counts for more than words."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from graft.data._audit import audit
from graft.data._sniff import open_data

torch.set_num_threads(1)
TICKETS = Path(__file__).parents[2] / "examples" / "tickets.csv"


@pytest.fixture(scope="module")
def tickets():
    return audit(open_data(str(TICKETS)))


def test_six_topics_of_about_the_same_size_and_nothing_to_complain_of(tickets):
    counts = Counter(sample.label for sample in tickets.samples)
    assert set(counts) == {"billing", "bug", "cancellation", "delivery", "login", "refund"}
    assert all(28 <= count <= 40 for count in counts.values()) and tickets.kind == "class"
    assert tickets.issues == ()  # no copies, nothing unreadable, no odd labels


def test_texts_are_of_different_lengths_and_name_nobody(tickets):
    texts = [tickets.load(sample).text for sample in tickets.samples]
    assert min(map(len, texts)) < 25 and max(map(len, texts)) > 110
    assert not any("@" in text or "http" in text for text in texts)
    assert sum(any(ord(letter) > 0x1F000 for letter in text) for text in texts) >= 5


def test_a_sentence_encoder_finds_what_words_do_not(tickets):
    pytest.importorskip("tokenizers")
    from graft import build

    texts, labels = [tickets.load(s) for s in tickets.samples], [s.label for s in tickets.samples]
    encoder = build.backbone("minilm").eval()
    with torch.inference_mode():
        chunks = [encoder(encoder.prepare(texts[i : i + 64])).pooled for i in range(0, len(texts), 64)]
    solved = LogisticRegression(C=0.1, max_iter=1000)
    meaning = score(make_pipeline(StandardScaler(), solved), torch.cat(chunks).numpy(), labels)
    by_words = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=30, max_iter=1000))
    words = score(by_words, [text.text for text in texts], labels)
    assert 0.85 <= meaning <= 0.97 and words < meaning - 0.2


def score(model, x, y) -> float:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(np.mean(cross_val_score(model, x, y, cv=folds)))
