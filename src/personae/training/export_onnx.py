"""torch -> ONNX, weights stored in half precision and computed in single, checked number by number.

    export_onnx(net, torch.zeros(2, 3, 112, 112), "embedder.onnx", ["crop"], ["identity"])
    quantise("embedder.onnx")                        # or: python -m personae.training.export_onnx embedder.onnx

Half the bytes of float32, or with `quantise` a quarter, and no arithmetic but in float32: see `onnx_weights`.
"""

import copy
import io
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from personae.errors import BadData
from personae.io import atomic
from personae.training import onnx_weights
from personae.types import Array

_AXES = ("batch", "channels", "height", "width")
_TOLERANCES = {16: 0.01, 8: 0.05}  # by bits per weight; of each output's largest value, on noise


def _bare(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without what a training hangs on a module: `compile()`, which copying sheds, and
    accelerate's mixed precision, which hides `forward` behind an instance attribute."""
    bare = copy.deepcopy(model).cpu().eval()
    for module in bare.modules():
        for name in ("forward", "_original_forward"):
            module.__dict__.pop(name, None)
    return bare


def _trace(
    model: nn.Module, example: Tensor, inputs: list[str], outputs: list[str], free: Sequence[int] = (0,)
) -> onnx.ModelProto:
    """The float32 graph. The tracing exporter needs nothing but torch; the newer one needs onnxscript."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (example,),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes files as well
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {axis: _AXES[axis] for axis in free} for name in inputs + outputs},
            opset_version=17,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def _run(content: bytes, example: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {session.get_inputs()[0].name: example})]


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What a network must answer."""

    example: Array  # (N, ...) float32
    expected: list[Array]  # one per output


def _distance(model: onnx.ModelProto, cases: list[_Case]) -> float:
    """The largest difference from what is expected, relative to each output's own size."""
    content = model.SerializeToString()
    return max(
        float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-6))
        for case in cases
        for found, wanted in zip(_run(content, case.example), case.expected, strict=True)
    )


def _store(model: onnx.ModelProto, bits: int, cases: list[_Case], target: Path) -> float:
    """Write `model`, a float32 graph, with its large weights stored in so many bits, whole or not at all; the
    distance that this makes."""
    onnx_weights.STORED[bits](model)
    worst = _distance(model, cases)
    if worst > _TOLERANCES[bits]:
        raise BadData(f"{target.name} with weights of {bits} bits differs by {worst:.2g}: not written")
    onnx.checker.check_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(target, model.SerializeToString(), replace=True)
    return worst


def export_onnx(
    model: nn.Module,
    example: Tensor,
    path: str | Path,
    input_names: Sequence[str],
    output_names: Sequence[str],
    *,
    bits: int = 16,
    free: Sequence[int] = (0,),
) -> float:
    """Write `model` (one input) to `path`, whole or not at all. free: axes of any length, of inputs and outputs.

    `example` (N, ...) float32 sets the shapes; the check runs on noise of its shape, with N and with one row. bits:
    per large weight, 16 or 8. Returns the largest difference from torch, relative to each output's largest value.
    Raises `BadData` if the float32 graph differs by more than 1e-3, or the file by more than 0.01 (16 bits) or 0.05
    (8 bits).
    """
    target, inputs, outputs = Path(path), list(input_names), list(output_names)
    plain = _bare(model)
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        graph = _trace(plain, example, inputs, outputs, free)
        cases = []
        for part in (noise, noise[:1]):
            values = plain(part)
            numbers = [v.numpy() for v in (values if isinstance(values, tuple) else (values,))]
            cases.append(_Case(example=part.numpy(), expected=numbers))
    exact = _distance(graph, cases)
    if exact > 1e-3:
        raise BadData(f"the ONNX graph for {target.name} differs from torch by {exact:.2g}: not written")
    return _store(graph, bits, cases, target)


def quantise(path: str | Path) -> float:
    """Store the large weights of a file that `export_onnx` wrote in 8 bits, in place; of one that has them so, nothing
    changes. Returns the largest difference that this makes on noise, relative to each output's largest value. Raises
    `BadData` if that is more than 0.05.
    """
    file = Path(path)
    model = onnx.load(str(file))
    if onnx_weights.quantised(model):
        return 0.0
    (source,) = model.graph.input
    sides = [axis.dim_value for axis in source.type.tensor_type.shape.dim[1:]]
    noise = np.random.default_rng(0).uniform(-1, 1, (2, *sides)).astype(np.float32)
    cases = [_Case(example=noise, expected=_run(model.SerializeToString(), noise))]
    onnx_weights.widen(model)
    return _store(model, 8, cases, file)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}: differs by {quantise(name):.2g} of each output's largest value\n")
