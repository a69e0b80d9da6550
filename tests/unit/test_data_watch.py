"""Files that change while a run is at work: it stops, and names them; nothing is trained on other bytes than those
that were audited."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from graft.backbones._images import Images
from graft.canvas import Canvas
from graft.data._audit import audit
from graft.data.audio import audio
from graft.data.digits import digits
from graft.data.folder import folder
from graft.data.texts import texts
from graft.errors import DataError


def edit(path):
    with Image.open(path) as image:
        image.convert("RGB").point(lambda level: 255 - level).save(path)


def delete(path):
    path.unlink()


def replaced(path):
    """By a file of the same size and time."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.with_suffix(".new").write_bytes(data)
    os.utime(path.with_suffix(".new"), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.with_suffix(".new").replace(path)


def damage(path):
    path.write_bytes(path.read_bytes()[:60])


CHANGES = (edit, delete, replaced, damage)


def test_each_of_20_changed_files_is_noticed(flowers):
    dataset = audit(folder(str(flowers)))
    changed = dataset.samples[:20]
    for i, sample in enumerate(changed):
        CHANGES[i % 4](sample.source)
    for sample in dataset.samples:
        if sample in changed:
            with pytest.raises(DataError, match="^20 files of flowers changed while the run used them"):
                dataset.load(sample)
        else:
            assert dataset.load(sample).size == (24, 24)


def test_the_error_names_a_few_and_counts_the_rest(flowers):
    dataset = audit(folder(str(flowers)))
    for sample in dataset.samples[:7]:
        delete(sample.source)
    with pytest.raises(DataError) as caught:
        dataset.load(dataset.samples[3])
    names = ", ".join(f"{sample.key} (gone)" for sample in sorted(dataset.samples[:7], key=lambda s: s.source)[:5])
    assert caught.value.what.endswith(f"{names} and 2 more") and caught.value.hint


def test_what_was_touched_or_copied_back_is_fine(flowers):
    dataset = audit(folder(str(flowers)))
    first, second = dataset.samples[:2]
    os.utime(first.source)
    shutil.copy(second.source, flowers / "aside")
    delete(second.source)
    shutil.copy(flowers / "aside", second.source)
    for sample in (first, second, first):
        assert dataset.load(sample).size == (24, 24)


def test_a_decoding_thread_hands_the_error_on(flowers):
    """In the middle of an epoch: 20 files change after the first batch."""
    dataset = audit(folder(str(flowers)))
    canvas = Canvas(dataset, Images(24, 24))
    canvas.take(torch.arange(8))
    for sample in dataset.samples[8:28]:
        edit(sample.source)
    canvas.ahead(torch.arange(8, 36))
    assert canvas.take(torch.arange(8)).shape == (8, 3, 24, 24)  # these were decoded before
    with pytest.raises(DataError, match="20 files of flowers changed"):
        canvas.take(torch.arange(8, 36))


def test_files_of_text(tmp_path):
    for i in range(6):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.txt").write_text(f"this is the text of file number {i}")
    dataset = audit(texts(str(tmp_path)))
    assert {sample.about["characters"] for sample in dataset.samples} == {33}
    dataset.samples[1].source.write_text("this is another text of 33 letter")
    assert dataset.load(dataset.samples[0]).text.startswith("this is the text")
    with pytest.raises(DataError, match="1 file of .* changed .*" + dataset.samples[1].key):
        dataset.load(dataset.samples[1])


def test_sounds_are_watched_until_they_are_read(sounds):
    pytest.importorskip("soundfile")
    dataset = audit(audio(str(sounds)))
    opened = [dataset.load(sample) for sample in dataset.samples[:2]]
    data = bytearray(Path(dataset.samples[0].source).read_bytes())
    data[-100] ^= 64
    Path(dataset.samples[0].source).write_bytes(data)
    with pytest.raises(DataError, match="1 file of"):
        opened[0].read(0, 100)
    assert len(opened[1].read(0, 100)) == 100
    with pytest.raises(DataError, match="1 file of"):
        dataset.load(dataset.samples[0])


def test_a_file_that_changed_before_its_copies_were_compared(tmp_path, flowers, monkeypatch):
    """Between the look at all files and the second look at those that share a thumb."""
    from graft.data import _audit

    first = sorted(flowers.rglob("*.png"))[0]
    with Image.open(first) as image:
        image.save(first.with_suffix(".bmp"))
    contents = _audit._contents
    monkeypatch.setattr(_audit, "_contents", lambda *given: delete(first) or contents(*given))
    with pytest.raises(DataError, match="1 file of flowers changed"):
        audit(folder(str(flowers)))


def test_what_lies_in_memory_is_not_watched():
    dataset = digits()
    assert audit(dataset).load is dataset.load


def test_what_files_say_of_themselves(flowers, sounds):
    """The format by the content, not by the name."""
    path = flowers / "rose" / "1.png"
    with Image.open(path) as image:
        image.convert("L").resize((30, 20)).save(path, "JPEG")
    found = {sample.key: dict(sample.about) for sample in audit(folder(str(flowers))).samples}
    size = path.stat().st_size
    assert found["rose/1.png"] == {"format": "JPEG", "mode": "L", "width": 30, "height": 20, "bytes": size}
    assert found["rose/2.png"]["format"] == "PNG" and found["rose/2.png"]["mode"] == "RGB"
    assert dict(audit(digits()).samples[0].about) == {
        "format": "", "mode": "RGB", "width": 8, "height": 8, "bytes": 64}  # fmt: skip
    pytest.importorskip("soundfile")
    sample = next(sample for sample in audit(audio(str(sounds))).samples if sample.key == "hum/0.wav")
    size = Path(sample.source).stat().st_size
    seconds = (size - 44) / 2 / 8000
    assert sample.about == {"format": "WAV", "rate": 8000, "channels": 1, "seconds": seconds, "bytes": size}
