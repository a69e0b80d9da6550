"""The audit: what is unreadable is listed, what is a copy is grouped, and look-alikes are not copies."""

import hashlib
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from graft.data import _audit, _copies
from graft.data._audit import audit, require_classes, unreadable
from graft.data._looks import look
from graft.data.digits import digits
from graft.data.folder import folder
from graft.errors import DataError
from graft.types import UnreadableSample


def picture(seed, size=(96, 72)):
    """Smooth colours with some edges: compresses as photographs do."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.integers(0, 60, 2).tolist()
        draw.ellipse((x, y, x + 20, y + 15), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image


def save(root, name, image, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def codes(dataset):
    return {issue.code: issue for issue in dataset.issues}


def groups(dataset):
    found = {}
    for sample in dataset.samples:
        if sample.group:
            found.setdefault(sample.group, set()).add(sample.key)
    return sorted(map(sorted, found.values()))


def test_unreadable_files_are_left_out_and_listed_by_reason(tmp_path):
    for i in range(4):
        save(tmp_path, f"{'ab'[i % 2]}/{i}.png", picture(i))
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    (tmp_path / "a" / "void.jpg").write_bytes(b"")
    (tmp_path / "b" / "page.png").write_bytes(b"<html>")
    data = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(data[: len(data) // 2])
    found = audit(folder(str(tmp_path)))
    listed = {issue.what: issue.keys for issue in found.issues if issue.code == "unreadable"}
    assert len(found) == 4 and sorted(map(len, listed.values())) == [1, 1, 2]
    assert listed["left out, because unreadable: empty file"] == ("a/empty.jpg", "a/void.jpg")
    assert all(s.digest == hashlib.sha256((tmp_path / s.key).read_bytes()).hexdigest() for s in found.samples)


def test_each_unreadable_key_has_its_reason(tmp_path):
    for i in range(3):
        save(tmp_path, f"a/{i}.png", picture(i))
    bad = {"void.jpg": b"", "empty.jpg": b"", "page.png": b"<html>", "text.png": b"not a picture"}
    for name, content in bad.items():
        (tmp_path / "a" / name).write_bytes(content)
    data = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "cut.png").write_bytes(data[: len(data) // 2])
    issues = audit(folder(str(tmp_path))).issues
    reasons = unreadable(issues)
    named = [key for issue in issues if issue.code == "unreadable" for key in issue.keys]
    assert sorted(named) == sorted(reasons) == sorted(f"a/{name}" for name in [*bad, "cut.png"])
    assert reasons["a/void.jpg"] == reasons["a/empty.jpg"] == "empty file"
    assert reasons["a/page.png"].startswith("not an image") and not any("left out" in r for r in reasons.values())
    assert unreadable(()) == {} and unreadable([i for i in issues if i.code != "unreadable"]) == {}


def test_a_reason_without_words_is_a_reason(tmp_path):
    """A reader of someone else may raise it bare."""
    save(tmp_path, "a/1.png", picture(0))
    save(tmp_path, "a/2.png", picture(1))

    def read(sample):
        if sample.key == "a/2.png":
            raise UnreadableSample("")
        return Path(sample.source).read_bytes()

    found = audit(folder(str(tmp_path)).replace(read_bytes=read))
    assert unreadable(found.issues) == {"a/2.png": "it cannot be read"} and len(found) == 1


def test_nothing_readable_and_nothing_at_all(tmp_path):
    save(tmp_path, "a/1.png", picture(0))
    (tmp_path / "a" / "1.png").write_bytes(b"")
    dataset = folder(str(tmp_path))
    with pytest.raises(DataError, match="none of the 1 samples"):
        audit(dataset)
    with pytest.raises(DataError, match="no samples"):
        audit(dataset.replace(samples=()))


def test_a_file_that_may_not_be_opened(tmp_path):
    save(tmp_path, "a/1.png", picture(0))
    save(tmp_path, "a/2.png", picture(1))
    os.chmod(tmp_path / "a" / "2.png", 0)
    if os.access(tmp_path / "a" / "2.png", os.R_OK):
        pytest.skip("this user may read every file")
    assert codes(audit(folder(str(tmp_path))))["unreadable"].keys == ("a/2.png",)


def test_classes_are_required_separately(tmp_path):
    for i in range(3):
        save(tmp_path, f"a/{i}.png", picture(i))
    found = audit(folder(str(tmp_path)))
    with pytest.raises(DataError, match="only one class, 'a'"):
        require_classes(found)
    with pytest.raises(DataError, match="no labels"):
        require_classes(audit(folder(str(tmp_path / "a"))))
    require_classes(digits())


def test_conversions_are_counted(tmp_path):
    save(tmp_path, "a/1.png", picture(1).convert("L"))
    save(tmp_path, "a/2.png", picture(2))
    save(tmp_path, "b/3.jpg", picture(3).convert("CMYK"))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path, "b/4.jpg", picture(4), exif=exif)
    found = codes(audit(folder(str(tmp_path))))
    assert {code: found[code].keys for code in ("grey", "cmyk", "exif-rotated")} == {
        "grey": ("a/1.png",), "cmyk": ("b/3.jpg",), "exif-rotated": ("b/4.jpg",)}  # fmt: skip


def test_exact_copies_are_equal_pixels_not_equal_bytes(tmp_path):
    save(tmp_path, "a/1.png", picture(1))
    save(tmp_path, "a/2.bmp", picture(1))
    save(tmp_path, "b/3.png", picture(3))
    found = audit(folder(str(tmp_path)))
    assert groups(found) == [["a/1.png", "a/2.bmp"]] and codes(found)["exact-copies"].keys == ("a/1.png", "a/2.bmp")
    assert "conflicting-labels" not in codes(found)


def test_one_picture_under_two_labels(tmp_path):
    for i in range(50):
        save(tmp_path, f"a/{i}.png", picture(i))
        save(tmp_path, f"b/{i}.png", picture(i if i < 20 else 100 + i))
    issue = codes(audit(folder(str(tmp_path))))["conflicting-labels"]
    assert issue.severity == "warning" and len(issue.keys) == 40 and "20 pictures" in issue.what
    assert dict(zip(issue.keys, issue.details, strict=True))["a/3.png"] == "a, but b in b/3.png"


@pytest.mark.parametrize("change, least", [("jpeg60", 0.99), ("half", 0.95), ("double", 0.95), ("brighter", 0.9)])
def test_near_copies_are_found(change, least):
    changes = {
        "jpeg60": lambda image: reencoded(image, 60),
        "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
        "double": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
        "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    }
    images = [picture(i, (192, 144)) for i in range(100)]
    images += [changes[change](image) for image in images]
    found = set(_copies.near_copies(np.stack([_copies.thumb(i) for i in images]), images.__getitem__))
    planted = {(i, i + 100) for i in range(100)}
    assert len(found & planted) >= 100 * least and not found - planted


def test_simple_pictures_that_look_alike_are_not_copies():
    found = audit(digits())
    assert sum(sample.group is not None for sample in found.samples) <= 0.002 * len(found)


def test_flat_pictures_and_recoloured_pictures_are_not_copies():
    flat = [Image.new("RGB", (32, 32), (i, i, 255 - i)) for i in range(60)]
    shapes = []
    for colour in ((200, 60, 60), (60, 129, 60), (60, 60, 255)):  # about equally bright
        image = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(image).ellipse((6, 8, 25, 24), fill=colour)
        shapes.append(image)
    images = flat + shapes
    assert _copies.near_copies(np.stack([_copies.thumb(i) for i in images]), images.__getitem__) == []


def test_hashes_at_most_three_bits_apart_all_become_candidates():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 200, dtype=np.uint64)
    flipped = [h ^ np.uint64(sum(1 << int(b) for b in rng.choice(64, rng.integers(0, 4), False))) for h in hashes]
    every = np.concatenate([hashes, np.array(flipped, np.uint64)])
    original, _copies.difference_hash = _copies.difference_hash, lambda thumbs: every
    try:
        found = {tuple(pair) for pair in _copies._candidates(np.zeros((400, 16, 18, 3), np.uint8)).tolist()}
    finally:
        _copies.difference_hash = original
    brute = {(i, j) for i in range(400) for j in range(i + 1, 400) if int(every[i] ^ every[j]).bit_count() <= 3}
    assert found == brute and {(i, i + 200) for i in range(200)} <= found


def test_copies_join_given_groups(tmp_path):
    from graft.data.csv import csv

    rows = ["path,label,patient"]
    for i, (label, patient) in enumerate([("a", "p1"), ("b", "p1"), ("a", "p2"), ("b", ""), ("a", "p3"), ("b", "")]):
        save(tmp_path, f"{i}.png", picture({2: 0, 3: 0}.get(i, i)))
        rows.append(f"{i}.png,{label},{patient}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    found = audit(csv(str(tmp_path / "t.csv")))
    assert [s.group for s in found.samples] == ["p1", "p1", "p1", "p1", "p3", None]


def test_leaks_between_given_parts_are_found(tmp_path):
    for i in range(6):
        save(tmp_path, f"train/{'ab'[i % 2]}/{i}.png", picture(i))
        save(tmp_path, f"test/{'ab'[i % 2]}/{i}.png", picture(i if i < 2 else 50 + i))
    save(tmp_path, "test/a/n.jpg", picture(2), quality=60)
    issue = codes(audit(folder(str(tmp_path))))["leak"]
    assert issue.keys == ("train/a/0.png", "train/a/2.png", "train/b/1.png") and issue.severity == "warning"
    assert issue.details == tuple(f"a copy of test/{name}" for name in ("a/0.png", "a/n.jpg", "b/1.png"))


def test_progress_and_lonely_classes(tmp_path):
    for i in range(70):
        save(tmp_path, f"{'a' if i else 'b'}/{i:02d}.png", picture(i, (24, 24)))
    seen = []
    found = audit(folder(str(tmp_path)), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (70, 70) and seen == sorted(seen)
    assert codes(found)["one-sample-class"].keys == ("b",)


def test_digits_take_less_than_two_seconds():
    dataset = digits()
    start = time.perf_counter()
    assert len(audit(dataset)) == 1797
    assert time.perf_counter() - start < 2


def test_real_photographs_have_no_false_alarms():
    root = os.environ.get("GRAFT_DATA")
    if not root or not (Path(root) / "hymenoptera").is_dir():
        pytest.skip("GRAFT_DATA does not hold hymenoptera")
    found = audit(folder(str(Path(root) / "hymenoptera")))
    assert len(found) == 396 and groups(found) == [] and found.issues == ()


def reencoded(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def test_exact_copies_have_the_same_pixels_whatever_their_files_hold(tmp_path, monkeypatch):
    """One grey level in one pixel does not show in the thumb; only pictures of one thumb are opened again."""
    image, other = picture(0), picture(0)
    red, *rest = other.getpixel((5, 5))
    other.putpixel((5, 5), (red ^ 1, *rest))
    assert (_copies.thumb(image) == _copies.thumb(other)).all()
    save(tmp_path, "a/1.png", image)
    save(tmp_path, "a/2.bmp", image)
    save(tmp_path, "a/3.png", other)
    save(tmp_path, "a/4.png", picture(1))
    dataset, opened = folder(str(tmp_path)), []
    again = _audit._again
    monkeypatch.setattr(_audit, "_again", lambda *a: opened.append(a[1].key) or again(*a))
    looks = [look(dataset, sample) for sample in dataset.samples]
    first, second, third, fourth = _audit._contents(dataset, dataset.samples, looks)
    assert first == second and len({first, third, fourth}) == 3
    assert opened == ["a/1.png", "a/2.bmp", "a/3.png"]
