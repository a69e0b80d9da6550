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
        fitting = space // (4 * widest(prefix, few.x, few.mask))
        return max(fitting * few.x.shape[1], 1) if few.mask is not None else min(max(fitting, least), most)

    def _chosen(self, prefix: Prefix, few: Inputs) -> Run:
        expected = plain(prefix, torch.float32)(few.x, few.mask)
        ways = dict.fromkeys([(self.name, self.dtype), (self.name, torch.float32), ("eager", torch.float32)])
        for name, dtype in ways:
            run = self._agreeing(name, dtype, prefix, few, expected)
            if run is not None:
                return run
        return plain(prefix, torch.float32)

    def _agreeing(self, name: str, dtype: torch.dtype, prefix: Prefix, few: Inputs, expected: Tensor) -> Run | None:
        """The prefix in an engine; None, and a word, where it fails or says something else than plain float32."""
        what = f"{name} in {str(dtype).removeprefix('torch.')}"
        try:
            with torch.inference_mode(False), torch.no_grad():
                build: Build = parse(name).bind(registry.find("engine", parse(name).name))
                run = build(prefix, few.x.clone(), few.mask, dtype)
            with torch.inference_mode():  # a compiler would compile again for tensors of another mode
                mask = None if few.mask is None else few.mask.clone()
                least = _least_cosine(run(few.x.clone(), mask), expected, mask)
        except Exception as error:  # an engine is foreign code, and there is always one that runs
            self.say(f"{what} does not run this trunk ({_first_line(error)}): another way is taken")
            return None
        if least >= (EXACT if dtype is torch.float32 else AGREE):
            return run
        if dtype is self.dtype and dtype is not torch.float32 and not self.auto:
            self.say(f"{what}: the features have a cosine of {least:.4f} with those of float32, at the least")
            return run
        self.say(f"{what} gives other features (cosine {least:.4f}): another way is taken")
        return None


def plain(prefix: Prefix, dtype: torch.dtype) -> Run:
    """PyTorch, the modules as they are."""

    def run(x: Tensor, mask: Tensor | None) -> Tensor:
        with torch.inference_mode(), autocast(x.device, dtype):
            out: Tensor = prefix(x, mask)
        return out

    return run


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
