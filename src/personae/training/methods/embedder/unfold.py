"""unfolded(Embedder(), "embedder.onnx", crops)     # a network to train on, from the file that was exported of it

The exporter folds a batch norm into the convolution before it; training needs it back. Which statistics it had is gone,
but any will do: those of some crops are measured, and its scale and bias chosen so that nothing changes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor, nn

from personae.errors import BadData
from personae.reading.onnx_file import model_of
from personae.shapes import Float
from personae.training import onnx_weights

_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv",
    nn.PReLU: "PRelu",
    nn.BatchNorm2d: "BatchNormalization",
    nn.Linear: "Gemm",
}


def unfolded(network: nn.Module, path: str | Path, crops: Float[Tensor, "N 3 S S"]) -> None:
    """Give `network`, whose modules run in the order in which they are listed, the weights of its export at `path`.

    crops: some of its inputs, float. Raises `BadData` if the file holds another network.
    """
    model = model_of(path)
    onnx_weights.widen(model)
    held = {one.name: torch.from_numpy(np.array(numpy_helper.to_array(one))) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in held:  # tensors that are equal are stored once
            held[node.output[0]] = held[node.input[0]]
    nodes = iter([node for node in model.graph.node if node.op_type in _KINDS.values()])
    modules = [module for module in network.modules() if type(module) in _KINDS]
    added: dict[nn.BatchNorm2d, Tensor] = {}
    with torch.no_grad():
        for module, after in zip(modules, [*modules[1:], None], strict=True):
            if module in added:
                continue
            weights = [held[name] for name in _next(nodes, module, path).input[1:]]
            if isinstance(module, nn.Conv2d) and module.bias is None:
                if not isinstance(after, nn.BatchNorm2d) or len(weights) != 2:
                    raise BadData(f"{path}: a convolution without bias has no batch norm that was folded into it")
                added[after] = weights[1]
                weights = weights[:1]
            _fill(module, weights, path)
        _measure(network, added, crops)


def _next(nodes: Iterator[NodeProto], module: nn.Module, path: str | Path) -> NodeProto:
    node = next(nodes, None)
    if node is None or node.op_type != _KINDS[type(module)]:
        found = "nothing more" if node is None else f"a {node.op_type}"
        raise BadData(f"{path} holds another network: {found} where a {_KINDS[type(module)]} was expected")
    return node


def _fill(module: nn.Module, weights: list[Tensor], path: str | Path) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    goals = [goal for name in names if (goal := getattr(module, name, None)) is not None]
    if len(goals) != len(weights) or any(a.numel() != b.numel() for a, b in zip(goals, weights, strict=True)):
        raise BadData(f"{path} holds another network: weights of other sizes")
    for goal, weight in zip(goals, weights, strict=True):
        goal.copy_(weight.reshape(goal.shape))


def _measure(network: nn.Module, added: dict[nn.BatchNorm2d, Tensor], crops: Tensor) -> None:
    """One pass: every folded batch norm takes the statistics of what reaches it, and adds the bias that it was."""

    def measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        assert module.running_mean is not None
        assert module.running_var is not None
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3))
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)
        module.weight.copy_((variance + module.eps).sqrt())
        module.bias.copy_(mean + added[module])

    hooks = [module.register_forward_pre_hook(measure) for module in added]
    training = network.training
    network.eval()(crops)
    network.train(training)
    for hook in hooks:
        hook.remove()
