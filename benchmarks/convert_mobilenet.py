"""Google's quantised MobileNetV2 (google-coral/test_data, Apache-2.0) to safetensors under torchvision's names.

    python benchmarks/convert_mobilenet.py mobilenet_v2_1.0_224_quant.tflite mobilenet_v2.safetensors
    then: local:mobilenet_v2.safetensors(arch='mobilenet_v2', mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

The file holds uint8 values, which stand for scale * (value - zero point). Its BatchNorm is folded into the
convolutions: here it is one that only adds the bias. TFLite keeps a kernel as (out, height, width, in), of a depthwise
convolution as (1, height, width, out). The 1,001 classes are ImageNet's behind one for the background.

Not the same: where the stride is 2, TFLite pads below and on the right, torchvision on all sides, so that maps lie up
to a pixel apart: at 160 pixels the pooled features of 32 photographs have cosines of 0.53 to 0.87 with those of TFLite.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TYPES = {3: np.uint8, 2: np.int32}  # as TFLite numbers them
SAME = 0


class Convolution(NamedTuple):
    weight: Tensor  # (out, in / groups, height, width)
    bias: Tensor  # (out,)
    stride: int
    padding: int


def convert(source: Path) -> dict[str, Tensor]:
    """The tensors by torchvision's names, each checked against the architecture."""
    from torchvision.models import mobilenet_v2

    model = mobilenet_v2(num_classes=1001)
    *found, last = convolutions(source.read_bytes())
    layers = [m for m in model.features.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for conv, norm, given in zip(layers[::2], layers[1::2], found, strict=True):
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        assert conv.stride[0] == given.stride and given.padding == SAME, (conv, given.stride, given.padding)
        _fill(conv.weight, given.weight)
        _fill(norm.bias, given.bias)
        _fill(norm.running_var, torch.full_like(given.bias, 1 - norm.eps))
    linear = model.classifier[1]
    _fill(linear.weight, last.weight[:, :, 0, 0])
    _fill(linear.bias, last.bias)
    state: dict[str, Tensor] = model.state_dict()
    return {name: value.contiguous() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _fill(parameter: Tensor, given: Tensor) -> None:
    assert parameter.shape == given.shape, (parameter.shape, given.shape)
    parameter.data = given.clone()


def convolutions(content: bytes) -> Iterator[Convolution]:
    """All of the file, in the order in which they are computed."""
    tflite = _reader()
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    depthwise, plain = tflite.BuiltinOperator.DEPTHWISE_CONV_2D, tflite.BuiltinOperator.CONV_2D
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        kind = model.OperatorCodes(operator.OpcodeIndex())
        code = max(kind.BuiltinCode(), kind.DeprecatedBuiltinCode())  # older files have the second one alone
        if code not in (depthwise, plain):
            continue
        options = tflite.DepthwiseConv2DOptions() if code == depthwise else tflite.Conv2DOptions()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        weight, bias = (_values(model, graph.Tensors(at)) for at in operator.InputsAsNumpy()[1:3])
        order = (3, 0, 1, 2) if code == depthwise else (0, 3, 1, 2)
        yield Convolution(weight.permute(order).contiguous(), bias, options.StrideH(), options.Padding())


def _values(model: Any, tensor: Any) -> Tensor:
    about = tensor.Quantization()
    assert about.ScaleLength() == 1, "one scale for all channels"
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy().view(TYPES[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
    return torch.from_numpy(((raw.astype(np.float64) - about.ZeroPoint(0)) * float(about.Scale(0))).astype(np.float32))


def _reader() -> Any:
    """Needed once, by this file alone: no dependency of Graft."""
    try:
        import flatbuffers  # noqa: F401 - tflite needs it and does not ask for it
        import tflite
    except ImportError as error:
        sys.exit(f"{error.name} is not installed, and reads .tflite files here: pip install tflite flatbuffers")
    return tflite


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    save_file(convert(arguments.source), arguments.target)
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    main()
