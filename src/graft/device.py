"""Device, precision, seeds and threads.

All randomness is `f(seed, where, index)`: nothing hidden has to be saved, so a run can stop anywhere and go on exactly.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from graft.errors import UsageError, did_you_mean
from graft.types import Json

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick(name: str = "auto") -> torch.device:
    """ "auto": the GPU when there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"cannot use the device '{name}': {str(error).splitlines()[0]}", "--device auto") from None
    return device


def precision(name: str, device: torch.device) -> torch.dtype:
    """ "auto": bf16 where the device has the instructions for it, else fp32."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" or fast_bf16() else torch.float32
    if name not in PRECISIONS:
        raise UsageError(f"there is no precision '{name}'", did_you_mean(name, PRECISIONS))
    return PRECISIONS[name]


def fast_bf16() -> bool:
    """Whether the processor multiplies bf16 in its own instructions; others convert, and are slower than in fp32."""
    try:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    except AttributeError:  # PyTorch has no public question for it
        return False


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """float32 is said, too: it holds inside of another autocast."""
    lower = dtype is not torch.float32
    return torch.autocast(device.type, dtype if lower else None, enabled=lower)


def seed_of(*where: int | str) -> int:
    """A 63-bit seed from any key, the same on every machine."""
    text = "/".join(map(str, where)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(*where: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Run a block under its own seed, and leave the generators as they were; `device` names a GPU that draws in it.

    Not `torch.manual_seed`: on a machine without a GPU it records a stack trace for later, a millisecond each time.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        reseed(*where, device=device)
        yield


def reseed(*where: int | str, device: torch.device | None = None) -> None:
    """For a step inside of `seeded`: to save and restore the generators each time would cost more than the draws."""
    torch.default_generator.manual_seed(seed_of(*where))
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed_of(*where))


def permutation(size: int, *where: int | str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed_of(*where))
    return torch.randperm(size, generator=generator)


def environment() -> Json:
    """What a reader needs to judge whether a run can be repeated bit for bit."""
    libraries = ("graft-ml", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "safetensors", "pillow",
                 "transformers", "tokenizers", "peft", "soundfile", "soxr", "jiwer")  # fmt: skip
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "commit": commit(),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "libraries": {name: found for name in libraries if (found := _version(name)) is not None},
    }


def _version(library: str) -> str | None:
    """None for an optional one that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError:
        return None


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor()


def commit() -> str | None:
    """The commit of the checkout that this code runs from; None for an installed package."""
    git = Path(__file__).parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        return (git / head.removeprefix("ref: ")).read_text(encoding="ascii").strip() if "ref:" in head else head
    except OSError:
        return None
