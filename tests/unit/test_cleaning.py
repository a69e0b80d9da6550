"""`graft check --fix`: a copy without what is wrong, that is read as the data are; a list; nothing else is touched."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil

import pytest

from conftest import draw_flowers, draw_sounds
from graft import api, cleaning
from graft.data._audit import audit
from graft.data._sniff import open_data
from graft.errors import DataError, UsageError
from graft.types import Dataset, Sample, Text


def tree(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def listed(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def fixed(data, to, **more):
    return api.check(str(data), fix=str(to), backbone="toy", **more)["fixed"]


@pytest.fixture
def faulty(tmp_path):
    """train/ and test/ of three classes, with a file of each fault."""
    root = tmp_path / "flowers"
    draw_flowers(root / "train")
    draw_flowers(root / "test", each=6, seed=9)
    train, test = root / "train", root / "test"
    (train / "rose" / "broken.png").write_bytes(b"no picture")
    shutil.copy(test / "rose" / "0.png", train / "rose" / "leak.png")
    shutil.copy(train / "rose" / "1.png", train / "rose" / "twice.png")
    shutil.copy(test / "tulip" / "1.png", test / "tulip" / "twice.png")
    shutil.copy(train / "daisy" / "2.png", train / "tulip" / "other.png")
    (root / "README.md").write_text("about")
    return root


def test_a_copy_of_a_folder_is_without_faults_and_reads_alike(faulty, tmp_path):
    before = tree(faulty)
    said = fixed(faulty, tmp_path / "clean")
    assert tree(faulty) == before, "no file of the user's was written"
    gone = set(before) - set(tree(tmp_path / "clean"))
    assert gone == {"README.md", "train/rose/broken.png", "train/rose/leak.png", "train/rose/twice.png",
                    "test/tulip/twice.png", "train/daisy/2.png", "train/tulip/other.png"}  # fmt: skip
    assert {name: before[name] for name in tree(tmp_path / "clean")} == tree(tmp_path / "clean")
    again = audit(open_data(str(tmp_path / "clean")))
    assert not {issue.code for issue in again.issues} & {"leak", "exact-copies", "conflicting-labels", "unreadable"}
    assert {s.split for s in again.samples} == {"train", "test"} and len(again) == said["kept"] == 53
    assert said["command"] == f"graft fit {tmp_path}/clean" and said["removed"] == 6


def test_every_change_is_listed_with_its_reason(faulty, tmp_path):
    rows = listed(fixed(faulty, tmp_path / "clean")["list"])
    assert rows["train/rose/broken.png"]["why"].startswith("unreadable: ")
    assert rows["train/rose/twice.png"]["why"] == "a copy of train/rose/1.png"
    assert rows["train/rose/leak.png"]["action"] == "remove" and "test" in rows["train/rose/leak.png"]["why"]
    assert {rows[name]["action"] for name in ("train/daisy/2.png", "train/tulip/other.png")} == {"remove"}


def test_of_copies_that_of_the_test_part_stays(faulty, tmp_path):
    shutil.copy(faulty / "test" / "rose" / "2.png", faulty / "train" / "rose" / "aaa.png")
    clean = tmp_path / "clean"
    fixed(faulty, clean)
    assert (clean / "test" / "rose" / "2.png").exists() and not (clean / "train" / "rose" / "aaa.png").exists()


def test_of_copies_that_of_the_part_that_will_be_sealed_stays(tmp_path):
    texts = [Sample(f"row {i}", Text("the same words"), "a", part) for i, part in enumerate(("train", "test", "valid"))]
    made = Dataset("made", "text", tuple(texts), ("a",), lambda s: s.source, lambda s: b"")
    issue = cleaning.Issue("exact-copies", "note", "copies", tuple(s.key for s in texts))
    for sealed, kept in (("valid", "row 2"), ("test", "row 1"), (None, "row 1"), ("train", "row 0")):
        gone = {row.file: row.why for row in cleaning.changes(made, [issue], sealed)}
        assert gone == {s.key: f"a copy of {kept}" for s in texts if s.key != kept}


def test_what_is_said_to_be_sealed_is_quoted(flowers, tmp_path):
    to = cleaning.Place(tmp_path / "clean", tmp_path / "clean.csv")
    said = cleaning.fix(str(flowers), audit(open_data(str(flowers))), [], to, "a part; ls")
    assert said["command"] == f"graft fit {tmp_path}/clean --sealed 'a part; ls'"


def test_the_next_command_works(faulty, tmp_path):
    command = fixed(faulty, tmp_path / "clean", sealed="test")["command"]
    assert command.endswith(" --sealed test")
    result = api.fit(str(tmp_path / "clean"), backbone="toy", strategy="ridge", out=str(tmp_path / "run"))
    assert result["splits"]["test"] == 18


def test_a_list_alone_copies_nothing(faulty, tmp_path):
    before = tree(tmp_path)
    said = fixed(faulty, tmp_path / "new" / "list.csv")
    assert said["folder"] is None and said["command"] is None
    assert set(tree(tmp_path)) - set(before) == {"new/list.csv"} | (
        set(tree(tmp_path)) - set(before) - {"new/list.csv"}
    )
    assert len(listed(tmp_path / "new" / "list.csv")) == said["removed"] + said["look_at"]


def test_suspected_labels_are_listed_with_another_one_and_not_removed(tmp_path):
    pytest.importorskip("cleanlab", reason="needs cleanlab")
    root = draw_flowers(tmp_path / "flowers", each=40)
    shutil.move(root / "rose" / "3.png", root / "tulip" / "x.png")
    dataset = audit(open_data(str(root)))
    details = ("given tulip, looks like rose (99 %)",)
    issue = cleaning.Issue("label-errors", "note", "1 label", ("tulip/x.png",), "look", details)
    (row,) = (row for row in cleaning.changes(dataset, [issue]) if row.action == cleaning.LOOK)
    assert row == ("tulip/x.png", "look at", details[0], "rose")


def test_cells_are_no_formulas(tmp_path):
    root = draw_flowers(tmp_path / "flowers", each=5)
    (root / "rose" / "=HYPERLINK(1).png").write_bytes(b"no picture")
    (root / "rose" / "0.png").rename(root / "=cmd.png")
    text = (tmp_path / "list.csv", fixed(root / ".", tmp_path / "list.csv"))[0].read_text(encoding="utf-8-sig")
    assert all(not cell.startswith(("=", "+", "@")) for row in csv.reader(text.splitlines()) for cell in row)


# -------------------------------------------------------------------------------------------------------------- tables


def sentences(count=24):
    return [(f"sentence number {i * i} about {'stars' if i % 2 else 'rivers'} and {i}", ("sky", "land")[1 - i % 2])
            for i in range(count)]  # fmt: skip


def test_a_csv_of_texts_keeps_its_columns_and_cells(tmp_path):
    rows = [(text, label, f'note, with "quotes"\nand lines {i}') for i, (text, label) in enumerate(sentences())]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([("body", "label", "note"), *rows, rows[3], ("", "sky", ""), (rows[4][0], "sky", "")])
    before = tree(tmp_path)
    said = fixed_text(f"{tmp_path}/t.csv(text='body')", tmp_path / "clean")
    assert {name: value for name, value in tree(tmp_path).items() if name in before} == before
    with open(tmp_path / "clean" / "t.csv", newline="") as file:
        found = list(csv.reader(file))
    assert found[0] == ["body", "label", "note"]
    assert found[1:] == [list(row) for i, row in enumerate(rows) if i != 4], (
        "the copy, the blank and the conflict are gone"
    )
    assert said["command"] == f"""graft fit '{tmp_path}/clean/t.csv(text='"'"'body'"'"')'"""
    assert len(audit(open_data(f"{tmp_path}/clean/t.csv(text='body')"))) == said["kept"] == 23


def fixed_text(data, to):
    return api.check(str(data), fix=str(to), backbone="tfidf")["fixed"]


def test_a_jsonl_keeps_its_lines(tmp_path):
    lines = [
        json.dumps({"text": text, "label": label, "more": {"of": [i]}}) for i, (text, label) in enumerate(sentences())
    ]
    (tmp_path / "t.jsonl").write_text("\n".join([*lines[:5], "", *lines[5:], lines[2]]) + "\n")
    fixed_text(tmp_path / "t.jsonl", tmp_path / "clean")
    assert (tmp_path / "clean" / "t.jsonl").read_text().splitlines() == lines


def test_a_folder_of_tables_stays_one(tmp_path):
    root = tmp_path / "parts"
    root.mkdir()
    rows = [f"{text},{label}" for text, label in sentences(40)]
    (root / "train.csv").write_text("\n".join(["text,label", *rows[:30], rows[35]]) + "\n")
    (root / "test.csv").write_text("\n".join(["text,label", *rows[30:]]) + "\n")
    said = fixed_text(root, tmp_path / "clean")
    assert (tmp_path / "clean" / "train.csv").read_text().split() == (" ".join(["text,label", *rows[:30]])).split()
    again = audit(open_data(str(tmp_path / "clean")))
    assert len(again) == said["kept"] == 40 and {s.split for s in again.samples} == {"train", "test"}


def test_a_table_of_images_takes_its_files_along(tmp_path):
    root = draw_flowers(tmp_path / "data" / "images", each=6).parent
    files = sorted((root / "images").rglob("*.png"))
    (root / "images" / "rose" / "bad.png").write_bytes(b"no picture")
    names = [str(path.relative_to(root)) for path in files]
    lines = ["path,label,patient", *(f"{name},{name.split('/')[1]},p{i}" for i, name in enumerate(names)),
             "images/rose/bad.png,rose,p0", f"{names[0]},daisy,p0", "images/gone.png,rose,p1"]  # fmt: skip
    (root / "table.csv").write_text("\n".join(lines))
    fixed(root / "table.csv", tmp_path / "clean")
    assert (tmp_path / "clean" / "table.csv").read_text().split() == lines[:19]
    assert set(tree(tmp_path / "clean")) == {"table.csv", *names}
    assert len(audit(open_data(str(tmp_path / "clean" / "table.csv")))) == 18


def test_a_copy_of_sounds_keeps_the_pattern(tmp_path):
    pytest.importorskip("soundfile", reason="needs soundfile")
    root = draw_sounds(tmp_path / "sounds", each=5)
    for path in sorted(root.rglob("*.wav")):
        path.rename(root / f"{path.parent.name}_s{path.stem}.wav")
    shutil.copy(root / "hum_s0.wav", root / "hum_s9.wav")
    said = api.check(f"{root}(pattern='{{label}}_{{}}')", fix=str(tmp_path / "clean"))["fixed"]
    assert said["removed"] == 1 and "pattern=" in said["command"]
    assert len(audit(open_data(f"{tmp_path}/clean(pattern='{{label}}_{{}}')"))) == 15


def test_texts_in_files_of_lines_stay_so(tmp_path):
    root = tmp_path / "talk"
    root.mkdir()
    for name in ("sky", "land"):
        lines = [text for text, label in sentences() if label == name]
        (root / f"{name}.txt").write_text("\n".join([*lines, lines[0]]) + "\n")
    said = fixed_text(root, tmp_path / "clean")
    assert said["removed"] == 2 and len((tmp_path / "clean" / "sky.txt").read_text().splitlines()) == 12
    assert len(audit(open_data(f"{tmp_path}/clean(lines=True)"))) == 24


# ------------------------------------------------------------------------------------------------------------ mistakes


def refused(data, to, *words):
    with pytest.raises(UsageError) as caught:
        cleaning.place(str(data), str(to))
    assert all(word in caught.value.what + caught.value.hint for word in words), caught.value


def test_places_that_are_refused_before_anything_is_read(flowers, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "mine").write_text("mine")
    refused(flowers, flowers, "within the data")
    refused(flowers, flowers / "clean", "within the data")
    refused(flowers, flowers / ".." / "flowers" / "x" / "list.csv", "within the data")
    (tmp_path / "link").symlink_to(flowers)
    refused(flowers, tmp_path / "link" / "clean", "within the data")
    refused(flowers, tmp_path / "full", "exists already")
    refused(flowers, tmp_path / "mine.csv", "exists already")
    refused(flowers, tmp_path / "mine", "exists already")
    refused("digits", tmp_path / "clean", "not of digits", "--fix clean.csv")
    monkeypatch.setattr("graft.intake.audited", lambda *a: pytest.fail("it was read"))
    with pytest.raises(UsageError):
        fixed(flowers, tmp_path / "full")


def test_an_empty_folder_may_be_filled_and_a_table_may_lie_beside_its_copy(tmp_path, flowers):
    (tmp_path / "empty").mkdir()
    assert fixed(flowers, tmp_path / "empty")["kept"] == 36
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in sentences())]))
    assert fixed_text(tmp_path / "t.csv", tmp_path / "copy")["kept"] == 24


def test_a_file_that_goes_away_leaves_no_half_copy(flowers, tmp_path):
    dataset = audit(open_data(str(flowers)))
    (flowers / "tulip" / "9.png").unlink()
    with pytest.raises(DataError, match="tulip/9.png changed"):
        cleaning.fix(str(flowers), dataset, [], cleaning.Place(tmp_path / "clean", tmp_path / "clean.csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowers"]
