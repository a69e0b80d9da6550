"""Copies among texts: exact ones but for case and blanks, near ones against a brute force, and what the audit says."""

import time

import numpy as np
import pytest

from graft.data import _text, _text_copies
from graft.data._audit import audit, require_classes
from graft.data.csv import csv
from graft.errors import DataError
from graft.types import Answers, Dataset, Sample, Text


def dataset(*rows, kind="class", split=None):
    """Rows of text (or Text) and label."""
    samples = [Sample(f"r{i}", one if isinstance(one, Text) else Text(one), label, split)
               for i, (one, label) in enumerate(rows)]  # fmt: skip
    return Dataset("t", "text", tuple(samples), ("a", "b"), _text.load, _text.read_bytes, kind=kind)


def codes(found):
    return {issue.code: issue for issue in found.issues}


SENTENCE = "the quick brown fox jumps over the lazy dog while twenty hens look on from a low wooden fence"


def test_exact_copies_are_equal_but_for_case_blanks_and_unicode_form():
    same = ["Caf\u00e9 au  lait", "cafe\u0301 AU lait ", "CAF\u00c9\tau\nlait"]
    assert len({_text_copies.digest(Text(one)) for one in same}) == 1
    other = [
        Text("a b"),
        Text("a", "b"),
        Text("a b", words=("a", "b")),
        Text("a b", words=("a b",)),
        Text("a b", "a b"),
    ]
    assert len(set(map(_text_copies.digest, other))) == len(other)
    found = audit(dataset(("Too bad.", "a"), ("too  BAD.", "a"), ("too good", "b")))
    issue = codes(found)["exact-copies"]
    assert issue.keys == ("r0", "r1") and issue.what.startswith("1 texts repeat another one, but for case and blanks")
    assert found.samples[0].group == found.samples[1].group != None and found.samples[2].group is None  # noqa: E711


@pytest.mark.parametrize(
    "one, two, near",
    [
        (SENTENCE, SENTENCE.upper().replace(" ", ", ") + "!!!", True),
        (SENTENCE, SENTENCE + " today", True),
        (SENTENCE, SENTENCE.replace("fox", "cat"), False),  # three shingles of 17 gone, three new: 14 / 20
        (SENTENCE, " ".join(reversed(SENTENCE.split())), False),
        ("Too bad!", "too bad", True),
        ("too bad", "too good", False),
        (":-)", ":-(", False),
        ("good 😀", "good 😡", False),
        ("我喜欢这部电影。", "我喜欢这部电影!", True),
        ("我喜欢这部电影因为它很有意思", "我不喜欢这部电影因为它没意思", False),
        ("שלום עולם", "שלום, עולם", True),
    ],
)
def test_near_copies(one, two, near):
    assert bool(_text_copies.near_copies([Text("something else"), Text(one), Text(two)])) == near


def test_both_texts_of_a_pair_must_be_near():
    other = "an entirely different sentence about the weather in the north of the country last week"
    near = [
        (Text(SENTENCE, SENTENCE + " now"), Text(SENTENCE + " today", SENTENCE)),
        (Text("Why?", SENTENCE), Text("why", SENTENCE + " x")),
    ]
    far = [
        (Text(SENTENCE, "yes it is"), Text(SENTENCE, "no it is not")),
        (Text("Why?", SENTENCE), Text("How?", SENTENCE)),
        (Text("Why?", SENTENCE), Text("Why?", other)),
        (Text(SENTENCE), Text(SENTENCE, SENTENCE)),
    ]
    assert all(_text_copies.near_copies(pair) == [(0, 1)] for pair in near)
    assert not any(_text_copies.near_copies(pair) for pair in far)


def test_near_copies_are_those_of_a_brute_force():
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{i}" for i in range(300)])
    texts = [list(rng.choice(vocabulary, rng.integers(10, 40))) for _ in range(300)]
    for words in texts[:150]:  # each with some words changed
        copy = list(words)
        for place in rng.choice(len(copy), rng.integers(0, 3), replace=False):
            copy[place] = "new"
        texts.append([*copy, *rng.choice(vocabulary, rng.integers(0, 3))])
    signs = [_text_copies.shingles(words) for words in texts]
    sets = [set(s.tolist()) for s in signs]
    brute = {(i, j) for i in range(len(sets)) for j in range(i + 1, len(sets))
             if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= 0.8}  # fmt: skip
    found = set(_text_copies.near_copies([Text(" ".join(words)) for words in texts]))
    assert len(brute) > 40 and found == brute
    a, b = next(iter(brute))
    assert _text_copies.jaccard(signs[a], signs[b]) == len(sets[a] & sets[b]) / len(sets[a] | sets[b])


def test_many_texts_take_little_time():
    rng = np.random.default_rng(1)
    vocabulary = np.array([f"w{i}" for i in range(5000)])
    texts = [Text(" ".join(rng.choice(vocabulary, 20))) for _ in range(10_000)]
    crowd = [Text(SENTENCE + f" {SENTENCE} number {i}") for i in range(2000)]
    start = time.process_time()
    assert len(_text_copies.near_copies(texts + crowd)) == 1999
    assert time.process_time() - start < 6


def test_leaks_and_conflicts():
    rows = [(SENTENCE, "a"), ("short one", "b"), ("again", "a"), ("Again", "b")]
    one, two = dataset(*rows, split="train"), dataset((SENTENCE + " x", "a"), ("SHORT one", "b"), split="test")
    later = [Sample(f"t{i}", s.source, s.label, s.split) for i, s in enumerate(two.samples)]
    found = audit(one.replace(samples=(*one.samples, *later)))
    assert (
        codes(found)["leak"].keys == ("r0", "r1")
        and "2 texts are copies of texts in the test" in codes(found)["leak"].what
    )
    assert codes(found)["conflicting-labels"].keys == ("r2", "r3")
    assert codes(found)["near-copies"].what.startswith("1 pair(s) of texts say almost the same")


def test_a_corpus_is_not_searched_for_near_copies():
    found = audit(dataset((SENTENCE, None), (SENTENCE + " x", None), (SENTENCE.upper(), None), kind="none"))
    assert set(codes(found)) == {"exact-copies"} and codes(found)["exact-copies"].keys == ("r0", "r2")


def test_strange_letters_are_no_issue():
    rows = [("שלום עולם", "a"), ("😀👍", "b"), ("bell \x07 and escape \x1b[0m", "a"), ("zero\u200bwidth", "b")]
    assert audit(dataset(*rows)).issues == ()


def test_digests_cover_all_of_a_text():
    kinds = [Text("a b"), Text("a b", "c"), Text("a b", words=("a", "b")), Text("A b")]
    found = audit(dataset(*((one, "a") for one in kinds)))
    assert len({sample.digest for sample in found.samples}) == 4 and all(len(s.digest) == 64 for s in found.samples)


def test_lonely_labels():
    found = audit(dataset(("one text", ("x", "y")), ("two texts", ("x",)), ("three", ()), kind="labels"))
    assert codes(found)["one-sample-class"].keys == ("y",)
    assert audit(dataset(("one text", 1.0), ("two texts", 2.0), kind="number")).issues == ()


@pytest.mark.parametrize(
    "kind, labels, words",
    [
        ("class", ["a", "a"], "only one class, 'a'"),
        ("class", [None, None], "no labels"),
        ("labels", [(), ()], "no sample has any label"),
        ("number", [1.5, 1.5], "the label is constant"),
        ("tags", [("O", "O"), ("O",)], "every word is outside"),
        ("answers", [None, None], "no labels"),
        ("none", [None, None], "no labels"),
    ],
)
def test_what_leaves_nothing_to_learn(kind, labels, words):
    found = dataset(*((f"text {i}", label) for i, label in enumerate(labels)), kind=kind)
    with pytest.raises(DataError, match=words) as caught:
        require_classes(found)
    assert caught.value.hint
    require_classes(found, labelled=False)


@pytest.mark.parametrize(
    "kind, labels",
    [("class", ["a", "b"]), ("labels", [("a",), ()]), ("number", [1.0, 2.0]), ("tags", [("O", "B-x"), ("O",)]),
     ("answers", [Answers(("a",), (0,)), None])],
)  # fmt: skip
def test_what_is_enough_to_learn(kind, labels):
    require_classes(dataset(*((f"text {i}", label) for i, label in enumerate(labels)), kind=kind))


def test_a_table_without_labels_says_which_columns_it_has(tmp_path):
    (tmp_path / "t.csv").write_text("text,art\na,x\nb,y\n")
    with pytest.raises(DataError, match="there are: text, art") as caught:
        require_classes(csv(str(tmp_path / "t.csv")))
    assert "label='art'" in caught.value.hint
