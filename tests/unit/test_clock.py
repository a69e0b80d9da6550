"""Budgets of time: what is read, what is refused, what is left."""

from __future__ import annotations

import time

import pytest

from graft.clock import Clock, seconds
from graft.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("10m", 600), ("1h", 3600), ("2.5m", 150), ("600", 600), (" 2 H ", 7200), ("0.5s", 0.5)],
)
def test_a_time_is_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "ten minutes", "-5s", "0", "0.0h", "1h30m", "1d", "nan", "1e3", "."])
def test_what_is_no_positive_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time") as caught:
        seconds(text)
    assert "--budget 10m" in caught.value.hint and repr(text) in caught.value.what


def test_left_counts_down_to_the_reserve_and_below(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(60.0, began=1000.0)
    assert (clock.left(), clock.left(reserve=20)) == (60, 40)
    now = 1050.0
    assert (clock.left(), clock.left(reserve=20)) == (10, -10)
    now = 1070.0
    assert clock.left() == -10


def test_the_time_before_the_clock_was_made_counts_too() -> None:
    assert Clock(60.0, time.monotonic() - 15).left() == pytest.approx(45, abs=1)
