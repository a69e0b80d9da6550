"""CoNLL files: sentences, documents, parts by name, and all schemes of tags as IOB2."""

import pytest

from graft.data import _tags
from graft.data._audit import audit
from graft.data.conll import conll
from graft.errors import DataError

NEWS = "EU NNP B-ORG\nrejects VBZ O\nGerman JJ B-MISC\n\nPeter NNP B-PER\nBlackburn NNP I-PER\n"


def write(root, text, name="train.conll"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(root / name)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def tags(dataset):
    return [sample.label for sample in dataset.samples]


@pytest.mark.parametrize("change", [("", ""), (" ", "\t"), ("\n", "\r\n"), ("\n\n", "\n \t \n"), (" ", "  ")])
def test_words_and_tags(tmp_path, change):
    found = conll(write(tmp_path, NEWS.replace(*change) if change[0] else NEWS))
    assert (found.modality, found.kind, found.issues) == ("text", "tags", ())
    assert found.classes == ("O", "B-MISC", "B-ORG", "B-PER", "I-PER")
    assert tags(found) == [("B-ORG", "O", "B-MISC"), ("B-PER", "I-PER")]
    assert [s.key for s in found.samples] == ["train.conll:1", "train.conll:5"]
    text = found.load(found.samples[1])
    assert text.words == ("Peter", "Blackburn") and text.text == "Peter Blackburn" and text.pair is None


def test_words_of_any_script_and_words_with_blanks(tmp_path):
    found = conll(write(tmp_path, "😀\tO\nשלום\tO\nNew York\tB-loc\n"))
    assert found.load(found.samples[0]).words == ("😀", "שלום", "New York")


def test_documents_are_groups(tmp_path):
    start = "-DOCSTART- -X- O\n\n"
    found = conll(write(tmp_path, start + NEWS + "\n" + start + NEWS))
    groups = [sample.group for sample in found.samples]
    assert groups == ["train.conll document 1"] * 2 + ["train.conll document 2"] * 2
    assert [s.group for s in conll(write(tmp_path, NEWS)).samples] == [None, None]


def test_a_folder_of_parts(tmp_path):
    for name in ("wnut17train.conll", "emerging.dev.conll", "emerging.test.conll", "notes.txt", ".hidden.conll"):
        write(tmp_path / "d", NEWS, name)
    found = conll(str(tmp_path / "d"))
    assert {s.key.partition(":")[0]: s.split for s in found.samples} == {
        "wnut17train.conll": "train", "emerging.dev.conll": "valid", "emerging.test.conll": "test"}  # fmt: skip
    for name in ("train.txt", "val.txt", "test.txt"):
        write(tmp_path / "t", NEWS, name)
    assert {s.split for s in conll(str(tmp_path / "t")).samples} == {"train", "valid", "test"}
    (tmp_path / "d" / "out.conll").symlink_to(tmp_path / "t" / "train.txt")
    assert len(conll(str(tmp_path / "d"))) == 6


def test_one_file_is_no_part_whatever_it_is_called(tmp_path):
    for name in ("emerging.dev.conll", "test.conll", "wnut17train.conll"):
        (tmp_path / name).write_text(NEWS)
        assert {s.split for s in conll(str(tmp_path / name)).samples} == {None}
    assert {s.split for s in conll(str(tmp_path)).samples} == {"train", "valid", "test"}


def test_tags_of_annotators_who_disagree(tmp_path):
    """WNUT 17 has them in its .conll, and what they agreed upon in its .annotated file."""
    path = write(tmp_path, "Boro\tB-location,B-group\nwon\tO\n\nUp\tO\n", "x.test.conll")
    found = conll(path)
    assert len(found) == 1 and codes(found)["bad-row"].keys == ("x.test.conll, row 1: Boro B-location,B-group",)
    write(tmp_path, "Boro\tB-group\nwon\tO\n\nUp\tO\n", "x.test.annotated")
    found = conll(str(tmp_path))
    assert tags(found) == [("B-group", "O"), ("O",)] and {s.split for s in found.samples} == {"test"}


def test_a_line_without_a_tag_spoils_its_sentence(tmp_path):
    found = conll(write(tmp_path, "a\tO\nb\nc\tO\n\nd\tO\n\n\tO\n\ne\tO\n"))
    assert [s.key for s in found.samples] == ["train.conll:5", "train.conll:9"]
    assert [key.partition(":")[0] for key in codes(found)["bad-row"].keys] == [
        "train.conll, row 2",
        "train.conll, row 7",
    ]


def test_words_without_tags_are_unlabelled(tmp_path):
    found = conll(write(tmp_path, "EU\nrejects\n\nPeter\n"))
    assert (
        found.kind == "none" and tags(found) == [None, None] and found.load(found.samples[0]).words == ("EU", "rejects")
    )


def test_iob1_becomes_iob2_and_is_said(tmp_path):
    found = conll(write(tmp_path, "a I-X\nb I-X\nc B-X\nd I-Y\ne O\n\nf O\n"))
    assert tags(found) == [("B-X", "I-X", "B-X", "B-Y", "O"), ("O",)]
    assert codes(found)["tag-scheme"].keys == ("train.conll:1",) and "IOB1" in codes(found)["tag-scheme"].what


def test_iobes_becomes_iob2_and_is_said(tmp_path):
    found = conll(write(tmp_path, "a B-X\nb I-X\nc E-X\nd S-Y\ne O\n"))
    assert tags(found) == [("B-X", "I-X", "I-X", "B-Y", "O")] and "IOBES" in codes(found)["tag-scheme"].what


@pytest.mark.parametrize(
    "scheme, plain",
    [("B-X L-X U-X O", "B-X I-X B-X O"), ("B-X M-X E-X S-X", "B-X I-X I-X B-X"), ("I-X I-Y B-Y I-Y", "B-X B-Y B-Y I-Y"),
     ("B-a-b I-a-b", "B-a-b I-a-b"), ("O E-X O", "O B-X O"), ("S-X I-X", "B-X I-X")],
)  # fmt: skip
def test_schemes(scheme, plain):
    assert _tags.iob2(scheme.split()) == tuple(plain.split())
    assert _tags.iob2(plain.split()) == tuple(plain.split())


def test_parts_of_speech_stay_as_they_are(tmp_path):
    found = conll(write(tmp_path, "The DET\ncat NOUN\n\nS SYM-1\n"))
    assert tags(found) == [("DET", "NOUN"), ("SYM-1",)] and found.classes == ("DET", "NOUN", "SYM-1")


def test_bad_files(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (write(tmp_path, "\n \n"), str(tmp_path / "none"), str(tmp_path / "empty")):
        with pytest.raises(DataError) as caught:
            conll(path)
        assert caught.value.hint
    found = conll(write(tmp_path, "na\xefve\tO\n\nb\tB-X\n".encode("latin-1")))
    assert "encoding" in codes(found) and found.load(found.samples[0]).text == "na\xefve"
    assert len(audit(conll(write(tmp_path, "a\0b\tO\n\nb\tB-X\n")))) == 1
