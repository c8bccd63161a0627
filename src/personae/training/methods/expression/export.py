"""The expression adapter as a file, in the published layout."""

from pathlib import Path

from personae.conditioning.expression_adapter import FILE, MLP_NAMES, PARTS, ExpressionAdapter
from personae.io.tensors import in_half, save_tensors


def export_adapter(adapter: ExpressionAdapter, folder: Path) -> None:
    """Write into `folder`, in half precision; matrices as their two factors."""
    names = {new: old for old, new in MLP_NAMES.items()}
    tensors = {}
    for key, value in adapter.projection.image_projection_layers[0].state_dict().items():
        module, _, kind = key.rpartition(".")
        tensors[f"image_proj.{names.get(module, module)}.{kind}"] = value
    for index, processor in enumerate(adapter.processors.values()):
        for part in PARTS:
            down, up = getattr(processor, part)[0]
            name = f"ip_adapter.{2 * index + 1}.{part}"
            tensors |= {f"{name}.down.weight": down.weight, f"{name}.up.weight": up.weight}
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / FILE, in_half(tensors))
