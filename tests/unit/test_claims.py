"""What may be written where: reports over reports alone, and nothing among the data."""

from __future__ import annotations

from pathlib import Path

import pytest

import graft
from graft.errors import UsageError


@pytest.fixture
def made(flowers: Path, tmp_path: Path) -> Path:
    graft.fit(str(flowers), strategy="ridge", backbone="toy", out=str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_report_takes_the_place_of_a_report_alone(made: Path, flowers: Path, tmp_path: Path) -> None:
    page, foreign, kept = tmp_path / "page.html", tmp_path / "mine.html", made / "labels.json"
    foreign.write_text("<!DOCTYPE html><title>mine</title>", encoding="utf-8")
    before = {path: path.read_bytes() for path in (foreign, kept)}
    for _ in range(2):
        assert graft.report(made, out=str(page))["report"] == str(page)
    for place, words in ((foreign, "no report of Graft"), (kept, "no name for a page"), (flowers / "x.html", "among"),
                         (tmp_path / "no" / "x.html", "there is no folder")):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            graft.report(made, out=str(place))
    assert {path: path.read_bytes() for path in before} == before and not (flowers / "x.html").exists()


def test_a_link_is_not_followed(made: Path, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(made / "labels.json")
    with pytest.raises(UsageError, match="is there already"):
        graft.report(made, out=str(tmp_path / "link.html"))


def test_what_is_predicted_has_no_parts(made: Path, flowers: Path, tmp_path: Path) -> None:
    """A copy in a folder called test is no leak where nothing is trained."""
    for part in ("train", "test"):
        (tmp_path / "asked" / part / "rose").mkdir(parents=True)
        (tmp_path / "asked" / part / "rose" / "a.png").write_bytes((flowers / "rose" / "0.png").read_bytes())
    rows, issues = graft.predict(made, str(tmp_path / "asked"))
    assert len(rows) == 2 and "leak" not in {issue.code for issue in issues}
