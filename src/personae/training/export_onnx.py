"""torch -> ONNX, weights stored in half precision and computed in single, checked number by number.

    export_onnx(net, torch.zeros(2, 3, 112, 112), "embedder.onnx", ["crop"], ["identity"])

Half the bytes in the package and no half-precision arithmetic: every large weight is followed by a `Cast` to
float32, which onnxruntime folds away when the file is opened.
"""

import copy
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from personae.errors import BadData
from personae.types import Array

_SMALL = 64  # tensors of at most so many numbers stay float32: scales, shapes, biases of outputs


def _bare(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without what a training hangs on a module: `compile()`, which copying sheds, and
    accelerate's mixed precision, which hides `forward` behind an instance attribute."""
    bare = copy.deepcopy(model).cpu().eval()
    for module in bare.modules():
        for name in ("forward", "_original_forward"):
            module.__dict__.pop(name, None)
    return bare


def _trace(model: nn.Module, example: Tensor, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
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
            dynamic_axes={name: {0: "batch"} for name in inputs + outputs},
            opset_version=17,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def _halve(model: onnx.ModelProto) -> None:
    """Store the large float32 weights of `model` as float16, each behind a Cast, in place."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size <= _SMALL:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise BadData(f"weight {tensor.name} reaches {np.abs(values).max():.3g}: too large for half precision")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def _run(content: bytes, name: str, example: Tensor) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {name: example.numpy()})]


def _distance(model: onnx.ModelProto, name: str, example: Tensor, expected: list[Array]) -> float:
    """The largest difference from torch's outputs, relative to each output's own size."""
    found = _run(model.SerializeToString(), name, example)
    return max(float(np.abs(f - e).max() / max(np.abs(e).max(), 1e-6)) for f, e in zip(found, expected, strict=True))


def export_onnx(
    model: nn.Module,
    example: Tensor,
    path: str | Path,
    input_names: Sequence[str],
    output_names: Sequence[str],
    *,
    tolerance: float = 0.01,
) -> float:
    """Write `model` (one input; its first axis, the batch, stays free) to `path`, whole or not at all.

    `example` (N, ...) float32 sets the shapes; the check runs on noise of its shape, with N and with one row.
    Returns the largest difference from torch, relative to each output's largest value. Raises `BadData` if the
    float32 graph differs by more than 1e-3, or the file with halved weights by more than `tolerance`.
    """
    target, inputs, outputs = Path(path), list(input_names), list(output_names)
    plain = _bare(model)
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        graph = _trace(plain, example, inputs, outputs)
        cases = []
        for part in (noise, noise[:1]):
            values = plain(part)
            cases.append((part, [v.numpy() for v in (values if isinstance(values, tuple) else (values,))]))
    exact = max(_distance(graph, inputs[0], *case) for case in cases)
    if exact > 1e-3:
        raise BadData(f"the ONNX graph for {target.name} differs from torch by {exact:.2g}: not written")
    _halve(graph)
    worst = max(_distance(graph, inputs[0], *case) for case in cases)
    if worst > tolerance:
        raise BadData(f"{target.name} with halved weights differs from torch by {worst:.2g}: not written")
    onnx.checker.check_model(graph)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(graph.SerializeToString())
    partial.replace(target)
    return worst
