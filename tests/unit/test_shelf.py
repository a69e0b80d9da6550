"""Rows in memory, in a mapped file, or nowhere; of one size or of many."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.weak import WeakIdKeyDictionary

from graft.shelf import Shelf, memory_budget, room


def test_rows_lie_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", "0.000003")  # 3,221 bytes
    monkeypatch.setattr("graft.shelf._in_memory", WeakIdKeyDictionary())  # what other tests still hold is not meant
    in_memory = room(10, (4,), torch.float32)
    assert in_memory is not None and room(1000, (4,), torch.float32) is None
    assert room(1000, (4,), torch.float32, scratch=tmp_path, disk=15_999) is None
    assert room(10, (4,), torch.float32, times=100) is None, "each of the views needs room"
    mapped = room(1000, (4,), torch.bfloat16, scratch=tmp_path / "new", disk=8_000)
    assert mapped is not None and not list((tmp_path / "new").iterdir()), "the file has no name"
    mapped.put(torch.tensor([999, 3]), torch.tensor([[1.0] * 4, [2.0] * 4]))
    assert mapped.take(torch.tensor([3, 999, 0])).tolist() == [[2.0] * 4, [1.0] * 4, [0.0] * 4]  # type: ignore[union-attr]


def test_a_folder_that_cannot_be_written_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", "0")
    (tmp_path / "file").write_text("")
    assert room(10, (4,), torch.float32, scratch=tmp_path / "file", disk=1 << 20) is None


def test_sequences_keep_their_lengths() -> None:
    sizes = torch.tensor([2, 0, 3])
    shelf = room(3, (4,), torch.float32, sizes=sizes)
    assert shelf is not None and len(shelf.flat) == 5
    rows = [torch.full((int(size), 4), float(i)) for i, size in enumerate(sizes)]
    shelf.put(torch.tensor([2, 0, 1]), [rows[2], rows[0], rows[1]])
    assert all(torch.equal(a, b) for a, b in zip(shelf.take(torch.arange(3)), rows, strict=True))
    (last,) = shelf.part(torch.tensor([0, 2])).take(torch.tensor([1]))
    assert torch.equal(last, rows[2])


def test_a_part_shares_its_rows() -> None:
    shelf = Shelf(torch.arange(12.0).reshape(6, 2))
    part = shelf.part(torch.tensor([5, 1, 3])).part(torch.tensor([2, 0]))
    assert part.whole().tolist() == [[6, 7], [10, 11]]
    part.put(torch.tensor([1]), torch.zeros(1, 2))
    assert shelf.flat[5].tolist() == [0, 0] and shelf.whole() is shelf.flat


def test_the_budget_is_a_share_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAFT_MEMORY", raising=False)
    assert 0 < memory_budget() < 1 << 50
    monkeypatch.setenv("GRAFT_MEMORY", "2")
    assert memory_budget() == 2 << 30


def test_all_rows_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MEMORY", "0.000003")  # 3,221 bytes
    monkeypatch.setattr("graft.shelf._in_memory", WeakIdKeyDictionary())
    first = room(500, (1,), torch.float32)
    assert first is not None and room(500, (1,), torch.float32) is None
    del first
    assert room(500, (1,), torch.float32) is not None, "what nobody holds any more is free"
