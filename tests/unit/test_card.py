"""The model card says what the run's files say, in Markdown and YAML that nobody's names can break, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

import graft
from conftest import draw_flowers
from graft.errors import DataError
from graft.reporting import card as cards
from graft.reporting._english_codes import CODES
from graft.reporting._markdown import code, table, text
from graft.reporting.card import base_model, card, licence

torch.set_num_threads(1)
HOSTILE = [
    "`rm -rf`", "a|b", "| --- |", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "two\nlines",
    "---", "...", "\n---\nlicense: mit\n---\n", "# head", "- item", "1. item", "> quote",
    "[x](javascript:alert(1))", "![x](http://x.test/p)", "<http://x.test>", "http://x.test", "www.x.test",
    "a@x.test", "``` js", "````", "`", "``", "\\", "\\`", "a\\|b", "*b*", "_b_", "~~s~~", "&lt;b&gt;", "&#60;b>",
    "$x$", "{{ x }}", "{% x %}", "key: value", "&anchor", "*alias", "!!python/object:os.system", "yes", "null",
    "1e3", "0x10", "=1+1", "\u202egnp", "\x1b[31m", "\ud800", "玫瑰", "", " ", "<!--", "-->", "]]>", "\t x",
]  # fmt: skip
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def figures(value: float = 0.9) -> dict[str, Any]:
    return {"accuracy": {"value": value, "low": value - 0.1, "high": value + 0.05, "method": "wilson"},
            "loss": {"value": 0.3, "low": 0.2, "high": 0.4, "method": "bootstrap"}}  # fmt: skip


def row(label: str, support: int = 10) -> dict[str, Any]:
    bounds = [0.5, 0.9] if support < 20 else [0.75, 0.85]
    return {"label": label, "precision": 0.8, "recall": 0.8, "f1": 0.8, "support": support, "recall_interval": bounds,
            "f1_interval": [0.4, 0.9]}  # fmt: skip


def write(folder: Path, classes: list[str], data: str = "flowers", **more: Any) -> Path:
    """The files of a run as `fit` leaves them; `more` replaces what is in result.json."""
    folder.mkdir()
    trunk = {"source": "bundled:tiny64", "modality": "image", "licence": "Apache-2.0", "sha256": "ab" * 32,
             "parameters": 2128288, "pretrained_on": "pictures", "config": {}}  # fmt: skip
    recipe = {"data": f"/home/me/{data}", "task": "classification", "strategy": "ridge", "backbone": "bundled:tiny64",
              "seed": 3}  # fmt: skip
    counts = {"samples": 40, "classes": dict.fromkeys(classes, 5)}
    issue = {"code": "leak", "severity": "warning", "what": f"{classes[0]} and b/7.png: copies, in /home/me/{data}/b",
             "count": 2, "keys": ["b/7.png", "b/8.png"], "hint": "look"}  # fmt: skip
    result = {"run": str(folder), "seconds": 63.0, "splits": {"train": 40, "valid": 0, "test": 20}, "valid": {},
              "test": figures(), "baselines": {"majority": figures(0.4)}, "issues": [issue],
              "report": {"samples": 20, "classes": classes, "per_class": [row(name) for name in classes],
                         "most_confused": [{"actual": classes[0], "predicted": classes[-1], "count": 3}]},
              "confidence": confidence()} | more  # fmt: skip
    said = {"sentences": [f"transfer helps: it does on /home/me/{data}, by +3.0 points [1.0, 5.0]", *classes[:3]]}
    files = {"recipe.json": recipe, "result.json": result, "backbone.json": trunk, "labels.json": classes,
             "data.json": {"name": data, "fingerprint": "cd" * 32, "splits": {"train": counts, "test": counts}},
             "environment.json": {"python": "3.11", "libraries": {"graft-ml": "0.1", "torch": "2.11"}},
             "ladder.json": {"verdict": {"metric": "accuracy", **said}, "rungs": []},
             "sealed.json": [{"when": "now", "why": "fit"}]}  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def confidence() -> dict[str, Any]:
    rate = {"value": 0.91, "low": 0.85, "high": 0.95, "method": ""}
    return {"temperature": 1.31, "made_on": "out of fold", "samples": 20, "ece": {"before": rate, "after": rate},
            "brier": {"before": rate, "after": rate}, "reliability": [],
            "sets": {"lac": {"stated": 0.9, "coverage": rate, "size": 1.2, "singletons": 0.8}},
            "unlike": {"threshold": 0.5, "stated": 0.05, "flagged": rate}}  # fmt: skip


def body(made: str) -> str:
    assert made.startswith("---\n")
    return made.partition("\n---\n")[2]


def metadata(made: str) -> dict[str, Any]:
    found = yaml.safe_load(made.partition("\n---\n")[0])
    assert isinstance(found, dict)
    return found


def test_what_a_run_knows_is_said(tmp_path: Path) -> None:
    made = card(write(tmp_path / "run", ["daisy", "rose"]), "someone/flowers")
    about = metadata(made)
    assert about["library_name"] == "graft" and about["pipeline_tag"] == "image-classification"
    assert about["license"] == "apache-2.0" and "base_model" not in about and "language" not in about
    (entry,) = about["model-index"]
    (found,) = entry["results"]
    assert entry["name"] == "flowers" and found["dataset"]["name"] == "flowers" and found["dataset"]["split"] == "test"
    accuracy = found["metrics"][0]
    assert accuracy["value"] == 0.9 and accuracy["name"] == "accuracy: 90.0 % [80.0, 95.0], 95 % interval, n = 20"
    said = ["`daisy`, `rose`", "transfer helps", "opened once", "| accuracy | 90.0 % [80.0, 95.0] |", "40.0 %",
            "majority (baseline)", "1.31", "`lac`", "1.20 classes", "`rose` (10)", "fingerprint", "cd" * 32,
            "1 min 3 s", "seed 3", "graft predict hub:someone/flowers DATA",
            'graft.predict("hub:someone/flowers", "DATA")',
            "warning: Test samples that have copies in training (2)", "40 train, 40 test"]  # fmt: skip
    assert [words for words in said if words.lower() not in made.lower()] == []


def test_no_path_and_no_sample_is_named(tmp_path: Path) -> None:
    made = card(write(tmp_path / "run", ["daisy", "rose"]), "someone/flowers")
    assert "/home" not in made and str(tmp_path) not in made and ".png" not in made and "b/7" not in made


POISON = ["charite_mueller", "patient1000", "/home/mueller/x", "ward7.png", "Frau Huber"]


def test_of_a_finding_its_title_and_its_number_alone(tmp_path: Path) -> None:
    """Sentences of findings name folders, groups and files; of no code, known or not, is a word of them in the card."""
    titles = {key.removeprefix("issue."): title for key, title in CODES.items() if key.startswith("issue.")}
    assert len(titles) > 60
    codes = [*titles, "a-code-of-tomorrow", "Frau Huber"]
    for start in range(0, len(codes), 12):
        issues = [{"code": code, "severity": ("error", "warning", "note", "patient1000")[i % 4], "count": 1007 + i,
                   "what": " ".join(POISON), "hint": POISON[0], "keys": POISON, "details": POISON}
                  for i, code in enumerate(codes[start : start + 12])]  # fmt: skip
        made = card(write(tmp_path / f"run{start}", ["daisy", "rose"], issues=issues), "someone/flowers")
        assert [word for word in POISON if word in made] == []
        for issue in issues:
            title = text(titles.get(issue["code"], "Another finding"))
            assert f"{title} ({issue['count']:,})" in made, issue["code"]


def test_words_that_were_taken_for_others_are_no_classes(tmp_path: Path) -> None:
    """What a recogniser confuses are words that somebody has said."""
    report = {"samples": 20, "most_confused": [{"actual": "huber", "predicted": "gruber", "count": 3}]}
    made = card(write(tmp_path / "run", ["daisy", "rose"], report=report))
    assert "huber" not in made and "gruber" not in made


@pytest.mark.parametrize("value, said", [(0.84, True), (0.8, False)])
def test_what_few_held_out_samples_promise(value: float, said: bool, tmp_path: Path) -> None:
    rate = {"value": value, "low": 0.7, "high": 0.88, "method": ""}
    found = {**confidence(), "sets": {"lac": {"stated": 0.9, "coverage": rate, "least": 0.82, "size": 1.2}}}
    made = card(write(tmp_path / "run", ["daisy", "rose"], confidence=found))
    assert ("so few held-out samples promise no more than 82 %" in made) == said


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", ["daisy", "rose"], confidence=None, report={}, issues=[], baselines={}, seconds=0)
    for name in ("ladder.json", "environment.json"):
        (folder / name).unlink()
    (folder / "backbone.json").write_text(json.dumps({"source": "tfidf", "modality": "text", "licence": "none needed"}))
    made = card(folder)
    for title in ("Verdict", "Classes", "Calibration", "Limits", "Cost", "Adaptation"):
        assert f"## {title}" not in made
    assert "license" not in metadata(made) and "None" not in made and "##\n" not in made
    assert "baseline" not in made and "nan" not in made


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_stays_a_name(name: str, tmp_path: Path) -> None:
    """As a class, as the data's name, and in a sentence: the same headings, cells and tags as with harmless names."""
    kept = name.replace("/", "∕") if name.strip() else "x"
    plain = card(write(tmp_path / "plain", ["aster", "rose"], "flowers"), "someone/x")
    made = card(write(tmp_path / "run", [kept, "rose"], kept), "someone/x")
    assert metadata(made).keys() == metadata(plain).keys() and metadata(made)["license"] == "apache-2.0"
    ours, theirs = ([(token.type, token.tag) for token in MARKDOWN.parse(body(one))] for one in (made, plain))
    assert ours == theirs
    inside = [child for token in MARKDOWN.parse(body(made)) for child in token.children or ()]
    assert {child.type for child in inside} <= {"text", "code_inline", "softbreak", "text_special"}
    assert "<script" not in MARKDOWN.render(body(made)) and "onerror=alert(1)>" not in MARKDOWN.render(body(made))


def test_all_hostile_names_at_once(tmp_path: Path) -> None:
    made = card(write(tmp_path / "run", [*HOSTILE, "rose"]), "someone/x")
    assert ModelCard(made).data.license == "apache-2.0" and ModelCard(made).data.eval_results
    page = MARKDOWN.parse(body(made))
    assert sum(token.type == "table_open" for token in page) == 2
    assert not [
        child for token in page for child in token.children or () if child.type.startswith(("html", "link", "image"))
    ]


def test_markdown_of_text() -> None:
    assert text("a_b *c* <d>") == r"a\_b \*c\* \<d\>" and text("91.2 %, n = 3 (of 4)") == "91.2 %, n = 3 (of 4)"
    assert text("a\nb") == "a b" and code("a`b") == "``a`b``" and code("`a") == "`` `a ``"
    assert code("a|b") == "`a|b`" and code("a|b", cell=True) == r"`a\|b`"
    assert table(("x", "n"), [("a", "1")]) == "| x | n |\n| --- | ---: |\n| a | 1 |"
    assert len(text("x" * 999)) == 200


LICENCES = [
    ("Apache-2.0", {"license": "apache-2.0"}),
    ("code Apache-2.0; weights: mit", {"license": "mit"}),
    ("code BSD-3-Clause; weights: see torchvision", {}),
    ("code Apache-2.0; weights: cc-by-nc-4.0", {"license": "cc-by-nc-4.0"}),
    ("Apache-2.0 for these weights; the terms of the source images are those of their owners",
     {"license": "other", "license_name": "apache-2.0-for-these-weights"}),
    ("My Own Licence (2)", {"license": "other", "license_name": "my-own-licence-2"}),
    ("none needed", {}), ("see the model card", {}), ("see where the file came from", {}), ("unknown", {}), ("", {}),
]  # fmt: skip


@pytest.mark.parametrize("said, expected", LICENCES)
def test_a_licence_is_never_invented(said: str, expected: dict[str, str]) -> None:
    assert licence(said) == expected


def test_a_base_is_named_only_where_it_is_one_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graft.backbones._hub.cached", lambda name: name == "google/vit-base-patch16-224")
    weights = {"sha256": "ab" * 32}
    vit = {"source": "transformers:google/vit-base-patch16-224", **weights}
    assert base_model(vit) == "google/vit-base-patch16-224"
    assert base_model({"source": "trained:runs/x-1", "config": {"backbone": vit}, **weights}) == base_model(vit)
    assert base_model({**vit, "sha256": ""}) is None, "random weights have no base"
    assert base_model({"source": "minilm", **weights}) == "sentence-transformers/all-MiniLM-L6-v2"
    assert base_model({"source": "timm:resnet18.a1_in1k", **weights}) == "timm/resnet18.a1_in1k"
    for source in (
        "transformers:/home/me/vit",
        "transformers:mine/vit",
        "bundled:tiny64",
        "local:x.pth(arch='resnet18')",
        "toy",
    ):
        assert base_model({"source": source, **weights}) is None
    (tmp_path / "google" / "vit-base-patch16-224").mkdir(parents=True)
    assert base_model(vit) is None, "it may as well be this folder"


def test_what_is_no_finished_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError):
            card(folder)


# ---------------------------------------------------------------------------------------------------------- real runs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_flowers(tmp_path / "flowers")
    return tmp_path


def checked(run: str, pipeline: str | None) -> str:
    path = cards.write(Path(run))
    made = path.read_text(encoding="utf-8")
    assert metadata(made).get("pipeline_tag") == pipeline and metadata(made)["model-index"]
    assert str(Path.cwd()) not in made and "None" not in made
    MARKDOWN.parse(body(made))
    return made


def test_images(here: Path) -> None:
    graft.fit(str(here / "flowers"), backbone="toy", strategy="linear_probe(epochs=1)", out="run")
    made = checked("run", "image-classification")
    assert "`daisy`, `rose`, `tulip`" in made and "centroid (baseline)" in made
    draw_flowers(here / "others", each=6, seed=3)
    graft.adapt("run", "others", method="refit", out="new")
    made = checked("new", "image-classification")
    assert "Adapted by `refit` to 18 samples of `others`, with their labels." in made and "difference: " in made


def test_numbers_and_several_labels(here: Path) -> None:
    rows = [f"text {i} is {'long ' * (i % 7)},{i % 7 + 0.5},{'a;b' if i % 2 else 'b'}" for i in range(60)]
    (here / "t.csv").write_text("text,value,tags\n" + "\n".join(rows) + "\n", encoding="utf-8")
    graft.fit("t.csv(label='value', kind='number')", backbone="tfidf", strategy="linear_probe(epochs=2)", out="numbers")
    made = checked("numbers", None)
    assert "regression" in made and "Its 0 classes" not in made
    graft.fit("t.csv(label='tags', kind='labels')", backbone="tfidf", strategy="linear_probe(epochs=2)", out="tags")
    assert "## Classes" in checked("tags", "text-classification")


def test_a_trunk(here: Path) -> None:
    (here / "notes.txt").write_text("\n".join(f"note {i} of the {'cat' if i % 2 else 'dog'}" for i in range(40)))
    tiny = "bert(layers=1, dim=16, heads=2, vocabulary=300, length=24)"
    graft.pretrain("notes.txt", backbone=tiny, strategy="full(epochs=1)", valid=0.2, out="run")
    made = checked("run", "fill-mask")
    assert "trained:RUN" in made and "graft predict" not in made and "validation part" in made
