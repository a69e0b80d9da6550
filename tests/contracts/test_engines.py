"""What every engine keeps: the features of plain PyTorch in float32. Engines are discovered."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft import build, registry
from graft.backbones.toy import toy
from graft.errors import MissingExtra
from graft.prefix import Prefix, Run
from graft.types import Backbone, Inputs, Text

torch.set_num_threads(1)
SLOW = {"compiled"}  # builds for many seconds, and needs a compiler
NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in sorted(registry.names("engine"))
]
LIBRARIES = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
TINY = "bert(layers=2, dim=16, heads=2, vocabulary=400, length=16)"
TEXTS = [Text(" ".join(["the small cat"] * k)) for k in (1, 2, 4, 3, 1, 2)]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pictures() -> tuple[Backbone, Inputs]:
    """BatchNorm has statistics that are not those of random weights."""
    made, rng = toy().eval(), np.random.default_rng(0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.linspace(-1, 1, module.num_features))  # type: ignore[operator, union-attr]
            module.running_var.copy_(torch.linspace(0.5, 2, module.num_features))  # type: ignore[operator, union-attr]
    return made, made.prepare(Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)) for _ in range(11))


def words() -> tuple[Backbone, Inputs]:
    torch.manual_seed(0)
    made = build.backbone(TINY, lambda: iter(TEXTS)).eval()
    made.preprocess = replace(made.preprocess, long="windows")  # type: ignore[type-var]
    return made, made.prepare(TEXTS)


def built(name: str, prefix: Prefix, inputs: Inputs) -> Run:
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    few = inputs.x[:3], None if inputs.mask is None else inputs.mask[:3]
    run: Run = registry.find("engine", name)()(prefix, *few, torch.float32)
    return run


@torch.inference_mode()
def plainly(prefix: Prefix, x: Tensor, mask: Tensor | None) -> Tensor:
    out: Tensor = prefix(x, mask)
    return out


@pytest.mark.parametrize("gives", ["pooled", "stage", "stages"])
@pytest.mark.parametrize("kind", [pictures, words])
def test_it_gives_the_features_of_plain_pytorch(name: str, gives: str, kind: type) -> None:
    """For any number of samples and of tokens, not only for those that it was built on."""
    backbone, inputs = kind()
    last = len(backbone.stages) - (gives == "stage")
    prefix = Prefix(backbone, last, gives)
    run = built(name, prefix, inputs)
    for size, tokens in ((11, 16), (6, 7), (1, 5)):
        x = inputs.x[:size] if inputs.mask is None else inputs.x[:size, :tokens]
        mask = None if inputs.mask is None else inputs.mask[:size, :tokens]
        with torch.inference_mode():
            found = run(x.clone(), mask)
        real = 1.0 if mask is None or found.ndim == 2 else mask.unsqueeze(-1)
        assert torch.allclose(found * real, plainly(prefix, x, mask) * real, atol=1e-4), (gives, size)


def test_texts_of_several_windows_are_run_too(name: str) -> None:
    backbone, inputs = words()
    long = backbone.prepare([Text(" ".join(["the small cat"] * 12)), TEXTS[0]])
    assert long.x.shape[1] > 16
    prefix = Prefix(backbone, len(backbone.stages), "pooled")
    with torch.inference_mode():
        found = built(name, prefix, inputs)(long.x, long.mask)
    assert torch.allclose(found, plainly(prefix, long.x, long.mask), atol=1e-4)


def test_the_network_is_left_as_it_is(name: str) -> None:
    backbone, inputs = pictures()
    before = {key: (value.clone(), value.dtype) for key, value in backbone.state_dict().items()}
    kinds = [type(module) for module in backbone.modules()]
    built(name, Prefix(backbone, len(backbone.stages), "pooled"), inputs)
    after = backbone.state_dict()
    assert before.keys() == after.keys() and kinds == [type(module) for module in backbone.modules()]
    assert all(torch.equal(after[key], value) and after[key].dtype is dtype for key, (value, dtype) in before.items())


@pytest.mark.parametrize("engine", sorted(LIBRARIES))
def test_a_missing_library_is_named(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, LIBRARIES[engine], None)
    with pytest.raises(MissingExtra) as caught:
        registry.find("engine", engine)()
    assert "graft-ml[" in caught.value.hint


def test_openvino_reports_to_nobody() -> None:
    """Its converter talks to its makers' server if that part can be imported."""
    pytest.importorskip("openvino")
    code = ("import sys; from graft.engines.openvino import openvino; openvino(); "
            "assert sys.modules['openvino_telemetry'] is None; import openvino.tools.ovc.telemetry_utils as t; "
            "print(t.tm.__name__)")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
