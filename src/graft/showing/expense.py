"""What a run took: seconds by stage, and an estimate of its energy, which nothing here has metered."""

from __future__ import annotations

import os

import torch

from graft.device import processor
from graft.reporting._shape import Cost
from graft.types import Json

CORE, IDLE, GPU = 15.0, 10.0, 250.0  # watts: of a core at work, of all else that is on anyway, of a GPU at work


def cost(result: Json, device: torch.device, report: float, choice: float = 0.0) -> Cost:
    """From result.json, the device of the trunk, and the seconds that report and choice have taken.

    Where "cpu_seconds" of the process are known, they say how many cores were busy; else every thread counts.
    """
    seconds, cores = float(result.get("seconds", 0.0)), os.cpu_count() or 1
    known = result.get("cpu_seconds")
    busy = min(float(cores), known / seconds if known and seconds else float(torch.get_num_threads()))
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    watts = IDLE + CORE * busy + (GPU if gpu else 0.0)
    return Cost(seconds=seconds + report, stages=stages(result, report, choice), processor=processor(), cores=cores,
                busy=round(busy, 2), gpu=gpu, watts=round(watts, 1), watt_hours=watts * (seconds + report) / 3600,
                assumption=_said(busy, known is not None, gpu))  # fmt: skip


def stages(result: Json, report: float, choice: float) -> dict[str, float]:
    """Seconds of the choice, with the reading before it, of the final training, the report, and the rest."""
    training = sum(float(phase.get("seconds", 0.0)) for phase in result.get("phases", []))
    rest = max(0.0, float(result.get("seconds", 0.0)) - choice - training)
    found = {"choice": choice, "training": training, "report": report, "rest": rest}
    return {name: round(value, 2) for name, value in found.items() if value}


def _said(busy: float, measured: bool, gpu: str | None) -> str:
    how = "as measured" if measured else "one for each thread"
    parts = f"{CORE:g} W for each of {busy:.1f} busy cores ({how}) and {IDLE:g} W for the rest of the machine"
    return f"an estimate, nothing was metered: {parts}{f', {GPU:g} W for the GPU' if gpu else ''}"
