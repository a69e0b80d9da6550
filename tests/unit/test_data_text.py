"""Texts from files: what they hold, byte for byte, what is refused, and how folders say what is what."""

import pytest

from graft.data import _text
from graft.data._audit import audit
from graft.data.json_splits import json_splits
from graft.data.lines import lines
from graft.data.texts import texts
from graft.errors import DataError
from graft.types import Sample, Text, UnreadableSample


def put(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def content(dataset):
    return {s.key: (dataset.load(s).text, s.label, s.split) for s in dataset.samples}


# ------------------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("text", ["plain", " padded \r\n", "שלום 😀", "e\u0301", "\u202ex", "tab\tand\x0bform\x0c"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_is_what_is_in_the_file(tmp_path, text, encoding):
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert _text.load(Sample("a", tmp_path / "a.txt")) == Text(text)


@pytest.mark.parametrize(
    "source, reason",
    [("", "empty text"), (" \r\n\u2003", "empty text"), ("a\0b", r"undecodable text \(NUL at character 2\)"),
     ("x" * 1_000_001, "a text of 1,000,001 characters: longer than 1,000,000"), ("\udc80", "undecodable text")],
)  # fmt: skip
def test_what_is_no_text(tmp_path, source, reason):
    for text in (Text(source), Text("fine", source)):
        with pytest.raises(UnreadableSample, match=reason):
            _text.load(Sample("a", text))
    (tmp_path / "a.txt").write_bytes(source.encode("utf-8", "surrogatepass"))
    if source != "\udc80":  # in a file these are bytes that are not UTF-8
        with pytest.raises(UnreadableSample, match=reason):
            _text.read_bytes(Sample("a", tmp_path / "a.txt"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfea\0b")
    with pytest.raises(UnreadableSample, match="undecodable text"):
        _text.load(Sample("a", tmp_path / "odd.txt"))
    with pytest.raises(UnreadableSample, match="does not exist"):
        _text.load(Sample("a", tmp_path / "none.txt"))


def test_no_two_texts_have_the_same_bytes():
    kinds = [Text("a b"), Text("a", "b"), Text("a b", words=("a", "b")), Text("a b", words=("a b",)), Text("ab"),
             Text("a", "b", ("a",)), Text('a", "b'), Text("a b", "null")]  # fmt: skip
    assert len({_text.encoded(one) for one in kinds}) == len(kinds)
    assert _text.encoded(Text("e\u0301")) != _text.encoded(Text("\u00e9"))


# --------------------------------------------------------------------------------------------------------------- lines


def test_lines(tmp_path):
    (tmp_path / "c.txt").write_bytes("one\r\n\r\n  \r\n two \u2028 2\r\nthree".encode())
    found = lines(str(tmp_path / "c.txt"))
    assert (found.modality, found.kind, found.classes, found.issues) == ("text", "none", (), ())
    assert content(found) == {"c.txt:1": ("one", None, None), "c.txt:4": (" two \u2028 2", None, None),
                              "c.txt:5": ("three", None, None)}  # fmt: skip


def test_lines_of_nothing(tmp_path):
    (tmp_path / "c.txt").write_text(" \n\n")
    with pytest.raises(DataError, match="is empty"):
        lines(str(tmp_path / "c.txt"))
    (tmp_path / "c.txt").write_bytes("naïve\nfine".encode("latin-1"))
    found = lines(str(tmp_path / "c.txt"))
    assert content(found)["c.txt:1"][0] == "naïve" and "row 1" in codes(found)["encoding"].what
    (tmp_path / "c.txt").write_bytes(b"xxx\0x\ngood")
    assert len(audit(lines(str(tmp_path / "c.txt")))) == 1


# --------------------------------------------------------------------------------------------------------------- texts


def test_one_folder_per_class(tmp_path):
    found = texts(put(tmp_path, pos__1_txt="good\nfilm\n", pos__deep__2_txt="fine", neg__1_txt="bad", readme_txt="x"))
    assert found.kind == "class" and found.classes == ("neg", "pos")
    assert content(found)["pos/1.txt"] == ("good\nfilm\n", "pos", None) and len(found) == 3
    assert codes(found)["no-class-folder"].keys == ("readme.txt",)


def test_given_parts_of_folders(tmp_path):
    files = {f"{part}__{label}__{i}_txt": f"{part} {label} {i}"
             for part in ("train", "test") for label in ("a", "b") for i in range(2)}  # fmt: skip
    found = texts(put(tmp_path / "imdb", **files))
    assert len(found.part("train")) == len(found.part("test")) == 4 and found.classes == ("a", "b")
    assert texts(str(tmp_path)).classes == ("a", "b")  # one more folder around it


def test_one_file_per_class(tmp_path):
    found = texts(put(tmp_path, pos_txt="good\nfine\n\n", neg_txt="bad\r\nworse"))
    assert content(found) == {"neg.txt:1": ("bad", "neg", None), "neg.txt:2": ("worse", "neg", None),
                              "pos.txt:1": ("good", "pos", None), "pos.txt:2": ("fine", "pos", None)}  # fmt: skip
    assert "class-files" in codes(found)
    whole = texts(str(tmp_path), lines=False)
    assert whole.kind == "none" and len(whole) == 2
    found = texts(
        put(tmp_path / "x", train__pos_txt="a\nb", train__neg_txt="c\nd", test__pos_txt="e\nf", test__neg_txt="g\nh")
    )
    assert content(found)["train/pos.txt:2"] == ("b", "pos", "train") and found.classes == ("neg", "pos")


def test_parts_of_a_corpus_and_letters(tmp_path):
    found = texts(put(tmp_path / "corpus", train_txt="a\nb\nc", valid_txt="d"))
    assert found.kind == "none" and [s.split for s in found.samples] == ["train", "train", "train", "valid"]
    found = texts(put(tmp_path / "letters", a_txt="Dear\nyou", b_txt="Dear me"))
    assert found.kind == "none" and content(found)["a.txt"] == ("Dear\nyou", None, None)
    found = texts(str(tmp_path / "letters" / "a.txt"))
    assert content(found) == {"a.txt": ("Dear\nyou", None, None)}


def test_links_that_lead_out_are_not_followed(tmp_path):
    put(tmp_path, secret_txt="secret", data__a__1_txt="a", data__b__1_txt="b")
    (tmp_path / "data" / "a" / "2.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "data" / "c").symlink_to(tmp_path)
    found = texts(str(tmp_path / "data"))
    assert content(found).keys() == {"a/1.txt", "b/1.txt"}
    assert set(codes(found)["outside-root"].keys) == {"a/2.txt", "c"}


def test_bad_files_are_listed_by_the_audit_and_latin_1_is_counted(tmp_path):
    found = texts(put(tmp_path, a__1_txt="gut", a__2_txt="", b__1_txt="schön".encode("latin-1"), b__2_txt=b"\0\1\2"))
    issues = codes(audit(found))
    assert issues["encoding"].keys == ("b/1.txt",) and "1 texts are not UTF-8" in issues["encoding"].what
    assert len(audit(found)) == 2


def test_folders_without_texts(tmp_path):
    for path, words in ((tmp_path / "none", "no folder"), (tmp_path, "no texts in")):
        with pytest.raises(DataError, match=words) as caught:
            texts(str(path))
        assert caught.value.hint


# --------------------------------------------------------------------------------------------------------- json_splits


def test_clinc(tmp_path):
    (tmp_path / "d.json").write_text('{"oos_val": [["x", "oos"]], "train": [["hi", " greet "], ["bye"], ["a", ""], 3],'
                                     '"test": [["ho", "greet"]], "val": []}')  # fmt: skip
    found = json_splits(str(tmp_path / "d.json"))
    assert content(found) == {"oos_val/1": ("x", "oos", "valid"), "train/1": ("hi", "greet", "train"),
                              "test/1": ("ho", "greet", "test")}  # fmt: skip
    assert [key.partition(":")[0] for key in codes(found)["bad-row"].keys] == ["train/2", "train/3", "train/4"]


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"train": []}', '{"rows": [["a", "b"]]}', '{"train": 5}', "[" * 99999]
)
def test_other_json_is_refused(tmp_path, text):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DataError) as caught:
        json_splits(str(tmp_path / "d.json"))
    assert caught.value.hint
