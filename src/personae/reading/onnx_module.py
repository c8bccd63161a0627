"""A small ONNX network as a differentiable torch module: for whatever needs its gradient.

    recogniser = OnnxModule("embedder.onnx")                  # frozen; input and output as the file declares them
    vectors = recogniser(crops)
    expressions = OnnxModule("motion.onnx", "blendshapes")    # one output of several, or what any node makes

Covers the operators of convolutional networks, as far as the output needs them; any other is refused by name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from onnx import numpy_helper
from torch import Tensor, nn

from personae.errors import BadData
from personae.reading.onnx_file import model_of
from personae.shapes import Float


def _optional(inputs: list[Any], index: int) -> Any:
    """An input that a node may leave out, at its end or by an empty name; None: it does."""
    return inputs[index] if index < len(inputs) else None


def _conv(inputs: list[Any], a: dict[str, Any]) -> Tensor:
    x, weight = inputs[:2]
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        x, pads = F.pad(x, (pads[1], pads[3], pads[0], pads[2])), [0, 0]
    return F.conv2d(
        x,
        weight,
        _optional(inputs, 2),
        a.get("strides", [1, 1]),
        pads[:2],
        a.get("dilations", [1, 1]),
        a.get("group", 1),
    )


def _clip(inputs: list[Any], a: dict[str, Any]) -> Tensor:
    ends = [_optional(inputs, 1), _optional(inputs, 2)]
    low, high = (a.get(name) if end is None else float(end) for name, end in zip(("min", "max"), ends, strict=True))
    return inputs[0] if low is None and high is None else torch.clamp(inputs[0], low, high)


def _gemm(inputs: list[Any], a: dict[str, Any]) -> Tensor:
    x, weight = inputs[:2]
    bias = _optional(inputs, 2)
    y = a.get("alpha", 1.0) * (x.T if a.get("transA") else x) @ (weight.T if a.get("transB") else weight)
    return y if bias is None else y + a.get("beta", 1.0) * bias


def _reshape(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    shape = [int(n) for n in inputs[1]]
    if not inputs[0].is_floating_point():  # sizes that the graph computes with
        return torch.as_tensor(inputs[0].reshape(shape))
    # Graphs exported for one image write the batch as 1: keep ours.
    return inputs[0].reshape(inputs[0].shape[0], *shape[1:])


def _batch_norm(inputs: list[Any], a: dict[str, Any]) -> Tensor:
    x, weight, bias, mean, variance = inputs
    return F.batch_norm(x, mean, variance, weight, bias, eps=a.get("epsilon", 1e-5))


def _average_pool(inputs: list[Any], a: dict[str, Any]) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise BadData(f"an AveragePool with different padding on opposite sides, {pads}, has no torch counterpart here")
    ceiled, counted = bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0))
    return F.avg_pool2d(inputs[0], a["kernel_shape"], a.get("strides", [1, 1]), pads[:2], ceiled, counted)


def _reduce_sum(inputs: list[Any], a: dict[str, Any]) -> Tensor:
    axes = _optional(inputs, 1)
    over = a.get("axes", range(inputs[0].ndim)) if axes is None else axes.tolist()
    return inputs[0].sum(tuple(over), keepdim=bool(a.get("keepdims", 1)))


def _slice(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    x, starts, ends = inputs[:3]
    axes, steps = _optional(inputs, 3), _optional(inputs, 4)
    along = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
        if step < 1:
            raise BadData("a Slice that runs backwards has no torch counterpart here")
        index[axis] = slice(start, end, step)
    return torch.as_tensor(x[tuple(index)])


_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Add": lambda i, a: i[0] + i[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda i, a: i[0].float(),
    "Clip": _clip,
    "Concat": lambda i, a: torch.cat(i, a["axis"]),
    "Constant": lambda i, a: torch.from_numpy(np.array(a["value"])),
    "Conv": _conv,
    "Div": lambda i, a: i[0] / i[1],
    "Flatten": lambda i, a: i[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "Identity": lambda i, a: i[0],
    "LpNormalization": lambda i, a: F.normalize(i[0], p=a.get("p", 2), dim=a.get("axis", -1)),
    "MatMul": lambda i, a: i[0] @ i[1],
    "Mod": lambda i, a: torch.remainder(i[0], i[1]),
    "Mul": lambda i, a: i[0] * i[1],
    "Pow": lambda i, a: i[0] ** i[1],
    "PRelu": lambda i, a: F.prelu(i[0], i[1].flatten().to(i[0].dtype)),
    "ReduceSum": _reduce_sum,
    "Relu": lambda i, a: F.relu(i[0]),
    "Reshape": _reshape,
    "Shape": lambda i, a: torch.tensor(i[0].shape),
    "Sigmoid": lambda i, a: i[0].sigmoid(),
    "Slice": _slice,
    "Sqrt": lambda i, a: i[0].sqrt(),
    "Sub": lambda i, a: i[0] - i[1],
}


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that `outputs` depend on, in the graph's own order."""
    wanted, needed = {*outputs}, []
    for node in reversed(graph.node):  # a graph is sorted
        if wanted & set(node.output):
            wanted |= set(node.input) - {""}  # the name of what a node leaves out
            needed.append(node)
    return needed[::-1]


class OnnxModule(nn.Module):
    """The graph of an ONNX file, run by torch; its weights are frozen buffers. wanted: outputs by name, of the graph or
    of any node in it; none: the graph's first.

    Raises `BadData` for an operator that is not covered, or an output that is not there.
    """

    def __init__(self, path: str | Path, *wanted: str) -> None:
        super().__init__()
        graph = model_of(path).graph
        outputs = [value.name for value in graph.output]
        self._outputs = wanted or (outputs[0],)
        node_outputs = {name for node in graph.node for name in node.output}
        for name in self._outputs:
            if name not in node_outputs:
                raise BadData(f"{path} has no output {name!r}, only {', '.join(outputs)}")
        nodes = _needed(graph, self._outputs)
        unknown = {node.op_type for node in nodes} - _OPERATORS.keys()
        if unknown:
            raise BadData(f"{path}: operators {sorted(unknown)} have no torch counterpart here")
        self._names: dict[str, str] = {}
        for index, tensor in enumerate(graph.initializer):
            values = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            self._names[tensor.name] = f"weight_{index}"
            self.register_buffer(f"weight_{index}", values.float() if values.is_floating_point() else values)
        known = set(self._names)
        self._input = next(value.name for value in graph.input if value.name not in known)
        self._nodes = [
            (n.op_type, list(n.input), n.output[0], {x.name: _attribute(x) for x in n.attribute}) for n in nodes
        ]

    def forward(self, x: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N ..."]:
        """The first of the outputs."""
        return self.each(x)[0]

    def each(self, x: Float[Tensor, "N 3 S S"]) -> list[Float[Tensor, "N ..."]]:
        """All outputs, in one pass."""
        values: dict[str, Any] = {name: getattr(self, buffer) for name, buffer in self._names.items()}
        values |= {self._input: x, "": None}
        for operator, inputs, output, attributes in self._nodes:
            values[output] = _OPERATORS[operator]([values[name] for name in inputs], attributes)
        return [values[name] for name in self._outputs]
