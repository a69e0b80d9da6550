"""What was made last, of what: a decoder is slow, and the figures of one epoch ask it for the same texts again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Last(Generic[T]):
    """One result, and the objects that it was made of. These are told apart by identity, must not change, and are not
    kept alive: when one of them is gone, so is the result."""

    def __init__(self) -> None:
        self._of: tuple[weakref.ref[object], ...] = ()
        self._made: T | None = None

    def __call__(self, make: Callable[[], T], *of: object) -> T:
        """What `make` says of these objects, made anew if the last one was made of others."""
        made = self._made
        if made is None or len(of) != len(self._of) or any(a() is not b for a, b in zip(self._of, of, strict=True)):
            made = make()
            self._of, self._made = tuple(weakref.ref(one, self._forget) for one in of), made
        return made

    def _forget(self, gone: weakref.ref[object]) -> None:
        self._of, self._made = (), None

    def __deepcopy__(self, memo: object) -> Last[T]:
        return Last()
