"""The contract of every reader, discovered from the folder: a new file is tested once an example of it stands here."""

import inspect
import json
import struct
from types import NoneType

import numpy as np
import pytest
from PIL import Image

from graft import registry
from graft.errors import GraftError
from graft.types import Answers, Dataset, Sound, Text

READERS = sorted(registry.names("reader"))


def pictures(root):
    for i in range(6):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (i * 40, 9, 9)).save(path)


def folder(root):
    pictures(root)
    return str(root)


def csv(root):
    pictures(root)
    (root / "t.csv").write_text("path,label\n" + "".join(f"{'ab'[i % 2]}/{i}.png,{'ab'[i % 2]}\n" for i in range(6)))
    return str(root / "t.csv")


def jsonl(root):
    pictures(root)
    rows = ({"path": f"{'ab'[i % 2]}/{i}.png", "label": "ab"[i % 2]} for i in range(6))
    (root / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(root / "t.jsonl")


def tables(root):
    for name in ("train", "dev"):
        (root / f"{name}.csv").write_text("text,label\n" + "".join(f"{name} {i},{'ab'[i % 2]}\n" for i in range(4)))
    return str(root)


def digits(root):
    return None


def torchvision(root):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem in ("train", "t10k"):
        pixels = np.arange(4 * 784, dtype=np.uint32).astype(np.uint8).tobytes()
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 4, 28, 28) + pixels)
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 4) + bytes(range(4)))
    return "MNIST"


def texts(root):
    for i in range(6):
        path = root / "ab"[i % 2] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text number {i} \U0001f600")
    return str(root)


def lines(root):
    (root / "t.txt").write_text("one text\n\nanother text\n\u05e9\u05dc\u05d5\u05dd\n", encoding="utf-8")
    return str(root / "t.txt")


def conll(root):
    (root / "train.conll").write_text("EU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER\n")
    return str(root / "train.conll")


def squad(root):
    questions = [
        {"id": f"q{i}", "question": f"Which {i}?", "answers": [{"text": "this", "answer_start": 0}]} for i in "ab"
    ]
    data = [{"title": "t", "paragraphs": [{"context": "this one", "qas": questions}]}]
    (root / "q.json").write_text(json.dumps({"data": data}))
    return str(root / "q.json")


def json_splits(root):
    (root / "c.json").write_text(json.dumps({"train": [["hi", "a"], ["bye", "b"]], "test": [["ho", "a"]]}))
    return str(root / "c.json")


def audio(root):
    from conftest import draw_sounds

    return str(draw_sounds(root, each=3))


EXAMPLES = {"folder": folder, "csv": csv, "jsonl": jsonl, "digits": digits, "torchvision": torchvision, "texts": texts,
            "audio": audio, "lines": lines, "conll": conll, "squad": squad, "json_splits": json_splits,
            "tables": tables}  # fmt: skip
UNTESTED = {"hub": "needs the library datasets and a network; tested with a stand-in in tests/unit"}


@pytest.fixture(params=READERS)
def opened(request, tmp_path):
    name = request.param
    if name in UNTESTED:
        pytest.skip(UNTESTED[name])
    assert name in EXAMPLES, f"add an example of the reader {name} to {__file__}"
    function = registry.find("reader", name)
    target = EXAMPLES[name](tmp_path)
    before = snapshot(tmp_path)
    options = {"root": str(tmp_path)} if name == "torchvision" else {}
    found = function(*([target] if target else []), **options)
    yield function, found
    assert snapshot(tmp_path) == before, "a reader never writes beside the user's files"


def snapshot(root):
    return sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file())


def test_it_gives_a_data_set(opened):
    function, found = opened
    assert isinstance(found, Dataset) and len(found) > 0 and found.modality in ("image", "text", "audio")
    keys = [sample.key for sample in found.samples]
    assert len(set(keys)) == len(keys) and all(json.dumps(key) for key in keys)
    assert len(set(found.classes)) == len(found.classes)
    assert all(label_fits(found, sample.label) for sample in found.samples if sample.label is not None)
    assert {sample.split for sample in found.samples} <= {None, "train", "valid", "test"}
    assert all(json.dumps(issue.json()) for issue in found.issues)


def label_fits(found, label):
    """Classes are those of the data set; of several labels and tags each is."""
    if found.kind == "class":
        return label in found.classes
    if found.kind in ("labels", "tags"):
        return isinstance(label, tuple) and set(label) <= set(found.classes)
    assert found.classes == ()
    return isinstance(label, {"number": float, "answers": Answers, "transcript": str, "none": NoneType}[found.kind])


def test_tags_are_one_for_each_word(opened):
    _, found = opened
    for sample in found.samples if found.kind == "tags" else ():
        raw = found.load(sample)
        assert len(raw.words) == len(sample.label) and raw.text == " ".join(raw.words)


def test_samples_are_read_the_same_each_time(opened):
    _, found = opened
    for sample in (found.samples[0], found.samples[-1]):
        data, raw = found.read_bytes(sample), found.load(sample)
        assert isinstance(data, bytes) and data and data == found.read_bytes(sample)
        if found.modality == "image":
            assert raw.mode == "RGB" and raw.tobytes() == found.load(sample).tobytes()
        elif found.modality == "text":
            assert isinstance(raw, Text) and raw == found.load(sample)
        else:
            wave = raw.read(0, raw.frames)
            assert isinstance(raw, Sound) and wave.shape == (raw.frames,) and wave.dtype == np.float32
            assert np.array_equal(wave, found.load(sample).read(0, raw.frames))


def test_different_samples_have_different_content(opened):
    _, found = opened
    assert found.read_bytes(found.samples[0]) != found.read_bytes(found.samples[1])


def test_it_audits_and_its_options_are_keywords(opened):
    from graft.data._audit import audit

    function, found = opened
    some = audit(found.replace(samples=found.samples[:50]))
    assert all(len(sample.digest) == 64 for sample in some.samples)
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds[1:])
    assert inspect.getdoc(function)


@pytest.mark.parametrize("name", [name for name in READERS if name not in (*UNTESTED, "digits")])
@pytest.mark.parametrize("target", ["no/such/thing", "", "."])
def test_nonsense_is_a_graft_error_with_a_hint(name, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    with pytest.raises(GraftError) as caught:
        registry.find("reader", name)(target)
    assert caught.value.what and caught.value.hint
