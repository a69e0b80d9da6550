"""Sounds in folders and tables: what is a label, what is said, who speaks, and what is left out."""

import json
import os

import numpy as np
import pytest

from conftest import draw_flowers, draw_sounds, write_wav
from graft import registry
from graft.data._sniff import open_data, reader_of
from graft.data._split import split
from graft.data.audio import audio
from graft.data.csv import csv
from graft.data.jsonl import jsonl
from graft.data.tables import tables
from graft.errors import DataError, UsageError

pytest.importorskip("soundfile", reason="needs soundfile")


def put(root, *names):
    for i, name in enumerate(names):
        write_wav(root / name, np.random.default_rng(i).standard_normal(800) / 4)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def table(root, text, name="t.csv"):
    (root / name).write_text(text, encoding="utf-8")
    return str(root / name)


# ------------------------------------------------------------------------------------------------------------ folders


def test_class_folders(sounds):
    found = audio(str(sounds))
    assert (found.modality, found.kind, found.classes) == ("audio", "class", ("hum", "ring", "whistle"))
    assert len(found) == 36 and found.root == str(sounds) and codes(found)["ignored-file"].keys == ("sounds.csv",)
    first = found.load(found.samples[0])
    assert (first.rate, first.channels) == (8000, 1) and len(
        found.read_bytes(found.samples[0])
    ) == 44 + 2 * first.frames


def test_given_parts(tmp_path):
    put(tmp_path, "train/a/1.wav", "train/b/1.wav", "val/a/1.WAV", "val/b/1.wav", "test/a/1.flac", "test/b/1.mp3")
    found = audio(str(tmp_path))
    assert found.classes == ("a", "b") and [len(found.part(p)) for p in ("train", "valid", "test")] == [2, 2, 2]


def test_a_flat_folder_and_one_file_have_no_labels(tmp_path):
    put(tmp_path, "1.wav", "2.wav")
    found = audio(str(tmp_path))
    assert found.kind == "none" and found.classes == () and "pattern=" in codes(found)["no-labels"].hint
    one = audio(str(tmp_path / "1.wav"))
    assert [s.key for s in one.samples] == ["1.wav"] and one.kind == "none" and not one.issues
    table(tmp_path, "path,label\n1.wav,a\n", "list.csv")
    assert "list.csv" in codes(audio(str(tmp_path)))["no-labels"].hint


def test_a_folder_that_is_named_like_a_sound(tmp_path):
    put(tmp_path, "a.wav/1.wav", "b.wav/2.wav")
    assert open_data(str(tmp_path)).classes == ("a.wav", "b.wav")
    assert reader_of(str(tmp_path / "a.wav")).name == "audio"
    assert [s.key for s in audio(str(tmp_path / "a.wav")).samples] == ["1.wav"]


def test_what_is_not_read_is_listed(tmp_path):
    put(tmp_path / "in", "a/1.wav", "b/1.wav")
    put(tmp_path / "out", "secret.wav")
    (tmp_path / "in" / "a" / "2.m4a").write_bytes(b"x")
    (tmp_path / "in" / "a" / "cover.jpg").write_bytes(b"x")
    os.symlink(tmp_path / "out" / "secret.wav", tmp_path / "in" / "a" / "link.wav")
    os.symlink(tmp_path / "none.wav", tmp_path / "in" / "a" / "dead.wav")
    os.mkfifo(tmp_path / "in" / "a" / "pipe.wav")
    found = audio(str(tmp_path / "in"))
    said = codes(found)
    assert len(found) == 2 and said["outside-root"].keys == ("a/link.wav",)
    assert said["broken-link"].keys == ("a/dead.wav", "a/pipe.wav")
    assert said["unsupported-format"].keys == ("a/2.m4a",) and "wav or flac" in said["unsupported-format"].hint
    assert said["other-modality"].keys == ("a/cover.jpg",) and "folder:" in said["other-modality"].hint


def test_a_folder_without_sounds_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        audio(str(tmp_path))
    assert "there are no sounds" in caught.value.what and "it is empty" in caught.value.what
    (tmp_path / "x.m4a").write_bytes(b"x")
    assert reader_of(str(tmp_path)).name == "audio"
    with pytest.raises(DataError) as caught:
        audio(str(tmp_path))
    assert "x.m4a" in caught.value.what and "convert them to wav or flac" in caught.value.hint
    with pytest.raises(DataError) as caught:
        reader_of(str(tmp_path / "x.m4a"))
    assert "convert it" in caught.value.hint


# ----------------------------------------------------------------------------------------------------------- patterns


def test_labels_and_speakers_in_names(tmp_path):
    put(tmp_path, "7_jackson_32.wav", "0_theo_1.wav", "0_theo_x_2.wav")
    found = open_data(f"{tmp_path}(pattern='{{label}}_{{group}}_{{}}')")
    assert [s.key for s in found.samples] == ["0_theo_1.wav", "0_theo_x_2.wav", "7_jackson_32.wav"]
    assert [(s.label, s.group) for s in found.samples] == [("0", "theo"), ("0", "theo"), ("7", "jackson")]
    assert found.classes == ("0", "7") and found.kind == "class"


def test_a_pattern_adds_to_class_folders_and_may_hold_folders(tmp_path):
    put(tmp_path, "yes/bob_nohash_0.wav", "no/bob_nohash_0.wav", "no/eve_nohash_1.wav")
    found = audio(str(tmp_path), pattern="{group}_nohash_{}")
    assert [(s.label, s.group) for s in found.samples] == [("no", "bob"), ("no", "eve"), ("yes", "bob")]
    found = audio(str(tmp_path), pattern="{label}/{group}_{}.wav")
    assert [(s.label, s.group) for s in found.samples] == [("no", "bob"), ("no", "eve"), ("yes", "bob")]
    put(tmp_path / "flat", "train-a-1.wav", "dev-b-1.wav")
    found = audio(str(tmp_path / "flat"), pattern="{split}-{label}-{}")
    assert [(s.label, s.split) for s in found.samples] == [("b", "valid"), ("a", "train")]


def test_names_that_do_not_match_are_listed(tmp_path):
    put(tmp_path, "a_1.wav", "b_2.wav", "odd.wav", "_3.wav")
    found = audio(str(tmp_path), pattern="{label}_{}")
    assert [s.label for s in found.samples] == [None, "a", "b", None]
    assert codes(found)["strange-name"].keys == ("_3.wav", "odd.wav")
    with pytest.raises(DataError) as caught:
        audio(str(tmp_path), pattern="{label}-{}")
    assert "no file" in caught.value.what and "_3.wav" in caught.value.what


@pytest.mark.parametrize("pattern", ["", "{}", "{label}{group}", "{word}_{label}", "{label}_{label}", "{label}_{", 7])
def test_patterns_that_make_no_sense(tmp_path, pattern):
    put(tmp_path, "a_1.wav")
    with pytest.raises(UsageError) as caught:
        audio(str(tmp_path), pattern=pattern)
    assert "pattern=" in caught.value.what and "{label}" in caught.value.hint


# ------------------------------------------------------------------------------------------------------------- tables


def test_a_table_of_classes_with_speakers(sounds):
    found = open_data(str(sounds / "sounds.csv"))
    assert (found.modality, found.kind, found.classes) == ("audio", "class", ("hum", "ring", "whistle"))
    assert {s.group for s in found.samples} == {"s0", "s1", "s2"} and found.samples[0].key == "hum/0.wav"


@pytest.mark.parametrize(
    "header", ["path,transcript", "Audio,Sentence", "audio_filepath,text", "wav,words", "file name,utterance"]
)
def test_transcripts_under_their_usual_names(tmp_path, header):
    put(tmp_path, "1.wav", "2.wav", "3.wav")
    found = csv(table(tmp_path, f"{header}\n1.wav, seven  Two \n2.wav,\n3.wav,é\n"))
    assert (found.modality, found.kind, found.classes) == ("audio", "transcript", ())
    assert [s.label for s in found.samples] == ["seven  Two", None, "é"]
    assert codes(found)["missing-transcript"].keys == ("row 3",)


def test_the_label_counts_unless_the_transcript_is_asked_for(tmp_path):
    put(tmp_path, "1.wav", "2.wav")
    path = table(tmp_path, "path,label,text\n1.wav,a,one\n2.wav,b,two\n")
    assert csv(path).classes == ("a", "b")
    for options in ({"transcript": "text"}, {"kind": "transcript"}):
        assert [s.label for s in csv(path, **options).samples] == ["one", "two"]
    assert csv(path, label="text").classes == ("one", "two") and csv(path, text="text").modality == "text"
    assert csv(path, labels="text").kind == "labels"
    with pytest.raises(UsageError, match="label and transcript are given"):
        csv(path, label="label", transcript="text")
    with pytest.raises(UsageError, match="image and audio are given"):
        csv(path, image="path", audio="path")
    with pytest.raises(DataError) as caught:
        csv(path, transcript="txt")
    assert caught.value.hint == "did you mean 'text'?"


def test_a_manifest_of_nemo(tmp_path):
    put(tmp_path, "wavs/1.wav", "wavs/2.wav", "wavs/3.wav")
    rows = [{"audio_filepath": f"wavs/{i}.wav", "text": f"number {i}", "duration": 0.1, "offset": 0.0} for i in (1, 2)]
    rows.append({**rows[0], "audio_filepath": "wavs/3.wav", "offset": 3.5})
    for name in ("m.jsonl", "m.json"):
        path = table(tmp_path, "\n".join(map(json.dumps, rows)), name)
        found = open_data(path)
        assert reader_of(path).name == "jsonl" and [s.label for s in found.samples] == ["number 1", "number 2"]
        assert codes(found)["segment"].keys == ("row 3: wavs/3.wav from 3.5 s",)
    assert found.samples[0].source == tmp_path / "wavs" / "1.wav"


def test_common_voice(tmp_path):
    put(tmp_path, *(f"clips/cv_{i}.mp3" for i in range(6)))
    head = "client_id\tpath\tsentence\tup_votes\n"
    for start, name in enumerate(("train", "dev", "test")):
        rows = (f'c{i}\tcv_{i}.mp3\tThis is "{i}".\t2\n' for i in (2 * start, 2 * start + 1))
        table(tmp_path, head + "".join(rows), f"{name}.tsv")
    one = open_data(str(tmp_path / "train.tsv"))
    assert (one.kind, one.samples[0].label, one.samples[0].group) == ("transcript", 'This is "0".', "c0")
    assert one.samples[0].key == "cv_0.mp3" and one.samples[0].source == tmp_path / "clips" / "cv_0.mp3"
    every = open_data(str(tmp_path))
    assert reader_of(str(tmp_path)).name == "tables" and every.kind == "transcript"
    assert [(s.split, s.group) for s in every.samples][::2] == [("train", "c0"), ("valid", "c2"), ("test", "c4")]


def test_rows_that_cannot_be_used(tmp_path):
    put(tmp_path / "in", "1.wav", "2.wav")
    put(tmp_path, "secret.wav")
    lines = [
        "1.wav,a",
        "../secret.wav,a",
        "https://x.y/1.wav,a",
        ",a",
        "gone.wav,a",
        "2.wav,b",
        f"{tmp_path}/secret.wav,b",
    ]
    found = csv(table(tmp_path / "in", "path,label\n" + "\n".join(lines) + "\n"))
    said = codes(found)
    assert [s.key for s in found.samples] == ["1.wav", "2.wav"]
    assert said["outside-root"].keys == ("row 3: ../secret.wav", f"row 8: {tmp_path}/secret.wav")
    assert said["url"].keys == ("row 4: https://x.y/1.wav",) and said["missing-file"].keys == ("row 6: gone.wav",)
    assert said["no-path"].keys == ("row 5: ",)


def test_transcripts_that_no_file_can_hold(tmp_path):
    put(tmp_path, "1.wav", "2.wav")
    found = jsonl(table(tmp_path, '{"path": "1.wav", "text": "a\\ud800"}\n{"path": "2.wav", "text": "b"}\n', "t.jsonl"))
    assert [s.label for s in found.samples] == [None, "b"] and "half a character" in codes(found)["bad-label"].keys[0]


def test_a_table_without_labels_is_fine_and_said(tmp_path):
    put(tmp_path, "1.wav", "2.wav")
    assert csv(table(tmp_path, "path\n1.wav\n2.wav\n")).issues == ()
    found = csv(table(tmp_path, "path,art\n1.wav,x\n2.wav,y\n"))
    assert found.kind == "none" and "label='art'" in codes(found)["no-label-column"].hint
    assert csv(table(tmp_path, "path,art\n1.wav,x\n2.wav,y\n"), label="art").classes == ("x", "y")
    with pytest.raises(DataError) as caught:
        csv(table(tmp_path, "clip name,art\n1.wav,x\n2.wav,y\n"))
    assert "has no column 'path'" in caught.value.what and "audio='clip name'" in caught.value.hint


def test_texts_whose_recordings_are_elsewhere_are_texts(tmp_path):
    path = table(tmp_path, "file,text,label\ncall-1.wav,hello,x\ncall-2.wav,bye,y\n")
    assert csv(path).modality == "text" and "names sounds" in codes(csv(path))["no-sounds"].what
    put(tmp_path, "call-1.wav")
    assert csv(path).modality == "audio"
    path = table(tmp_path, "text,label\nhello there,x\nbye,y\n")
    assert csv(path).modality == "text" and not csv(path).issues
    with pytest.raises(UsageError, match="no table of sounds"):
        csv(path, kind="transcript")


def test_parts_must_have_one_kind_of_labels(tmp_path):
    put(tmp_path, "1.wav", "2.wav")
    table(tmp_path, "path,text\n1.wav,one\n2.wav,two\n", "train.csv")
    table(tmp_path, "path,text,label\n1.wav,one,a\n2.wav,two,b\n", "test.csv")
    with pytest.raises(DataError, match="train.csv is read from its columns path, text, but test.csv from path, label"):
        tables(str(tmp_path))
    assert len(tables(str(tmp_path), transcript="text")) == 4


# ----------------------------------------------------------------------------------------------------------- sniffing


def test_which_reader(tmp_path, sounds, flowers):
    assert reader_of(str(sounds)).name == "audio" and reader_of(str(flowers)).name == "folder"
    assert reader_of(str(sounds / "hum" / "0.wav")).name == "audio" and "audio" in registry.names("reader")
    draw_flowers(tmp_path / "both", each=2)
    draw_sounds(tmp_path / "both", each=3)
    found = open_data(str(tmp_path / "both"))
    assert found.modality == "audio" and len(codes(found)["other-modality"].keys) == 6
    images = open_data(f"folder:{tmp_path / 'both'}")
    assert len(images) == 6 and "only the images are read" in codes(images)["other-modality"].what
    draw_flowers(tmp_path / "both", each=9)
    assert reader_of(str(tmp_path / "both")).name == "folder"


def test_transcripts_are_split_by_speakers_as_one_stratum(tmp_path):
    put(tmp_path, *(f"{i}.wav" for i in range(40)))
    rows = "".join(f"{i}.wav,text {i},s{i % 10}\n" for i in range(40))
    found = split(csv(table(tmp_path, "path,text,speaker\n" + rows)), valid=0.2, test=0.2)
    parts = {part: {s.group for s in found.part(part).samples} for part in ("train", "valid", "test")}
    assert [len(groups) for groups in parts.values()] == [6, 2, 2] and len(set.union(*parts.values())) == 10
