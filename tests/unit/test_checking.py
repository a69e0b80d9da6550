"""`graft check` and its part in `fit`: what is said, in which order, of which data; and what is missing is a note."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from conftest import draw_flowers, draw_sounds
from graft import api, checking, zoo
from graft.checking import quick, table
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.errors import DataError, UsageError
from graft.types import Dataset, Issue, Sample

KEYS = {"data", "samples", "classes", "splits", "backbone", "issues", "checks", "scores", "fixed"}


def codes(result):
    return {issue["code"]: issue for issue in result["issues"]}


def reviews(path, rows):
    path.write_text("text,label,split\n" + "".join(f'"{text}",{label},{split}\n' for text, label, split in rows))
    return str(path)


def talk(seed, topic):
    """Words of a topic with some that all have: no two texts are nearly the same."""
    rng = np.random.default_rng(seed)
    own = {"sport": "goal team match coach score league", "food": "soup bread onion pepper flour oven"}[topic].split()
    return " ".join(rng.permutation([*rng.choice(own, 4), *(f"w{i}" for i in rng.integers(0, 5000, 8))]))


@pytest.fixture
def leaky(tmp_path):
    """Texts with a given test part, of which a third stands in train, too."""
    rows = [(talk(i, topic), topic, "test" if i % 3 == 0 else "train")
            for i in range(90) for topic in ("sport", "food")]  # fmt: skip
    copies = [(text, label, "train") for text, label, split in rows if split == "test"][:20]
    return reviews(tmp_path / "reviews.csv", rows + copies)


def test_everything_is_in_the_result_and_clean_data_are_said_to_be_so(flowers):
    result = api.check(str(flowers), backbone="bundled:tiny64")
    assert set(result) == KEYS and result["samples"] == 36 and result["classes"] == 3
    assert sum(result["splits"].values()) == 36 and result["scores"] is None and result["fixed"] is None
    assert not [issue for issue in result["issues"] if issue["severity"] != "note"]
    assert {"imbalance", "label_errors"} <= set(result["checks"]) and json.dumps(result)


def test_the_worst_comes_first_and_then_what_concerns_most(flowers):
    (flowers / "rose" / "broken.png").write_bytes(b"no picture")
    for i in range(3):
        (flowers / "rose" / f"again{i}.png").write_bytes((flowers / "daisy" / "1.png").read_bytes())
    result = api.check(str(flowers), backbone="toy")
    order = [(checking.SEVERITIES.index(issue["severity"]), -issue["count"]) for issue in result["issues"]]
    assert order == sorted(order) and {"unreadable", "conflicting-labels", "exact-copies"} <= set(codes(result))


def test_scores_with_and_without_the_leaks(leaky):
    result = api.check(leaky, backbone="tfidf")
    scores = result["scores"]
    assert scores["leaks"] == 20 and scores["test"] == 60 and scores["metric"] == "accuracy"
    assert 0 <= scores["without"]["low"] <= scores["without"]["value"] <= scores["with"]["value"] <= 1
    difference = scores["with"]["value"] - scores["without"]["value"]
    assert scores["difference"]["value"] == pytest.approx(difference)
    leak = codes(result)["leak"]
    assert leak["count"] == 20 and "graft check DATA" in leak["hint"] and "leak-score" in codes(result)


def test_the_split_is_that_of_fit_with_the_same_seed(flowers, tmp_path):
    said = {"seed": 3, "test": 0.2, "valid": 0.2}
    checked = api.check(str(flowers), backbone="toy", **said)
    fitted = api.fit(str(flowers), backbone="toy", strategy="ridge", out=str(tmp_path / "run"), **said)
    assert checked["splits"] == fitted["splits"]


def test_what_fit_would_refuse_is_an_error_and_the_rest_is_said(tmp_path):
    root = draw_flowers(tmp_path / "flowers", each=4)
    for name in ("rose", "tulip"):
        (root / name).rename(tmp_path / name)
    (root / "daisy" / "again.png").write_bytes((root / "daisy" / "0.png").read_bytes())
    result = api.check(str(root))
    first = result["issues"][0]
    assert first["severity"] == "error" and "only one class" in first["what"] and first["hint"]
    assert "exact-copies" in codes(result)


def test_unlabelled_data_are_an_error_with_what_helps(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    Image.new("RGB", (20, 30), "red").save(tmp_path / "b.png")
    (issue,) = (i for i in api.check(str(tmp_path))["issues"] if i["severity"] == "error")
    assert "no labels" in issue["what"] and "one folder per class" in issue["hint"]


def test_without_cleanlab_the_rest_is_looked_at(flowers, monkeypatch):
    for name in ("cleanlab", "cleanlab.filter"):
        monkeypatch.setitem(sys.modules, name, None)
    result = api.check(str(flowers), backbone="toy")
    issue = codes(result)["not-checked"]
    assert (
        issue["severity"] == "note" and "cleanlab" in issue["what"] and issue["hint"] == 'pip install "graft-ml[trust]"'
    )


def test_a_default_trunk_that_cannot_be_had_is_a_note_and_a_named_one_an_error(flowers, monkeypatch):
    monkeypatch.setitem(zoo.DEFAULTS, "image", "local:gone.pt(arch='resnet18')")
    result = api.check(str(flowers))
    assert "gone.pt" in codes(result)["not-checked"]["what"] and result["backbone"] is None
    with pytest.raises((UsageError, DataError)):
        api.check(str(flowers), backbone="local:gone.pt(arch='resnet18')")
    with pytest.raises(UsageError):
        api.check(str(flowers), backbone="resnet")


LABELS = {
    "number": "text,number\n" + "".join(f"{talk(i, 'food')},{i / 7:.3f}\n" for i in range(40)),
    "labels": "text,labels\n" + "".join(f"{talk(i, 'food')},{'a; b' if i % 2 else 'b'}\n" for i in range(40)),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_other_kinds_say_what_applies(kind, tmp_path):
    (tmp_path / "t.csv").write_text(LABELS[kind])
    result = api.check(f"{tmp_path}/t.csv({kind}={kind!r})", backbone="tfidf")
    assert "among classes only" in codes(result)["not-checked"]["what"] and result["scores"] is None


def test_tags_and_transcripts_are_checked_too(tmp_path):
    (tmp_path / "t.conll").write_text("".join(f"Anna B-person\nsings O\nw{i} O\n\n" for i in range(30)))
    assert api.check(str(tmp_path / "t.conll"), backbone="lstm")["samples"] == 30
    pytest.importorskip("soundfile", reason="needs soundfile")
    root = draw_sounds(tmp_path / "sounds", each=4)
    lines = ["path,transcript", *(f"{p.relative_to(root)},a {p.parent.name}" for p in sorted(root.rglob("*.wav")))]
    (root / "said.csv").write_text("\n".join(lines))
    assert api.check(str(root / "said.csv"))["samples"] == 12


def test_texts_that_are_cut_are_counted(tmp_path):
    rows = [(talk(i, topic) + " more" * (3000 if i == 0 else 0), topic, "train") for i in range(12)
            for topic in ("sport", "food")]  # fmt: skip
    result = api.check(reviews(tmp_path / "long.csv", rows), backbone="lstm")
    assert codes(result)["cut-texts"]["count"] == 2


def test_the_table_says_each_finding_with_samples_and_what_to_do():
    issues = [Issue("leak", "warning", "9 are copies", tuple(f"k{i}" for i in range(9)), "remove them", ("of x",) * 9),
              Issue("lengths", "note", "all are long")]  # fmt: skip
    lines = table({"issues": [issue.json() for issue in issues], "fixed": None})
    assert lines[0] == "warning  leak (9): 9 are copies" and lines[1].strip() == "k0: of x"
    assert lines[6].strip() == "and 4 more" and lines[7].strip() == "-> remove them"
    assert lines[8] == "note     lengths: all are long" and len(lines) == 9
    assert table({"issues": [], "fixed": None}) == ["no findings"]


# ---------------------------------------------------------------------------------------------------------- within fit


def test_fit_says_what_costs_little(tmp_path):
    root = draw_flowers(tmp_path / "flowers", each=30)
    for i in range(27):
        (root / "rose" / f"{i}.png").unlink()
    result = api.fit(str(root), backbone="toy", strategy="ridge", out=str(tmp_path / "run"))
    assert "imbalance" in codes(result) and "label-errors" not in codes(result)


def test_of_a_hundred_thousand_samples_a_part_is_looked_at():
    """All of them took eleven seconds; the bound is far from both."""
    import time

    import sklearn.tree  # noqa: F401  is loaded by every fit

    rng = np.random.default_rng(0)
    about = {"format": "JPEG", "mode": "RGB"}
    rows = rng.integers(100, 900, (100_000, 3)).tolist()
    samples = tuple(
        Sample(
            f"c{i % 50}/img_{i}.jpg", None, f"c{i % 50}", "train", about={**about, "width": w, "height": h, "bytes": b}
        )
        for i, (w, h, b) in enumerate(rows)
    )
    made = Dataset("many", "image", samples, tuple(sorted({s.label for s in samples})), lambda s: None, lambda s: b"")
    began = time.process_time()
    quick(made)
    assert time.process_time() - began < 6


def test_a_corpus_has_nothing_to_be_told_apart(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(talk(i, "food") for i in range(20)))
    assert quick(audit(open_data(str(tmp_path)))) == []
