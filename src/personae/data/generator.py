"""generator = Generator.of_wheel(RANDOM_FACE.find("."))      # people who do not exist, from PyPI's random-face
styles = generator.w(z, 0.8).repeat(generator.rows, 0)      # of one z (1, 512): the same w for every layer
pixels = generator.picture(styles)                          # (320, 320, 3) uint8 RGB, eyes 0.25 of the width apart

The wheel is fetched without its dependencies, its hash checked and its zip read; nothing of it is installed or run.
OpenVINO draws where it is installed (extra `synthetic`), torch elsewhere.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.data.mobile_stylegan import MappingNet, Network, SynthesisNet
from personae.data.pypi_file import PypiFile
from personae.errors import BadOption
from personae.sampling.fast.allocator import keep_freed_memory
from personae.types import Array

RANDOM_FACE = PypiFile(
    package="random-face",
    version="2021.7.21.1",
    file="random_face-2021.7.21.1-py3-none-any.whl",
    sha256="e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
)
SIZE = 320  # pixels a picture is kept at: a 192-px crop with the eyes 0.30 of its width apart loses nothing
LINEAGE = (
    "Drawn by MobileStyleGAN (S. Belousov; Apache-2.0 as published in random-face 2021.7.21.1), which its author "
    "distilled from NVIDIA's StyleGAN2-FFHQ (NVIDIA Source Code Licence, non-commercial), trained on FFHQ "
    "(CC BY-NC-SA 4.0; its photos each under a licence of its own)"
)
BACKENDS = ("openvino", "torch")
Draw = Callable[[Array], Array]  # styles (1, 23, 512) float32 -> picture (3, 512, 512) float32


def networks(wheel: str | Path, sha256: str = RANDOM_FACE.sha256) -> dict[str, Network]:
    """The two networks in the wheel, "Mapping" and "Synthesis". Raises `WeightsCorrupt` for any other file."""
    names = ("Mapping", "Synthesis")
    files = [f"random_face/data/{name}Network.{kind}" for name in names for kind in ("xml", "bin")]
    parts = RANDOM_FACE.read(wheel, *files, sha256=sha256)
    return {name: Network(*parts[2 * i : 2 * i + 2]) for i, name in enumerate(names)}


class Generator:
    """Somebody new for every z. Pictures depend on their styles, the backend and the kind of processor alone.

    backend: one of `BACKENDS`; None: OpenVINO if it is installed. It and torch differ by 1e-6 of the range on average
    (6e-5 at most), so by one grey level here and there.
    """

    def __init__(self, mapping: MappingNet, synthesis: SynthesisNet, *, backend: str | None = None) -> None:
        if backend not in (None, *BACKENDS):
            raise BadOption(f"no backend {backend!r}: choose {' or '.join(BACKENDS)}")
        self.mapping, self.rows = mapping, synthesis.rows
        self.backend = backend or ("openvino" if _openvino() else "torch")
        self._draw = _with_openvino(synthesis) if self.backend == "openvino" else _with_torch(synthesis)
        self.mean = self._mapped(np.random.default_rng(0).standard_normal((4096, self.width))).mean(0)

    @classmethod
    def of_wheel(
        cls, wheel: str | Path, *, sha256: str = RANDOM_FACE.sha256, backend: str | None = None
    ) -> "Generator":
        """The generator in a wheel; see `networks`."""
        files = networks(wheel, sha256)
        return cls(MappingNet.read(files["Mapping"]), SynthesisNet.read(files["Synthesis"]), backend=backend)

    @property
    def width(self) -> int:
        """Of z and w."""
        return int(next(self.mapping.parameters()).shape[0])

    def w(self, z: Array, truncation: float = 1.0) -> Array:
        """(N, W) float32 of z (N, W): towards the mean w as truncation falls from 1 to 0, and ever cleaner."""
        return np.asarray(self.mean + truncation * (self._mapped(z) - self.mean), np.float32)

    def picture(self, styles: Array, size: int = SIZE) -> Array:
        """(size, size, 3) uint8 RGB, the whole frame, of styles (23, W)."""
        image = self._draw(np.ascontiguousarray(styles[None], np.float32))
        pixels = np.clip(np.round((image.transpose(1, 2, 0) + 1) * 127.5), 0, 255).astype(np.uint8)
        return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))

    def _mapped(self, z: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(self.mapping(torch.from_numpy(np.asarray(z, np.float32))).numpy())


def _openvino() -> Any:
    """The package without its telemetry, which reports every import of it; None if it is not installed."""
    silenced = "openvino_telemetry" not in sys.modules
    if silenced:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # openvino then takes its own stub
    try:
        import openvino
    except ImportError:
        return None
    finally:
        if silenced:
            del sys.modules["openvino_telemetry"]
    return openvino


def _with_openvino(synthesis: SynthesisNet) -> Draw:
    openvino = _openvino()
    if openvino is None:
        raise BadOption("backend openvino is not installed: pip install 'personae[synthetic]', or choose torch")
    shape = (1, synthesis.rows, synthesis.paint_modulation.in_features)
    graph = openvino.convert_model(synthesis, example_input=torch.zeros(shape), input=list(shape))
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    network = openvino.Core().compile_model(graph, "CPU", options)
    return lambda styles: np.asarray(network(styles)[0][0])


def _with_torch(synthesis: SynthesisNet) -> Draw:
    def draw(styles: Array) -> Array:
        with torch.inference_mode(), keep_freed_memory():
            image: Tensor = synthesis(torch.from_numpy(styles))
        return np.asarray(image[0].numpy())

    return draw
