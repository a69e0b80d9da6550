"""A budget of time: "90s", "10m", "1h", or a number of seconds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from graft.errors import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Raises UsageError for what is no positive time."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", text.lower())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"budget={text!r} is not a time", "--budget 90s, --budget 10m or --budget 1h")
    return float(match[1]) * _UNITS[match[2]]


@dataclass
class Clock:
    """Counts down from `budget` seconds since `began`."""

    budget: float
    began: float = field(default_factory=time.monotonic)

    def left(self, reserve: float = 0.0) -> float:
        """Seconds until only the reserve is left; negative afterwards."""
        return self.began + self.budget - reserve - time.monotonic()
