"""personae doctor: is everything here that personae needs, and what can this machine do?

report = doctor.examine()        # {"ok": True, "versions": {...}, "machine": {...}, "models": {...}, ...}
"""

import os
import platform
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from personae.errors import WeightsCorrupt
from personae.models import catalog
from personae.version import __version__

_NEEDED = (
    "accelerate",
    "diffusers",
    "huggingface-hub",
    "numpy",
    "onnx",
    "onnxruntime",
    "peft",
    "pillow",
    "psutil",
    "reedsolo",
    "rich",
    "safetensors",
    "scikit-image",
    "scipy",
    "torch",
    "transformers",
    "typer",
)
_EXTRAS = {
    "train": ("mediapipe", "tensorboard"),
    "video": ("av",),
    "provenance": ("c2pa", "cryptography"),
    "serve": ("fastapi", "limits", "prometheus_client", "multipart", "uvicorn"),
    "page": ("gradio",),
    "synthetic": ("mediapipe", "openvino"),
    "heic": ("pi_heif",),
    "insightface": ("insightface",),
}


def examine() -> dict[str, Any]:
    """What is installed, what the machine has, and the state of every named model; `ok` if nano can be used."""
    versions = {name: _version(name) for name in _NEEDED}
    models = {name: _state(model) for name, model in catalog.MODELS.items()}
    return {
        "ok": None not in versions.values() and models["nano"] == "ready",
        "personae": __version__,
        "precision": _precision(),
        "machine": _machine(),
        "models": models,
        "extras": {extra: all(map(find_spec, modules)) for extra, modules in _EXTRAS.items()},
        "versions": versions,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _state(model: catalog.Model) -> str:
    if model.folder is None:
        return "in the Hub's cache" if catalog.present(model) else "to be fetched from the Hub when first loaded"
    if not catalog.present(model):
        return f"missing: {model.folder} holds no model"
    try:
        catalog.verify(model.folder)
    except WeightsCorrupt as error:
        return f"corrupt: {error}"
    return "ready"


def _machine() -> dict[str, Any]:
    from personae.sampling.fast import modes, precision  # late: they bring torch

    device = modes.device_for(None)
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "device": str(device),
        "dtype": str(precision.best_dtype(device)).removeprefix("torch."),
    }


def _precision() -> dict[str, Any]:
    """What the processor computes in either precision, measured now, and the one that it gets models in."""
    import torch

    from personae.sampling.fast import precision

    rates = precision.rates(anew=True)
    return {
        "float32_gflops": round(rates.float32, 1),
        "bfloat16_gflops": round(rates.bfloat16, 1),
        "ratio": round(rates.ratio, 2),
        "worth_it_from": precision.WORTH,
        "picked": str(precision.best_dtype(torch.device("cpu"))).removeprefix("torch."),
        "by": precision.ENVIRONMENT if os.environ.get(precision.ENVIRONMENT) else "measurement",
    }
