"""How an ONNX file stores the weights of a network that computes in float32: in 16 bits, or in 8.

    STORED[8](model)      # an onnx.ModelProto, in place
    widen(model)          # back to float32

What is stored small is followed by the nodes that widen it, which onnxruntime folds away when the file is opened: a
`Cast`, and for 8 bits a `Mul` by each output channel's scale. `DequantizeLinear` would say the latter in one node, but
onnxruntime leaves that one in the graph, to be computed at every run.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from personae.errors import BadData
from personae.types import Array

_SMALL = 64  # tensors of at most so many numbers stay float32: scales, shapes, biases of outputs
_LEVELS = 127  # symmetric: -128 is not used
_HALF, _CODES, _SCALE, _CAST = ".half", ".int8", ".scale", ".cast"  # what is stored instead of a weight, by its name


def _halve(model: onnx.ModelProto) -> None:
    """Store every large weight as float16."""
    nodes = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.size > _SMALL:
            nodes.append(_as_half(tensor, values))
    _prepend(model, nodes)


def _quantise(model: onnx.ModelProto) -> None:
    """Store the kernels and matrices as int8 with one float32 scale per output channel, other large weights as
    float16: a vector has no channels to share a scale."""
    axes = _output_axes(model)
    nodes, scales = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size <= _SMALL:
            continue
        if tensor.name not in axes:
            nodes.append(_as_half(tensor, values))
            continue
        name = tensor.name
        codes, scale = _codes(values, axes[name])
        tensor.CopyFrom(numpy_helper.from_array(codes, name + _CODES))
        scales.append(numpy_helper.from_array(scale, name + _SCALE))
        nodes.append(helper.make_node("Cast", [name + _CODES], [name + _CAST], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [name + _CAST, name + _SCALE], [name]))
    model.graph.initializer.extend(scales)
    _prepend(model, nodes)


STORED: dict[int, Callable[[onnx.ModelProto], None]] = {16: _halve, 8: _quantise}
"""By bits per weight: what stores a float32 model's large weights so, in place. Raises `BadData` for a weight that
float16 cannot hold."""


def quantised(model: onnx.ModelProto) -> bool:
    """Whether any weight is stored in 8 bits."""
    return any(tensor.name.endswith(_CODES) for tensor in model.graph.initializer)


def widen(model: onnx.ModelProto) -> None:
    """Make the weights that either way of storing made small plain float32 again, in place."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    remaining = []
    for node in model.graph.node:
        name = node.output[0]
        if node.op_type == "Cast" and node.input[0] in (name + _HALF, name.removesuffix(_CAST) + _CODES):
            tensor = held[node.input[0]]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), name))
        elif node.op_type == "Mul" and list(node.input) == [name + _CAST, name + _SCALE]:
            tensor, scale = held[name + _CODES], held[name + _SCALE]
            product = numpy_helper.to_array(tensor) * numpy_helper.to_array(scale)
            tensor.CopyFrom(numpy_helper.from_array(product, name))
            model.graph.initializer.remove(scale)
        else:
            remaining.append(node)
    del model.graph.node[:]
    model.graph.node.extend(remaining)


def _output_axes(model: onnx.ModelProto) -> dict[str, int]:
    """The axis of the output channels of every weight that is a kernel or a matrix, by the weight's name."""
    axes = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = 0
        elif node.op_type == "Gemm":
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            axes[node.input[1]] = 0 if transposed else 1
        elif node.op_type == "MatMul":
            axes[node.input[1]] = -1
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    return {name: axis % ranks[name] for name, axis in axes.items() if ranks.get(name, 0) > 1}


def _codes(values: Array, axis: int) -> tuple[Array, Array]:
    """A float32 weight as int8 codes of its shape and float32 scales, one per index of `axis`, that multiply them."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / _LEVELS, 1).astype(np.float32)
    return np.round(values / scale).astype(np.int8), scale


def _as_half(tensor: TensorProto, values: Array) -> NodeProto:
    """Make `tensor` float16; the node that widens it."""
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise BadData(f"weight {tensor.name} reaches {np.abs(values).max():.3g}: too large for half precision")
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + _HALF))
    return helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT)


def _prepend(model: onnx.ModelProto, first: list[NodeProto]) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(first + nodes)
