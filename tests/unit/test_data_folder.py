"""Folders of images: what is a class, what is a split, what is junk, and what lies outside."""

import os

import pytest
from PIL import Image

from graft.data.folder import folder
from graft.errors import DataError


def put(root, *names):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i * 9 % 256, 1, 2)).save(path, "PNG")


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def labels(dataset):
    return {sample.key: (sample.label, sample.split) for sample in dataset.samples}


def test_class_folders(tmp_path):
    put(tmp_path, "bee/1.png", "ant/2.PNG", "ant/deep/er/3.jpeg")
    found = folder(str(tmp_path))
    assert found.classes == ("ant", "bee") and found.targets().tolist() == [0, 0, 1]
    assert labels(found) == {
        "bee/1.png": ("bee", None),
        "ant/2.PNG": ("ant", None),
        "ant/deep/er/3.jpeg": ("ant", None),
    }
    assert found.issues == ()


@pytest.mark.parametrize("valid", ["valid", "val", "validation", "Val"])
def test_split_folders(tmp_path, valid):
    put(
        tmp_path,
        "train/a/1.png",
        "train/b/1.png",
        f"{valid}/a/1.png",
        f"{valid}/b/x/1.png",
        "test/a/1.png",
        "test/b/1.png",
    )
    found = folder(str(tmp_path))
    assert found.classes == ("a", "b") and len(found.part("valid")) == len(found.part("test")) == 2
    assert labels(found)[f"{valid}/b/x/1.png"] == ("b", "valid")


def test_a_class_called_train_among_other_classes_is_a_class(tmp_path):
    put(tmp_path, "train/1.png", "bus/1.png", "tram/1.png")
    assert folder(str(tmp_path)).classes == ("bus", "train", "tram")


def test_other_images_beside_given_parts_are_no_class(tmp_path):
    put(
        tmp_path,
        "train/a/1.png",
        "train/b/1.png",
        "test/a/1.png",
        "test/b/1.png",
        "docs/logo.png",
        "docs/x/2.png",
        "c.png",
    )
    found = folder(str(tmp_path))
    assert found.classes == ("a", "b") and len(found.part("train")) == len(found.part("test")) == 2
    assert codes(found)["no-class-folder"].keys == ("c.png", "docs/logo.png", "docs/x/2.png")


def test_a_flat_test_part_is_unlabelled_and_listed(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png")
    found = folder(str(tmp_path))
    assert len(found) == 2 and codes(found)["no-class-folder"].keys == ("test/1.png", "test/2.png")


def test_flat_parts_are_unlabelled(tmp_path):
    put(tmp_path, "train/1.png", "test/1.png")
    assert labels(folder(str(tmp_path))) == {"train/1.png": (None, "train"), "test/1.png": (None, "test")}


def test_one_more_folder_around_the_data_is_seen_through(tmp_path):
    put(
        tmp_path,
        "photos-main/train/a/1.png",
        "photos-main/train/b/1.png",
        "photos-main/test/a/1.png",
        "photos-main/test/b/1.png",
    )
    found = folder(str(tmp_path))
    assert found.classes == ("a", "b") and len(found.part("test")) == 2 and "inner-folder" in codes(found)


def test_loose_images_are_unlabelled(tmp_path):
    put(tmp_path, "1.png", "2.png")
    found = folder(str(tmp_path))
    assert found.classes == () and [s.label for s in found.samples] == [None, None]
    assert found.load(found.samples[0]).size == (4, 4)


def test_one_image_file(tmp_path):
    put(tmp_path, "1.png", "2.png")
    found = folder(str(tmp_path / "2.png"))
    assert [s.key for s in found.samples] == ["2.png"] and found.samples[0].label is None


def test_loose_images_beside_classes_are_listed(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "stray.png")
    found = folder(str(tmp_path))
    assert len(found) == 2 and codes(found)["no-class-folder"].keys == ("stray.png",)


def test_missing_classes_are_warned_of(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png")
    found = codes(folder(str(tmp_path)))
    assert found["class-not-in-train"].keys == ("c",) and found["class-not-in-split"].keys == ("b",)


def test_junk_is_never_a_class_and_never_a_sample(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", ".git/x/1.png", "__MACOSX/a/1.png", "a/._1.png", "a/.ipynb_checkpoints/1.png")
    for name in (".DS_Store", "a/.DS_Store", "a/Thumbs.db", "b/desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "a" / "boxes.txt").write_text("x")
    (tmp_path / "a" / "photo.heic").write_bytes(b"x")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "dir.jpg").mkdir()
    found = folder(str(tmp_path))
    assert labels(found).keys() == {"a/1.png", "b/1.png"} and found.classes == ("a", "b")
    issues = codes(found)
    assert issues["ignored-file"].keys == ("notes.txt", "a/boxes.txt") and issues["ignored-file"].severity == "note"
    assert issues["unsupported-format"].keys == ("a/photo.heic",) and issues["broken-link"].keys == ("a/pipe.png",)
    assert issues["empty-class"].keys == ("empty",)


def test_links(tmp_path):
    put(tmp_path, "outside/secret.png", "data/a/1.png", "data/b/1.png")
    data = tmp_path / "data"
    (data / "a" / "inside.png").symlink_to(data / "b" / "1.png")
    (data / "a" / "out.png").symlink_to(tmp_path / "outside" / "secret.png")
    (data / "c").symlink_to(tmp_path / "outside")
    (data / "a" / "dangling.png").symlink_to(data / "nowhere.png")
    (data / "a" / "loop").symlink_to(data)
    (data / "b" / "self.png").symlink_to(data / "b" / "self.png")
    found = folder(str(data))
    assert labels(found).keys() == {"a/1.png", "a/inside.png", "b/1.png"}
    assert set(codes(found)["outside-root"].keys) == {"a/out.png", "c"}
    assert set(codes(found)["broken-link"].keys) == {"a/dangling.png", "b/self.png"}


def test_a_root_that_is_a_link_is_fine(tmp_path):
    put(tmp_path, "data/a/1.png", "data/b/1.png")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert len(folder(str(tmp_path / "link"))) == 2


def test_names_of_all_kinds_are_kept(tmp_path):
    names = ["with space", "émoji 🐜", "-dash", "[red]x", "new\nline", "a'b\"c", "CON", "x."]
    put(tmp_path, *(f"{name}/1.png" for name in names))
    assert folder(str(tmp_path)).classes == tuple(sorted(names))


def test_undecodable_names_become_text(tmp_path):
    put(tmp_path, "a/1.png")
    bad = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(bad)
    os.link(tmp_path / "a" / "1.png", os.fsdecode(bad + b"/1.png"))
    found = folder(str(tmp_path))
    assert found.classes == ("a", "caf\\xe9")
    assert all(found.load(sample).size == (4, 4) and sample.key.encode() for sample in found.samples)


def test_look_alike_class_names_are_warned_of(tmp_path):
    put(tmp_path, "Cat/1.png", "cat/1.png", "caf\u00e9/1.png", "cafe\u0301/1.png", "dog/1.png")
    found = folder(str(tmp_path))
    assert len(found.classes) == 5 and set(codes(found)["similar-classes"].keys) == {
        "Cat",
        "cat",
        "caf\u00e9",
        "cafe\u0301",
    }


def test_errors_say_what_is_there(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        folder(str(tmp_path / "none"))
    with pytest.raises(DataError, match="it is empty"):
        folder(str(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="1 other files, such as a.txt"):
        folder(str(tmp_path))


def test_nothing_is_written(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    before = sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    found = folder(str(tmp_path))
    [found.load(sample) for sample in found.samples]
    assert sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
