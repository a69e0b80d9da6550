"""Samples are decoded once, by whoever asks first, or again where they do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_features import Pictures
from torch import Tensor

from graft import archive
from graft.backbones._images import Images
from graft.backbones.toy import toy
from graft.cache import Cache
from graft.canvas import Canvas
from graft.errors import DataError
from graft.types import Dataset, Raw, Sample, UnreadableSample


def canvas(pictures: Pictures, cache: Cache | None = None) -> Canvas:
    return Canvas(pictures.dataset(), toy().preprocess, cache)


def pixels(pictures: Pictures, rows: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(pictures.pixels[rows.numpy()], -1, 1))


@pytest.mark.parametrize("memory", ["1", "0"])
def test_samples_come_as_they_are(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", memory)
    pictures, rows = Pictures(), torch.tensor([7, 3, 3, 19])
    made = canvas(pictures)
    made.ahead(torch.arange(5))
    for _ in range(2):
        assert torch.equal(torch.as_tensor(made.take(rows)), pixels(pictures, rows))
    made.ahead(torch.tensor([1, 2]))
    made.ahead(torch.tensor([2, 1]))
    made.take(torch.tensor([1, 2]))
    assert all(pictures.loads[i] == 1 for i in (1, 2)), "what is on its way is not decoded again"
    assert not made.store.coming


def test_parts_share_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures()
    whole = canvas(pictures)
    rows = torch.tensor([4, 9, 2])
    part = whole.part(rows, pictures.dataset().replace(samples=tuple(pictures.dataset().samples[i] for i in rows)))
    assert torch.equal(torch.as_tensor(part.take(torch.tensor([2, 0]))), pixels(pictures, rows[[2, 0]]))
    whole.fill()
    part.take(torch.arange(3))
    assert set(pictures.loads.values()) == {1}


def test_what_memory_cannot_hold_lies_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", "0")
    pictures = Pictures()
    made = canvas(pictures, Cache(tmp_path))
    made.fill()
    assert torch.equal(torch.as_tensor(made.take(torch.arange(20))), pixels(pictures, torch.arange(20)))
    assert set(pictures.loads.values()) == {1} and not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------- kept for the next run


@pytest.fixture
def worth(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quickly they are decoded."""
    monkeypatch.setattr(archive, "WORTH", (0.0, 1e15))


def epochs(pictures: Pictures, cache: Cache, count: int = 2, dataset: Dataset | None = None) -> Tensor:
    made = Canvas(dataset or pictures.dataset(), toy().preprocess, cache)
    found = torch.empty(0)
    for _ in range(count):
        for rows in torch.arange(len(made.at)).split(7):
            made.ahead(rows)
            made.take(rows)
        found = torch.as_tensor(made.take(torch.arange(len(made.at))))
    return found


@pytest.mark.usefixtures("worth")
@pytest.mark.parametrize("memory", ["1", "0"])
def test_the_next_run_does_not_decode_again(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", memory)
    first, second = Pictures(), Pictures()
    epochs(first, Cache(tmp_path))
    made = epochs(second, Cache(tmp_path), 1)
    assert torch.equal(made, pixels(first, torch.arange(20)))
    assert sum(first.loads.values()) == 20 and sum(second.loads.values()) == 1, "the first one tells the size"
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


@pytest.mark.usefixtures("worth")
def test_what_is_asked_for_once_is_not_kept(tmp_path: Path) -> None:
    made = canvas(Pictures(), Cache(tmp_path))
    made.fill()
    made.take(torch.arange(10))
    made.take(torch.arange(10, 20))
    assert not list(tmp_path.iterdir())
    made.take(torch.arange(3))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_what_is_decoded_quickly_is_not_kept(tmp_path: Path) -> None:
    epochs(Pictures(), Cache(tmp_path), 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("worth")
def test_what_takes_half_of_the_budget_is_not_kept(tmp_path: Path) -> None:
    pictures = Pictures()
    epochs(pictures, Cache(tmp_path, budget=pictures.pixels.nbytes))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.usefixtures("worth")
def test_no_file_is_read_again_for_a_cache_that_has_no_room(tmp_path: Path) -> None:
    first, more, read = Pictures(), Pictures(), []
    budget = 2 * 15 * first.pixels[0].nbytes
    few = first.dataset().replace(samples=first.dataset().samples[:15])
    epochs(first, Cache(tmp_path, budget), dataset=few)
    kept = sorted(tmp_path.rglob("*.safetensors"))
    given = more.dataset()
    watched = given.replace(read_bytes=lambda sample: read.append(sample.key) or given.read_bytes(sample))
    epochs(more, Cache(tmp_path, budget), dataset=watched)
    assert kept and sorted(tmp_path.rglob("*.safetensors")) == kept and not read


@pytest.mark.usefixtures("worth")
def test_new_pictures_are_decoded_and_kept_beside_the_others(tmp_path: Path) -> None:
    few, all_of_them = Pictures(), Pictures()
    epochs(few, Cache(tmp_path), dataset=few.dataset().replace(samples=few.dataset().samples[:15]))
    assert torch.equal(epochs(all_of_them, Cache(tmp_path)), pixels(few, torch.arange(20)))
    assert sum(all_of_them.loads.values()) == 1 + 5
    again = Pictures()
    epochs(again, Cache(tmp_path))
    assert sum(again.loads.values()) == 1


@pytest.mark.usefixtures("worth")
def test_parts_find_their_own_rows(tmp_path: Path) -> None:
    """And a file of which little is asked for is not read."""
    epochs(Pictures(), Cache(tmp_path))
    for count, decoded in ((12, 1), (4, 4)):
        pictures = Pictures()
        rows = torch.arange(20).flip(0)[:count]
        whole = canvas(pictures, Cache(tmp_path))
        part = whole.part(rows, pictures.dataset().replace(samples=tuple(pictures.dataset().samples[i] for i in rows)))
        assert torch.equal(torch.as_tensor(part.take(torch.arange(count))), pixels(pictures, rows))
        assert sum(pictures.loads.values()) == decoded


@pytest.mark.usefixtures("worth")
def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    epochs(Pictures(), Cache(tmp_path))
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9] + b"not these")
    pictures = Pictures()
    assert torch.equal(epochs(pictures, Cache(tmp_path)), pixels(pictures, torch.arange(20)))
    assert sum(pictures.loads.values()) == 20


@pytest.mark.usefixtures("worth")
def test_files_that_changed_after_they_were_decoded_are_not_kept(tmp_path: Path) -> None:
    pictures = Pictures()
    epochs(pictures, Cache(tmp_path), dataset=pictures.dataset().replace(read_bytes=lambda _: b"something else"))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.usefixtures("worth")
def test_other_preprocessing_is_another_address_but_for_the_normalisation(tmp_path: Path) -> None:
    epochs(Pictures(), Cache(tmp_path))
    plain = toy().preprocess
    assert isinstance(plain, Images)
    for other, decoded in ((replace(plain, mean=(0.1, 0.2, 0.3)), 1), (replace(plain, interpolation="bicubic"), 20)):
        pictures = Pictures()
        Canvas(pictures.dataset(), other, Cache(tmp_path)).take(torch.arange(20))
        assert sum(pictures.loads.values()) == decoded


def test_a_file_that_vanished_is_named() -> None:
    def gone(sample: Sample) -> Raw:
        raise UnreadableSample("the file does not exist")

    data = Pictures().dataset().replace(load=gone)
    with pytest.raises(DataError, match=r"0\.png could be read before"):
        Canvas(data, toy().preprocess).take(torch.tensor([0]))
