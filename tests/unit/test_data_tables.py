"""Folders of tables that are named like parts: which files count, what must agree, and what each row is called."""

import json

import pytest
from PIL import Image

from graft.data._sniff import open_data
from graft.data._split import split
from graft.data.tables import tables
from graft.errors import DataError, UsageError
from graft.types import Text


def write(root, name, *lines, encoding="utf-8"):
    root.mkdir(exist_ok=True)
    (root / name).write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


def parts(dataset):
    return {name: [s.key for s in dataset.part(name).samples] for name in ("train", "valid", "test")}


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def test_csv_tsv_and_jsonl_are_one_data_set(tmp_path):
    root = tmp_path / "reviews"
    write(root, "train.csv", "text,label", "good,pos", "bad,neg")
    write(root, "dev.tsv", "label\ttext", "pos\tfine")
    write(root, "test.jsonl", json.dumps({"text": "odd", "label": "mixed"}))
    for name in ("README.md", "LICENSE", "notes.txt", "labels.json"):
        write(root, name, "anything")
    found = open_data(str(root))
    assert (found.name, found.modality, found.kind) == ("reviews", "text", "class")
    assert found.classes == ("mixed", "neg", "pos")
    assert parts(found) == {"train": ["train.csv:row 2", "train.csv:row 3"], "valid": ["dev.tsv:row 2"],
                            "test": ["test.jsonl:row 1"]}  # fmt: skip
    assert [found.load(s).text for s in found.samples] == ["good", "bad", "fine", "odd"]
    assert codes(found)["class-not-in-train"].keys == ("mixed",) and len(open_data(f"tables:{root}")) == 4


@pytest.mark.parametrize(
    ("name", "part"),
    [("train.csv", "train"), ("reviews_train.csv", "train"), ("Train-2.csv", "train"), ("nli.dev.matched.csv", "valid"),
     ("validation.csv", "valid"), ("train_and_val.csv", "valid"), ("my test set.csv", "test")],
)  # fmt: skip
def test_names_that_say_a_part(tmp_path, name, part):
    write(tmp_path, name, "text,label", "a,x", "b,y")
    assert {s.split for s in tables(str(tmp_path)).samples} == {part}


@pytest.mark.parametrize("name", ["contest.csv", "latest.csv", "trained.csv", "data.csv", "training plan.md"])
def test_names_that_do_not(tmp_path, name):
    write(tmp_path, name, "text,label", "a,x", "b,y")
    with pytest.raises(DataError, match="no tables of parts"):
        tables(str(tmp_path))


def test_other_tables_are_left_out_and_said(tmp_path):
    write(tmp_path, "train.csv", "text,label", "a,x", "b,y")
    write(tmp_path, "prices.csv", "item,price", "a,1")
    found = open_data(str(tmp_path))
    assert len(found) == 2 and codes(found)["ignored-file"].keys == ("prices.csv",)


def test_a_part_twice_is_refused(tmp_path):
    write(tmp_path, "train.csv", "text,label", "a,x", "b,y")
    write(tmp_path, "train.jsonl", '{"text": "a", "label": "x"}')
    with pytest.raises(DataError, match=r"train\.csv and train\.jsonl .* one part twice"):
        open_data(str(tmp_path))
    (tmp_path / "train.jsonl").rename(tmp_path / "train_2.jsonl")
    assert len(open_data(str(tmp_path)).part("train")) == 3


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    write(tmp_path / "secret", "test.csv", "text,label", "a,x")
    write(tmp_path / "data", "train.csv", "text,label", "a,x", "b,y")
    (tmp_path / "data" / "test.csv").symlink_to(tmp_path / "secret" / "test.csv")
    found = open_data(str(tmp_path / "data"))
    assert {s.split for s in found.samples} == {"train"} and codes(found)["ignored-file"].keys == ("test.csv",)


def test_options_hold_for_every_file(tmp_path):
    for name in ("train", "dev"):
        write(tmp_path, f"{name}.csv", "body,topic,other,user", f"a {name},x,p,u1", f"b {name},y,q,u2")
    found = open_data(f"{tmp_path}(text='body', label='topic', pair='other', group='user')")
    assert found.load(found.samples[2]) == Text("a dev", "p") and found.classes == ("x", "y")
    assert [s.group for s in found.samples] == ["u1", "u2"] * 2
    with pytest.raises(DataError, match=r"train\.csv has no column 'bdy'"):
        tables(str(tmp_path), text="bdy")
    with pytest.raises(UsageError):
        tables(str(tmp_path), text="body", image="body")


def test_a_row_that_says_its_own_split_keeps_it(tmp_path):
    write(tmp_path, "train.csv", "text,label,split", "a,x,train", "b,y,valid", "c,x,")
    assert [s.split for s in open_data(str(tmp_path)).samples] == ["train", "valid", "train"]


# ------------------------------------------------------------------------------------------------------------ no header


def sst2(root, **more):
    write(root, "train.tsv", "a stirring film\t1", "dull and long\t0", "so fine\t1", "very bad\t0")
    write(root, "dev.tsv", *more.get("dev", ("fine enough\t1", "no way\t0")))  # alone it would look like a header


def test_parts_without_a_header_are_read_as_the_first_one(tmp_path):
    sst2(tmp_path)
    found = open_data(str(tmp_path))
    assert parts(found)["valid"] == ["dev.tsv:row 1", "dev.tsv:row 2"] and found.classes == ("0", "1")
    assert [issue.code for issue in found.issues] == ["no-header"]
    assert f"{tmp_path.name}(text='1', label='2')" in codes(found)["no-header"].hint
    assert len(open_data(f"{tmp_path}(text='1', label='2')")) == 6


def test_a_header_in_one_of_two_files(tmp_path):
    sst2(tmp_path, dev=("text\tlabel", "fine enough\t1"))
    with pytest.raises(DataError, match=r"train\.tsv has no header, and dev\.tsv has one"):
        open_data(str(tmp_path))
    write(tmp_path, "train.tsv", "text\tlabel", "good\t1", "bad\t0")
    write(tmp_path, "dev.tsv", "fine\t1", "no way\t0", "so so\t1")
    with pytest.raises(DataError, match=r"dev\.tsv has no column 'text', from which train\.tsv is read"):
        open_data(str(tmp_path))


# -------------------------------------------------------------------------------------------------- what has to agree

COLUMNS = [
    (["text,label", "c,x"], ["sentence,label", "c,x"], "test.csv has no column 'text', from which train.csv is read"),
    (["text,label", "c,x"], ["text", "c"], "test.csv has no column 'label', from which train.csv is read"),
    (["text", "c"], ["text,label", "c,x"], "train.csv is read from its columns text, but test.csv from text, label"),
    (["text,label", "c,x"], ["text,pair,label", "c,d,x"], "but test.csv from text, pair, label"),
]
KINDS = [
    (["text,label", "c,x"], ["text,label", *(f"{i},{i / 8}" for i in range(30))], "{}", "train.csv has classes, but "
     "test.csv has numbers"),
    (["text,label", *(f"{i},{i / 8}" for i in range(30))], ["text,label", "c,x"], "(kind='number')",
     "train.csv has numbers, but test.csv has classes"),
]  # fmt: skip


@pytest.mark.parametrize(("train", "test", "what"), COLUMNS)
def test_columns_that_differ(tmp_path, train, test, what):
    write(tmp_path, "train.csv", *train)
    write(tmp_path, "test.csv", *test)
    with pytest.raises(DataError) as caught:
        open_data(str(tmp_path))
    assert what in caught.value.what and caught.value.hint


@pytest.mark.parametrize(("train", "test", "hint", "what"), KINDS)
def test_kinds_that_differ(tmp_path, train, test, hint, what):
    write(tmp_path, "train.csv", *train)
    write(tmp_path, "test.csv", *test)
    with pytest.raises(DataError) as caught:
        open_data(str(tmp_path))
    assert what in caught.value.what and hint.strip("{}") in caught.value.hint
    assert open_data(f"{tmp_path}(kind='class')").kind == "class"


def test_a_list_of_labels_in_one_file_only(tmp_path):
    write(tmp_path, "train.jsonl", '{"text": "a", "label": ["x", "y"]}', '{"text": "b", "label": []}')
    write(tmp_path, "test.jsonl", '{"text": "c", "label": "x"}')
    with pytest.raises(DataError, match=r"train\.jsonl has several labels for each row, but test\.jsonl has classes"):
        open_data(str(tmp_path))
    assert open_data(f"{tmp_path}(kind='labels')").kind == "labels"


def test_numbers_of_a_small_part(tmp_path):
    write(tmp_path, "train.csv", "text,score", *(f"{i},{i / 8}" for i in range(30)))
    write(tmp_path, "dev.csv", "text,score", "a,1", "b,2.5")
    found = open_data(str(tmp_path))
    assert found.kind == "number" and [s.label for s in found.part("valid").samples] == [1.0, 2.5]
    assert [issue.code for issue in found.issues] == ["number-label"]


def test_an_empty_part_is_named(tmp_path):
    write(tmp_path, "train.csv", "text,label", "a,x", "b,y")
    write(tmp_path, "test.csv")
    with pytest.raises(DataError, match=r"test\.csv is empty"):
        open_data(str(tmp_path))
    write(tmp_path, "test.csv", "text,label")
    with pytest.raises(DataError, match=r"test\.csv has a header and no rows"):
        open_data(str(tmp_path))


def test_findings_of_all_files_name_them(tmp_path):
    write(tmp_path, "train.csv", "text,label", "caf\xe9, x", "b,y", "c,", encoding="latin-1")
    write(tmp_path, "test.csv", "text,label", "d,y ", "e,")
    found = open_data(str(tmp_path))
    assert codes(found)["padded-label"].keys == ("train.csv:row 2: ' x'", "test.csv:row 2: 'y '")
    assert [s.key for s in found.samples if s.label is None] == ["train.csv:row 4", "test.csv:row 3"]
    assert "train.csv is not UTF-8" in codes(found)["encoding"].what


def test_tables_of_images_in_parts(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4), (80 * i, 0, 0)).save(tmp_path / f"{i}.png")
    write(tmp_path, "train.csv", "path,label", "0.png,x", "1.png,y")
    write(tmp_path, "test.csv", "path,label", "2.png,x")
    assert open_data(str(tmp_path)).name == tmp_path.name and len(open_data(f"tables:{tmp_path}")) == 3
    found = tables(str(tmp_path))
    assert found.modality == "image" and parts(found)["test"] == ["test.csv:2.png"]
    assert found.load(found.samples[2]).getpixel((0, 0)) == (160, 0, 0)


def test_the_parts_are_those_of_the_split(tmp_path):
    write(tmp_path, "train.csv", "text,label", *(f"text {i},{'xy'[i % 2]}" for i in range(40)))
    write(tmp_path, "test.csv", "text,label", *(f"other {i},{'xy'[i % 2]}" for i in range(10)))
    made = split(open_data(str(tmp_path)), valid=0.2, test=0.2, seed=0)
    assert sorted(parts(made)["test"]) == sorted(f"test.csv:row {i}" for i in range(2, 12))
    assert len(made.part("valid")) == 8 and len(made.part("train")) == 32


def test_real_sets_in_parts(data):
    found = open_data(str(data / "banking77"))
    assert len(found.classes) == 77 and [len(found.part(p)) for p in ("train", "valid", "test")] == [10003, 0, 3080]
    found = open_data(str(data / "sst2"))
    assert found.classes == ("0", "1") and [len(found.part(p)) for p in ("train", "valid", "test")] == [6920, 872, 1821]
