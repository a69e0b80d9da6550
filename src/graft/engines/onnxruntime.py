"""ONNX Runtime on processors, in float32 whatever is asked: for those without bf16 instructions."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from graft.engines._exported import exported, quiet, windows_apart
from graft.errors import MissingExtra, UsageError
from graft.prefix import Build, Prefix, Run


def onnxruntime() -> Build:
    """Raises MissingExtra without the library, or without those that write its graphs."""
    try:
        import onnx  # noqa: F401 - torch.onnx needs it
        import onnxruntime as library
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "onnxruntime", "onnx") from None
    return partial(_build, library)


def _build(library: Any, prefix: Prefix, x: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Run:
    if x.device.type != "cpu":
        raise UsageError("onnxruntime runs on processors here", "--device cpu, or --engine compiled")
    options = library.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = library.InferenceSession(_graph(prefix, x, mask), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(x: Tensor, mask: Tensor | None) -> Tensor:
        given = [part.contiguous().numpy() for part in (x, mask) if part is not None]
        return torch.from_numpy(session.run(None, dict(zip(names, given, strict=True)))[0])

    return windows_apart(run, prefix, dtype, None if mask is None else prefix.window)


def _graph(prefix: Prefix, x: Tensor, mask: Tensor | None) -> bytes:
    with quiet():
        program = torch.onnx.export(exported(prefix, x, mask), dynamo=True, verbose=False)
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
