"""Opening data by name: paths, specs, and the sources that may need a network (here they never do)."""

import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image

from graft.data._sniff import open_data, with_columns
from graft.data.digits import digits
from graft.data.hub import hub
from graft.data.torchvision import torchvision
from graft.errors import DataError, GraftError, MissingExtra, ResourceError, UsageError


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    for label in ("rose", "tulip"):
        for i in range(2):
            path = tmp_path / "flowers" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (i, 0, 0)).save(path)
    (tmp_path / "flowers" / "t.csv").write_text("file,species\nrose/0.png,rose\ntulip/0.png,tulip\n")
    (tmp_path / "flowers" / "t.jsonl").write_text('{"path": "rose/0.png", "label": "rose"}\n')
    (tmp_path / "flowers" / "notes.md").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "flowers"


@pytest.mark.parametrize(
    "text, count",
    [
        ("flowers", 4),
        ("./flowers/", 4),
        ("folder:flowers", 4),
        ("flowers/rose/0.png", 1),
        ("flowers/t.csv(label='species')", 2),
        ("csv:flowers/t.csv(label='species')", 2),
        ("flowers/t.jsonl", 1),
        ("digits", 1797),
        ("digits()", 1797),
    ],
)
def test_what_opens(flowers, text, count):
    assert len(open_data(text)) == count


@pytest.mark.parametrize(
    "name, content, reader, kind",
    [
        ("c.txt", "one\ntwo", "lines", "none"),
        ("c.conll", "a O\nb B-x", "conll", "tags"),
        ("c.iob2", "a O\nb B-x", "conll", "tags"),
        ("c.bio", "a O\nb B-x", "conll", "tags"),
        ("c.tsv", "text\tlabel\na\tx", "csv", "class"),
        ("c.json", '{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "q", "answers": []}]}]}]}', "squad",
         "answers"),
        ("c.json", '{"train": [["a", "x"]], "test": [["b", "y"]]}', "json_splits", "class"),
        ("d/pos/1.txt", "good", "texts", "class"),
        ("d/pos.txt", "good", "texts", "none"),
        ("d/train.conll", "a O\nb B-x", "conll", "tags"),
    ],
)  # fmt: skip
def test_texts_by_what_they_are(tmp_path, name, content, reader, kind):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    found = open_data(str(tmp_path / name.split("/")[0]))
    assert (found.modality, found.kind) == ("text", kind)
    assert [s.key for s in open_data(f"{reader}:{tmp_path / name.split('/')[0]}").samples] == [
        s.key for s in found.samples
    ]


def test_folders_with_images_are_images_whatever_else_they_hold(flowers):
    (flowers / "rose" / "0.txt").write_text("a rose")
    (flowers / "x.conll").write_text("a O")
    assert open_data(str(flowers)).modality == "image"


@pytest.mark.parametrize("name", ["reviews.tsv", "test.tsv"])
def test_a_folder_of_tables_without_a_part_to_train_on_names_one(tmp_path, name):
    (tmp_path / name).write_text("text\tlabel\na\tx")
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        open_data(str(tmp_path))
    assert name in caught.value.hint


def test_columns_as_flags_say_them_become_options(flowers):
    table = "flowers/t.csv"
    assert with_columns(table) == with_columns(table, text=None) == table
    assert with_columns(table, text="a", label="b") == "flowers/t.csv(text='a', label='b')"
    assert with_columns("csv:t.csv(kind='class')", pair="b") == "csv:t.csv(kind='class', pair='b')"
    assert with_columns("t.csv(text='a')", text="a") == "t.csv(text='a')"
    assert with_columns("flowers/", label="it's (so)") == """flowers(label="it's (so)")"""
    assert len(open_data(with_columns(table, label="species"))) == 2
    with pytest.raises(UsageError) as caught:
        with_columns("t.csv(text='a')", text="b")
    assert "--text is 'b', but the data say text='a'" in caught.value.what and "t.csv(text='b')" in caught.value.hint
    with pytest.raises(UsageError, match="folder:flowers"):
        open_data(with_columns("flowers", text="a"))


def test_names_of_files_and_columns_may_have_brackets(tmp_path):
    (tmp_path / "t (1).csv").write_text("body (:,what)\na,x\nb,y\n")
    for text in ("body (:", "what)"):
        found = open_data(with_columns(str(tmp_path / "t (1).csv"), text=text))
        assert found.kind == "none" and len(found) == 2


def test_options_of_texts(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\nx,1,0\ny,0,1\n")
    found = open_data(f"{tmp_path}/t.csv(text='a', labels=('b', 'c'))")
    assert found.kind == "labels" and [s.label for s in found.samples] == [("b",), ("c",)]


def test_a_folder_may_have_brackets_or_a_readers_name(flowers):
    flowers.rename(flowers.parent / "flowers (copy)")
    assert len(open_data("flowers (copy)")) == 4
    (flowers.parent / "flowers (copy)").rename(flowers.parent / "digits")
    assert len(open_data("digits")) == 4


@pytest.mark.parametrize(
    "text, error, hint",
    [
        ("flowrs", DataError, "did you mean 'flowers'?"),
        ("flowers/rosee", DataError, "did you mean 'flowers/rose'?"),
        ("flowrs/rose/0.png", DataError, "did you mean 'flowers'?"),
        ("flowers/s.csv", DataError, "did you mean 'flowers/t.csv'?"),
        ("/no/such/place", DataError, "ls /"),
        ("./zzz", DataError, "ls ."),
        ("digit", UsageError, "did you mean 'digits'?"),
        ("tochvision:CIFAR10", UsageError, "did you mean 'torchvision'?"),
        ("torchvision:CIFAR11", UsageError, "did you mean 'CIFAR10'?"),
        ("csv:flowers/t.csv(labell='x')", UsageError, "did you mean 'label'?"),
        ("digits:5", UsageError, ""),
        ("flowers/t.csv(label=open('x'))", GraftError, ""),
        ("flowers/notes.md", DataError, "one folder per class"),
        ("https://example.com/data.zip", DataError, "download"),
        ("", GraftError, ""),
        ("a\0b", GraftError, ""),
        ("x" * 5000, GraftError, ""),
    ],
)
def test_what_does_not_open_says_what_was_meant(flowers, text, error, hint):
    with pytest.raises(error) as caught:
        open_data(text)
    assert hint in caught.value.hint


def test_digits_are_the_pixels_of_scikit_learn():
    from sklearn.datasets import load_digits

    found, original = digits(), load_digits()
    assert found.classes == tuple("0123456789") and found.targets().tolist() == original.target.tolist()
    for i in (0, 7, 1796):
        pixels = np.asarray(found.load(found.samples[i]))
        assert pixels.shape == (8, 8, 3) and np.abs(pixels[..., 0] - original.images[i] * 255 / 16).max() <= 0.5


# -------------------------------------------------------------------------------------------------------- torchvision


def mnist(root, counts=(6, 4)):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in zip(("train", "t10k"), counts, strict=True):
        images = np.arange(count * 784, dtype=np.uint32).astype(np.uint8)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 2049, count) + bytes(i % 10 for i in range(count))
        )


def test_torchvision_reads_the_official_split_from_the_disk(tmp_path):
    mnist(tmp_path)
    found = torchvision("MNIST", root=str(tmp_path))
    assert [len(found.part(part)) for part in ("train", "valid", "test")] == [6, 0, 4]
    assert found.classes[:3] == ("0 - zero", "1 - one", "2 - two")
    image = found.load(found.samples[1])
    assert image.mode == "RGB" and image.size == (28, 28) and image.getpixel((0, 0)) == (784 % 256,) * 3


def test_torchvision_says_plainly_that_there_is_no_network(tmp_path, monkeypatch):
    from torchvision import datasets

    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(datasets.CIFAR10, "download", no_network)
    monkeypatch.delenv("GRAFT_OFFLINE", raising=False)
    with pytest.raises(ResourceError) as caught:
        torchvision("CIFAR10", root=str(tmp_path))
    assert "no network" in caught.value.what and "digits" in caught.value.hint
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    with pytest.raises(ResourceError, match="GRAFT_OFFLINE"):
        torchvision("CIFAR10", root=str(tmp_path))
    with pytest.raises(DataError, match="there is no folder"):
        torchvision("MNIST", root=str(tmp_path / "none"))


def test_torchvision_caches_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    mnist(tmp_path / "datasets")
    assert len(torchvision("MNIST")) == 10


def test_every_named_set_can_be_asked_for_its_parts():
    from torchvision import datasets

    from graft.data.torchvision import _LABELLED, _NAMED, _parts

    for name in _LABELLED.split():
        words = [word for word, _ in _parts(name, getattr(datasets, name))]
        assert words == [""] or {_NAMED[word] for word in words} >= {"train"}


# ---------------------------------------------------------------------------------------------------------------- hub


class Column:
    """As little of a `datasets.Dataset` as the reader uses."""

    def __init__(self, features, rows):
        self.features, self.rows = features, rows

    def cast_column(self, name, feature):
        return self

    def __getitem__(self, place):
        return [row[place] for row in self.rows] if isinstance(place, str) else self.rows[place]


@pytest.fixture
def library(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "x.png")
    picture = {"bytes": (tmp_path / "x.png").read_bytes(), "path": None}
    kinds = {"ClassLabel": type("ClassLabel", (), {"names": ["no", "yes"]})(), "Image": type("Image", (), {})()}
    features = {"photo": kinds["Image"], "answer": kinds["ClassLabel"], "text": object()}
    rows = [{"photo": picture, "answer": i % 2, "text": "t"} for i in range(4)]
    loaded = {"train": Column(features, [*rows, {**rows[0], "answer": -1}]), "validation": Column(features, rows)}
    fake = types.ModuleType("datasets")
    fake.__version__, fake.Image = "4.1.0", lambda decode: None
    fake.DownloadConfig = lambda **options: options
    fake.load_dataset = lambda name, config, download_config: loaded
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_hub_finds_columns_by_type(library):
    found = hub("owner/name")
    assert found.classes == ("no", "yes") and len(found) == 8 and len(found.part("valid")) == 4
    assert found.load(found.samples[0]).getpixel((0, 0)) == (9, 8, 7)
    assert [issue.code for issue in found.issues] == ["unlabelled"] and found.issues[0].keys == ("train/000004",)
    assert hub("owner/name", label="text").classes == ("t",)
    with pytest.raises(DataError) as caught:
        hub("owner/name", label="answr")
    assert caught.value.hint == "did you mean 'answer'?"


def test_hub_without_network_or_library(library, monkeypatch):
    def fails(*args, **kwargs):
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(library, "load_dataset", fails)
    with pytest.raises(ResourceError, match="cannot be loaded: Couldn't reach"):
        hub("owner/name")
    library.__version__ = "3.6.0"  # would run a repository's script
    with pytest.raises(MissingExtra):
        hub("owner/name")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra):
        hub("owner/name")
