"""report.html: what stands in it for each kind of run, what is left out, and what it may be made of."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_run import gain, make_run, names, put, read

from graft.errors import DataError, IntegrityError, UsageError
from graft.reporting import page
from graft.reporting._parts import Album

SECTIONS = ["verdict", "scores", "ladder", "curves", "classes", "confusion", "errors", "sureness", "findings", "space",
            "costs", "next", "repeat"]  # fmt: skip
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Outline(HTMLParser):
    """Tags with their attributes, the text outside of the style sheet, and whether all tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def shown(folder: Path, **options: Any) -> Outline:
    outline = Outline(page.page(folder, **options))
    assert not outline.open
    return outline


def sections(outline: Outline) -> list[str]:
    return [attributes["id"] for attributes in outline.of("section") if "id" in attributes]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", ["ants", "bees", "wasps"])


def test_sections_stand_in_their_order(run: Path) -> None:
    outline = shown(run)
    assert sections(outline) == SECTIONS
    links = [attributes["href"] for attributes in outline.of("a")]
    assert links == [f"#{name}" for name in SECTIONS]
    assert len(outline.of("h1")) == 1


def test_the_verdict_is_three_lines_from_the_numbers(run: Path) -> None:
    outline = shown(run)
    assert len(outline.of("dt")) == 3
    assert "Yes. Pretrained weights are better than the same network trained from scratch." in outline.text
    assert "+20.0 points [1.4, 39.4] of accuracy over the same network trained from scratch" in outline.text
    assert "This is beyond noise: the interval lies above 0." in outline.text
    assert "The cheapest way within noise is ridge on bundled:tiny64." in outline.text


@pytest.mark.parametrize(("word", "low", "answer", "noise"), [
    ("unclear", -0.1, "It cannot be told.", "within noise: the interval holds 0"),
    ("hurts", -0.2, "No, it hurts.", "within noise"), ("unknown", 0.1, "Not measured.", "beyond noise")])  # fmt: skip
def test_the_verdict_follows_the_numbers(run: Path, word: str, low: float, answer: str, noise: str) -> None:
    ladder = read(run, "ladder.json")
    ladder["verdict"]["transfer"] = word
    ladder["verdict"]["over"]["scratch"] = gain(0.05, low, 0.2)
    put(run, "ladder.json", ladder)
    text = shown(run).text
    assert answer in text
    assert noise in text


def test_chinese_is_rebuilt_from_the_numbers(run: Path) -> None:
    outline = shown(run, language="zh")
    assert outline.of("html")[0]["lang"] == "zh-Hans"
    assert sections(outline) == SECTIONS
    assert "准确率比从零开始训练的同一网络 +20.0 个百分点 [1.4, 39.4]" in outline.text
    assert "测试样本在训练集中有副本" in outline.text, "the title of a finding"
    assert "3 test samples have copies in training" in outline.text, "beside the sentence that the run has kept"


def test_a_named_way_is_compared_with_its_baselines(tmp_path: Path) -> None:
    outline = shown(make_run(tmp_path / "run", ["ants", "bees"], ladder=False))
    assert "ladder" not in sections(outline)
    assert "Is it better than guessing?" in outline.text
    assert "The most frequent class: 50.0 %" in outline.text


def test_what_is_missing_is_left_out_or_said(run: Path) -> None:
    for name in ("ladder.json", "metrics.jsonl", "data.json", "issues.json", "environment.json", "sealed.json",
                 "shown.json", "backbone.json", "recipe.json", "labels.json", "chosen.json"):  # fmt: skip
        (run / name).unlink()
    result = read(run, "result.json")
    for name in ("verdict", "rungs", "confidence", "issues", "phases", "baselines"):
        result.pop(name, None)
    put(run, "result.json", result)
    outline = shown(run)
    assert [s for s in SECTIONS if s not in sections(outline)] == ["ladder", "errors", "space"]
    assert "There are no epochs to show" in outline.text
    assert "Nothing was learned about how sure this run may be" in outline.text
    assert "found nothing." in outline.text
    assert "The sealed test part was never opened." in outline.text


@pytest.mark.parametrize("name", ["ladder.json", "metrics.jsonl", "data.json", "issues.json", "environment.json",
                                  "sealed.json", "shown.json", "backbone.json", "recipe.json"])  # fmt: skip
def test_each_file_alone_may_be_missing(run: Path, name: str) -> None:
    (run / name).unlink()
    assert "verdict" in sections(shown(run))


def test_classes_are_ordered_by_f1_and_the_best_are_folded_away(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names(40), modality="text", each=5)
    text = page.page(run)
    rows = {row["label"]: row["f1"] for row in read(run, "result.json")["report"]["per_class"]}
    part = text[text.index('id="classes"') : text.index('id="confusion"')]
    listed = re.findall(r'<th scope="row" class="t">(class \d+)</th>', part)
    assert [rows[name] for name in listed] == sorted(rows.values())
    assert part.index("<details>") > part.index(listed[19])
    assert part.index("<details>") < part.index(listed[20] + "<")
    assert "too many classes for a matrix" in text


def test_every_plot_has_a_description_and_its_data(run: Path) -> None:
    outline = shown(run)
    plots = [a for a in outline.of("svg") if a.get("role") == "img"]
    assert len(plots) >= 7
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for attributes in plots:
        assert set(attributes["aria-labelledby"].split()) <= set(ids)
    assert outline.text.count("The data behind this plot") == len(plots)
    assert all(attributes.get("alt") for attributes in outline.of("img"))


def test_references_inside_the_plots_lead_somewhere(run: Path) -> None:
    outline = shown(run)
    ids = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    used = [attributes["href"][1:] for attributes in outline.of("use")]
    clips = [re.findall(r"#(.*)\)", a["clip-path"])[0] for _, a in outline.tags if "clip-path" in a]
    assert used
    assert set(used) | set(clips) <= ids


def test_the_page_repeats_to_the_byte(run: Path) -> None:
    assert page.page(run) == page.page(run)


def test_a_hundred_classes_stay_below_three_megabytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names(100), each=4)
    assert len(page.page(run).encode()) < 3_000_000


def test_pictures_are_left_out_before_the_page_is_too_large(run: Path) -> None:
    given = read(run, "shown.json")
    large = {**given["errors"][0]["item"]["picture"], "data": "AAAA" * 50_000}
    for error in given["errors"]:
        error["item"]["picture"] = error["why"]["picture"] = large
    put(run, "shown.json", given)
    text = page.page(run)
    assert len(text.encode()) < 3_000_000
    assert "pictures were left out" in text


@pytest.mark.parametrize("picture", [
    {"data": "AAAA", "type": "image/svg+xml", "width": 9, "height": 9},
    {"data": "A\" onerror=\"alert(1)", "type": "image/png", "width": 9, "height": 9},
    {"data": 7, "type": "image/png", "width": 9, "height": 9}, "AAAA", None])  # fmt: skip
def test_a_strange_picture_is_none(picture: Any) -> None:
    assert Album().src(picture) == ""


# ------------------------------------------------------------------------------------------------- other kinds of runs


def other(run: Path, task: str, metric: str, report: dict[str, Any]) -> Path:
    result = {**read(run, "result.json"), "task": task, "report": report, "confidence": None}
    found = {"value": 0.61, "low": 0.5, "high": 0.7, "method": "bootstrap"}
    put(
        run, "result.json", {**result, "test": {metric: found}, "baselines": {"mean": {metric: {**found, "high": 0.6}}}}
    )
    put(run, "shown.json", {"format": 1, "modality": "text"})
    return run


QUANTILES = {"0.05": -1.2, "0.5": 0.0, "0.95": 1.1}
KINDS = {
    "regression": (
        "r2",
        {
            "samples": 20,
            "figures": {"r2": 0.6},
            "target": {"mean": 2.0, "deviation": 1.0, "quantiles": QUANTILES},
            "error": {"mean": 0.1, "deviation": 0.5, "quantiles": QUANTILES},
            "absolute_error": {"mean": 0.4, "quantiles": QUANTILES},
        },
        "size of the error",
    ),
    "question_answering": (
        "f1",
        {
            "samples": 20,
            "answerable": {"samples": 12, "exact": 0.5, "f1": 0.6},
            "unanswerable": {"samples": 0},
            "by_length": {"1": {"samples": 3, "exact": 0.1, "f1": 0.2}},
        },
        "answers of 1 words",
    ),
    "ctc": (
        "word_accuracy",
        {
            "samples": 20,
            "words": 60,
            "characters": 300,
            "too_short": 0,
            "substitutions": 3,
            "deletions": 1,
            "insertions": 0,
            "most_confused": [{"actual": "six", "predicted": "", "count": 2}],
        },
        "(nothing)",
    ),
    "multilabel": (
        "f1_micro",
        {
            "samples": 20,
            "classes": ["a", "b"],
            "per_class": [
                {
                    "label": name,
                    "precision": 0.5,
                    "recall": 0.4,
                    "f1": f1,
                    "support": 10,
                    "recall_interval": [0.2, 0.7],
                    "f1_interval": [0.2, 0.7],
                }
                for name, f1 in (("a", 0.44), ("b", 0.0))
            ],
            "macro": {"f1": 0.4},
        },
        "mean over classes",
    ),
    "mlm": ("accuracy", {"samples": 20, "hidden": 300, "right": 41, "figures": {}}, "of these guessed rightly"),
}


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_other_tasks_get_the_sections_that_apply(tmp_path: Path, task: str, language: str) -> None:
    metric, report, said = KINDS[task]
    run = other(make_run(tmp_path / "run", ["ants", "bees"], ladder=False), task, metric, report)
    outline = shown(run, language=language)
    assert "sureness" not in sections(outline)
    assert language == "zh" or said in outline.text


def test_an_adapted_run_says_whether_it_helped(run: Path) -> None:
    about = {"parent": "runs/a", "method": "adabn", "data": "new", "samples": 70, "labels_used": False}
    figure = {"value": 0.7, "low": 0.6, "high": 0.8, "method": "wilson"}
    put(run, "adapted.json", about)
    put(run, "result.json", {"run": str(run), "adapted_from": about, "data": "new", "method": "adabn", "samples": 70,
                             "metric": "accuracy", "before": figure, "after": {**figure, "value": 0.75},
                             "word": "helps", "gain": gain(0.05, 0.01, 0.09), "measured_on": "on 70 samples",
                             "issues": [], "seconds": 3.0})  # fmt: skip
    for name in ("ladder.json", "shown.json", "metrics.jsonl"):
        (run / name).unlink()
    text = shown(run).text
    assert "Did the adaptation help? Yes, beyond noise." in text
    assert "+5.0 points [1.0, 9.0] of accuracy" in text
    assert "graft adapt runs/a new --method adabn" in text


# -------------------------------------------------------------------------------------------------------------- costs


def test_energy_is_said_to_be_an_estimate_and_money_needs_a_price(run: Path) -> None:
    assert "an estimate, nothing was metered: 35 W" in shown(run).text
    given = shown(run, watts=100, price=3.6).text
    assert "2.09 Wh an estimate from 100 W, as given" in given
    assert "0.0753 at 3.6 an hour" in given
    assert "at 3.6" not in shown(run, watts=0).text


@pytest.mark.parametrize(
    "options", [{"price": -1.0}, {"watts": -0.1}, {"price": float("nan")}, {"watts": float("inf")}]
)
def test_amounts_are_not_negative(run: Path, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is no amount"):
        page.page(run, **options)


# ------------------------------------------------------------------------------------------------------------- errors


def test_languages_are_offered(run: Path) -> None:
    with pytest.raises(UsageError, match="no report in 'fr'"):
        page.page(run, language="fr")


def test_an_unfinished_run_says_how_to_finish_it(run: Path) -> None:
    (run / "result.json").unlink()
    with pytest.raises(DataError, match="not finished") as found:
        page.page(run)
    assert found.value.hint == f"finish it: graft fit flowers --out {run} --resume"


@pytest.mark.parametrize("content", [None, [], {"accuracy": 1}])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, content: Any) -> None:
    if content is not None:
        put(tmp_path, "result.json", content)
    with pytest.raises(DataError):
        page.page(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        page.page(tmp_path / "none")


def test_a_damaged_file_is_named(run: Path) -> None:
    (run / "ladder.json").write_text("{", encoding="utf-8")
    with pytest.raises(IntegrityError, match="ladder.json is damaged"):
        page.page(run)


def test_the_page_is_written_as_a_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = page.write(run)
    assert made == run / "report.html"
    first = made.read_bytes()
    monkeypatch.setattr("pathlib.Path.write_text", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.write(run, language="zh")
    assert made.read_bytes() == first
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_another_file_can_be_named(run: Path, tmp_path: Path) -> None:
    assert page.write(run, out=tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(UsageError, match="cannot write"):
        page.write(run, out=tmp_path / "no" / "a.html")


def test_half_a_line_of_metrics_is_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "epo')
    assert "curves" in sections(shown(run))


def test_a_later_format_is_not_guessed_at(run: Path) -> None:
    put(run, "shown.json", {"format": 2, "errors": "something else"})
    assert "errors" not in sections(shown(run))


def test_numbers_that_are_none_do_no_harm(run: Path) -> None:
    result = read(run, "result.json")
    for figures in (result["test"], *result["baselines"].values()):
        figures["accuracy"] = {"value": float("nan"), "low": float("nan"), "high": float("nan"), "method": ""}
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert "not known" in shown(run).text
