"""A frozen prefix as a graph, for engines that are not PyTorch: any number of samples, and of tokens in a window."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from graft.device import autocast
from graft.engines._prepared import fold
from graft.prefix import Prefix, Run


def exported(prefix: Prefix, x: Tensor, mask: Tensor | None) -> ExportedProgram:
    """Raises what torch.export raises for a network whose steps depend on values."""
    module = copy.deepcopy(prefix).requires_grad_(False)
    fold(module, x, mask)
    sizes = {0: Dim.AUTO} if mask is None else {0: Dim.AUTO, 1: Dim.AUTO}
    if mask is not None and x.shape[1] == 1:  # of one position a graph would be made that takes no second one
        x, mask = nn.functional.pad(x, (*(0, 0) * (x.ndim - 2), 0, 1)), nn.functional.pad(mask, (0, 1))
    given = (x.contiguous(),) if mask is None else (x, mask)
    with quiet():
        return torch.export.export(module, given, dynamic_shapes=(sizes,) * len(given))


def windows_apart(run: Run, prefix: Prefix, dtype: torch.dtype, length: int | None) -> Run:
    """A graph sees one window of `length` tokens: texts of several are run by PyTorch."""

    def either(x: Tensor, mask: Tensor | None) -> Tensor:
        if length is None or x.shape[1] <= length:
            return run(x, mask)
        with autocast(x.device, dtype):
            out: Tensor = prefix(x, mask)
        return out

    return either


@contextmanager
def quiet() -> Iterator[None]:
    """What fails is said in one line by the engine's caller, not in hundreds by the library."""
    noisy = [
        logging.getLogger(name) for name in ("torch.fx", "torch._export", "torch.export", "torch.onnx", "onnxscript")
    ]
    before = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(noisy, before, strict=True):
            logger.setLevel(level)
