"""Tables: encodings, delimiters, columns by any common name, and rows that are listed instead of guessed."""

import json

import pytest
from PIL import Image

from graft.data.csv import csv
from graft.data.jsonl import jsonl
from graft.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data" / "img").mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (4, 4), (i * 40, 0, 0)).save(tmp_path / "data" / "img" / f"{i}.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    return tmp_path / "data"


def write(root, text, name="t.csv", encoding="utf-8"):
    (root / name).write_bytes(text.encode(encoding))
    return str(root / name)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


PLAIN = "path,label\nimg/0.png,cat\nimg/1.png,dog\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(root, encoding, newline):
    text = PLAIN.replace("dog", "chién").replace("\n", newline)
    bom = "\ufeff" if encoding == "utf-16-be" else ""
    found = csv(write(root, bom + text, encoding=encoding))
    assert found.classes == ("cat", "chién") and [s.key for s in found.samples] == ["img/0.png", "img/1.png"]


def test_latin_1_is_read_and_said(root):
    found = csv(write(root, PLAIN.replace("dog", "chién"), encoding="latin-1"))
    assert found.classes == ("cat", "chién") and "encoding" in codes(found)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(root, delimiter):
    assert csv(write(root, PLAIN.replace(",", delimiter))).classes == ("cat", "dog")


def test_quotes_hold_delimiters_and_line_breaks(root):
    found = csv(write(root, 'label,path\n"big, red\ncat",img/0.png\ndog,img/1.png\n'))
    assert found.classes == ("big, red\ncat", "dog")


@pytest.mark.parametrize(
    "header", ["image,class", "Filename,Target", "file_path,category", "FILE,Label", " img , label ", "filepath,y"]
)
def test_common_column_names(root, header):
    assert csv(write(root, PLAIN.replace("path,label", header))).classes == ("cat", "dog")


def test_named_columns_split_and_group(root):
    text = "a,b,c,d,extra\nimg/0.png,x,train,p1,9\nimg/1.png,y,VAL,p2,9\nimg/2.png,y,,,9\n"
    found = csv(write(root, text), image="a", label="b", split="c", group="d")
    assert [(s.label, s.split, s.group) for s in found.samples] == [
        ("x", "train", "p1"), ("y", "valid", "p2"), ("y", None, None)]  # fmt: skip


def test_group_and_split_synonyms(root):
    found = csv(write(root, "file,class,subset,patient\nimg/0.png,x,train,p1\nimg/1.png,y,test,p2\n"))
    assert [(s.split, s.group) for s in found.samples] == [("train", "p1"), ("test", "p2")]


@pytest.mark.parametrize("label", ["NA", "None", "null", "nan", "01", "1.0", "TRUE", "-"])
def test_labels_stay_text(root, label):
    found = csv(write(root, f"path,label\nimg/0.png,{label}\nimg/1.png,1\n"))
    assert found.samples[0].label == label and len(found.classes) == 2


def test_blanks_around_labels_go_and_are_noted(root):
    found = csv(write(root, "path,label\nimg/0.png, cat\nimg/1.png,cat\n"))
    assert found.classes == ("cat",) and codes(found)["padded-label"].keys == ("row 2: ' cat'",)


def test_a_missing_column_names_file_columns_and_option(root):
    with pytest.raises(DataError) as caught:
        csv(write(root, "photo,species\nimg/0.png,cat\n"))
    assert "t.csv" in caught.value.what and "'photo', 'species'" in caught.value.what
    assert "image='photo'" in caught.value.hint
    with pytest.raises(DataError) as caught:
        csv(write(root, "path,species\nimg/0.png,cat\n"))
    assert "no column 'label'" in caught.value.what and "label=" in caught.value.hint
    with pytest.raises(DataError) as caught:
        csv(write(root, PLAIN), label="labl")
    assert caught.value.hint == "did you mean 'label'?"
    with pytest.raises(UsageError):
        csv(write(root, PLAIN), label=3)


def test_paths_alone_are_unlabelled(root):
    found = csv(write(root, "path\nimg/0.png\nimg/1.png\n"))
    assert len(found) == 2 and found.classes == ()


def test_bad_rows_are_listed_with_their_numbers_and_never_read(root):
    rows = ["path,label", "img/0.png,cat", "../secret.png,cat", f"{root.parent}/secret.png,cat", "C:\\x.png,cat",
            "https://example.com/x.png,cat", "file:///etc/passwd,cat", "img/none.png,cat", "img,cat", "img/1.png,",
            ",dog", "", "img/2.png,dog,more", "img/3.png", "img/4.png,dog", "img/\0.png,dog",
            "img/link.png,dog"]  # fmt: skip
    (root / "img" / "link.png").symlink_to(root.parent / "secret.png")
    found = csv(write(root, "\n".join(rows)))
    assert [(s.key, s.label) for s in found.samples] == [
        ("img/0.png", "cat"),
        ("img/1.png", None),
        ("img/4.png", "dog"),
    ]
    listed = {code: [key.split(":")[0] for key in issue.keys] for code, issue in codes(found).items()}
    assert listed == {
        "outside-root": ["row 3", "row 4", "row 5", "row 17"], "url": ["row 6", "row 7"],
        "missing-file": ["row 8", "row 9"], "no-path": ["row 11"],
        "ragged-row": ["row 13", "row 14"], "bad-row": ["row 16"]}  # fmt: skip


def test_a_path_inside_may_be_absolute_windows_or_roundabout(root):
    text = f"path,label\n{root}/img/0.png,a\nimg\\1.png,b\nimg/../img/2.png,b\n"
    assert len(csv(write(root, text))) == 3


def test_a_file_listed_twice_has_two_keys(root):
    found = csv(write(root, PLAIN + "img/0.png,dog\n"))
    assert [s.key for s in found.samples] == ["img/0.png", "img/1.png", "img/0.png (row 4)"]


def test_fold_numbers_are_no_split(root):
    found = csv(write(root, "path,label,fold\nimg/0.png,a,0\nimg/1.png,b,1\n"))
    assert [s.split for s in found.samples] == [None, None] and "split-ignored" in codes(found)
    with pytest.raises(DataError, match="row 3: 'tset'"):
        csv(write(root, "path,label,split\nimg/0.png,a,train\nimg/1.png,b,tset\n"))
    with pytest.raises(DataError, match="row 2: '0'"):
        csv(write(root, "path,label,fold\nimg/0.png,a,0\n"), split="fold")


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("path,label\n", "no rows"),
        ("path,path\nimg/0.png,x\n", "two columns called 'path'"),
        ("path,label\n" + "\n".join(f"gone/{i}.png,x" for i in range(5)), "and 4 more"),
        ('path,label\nimg/0.png,"' + "x" * 200_000, "row 2"),
    ],
)
def test_hopeless_files_are_refused(root, text, words):
    with pytest.raises(DataError, match=words):
        csv(write(root, text))


def test_a_missing_file():
    with pytest.raises(DataError, match="there is no file"):
        csv("nowhere/at/all.csv")


def test_jsonl(root):
    rows = [{"image": "img/0.png", "class": "cat"}, {"image": "img/1.png", "class": 7},
            {"image": "img/2.png", "class": True},
            {"image": "img/3.png", "class": None}, {"image": "img/4.png"}, {"class": "cat"}]  # fmt: skip
    text = "\n".join([*map(json.dumps, rows), "{broken", "[1]", "", "[" * 100_000])
    found = jsonl(write(root, text, "t.jsonl"))
    assert [s.label for s in found.samples] == ["cat", "7", "true", None, None]
    listed = {code: [key.split(":")[0] for key in issue.keys] for code, issue in codes(found).items()}
    assert listed == {"no-path": ["row 6"], "bad-row": ["row 7", "row 8", "row 10"]}


def test_jsonl_with_named_keys(root):
    text = json.dumps({"a": "img/0.png", "b": "x", "label": "wrong"})
    assert jsonl(write(root, text, "t.jsonl"), image="a", label="b").classes == ("x",)
