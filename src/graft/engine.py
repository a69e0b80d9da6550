"""How frozen prefixes are run: an engine of engines/ at a precision, compared with plain float32 before it is trusted.

A fast way that does not give the features of plain PyTorch in float32 is left, and the user is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor

from graft import registry
from graft.device import autocast, pick, precision
from graft.errors import GraftError
from graft.prefix import Build, Prefix, Run, widest
from graft.spec import parse
from graft.types import Inputs, Recipe

FEW = 32  # rows that are run as they are
ALONE = 512  # tokens at a time of those, more images than there are
CHECKED = 8  # rows that are compared
AGREE = 0.999  # the least cosine of a row with that of plain float32, where nobody asked for less
EXACT = 0.99999  # of engines that compute in float32
SPACE = 3 << 20  # bytes of the widest activation of a batch: what stays near the processor is fastest
BATCH = (8, 64)
GPU_SPACE, GPU_BATCH = 256 << 20, (64, 1024)
Say = Callable[[str], None]


class Ready(NamedTuple):
    """A prefix that can be run, and by how many samples (tokens, where they come in a mask) at a time."""

    run: Run
    batch: int


@final
class Engine:
    """Shared by the feeds of a run. `auto`: the precision was not asked for, so it must agree."""

    def __init__(
        self, name: str = "eager", dtype: torch.dtype = torch.float32, *, auto: bool = False, say: Say | None = None
    ) -> None:
        self.name, self.dtype, self.auto, self.say = name, dtype, auto, say or (lambda words: None)
        self._ready: dict[str, Ready] = {}

    @staticmethod
    def of(recipe: Recipe, say: Say | None = None) -> Engine:
        dtype = precision(recipe.precision, pick(recipe.device))
        return Engine(recipe.engine, dtype, auto=recipe.precision == "auto", say=say)

    def ready(self, prefix: Prefix, few: Callable[[], Inputs], key: str, rows: int) -> Ready:
        """What runs a prefix; `few` are inputs to check it on, `key` is its address, `rows` how many there will be.

        A few rows are run plainly: to prepare and compare would cost more than it saves.
        """
        if key not in self._ready and rows < FEW:
            return Ready(plain(prefix, torch.float32 if self.auto else self.dtype), ALONE)
        if key not in self._ready:
            inputs = few()
            made = Ready(self._chosen(prefix, inputs), self._batch(prefix, inputs))
            self._ready = {key: made}  # one is enough: parts of a data set are run one after the other
        return self._ready[key]

    def _batch(self, prefix: Prefix, few: Inputs) -> int:
        """So many that the widest activation stays within some space; of sequences the first one tells."""
        space, (least, most) = (SPACE, BATCH) if few.x.device.type == "cpu" else (GPU_SPACE, GPU_BATCH)
        one = 4 * widest(prefix, few.x, few.mask)
        return max(space * few.x.shape[1] // one, 1) if few.mask is not None else min(max(space // one, least), most)

    def _chosen(self, prefix: Prefix, few: Inputs) -> Run:
        expected = plain(prefix, torch.float32)(few.x, few.mask)
        ways = [(self.name, self.dtype), (self.name, torch.float32), ("eager", self.dtype), ("eager", torch.float32)]
        refused = ""
        for name, dtype in dict.fromkeys(ways):
            run = None if name == refused else self._built(name, prefix, few, dtype)
            refused = name if run is None else refused  # what cannot be built is not tried again
            if run is not None and self._agrees(name, dtype, run, prefix, few, expected):
                return run
        return plain(prefix, torch.float32)

    def _built(self, name: str, prefix: Prefix, few: Inputs, dtype: torch.dtype) -> Run | None:
        """None, and a word, for an engine that cannot run the prefix, or whose library is not here."""
        try:
            with torch.inference_mode(False), torch.no_grad():
                build: Build = parse(name).bind(registry.find("engine", parse(name).name))
                mask = None if few.mask is None else few.mask.clone()
                return build(prefix, few.x.clone(), mask, dtype)
        except Exception as error:  # an engine is foreign code, and there is always one that runs
            hint = f"; {error.hint}" if isinstance(error, GraftError) else ""
            self.say(f"the engine {name} cannot be used ({_first_line(error)}{hint}): another one is")
            return None

    def _agrees(self, name: str, dtype: torch.dtype, run: Run, prefix: Prefix, few: Inputs, expected: Tensor) -> bool:
        """In float32 exactly, in a precision that nobody asked for nearly; else as well as PyTorch does in it."""
        what = f"{name} in {str(dtype).removeprefix('torch.')}"
        least = _least(run, few, expected, prefix.window)
        if least >= (EXACT if dtype is torch.float32 else AGREE):
            return True
        asked = dtype is self.dtype and dtype is not torch.float32 and not self.auto
        if asked and least > 0 and least >= _least(plain(prefix, dtype), few, expected, prefix.window) - (1 - AGREE):
            self.say(f"{what}: the features have a cosine of {least:.4f} with those of float32, at the least")
            return True
        self.say(f"{what} gives other features (cosine {least:.4f}) or none: another way is taken")
        return False


def plain(prefix: Prefix, dtype: torch.dtype) -> Run:
    """PyTorch, the modules as they are."""

    def run(x: Tensor, mask: Tensor | None) -> Tensor:
        with torch.inference_mode(), autocast(x.device, dtype):
            out: Tensor = prefix(x, mask)
        return out

    return run


def _least(run: Run, few: Inputs, expected: Tensor, window: int | None) -> float:
    """The least cosine of a row with what is expected, of all samples at once and of fewer and shorter ones.

    A graph may hold for no other sizes than those that it was made with. -1: it does not run.
    """
    cases = [(few, expected), _fewer(few, expected, window)]
    try:
        with torch.inference_mode():  # a compiler would compile again for tensors of another mode
            found = [run(one.x.clone(), None if one.mask is None else one.mask.clone()) for one, _ in cases]
        return min(_least_cosine(out, told, one.mask) for out, (one, told) in zip(found, cases, strict=True))
    except Exception:
        return -1.0


def _fewer(few: Inputs, expected: Tensor, window: int | None) -> tuple[Inputs, Tensor]:
    """Three samples less; of sequences the shortest ones, without the columns that only the others have."""
    count = max(1, len(few.x) - 3)
    if few.mask is None:
        return Inputs(few.x[:count]), expected[:count]
    last = (few.mask * torch.arange(1, few.mask.shape[1] + 1, device=few.mask.device)).amax(1)
    rows = last.argsort(stable=True)[:count]
    longest = int(last[rows].amax())
    width = longest if window is None or longest <= window else few.mask.shape[1]  # windows are whole
    told = expected[rows] if expected.ndim < 3 else expected[rows, :width]
    return Inputs(few.x[rows, :width], few.mask[rows, :width]), told


def _least_cosine(found: Tensor, expected: Tensor, mask: Tensor | None) -> float:
    """Of all rows; of sequences over what is real. A row that is nothing but zeros agrees with its like."""
    if found.shape != expected.shape:
        return -1.0
    a, b = (out.double() * _real(out, mask) for out in (found, expected))
    a, b = a.flatten(1), b.flatten(1)
    scale = a.norm(dim=1) * b.norm(dim=1)
    cosines = torch.where(scale > 0, (a * b).sum(1) / scale.clamp(min=1e-300), ((a - b).norm(dim=1) == 0).double())
    return float(cosines.nan_to_num(-1.0).min())


def _real(out: Tensor, mask: Tensor | None) -> Tensor | float:
    if mask is None or out.ndim < 3:
        return 1.0
    return mask.reshape(*mask.shape, *[1] * (out.ndim - 2))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
