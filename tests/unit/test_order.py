"""Batches hold each sample once, need little padding, and are a function of seed and place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graft.device import permutation
from graft.order import NEAR, Pairs, batches, split


def padded(lengths: Tensor, made: list[Tensor]) -> int:
    """Tokens that are run when each batch is padded to its longest."""
    return sum(len(rows) * int(lengths[rows].max()) for rows in made)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.booleans())
def test_each_sample_comes_once_and_no_batch_has_one_alone(count: int, size: int, ragged: bool) -> None:
    lengths = torch.randint(1, 50, (count,)) if ragged else None
    made = batches(count, size, lengths, 0, "order", 0, 1)
    assert torch.cat(list(made)).sort().values.tolist() == list(range(count))
    assert all(len(rows) <= size + 1 for rows in made)
    assert size == 1 or len(made) == 1 or min(map(len, made)) > 1


def test_without_lengths_it_is_a_permutation_of_the_place() -> None:
    assert torch.equal(torch.cat(list(batches(20, 6, None, 3, "x"))), permutation(20, 3, "x"))
    again = batches(20, 6, None, 3, "x")
    assert all(torch.equal(a, b) for a, b in zip(batches(20, 6, None, 3, "x"), again, strict=True))
    assert not torch.equal(torch.cat(list(batches(20, 6, None, 4, "x"))), permutation(20, 3, "x"))


def test_like_lengths_go_together_and_the_batches_stay_shuffled() -> None:
    lengths = torch.randint(5, 200, (4000,), generator=torch.Generator().manual_seed(0))
    made, plain = batches(4000, 16, lengths, 0), batches(4000, 16, None, 0)
    assert padded(lengths, list(made)) < 1.05 * int(lengths.sum())
    assert padded(lengths, list(plain)) > 1.7 * int(lengths.sum())
    longest = torch.stack([lengths[rows].max() for rows in made[:NEAR]]).double()
    assert abs(float(torch.corrcoef(torch.stack([longest, torch.arange(NEAR).double()]))[0, 1])) < 0.5


def test_pairs_are_sorted_by_the_longer_of_the_two() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths, targets = (torch.randint(2, high, (3200,), generator=generator) for high in (100, 12))
    partners = Pairs(targets).partners(torch.arange(3200), 0, "pairs", 0, 0)
    longer = torch.maximum(lengths, lengths[partners])
    both, own = batches(3200, 16, longer, 0), batches(3200, 16, lengths, 0)
    assert padded(longer, list(both)) < 0.8 * padded(longer, list(own))


@pytest.mark.parametrize("count", [1, 2, 17])
def test_the_last_sample_joins(count: int) -> None:
    assert [len(rows) for rows in batches(count, 16, None, 0)] == [count]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 200), st.integers(2, 40), st.integers(1, 3000))
def test_batches_of_long_samples_are_divided(count: int, size: int, most: int) -> None:
    lengths = torch.randint(1, 200, (count,), generator=torch.Generator().manual_seed(count))
    made = list(batches(count, size, lengths, 0, "order", most=most))
    assert torch.cat(made).sort().values.tolist() == list(range(count)) and min(map(len, made)) > 1
    assert all(
        torch.equal(a, b) for a, b in zip(made, batches(count, size, lengths, 0, "order", most=most), strict=True)
    )
    assert all(padded(lengths, [rows]) <= max(most, size) or len(rows) <= 3 for rows in made)


def test_one_long_sample_does_not_lengthen_all() -> None:
    lengths = torch.tensor([3] * 63 + [100])
    made = batches(64, 64, lengths, 0, most=320)
    assert sorted(map(len, made)) == [2, 62] and padded(lengths, list(made)) == 62 * 3 + 2 * 100


def test_what_is_not_too_much_stays_as_it_is() -> None:
    lengths = torch.randint(1, 200, (300,))
    largest = 17 * 200
    for a, b in zip(batches(300, 16, lengths, 0), batches(300, 16, lengths, 0, most=largest), strict=True):
        assert torch.equal(a, b)
    ones = torch.ones(64, dtype=torch.long)
    assert [len(rows) for rows in batches(64, 64, ones, 0, most=5)] == [64], "one window each is never too many"


def test_split_by_positions() -> None:
    lengths = torch.tensor([1, 2, 3, 10, 50])
    assert [rows.tolist() for rows in split(torch.arange(5), 3, lengths, 9)] == [[0, 1, 2], [3], [4]]
    assert [rows.tolist() for rows in split(torch.arange(5), 3, lengths, 9, least=2)] == [[0, 1, 2], [3, 4]]
    assert [rows.tolist() for rows in split(torch.arange(5), 3)] == [[0, 1, 2], [3, 4]]
