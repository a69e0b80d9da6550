"""Frozen features: every engine and precision against the plain way, and against what the processor can do.

    python benchmarks/extraction.py [--trunks resnet18 vit_small] [--engines eager openvino] [--rounds 3] [--quick]

The plain way is what tutorials write: `model(x)` in float32, NCHW, in eval mode, no inference mode. Both sides begin at
the same uint8 pictures, decoded before, and normalise them. Graft's way is what a Feed does: the engine as it was built
and checked against plain float32 on 8 pictures; what that took is `build_s`, once for a run. Weights are random: times
do not depend on them, but cosines do. `share_of_limit` is the part of the peak of one large matrix product, in the same
precision and run, that multiplications and additions of the network come to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import _options
import torch
from _race import Lap, race
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from graft import build
from graft.engine import Engine, Ready
from graft.prefix import Prefix
from graft.types import Inputs

TRUNKS = {  # and the batch of the plain way
    "resnet18": ("torchvision:resnet18(pretrained=False)", 32),
    "resnet50": ("torchvision:resnet50(pretrained=False)", 16),
    "vgg16": ("torchvision:vgg16(pretrained=False)", 8),
    "mobilenet_v3_large": ("torchvision:mobilenet_v3_large(pretrained=False)", 32),
    "vit_small": ("timm:vit_small_patch16_224(pretrained=False)", 16),
    "vit_base": ("timm:vit_base_patch16_224(pretrained=False)", 8),
}
WAYS = (("eager", "fp32"), ("eager", "bf16"), ("compiled", "bf16"), ("onnxruntime", "fp32"), ("openvino", "fp32"),
        ("openvino", "bf16"))  # fmt: skip
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
GOALS = {("eager", "bf16"): 2.5}
SIZE = 2048  # of the matrices whose product shows the peak


@dataclass
class Side:
    """One trunk and some random pictures."""

    name: str
    count: int
    prefix: Prefix = field(init=False)
    pixels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        backbone = build.backbone(TRUNKS[self.name][0]).eval()
        self.prefix = Prefix(backbone, len(backbone.stages), "pooled").eval()
        side = backbone.preprocess.resize  # type: ignore[attr-defined]
        self.pixels = torch.randint(0, 256, (self.count, 3, side, side), dtype=torch.uint8)

    def inputs(self, pixels: Tensor) -> Inputs:
        return self.prefix.trunk.preprocess.batch(pixels)

    def flops(self) -> float:
        """Multiplications and additions for one picture."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.prefix(self.inputs(self.pixels[:1]).x)
        return float(counter.get_total_flops())

    def plain(self) -> Lap:
        """With a graph that nobody needs, as `model(x)` has it."""
        began = time.perf_counter()
        for few in self.pixels.split(TRUNKS[self.name][1]):
            self.prefix(self.inputs(few).x.contiguous()).detach()
        return Lap(time.perf_counter() - began)

    def graft(self, ready: Ready) -> Lap:
        began = time.perf_counter()
        with torch.inference_mode():
            for few in self.pixels.split(ready.batch):
                ready.run(self.inputs(few).x, None)
        return Lap(time.perf_counter() - began)


def peak(precision: str) -> float:
    """Operations in a second of one large product by oneDNN, the best of some: noise only makes it slower."""
    a, b = (torch.randn(SIZE, SIZE, dtype=DTYPES[precision]) for _ in range(2))
    product: Callable[[], Any] = lambda: torch.mm(a, b)  # noqa: E731
    if precision == "fp32":
        product = lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # noqa: E731
    times = []
    with torch.inference_mode():
        for _ in range(12):
            began = time.perf_counter()
            product()
            times.append(time.perf_counter() - began)
    return 2 * SIZE**3 / min(times)


def rows(
    name: str, ways: list[tuple[str, str]], rounds: int, count: int, peaks: dict[str, float]
) -> list[dict[str, Any]]:
    side, made = Side(name, count), []
    flops = side.flops()
    for engine, precision in ways:
        words: list[str] = []
        began = time.perf_counter()
        asked = Engine(engine, DTYPES[precision], say=words.append)
        ready = asked.ready(side.prefix, lambda: side.inputs(side.pixels[:8]), name, count)
        side.graft(ready)  # a compiler builds on the first batch of a size
        build_s = time.perf_counter() - began
        goal = GOALS.get((engine, precision))
        row = race(f"{name}, {engine} {precision}", lambda: side.graft(ready), side.plain, name="plain fp32",  # noqa: B023
                   rounds=rounds, goal=goal)  # fmt: skip
        speed = count / row["graft_s"]
        made.append({**row, "per_second": speed, "share_of_limit": speed * flops / peaks[precision], "build_s": build_s,
                     "cosine": cosine(side, ready), "said": words})  # fmt: skip
    return made


def cosine(side: Side, ready: Ready) -> float:
    """The least of some pictures, with plain float32."""
    with torch.inference_mode():
        inputs = side.inputs(side.pixels[:16])
        return float(torch.cosine_similarity(ready.run(inputs.x, None).float(), side.prefix(inputs.x)).min())


def main() -> None:
    parser = _options.parser(__doc__, "a quarter of the pictures, one round")
    parser.add_argument("--trunks", nargs="*", default=list(TRUNKS), choices=list(TRUNKS))
    parser.add_argument("--engines", nargs="*", default=sorted({engine for engine, _ in WAYS}))
    parser.add_argument("--images", type=int, default=64)
    asked = _options.read(parser)
    count = max(32, asked.images // 4 if asked.quick else asked.images)
    ways = [way for way in WAYS if way[0] in asked.engines]
    peaks = {precision: peak(precision) for precision in DTYPES}
    found = [row for name in asked.trunks for row in rows(name, ways, asked.rounds, count, peaks)]
    gflops = {name: value / 1e9 for name, value in peaks.items()}
    _options.finish("extraction", found, {"images": count, "peak_gflops": gflops}, asked)


if __name__ == "__main__":
    main()
