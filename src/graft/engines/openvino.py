"""OpenVINO's runtime: the fastest on processors with bf16 instructions, some seconds to build.

Its converter reports usage to its makers unless that is switched off. Here it is: the reporting part is not imported,
in any process that has not imported OpenVINO before.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor

from graft.engines._exported import exported, windows_apart
from graft.errors import MissingExtra, UsageError
from graft.prefix import Build, Prefix, Run

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def openvino() -> Build:
    """Raises MissingExtra without the library."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import of it fails, as if not installed
    try:
        import openvino as library
    except ImportError:
        raise MissingExtra("openvino", "openvino") from None
    return partial(_build, library)


def _build(library: Any, prefix: Prefix, x: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Run:
    if x.device.type != "cpu":
        raise UsageError("openvino runs on processors", "--device cpu, or --engine compiled")
    model = library.convert_model(exported(prefix, x, mask))
    options = {"INFERENCE_PRECISION_HINT": HINTS[dtype], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    network = library.Core().compile_model(model, "CPU", options)

    def run(x: Tensor, mask: Tensor | None) -> Tensor:
        given = [part.contiguous().numpy() for part in (x, mask) if part is not None]
        return torch.from_numpy(network(given)[0].copy())

    return windows_apart(run, prefix, dtype, None if mask is None else prefix.window)
