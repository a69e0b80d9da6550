"""The report is read by all: by those who hear it, who see little contrast, and who have no mouse.

What axe-core checks of a page without scripts, for the rules that can be told from the text alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_run import make_run, names, put, read
from test_report_page import Outline, shown

from graft.reporting import page
from graft.reporting._canvas import INK, QUIET
from graft.reporting.plots_of_classes import BLUE, RED, _ink, _shade

LEAST = 4.5  # WCAG 2.2, 1.4.3: of small text
INKS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
RULES = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", (page.TEMPLATES / "style.css").read_text("utf-8")))
NO_TEXT = (".bar", ".span", "img")  # what has a ground and holds no text


def light(colour: str | tuple[float, ...]) -> float:
    """Relative luminance, WCAG 2.2."""
    if isinstance(colour, str):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        colour = tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str | tuple[float, ...], other: str | tuple[float, ...]) -> float:
    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def declared(name: str) -> dict[str, str]:
    """{selector: colour} of a property of the style sheet."""
    found = (
        (selector.strip(), re.search(rf"(?:^|[;\s]){name}:\s*(#[0-9a-f]{{3,6}})", said)) for selector, said in RULES
    )
    return {selector: match[1] for selector, match in found if match}


@pytest.fixture(scope="module", params=["en", "zh"])
def outline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outline:
    run = make_run(tmp_path_factory.mktemp("access") / "run", names(14), each=3)
    return shown(run, language=request.param)


def test_the_formula_is_that_of_the_guidelines() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.005), "the well-known grey that just fails"


def test_text_stands_out_from_its_ground() -> None:
    texts, grounds = declared("color"), declared("background")
    assert len(texts) >= 8 and len(grounds) >= 10 and "pre" in grounds
    assert {where: said for where, said in texts.items() if contrast(said, grounds["body"]) < LEAST} == {}
    holding = {where: said for where, said in grounds.items() if not where.startswith(NO_TEXT)}
    assert {where: said for where, said in holding.items() if contrast(texts["body"], said) < LEAST} == {}
    assert contrast(INK, "#fff") >= LEAST and contrast(QUIET, "#fff") >= LEAST
    assert not [said for _, said in RULES if "opacity" in said]


def test_counts_stand_out_in_every_cell_of_the_matrix() -> None:
    grounds = [_shade(colour, share / 100) for colour in (BLUE, RED) for share in range(101)]
    assert min(contrast(INKS[_ink(ground)], ground) for ground in grounds) >= LEAST


def test_a_language_and_a_title(outline: Outline) -> None:
    assert outline.of("html")[0]["lang"] in ("en", "zh-Hans") and len(outline.of("title")) >= 1
    assert len(outline.of("main")) == 1


def test_headings_are_in_order(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_tables_have_heads(outline: Outline) -> None:
    assert outline.of("table") and all(one.get("scope") in ("col", "row") for one in outline.of("th"))


def test_no_head_is_empty(tmp_path: Path) -> None:
    made = page.page(make_run(tmp_path / "run", names(3)))
    assert not re.search(r"<th[^>]*>\s*</th>", made)


def test_pictures_are_described_and_tables_are_reached_by_key(outline: Outline) -> None:
    assert outline.of("img") and all(one.get("alt") for one in outline.of("img"))
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in outline.of("div") if one.get("role"))
    ids = [one["id"] for _, one in outline.tags if "id" in one]
    assert len(ids) == len(set(ids))


# ----------------------------------------------------------------------------------------------------- what was changed


def test_samples_in_doubt_are_shown_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names(4))
    given = read(run, "shown.json")
    items = [one["item"] for one in given["suspects"]]
    put(run, "shown.json", {**given, "next": {"source": "suspects", "of": len(items), "items": items}})
    made = page.page(run)
    assert len(items) > 3 and all(made.count(one["picture"]["data"]) == 1 for one in items)
    part = made[made.index('id="next"') :]
    assert '<a href="#findings">' in part and all(one["key"] in part for one in items)
    put(run, "shown.json", {**given, "suspects": [], "next": {"source": "suspects", "of": 9, "items": items}})
    assert all(page.page(run).count(one["picture"]["data"]) == 1 for one in items), "those that stand nowhere else"


FEW = [
    ("en", "as far as so few held-out samples can promise: 82 % or more"),
    ("zh", "留出样本很少，只能保证 82 % 以上"),
]


@pytest.mark.parametrize("language, words", FEW)
def test_what_few_held_out_samples_promise(tmp_path: Path, language: str, words: str) -> None:
    run = make_run(tmp_path / "run", names(3))
    result = read(run, "result.json")
    result["confidence"]["sets"]["lac"] |= {"least": 0.82, "coverage": {"value": 0.84, "low": 0.7, "high": 0.88}}
    put(run, "result.json", result)
    assert words in shown(run, language=language).text


@pytest.mark.parametrize("says", ["data", "trunk", "both", "neither", "only_data", "no_data"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_word_of_the_curve_is_a_sentence(tmp_path: Path, says: str, language: str) -> None:
    run = make_run(tmp_path / "run", names(2), each=3)
    given = read(run, "shown.json")
    larger = None if says.startswith(("only", "no_")) else given["curve"]["larger"]
    put(run, "shown.json", {**given, "curve": {**given["curve"], "says": says, "larger": larger}})
    assert page.Words(language)(f"growth.says.{says}") in shown(run, language=language).text
