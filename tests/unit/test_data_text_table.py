"""Tables of texts: columns by usual names or none, pairs, all kinds of labels, and cells that nobody should have."""

import csv as library
import json

import pytest

from graft.data._audit import audit
from graft.data.csv import csv
from graft.data.jsonl import jsonl
from graft.errors import DataError, UsageError
from graft.types import Text


def write(root, text, name="t.csv", encoding="utf-8"):
    (root / name).write_bytes(text.encode(encoding))
    return str(root / name)


def rows(root, header, *cells, name="t.csv"):
    return write(root, "\n".join([header, *cells]) + "\n", name)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def labels(dataset):
    return [sample.label for sample in dataset.samples]


def texts(dataset):
    return [dataset.load(sample).text for sample in dataset.samples]


# ------------------------------------------------------------------------------------------------------------ columns


@pytest.mark.parametrize(
    "header",
    ["text,label", "sentence,Class", "Review,sentiment", "utterance,intent", "query,category", "body,topic",
     "text_a,label_text", "title,target", "message,stars"],
)  # fmt: skip
def test_usual_names(tmp_path, header):
    found = csv(rows(tmp_path, header, "good film,pos", "bad film,neg"))
    assert (found.modality, found.kind, found.classes) == ("text", "class", ("neg", "pos"))
    assert found.load(found.samples[0]) == Text("good film") and found.samples[0].key == "row 2" and not found.issues


def test_pairs(tmp_path):
    for header in ("sentence1,sentence2,label", "premise,hypothesis,y", "text,pair,label", "question1,question2,class"):
        found = csv(rows(tmp_path, header, "a b,c d,yes", "e,f,no"))
        assert [found.load(s) for s in found.samples] == [Text("a b", "c d"), Text("e", "f")]
    found = csv(rows(tmp_path, "u,v,w", "a,b,x", "c,d,y"), text="v", pair="u", label="w")
    assert found.load(found.samples[1]) == Text("d", "c")


def test_a_better_label_column_comes_before_a_rating_and_a_body_before_a_title(tmp_path):
    found = csv(rows(tmp_path, "title,body,score,label", "t,long text,1,a", "t,other text,2,b"))
    assert texts(found) == ["long text", "other text"] and found.classes == ("a", "b")


def test_split_and_group(tmp_path):
    found = csv(rows(tmp_path, "text,label,split,user", "a,x,train,u1", "b,y,dev,u2", "c,y,,"))
    assert [(s.split, s.group) for s in found.samples] == [("train", "u1"), ("valid", "u2"), (None, None)]
    assert [s.group for s in csv(rows(tmp_path, "subject,body,label", "hi,a,x", "hi,b,y")).samples] == [None, None]


def test_images_win_only_when_the_cells_are_image_files(tmp_path):
    found = csv(rows(tmp_path, "file,text,label", "call-1.wav,hello,x", "call-2.wav,bye,y"))
    assert found.modality == "text"
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    found = csv(rows(tmp_path, "file,text,label", "1.png,hello,x"))
    assert found.modality == "image"
    assert csv(rows(tmp_path, "file,text,label", "1.png,hello,x"), text="text").modality == "text"


def test_columns_that_do_not_exist(tmp_path):
    path = rows(tmp_path, "text,label", "a,x", "b,y")
    with pytest.raises(DataError) as caught:
        csv(path, label="labl")
    assert "no column 'labl'" in caught.value.what and caught.value.hint == "did you mean 'label'?"
    for options in ({"text": "txet"}, {"pair": "p"}, {"labels": ("label", "b")}, {"number": "n"}, {"labels": "l"}):
        with pytest.raises(DataError, match="no column"):
            csv(path, **options)
    with pytest.raises(DataError) as caught:
        csv(rows(tmp_path, "satz,klasse", "gut so,p", "nicht gut,n"))
    assert "no column 'text'" in caught.value.what and "text='satz'" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [{"label": "a", "labels": "b"}, {"label": "a", "number": "b"}, {"image": "a", "text": "b"}, {"kind": "clas"},
     {"label": 3}, {"labels": ("a", 3)}, {"text": ("a",)}],
)  # fmt: skip
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(UsageError) as caught:
        csv(rows(tmp_path, "text,label", "a,x"), **options)
    assert caught.value.hint


def test_texts_without_labels_may_have_other_columns(tmp_path):
    found = csv(rows(tmp_path, "id,text", "1,a", "2,b"))
    assert found.kind == "none" and found.classes == () and found.issues == ()
    found = csv(rows(tmp_path, "text,art", "a,x", "b,y"))
    assert found.kind == "none" and "label='art'" in codes(found)["no-label-column"].hint


# ---------------------------------------------------------------------------------------------------------- no header


def test_sst2_has_no_header_and_commas_in_its_texts(tmp_path):
    lines = ["a stirring , funny film , really\t1", "dull , long\t0", "fine\t1", "bad\t0"]
    found = csv(write(tmp_path, "\n".join(lines), "train.tsv"))
    assert labels(found) == ["1", "0", "1", "0"] and texts(found)[0] == "a stirring , funny film , really"
    assert [s.key for s in found.samples] == ["row 1", "row 2", "row 3", "row 4"]
    issue = codes(found)["no-header"]
    assert issue.severity == "note" and "column 1 is read as the text, 2 as the label" in issue.what
    named = csv(str(tmp_path / "train.tsv"), text="1", label="2")  # "1" also stands in the first row
    assert labels(named) == labels(found) and texts(named) == texts(found)


def test_a_header_of_numbers_is_a_header_where_it_is_asked_for(tmp_path):
    found = csv(rows(tmp_path, "0,1", "good,x", "bad,y"), text="0", label="1")
    assert texts(found) == ["good", "bad"] and not found.issues


def test_ag_news_has_no_header(tmp_path):
    lines = [f'"{1 + i % 2}","Title {i}","A body of news, the longest of all, number {i}"' for i in range(8)]
    path = write(tmp_path, "\n".join(lines))
    found = csv(path)
    assert found.classes == ("1", "2") and len(found) == 8 and texts(found)[3].startswith("A body")
    found = csv(path, text="2", pair="3")
    assert found.load(found.samples[0]).text == "Title 0" and found.classes == ("1", "2")
    assert labels(csv(path, text="3", label="2"))[0] == "Title 0"
    with pytest.raises(DataError, match="no column '7'"):
        csv(path, text="7")


def test_a_header_of_unusual_names_is_a_header(tmp_path):
    path = rows(tmp_path, "satz,klasse", "gut,p", "sehr gut,p", "schlecht,n", "sehr schlecht,n")
    assert labels(csv(path, text="satz", label="klasse")) == ["p", "p", "n", "n"]
    assert labels(csv(path, text="1", label="2")) == ["klasse", "p", "p", "n", "n"]  # asked for by number


# ------------------------------------------------------------------------------------------------------ kinds of labels


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_several_labels_in_a_cell(tmp_path, separator):
    cells = [f'a,"red {separator} blue"', "b,", f'c,"green{separator}red{separator}red"', "d,blue"]
    found = csv(rows(tmp_path, "text,tags", *cells), labels="tags")
    assert found.kind == "labels" and found.classes == ("blue", "green", "red")
    assert labels(found) == [("blue", "red"), (), ("green", "red"), ("blue",)]


def test_a_semicolon_comes_before_a_comma(tmp_path):
    found = csv(rows(tmp_path, "text,tags", 'a,"Paris, France; news"', "b,sport"), labels="tags")
    assert found.classes == ("Paris, France", "news", "sport")
    assert csv(rows(tmp_path, "text,label", "a,x|y", "b,x"), kind="labels").classes == ("x", "y")


def test_labels_in_columns_of_0_and_1(tmp_path):
    path = rows(tmp_path, "text,toxic,rude", "a,1,0", "b,0,", "c,True,yes", "d,maybe,1")
    found = csv(path, labels=("toxic", "rude"))
    assert found.kind == "labels" and labels(found) == [("toxic",), (), ("rude", "toxic"), None]
    assert codes(found)["bad-label"].keys == ("row 5: 'maybe' in column 'toxic' is not 0 or 1",)
    assert labels(csv(path, labels=("rude",))) == [(), (), ("rude",), ("rude",)]


def test_numbers(tmp_path):
    path = rows(
        tmp_path, "text,score", "a,1", "b,-2.5e1", "c,nan", "d,viel", "e,", "f,1_0", "g,inf", "h,-1e31", "i,1e30"
    )
    found = csv(path, number="score")
    assert found.kind == "number" and found.classes == () and labels(found) == [1.0, -25.0, *[None] * 6, 1e30]
    assert [key[:5] for key in codes(found)["bad-label"].keys] == ["row 4", "row 5", "row 7", "row 8", "row 9"]


def test_a_column_of_fractions_is_a_number_and_said(tmp_path):
    many = [f"text {i},{i / 4}" for i in range(30)]
    found = csv(rows(tmp_path, "text,label", *many))
    assert found.kind == "number" and "kind='class'" in codes(found)["number-label"].hint
    assert csv(rows(tmp_path, "text,label", *many), kind="class").kind == "class"
    assert csv(rows(tmp_path, "text,label", *many[:20])).kind == "class"  # twenty values can be classes
    assert csv(rows(tmp_path, "text,label", *(f"text {i},{i}" for i in range(30)))).kind == "class"
    assert csv(rows(tmp_path, "text,label", *many, "x,oops")).kind == "class"


def test_kinds_in_jsonl(tmp_path):
    def read(*values, **options):
        lines = (json.dumps({"text": f"t{i}", "label": value}) for i, value in enumerate(values))
        return jsonl(write(tmp_path, "\n".join(lines), "t.jsonl"), **options)

    found = read(["b", "a"], [], ["c", 7], None)
    assert found.kind == "labels" and labels(found) == [("a", "b"), (), ("7", "c"), ()]
    found = read(0.5, 1, 2.25)
    assert found.kind == "number" and labels(found) == [0.5, 1.0, 2.25] and "number-label" in codes(found)
    assert read(0.5, 1, 2.25, kind="class").classes == ("0.5", "1", "2.25")
    assert read(1.0, 2.0).kind == "class" and read(1, 2, 3).classes == ("1", "2", "3")
    assert read("x", "y").kind == "class" and read(True, False).classes == ("false", "true")
    found = read(0.5, float("nan"), 2)
    assert labels(found) == [0.5, None, 2.0] and codes(found)["bad-label"].keys == (
        "row 2: 'NaN' is not a finite number",
    )


def test_jsonl_of_texts(tmp_path):
    lines = [json.dumps({"premise": "a", "hypothesis": "b", "label": "x", "extra": {"k": 1}}), "[1]", "{oops", "",
             json.dumps({"premise": None, "label": "x"})]  # fmt: skip
    found = jsonl(write(tmp_path, "\r\n".join(lines), "t.jsonl"))
    assert found.load(found.samples[0]) == Text("a", "b")
    assert [key[:5] for key in codes(found)["bad-row"].keys] == ["row 2", "row 3"]
    assert [issue.keys for issue in audit(found).issues if issue.code == "unreadable"] == [("row 5",)]


def test_image_tables_take_kinds_of_labels_too(tmp_path):
    from PIL import Image

    for i in range(3):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    path = rows(tmp_path, "path,age,tags", "0.png,1.5,a;b", "1.png,2.5,", "2.png,x,a")
    assert labels(csv(path, number="age")) == [1.5, 2.5, None] and csv(path, number="age").kind == "number"
    assert labels(csv(path, labels="tags")) == [("a", "b"), (), ("a",)]


# ---------------------------------------------------------------------------------------------------------- bad input


def test_stray_blanks_and_case_in_labels(tmp_path):
    found = csv(rows(tmp_path, "text,label", "a, pos", "b,pos", "c,Pos", "d,neg "))
    assert found.classes == ("Pos", "neg", "pos")
    assert codes(found)["padded-label"].keys == ("row 2: ' pos'", "row 5: 'neg '")
    assert set(codes(found)["similar-classes"].keys) == {"Pos", "pos"}


def test_texts_are_not_changed(tmp_path):
    strange = [
        "  two  blanks ",
        "שלום עולם",
        "😀👩‍👩‍👧 ok",
        "e\u0301 and \u00e9",
        "line\r\nbreak",
        "\u202eabc",
        "a\u2028b",
    ]
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        library.writer(file).writerows([["text", "label"], *([one, "x"] for one in strange)])
    found = audit(csv(str(path)))
    assert texts(found) == strange and codes(found) == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings(tmp_path, encoding, newline):
    text = "text,label\nüben,gut\nköstlich und sehr fein,gut\nschlecht,übel\n".replace("\n", newline)
    found = csv(write(tmp_path, text, encoding=encoding))
    assert texts(found) == ["üben", "köstlich und sehr fein", "schlecht"] and found.classes == ("gut", "übel")
    assert ("encoding" in codes(found)) == (encoding == "latin-1")


def test_a_cell_of_10_mb_is_one_unreadable_sample(tmp_path):
    limit = library.field_size_limit()
    found = csv(rows(tmp_path, "text,label", "a,x", f"{'long ' * 2_000_000},x", '"in ""quotes""",y'))
    assert library.field_size_limit() == limit and len(found) == 3
    issue = codes(audit(found))["unreadable"]
    assert issue.keys == ("row 3",) and "a text of 10,000,000 characters: longer than 1,000,000" in issue.what
    assert texts(found.where(lambda s: s.key == "row 4")) == ['in "quotes"']


def test_a_quote_that_is_never_closed(tmp_path):
    found = csv(rows(tmp_path, "label,text", "x,fine", 'y,"not closed', "x,more"))
    assert codes(found)["open-quote"].keys == ("row 3",) and len(found) == 2
    with pytest.raises(DataError, match="row 3: a quote is never closed"):
        csv(rows(tmp_path, "label,text", "x,fine", 'y,"' + "word " * 50_000))


def test_quotes_in_tables_with_tabs(tmp_path):
    """Many such tables know no quotes; where lines fit together only without them they are ordinary characters."""
    lines = ["text\tlabel", '"great" film\tpos', '"never closed\tneg', 'so "so"\tpos']
    assert texts(csv(write(tmp_path, "\n".join(lines), "t.tsv"))) == ['"great" film', '"never closed', 'so "so"']
    lines = ["text\tlabel", '"two\nlines ""quoted"""\tpos', "plain\tneg"]
    assert texts(csv(write(tmp_path, "\n".join(lines), "t.tsv"))) == ['two\nlines "quoted"', "plain"]


def test_empty_rows_and_empty_texts(tmp_path):
    found = csv(rows(tmp_path, "text,label", "", "a,x", " ,x", ",", "b,y", ",,", "c"))
    assert [s.key for s in found.samples] == ["row 3", "row 4", "row 5", "row 6"]
    assert codes(found)["ragged-row"].keys[0].startswith("row 8")
    issue = codes(audit(found))["unreadable"]
    assert issue.keys == ("row 4", "row 5") and issue.what.endswith("empty text")


def test_nul_and_halves_of_characters_are_no_text(tmp_path):
    found = csv(rows(tmp_path, "text,label", "a\0b,x", "c,y"))
    assert "undecodable text (NUL at character 2)" in codes(audit(found))["unreadable"].what
    found = jsonl(write(tmp_path, '{"text": "a\\ud83d", "label": "x"}\n{"text": "b", "label": "y"}', "t.jsonl"))
    assert "undecodable text" in codes(audit(found))["unreadable"].what
