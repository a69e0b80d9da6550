"""Samples are decoded once, by whoever asks first, or again where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_features import Pictures

from graft.backbones.toy import toy
from graft.cache import Cache
from graft.canvas import Canvas
from graft.errors import DataError
from graft.types import Raw, Sample, UnreadableSample


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


def test_a_file_that_vanished_is_named() -> None:
    def gone(sample: Sample) -> Raw:
        raise UnreadableSample("the file does not exist")

    data = Pictures().dataset().replace(load=gone)
    with pytest.raises(DataError, match=r"0\.png could be read before"):
        Canvas(data, toy().preprocess).take(torch.tensor([0]))
