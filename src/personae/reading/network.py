"""network = Network(folder / "embedder.onnx", sha256=..., source="crop", results=("identity",))

An ONNX file whose hash and contract are checked when it is opened, run in batches on the CPU.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnxruntime

from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.types import Array


def file_sha256(path: Path) -> str:
    """The hex sha256 of a weight file; `WeightsMissing` if it is not there."""
    return hashlib.sha256(_content(path)).hexdigest()


def verified(path: Path, sha256: str) -> bytes:
    """The bytes of a weight file, known to be the promised ones: `WeightsMissing`, `WeightsCorrupt`."""
    content = _content(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsCorrupt(f"{path} has sha256 {found[:12]}, expected {sha256[:12]}: install it again")
    return content


def session_options(threads: int | None) -> onnxruntime.SessionOptions:
    """Options for a network that shares the machine: `threads` None = all cores, at most 4."""
    if threads is not None and threads < 1:
        raise BadOption(f"threads must be at least 1, got {threads}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(os.cpu_count() or 1, 4)
    options.inter_op_num_threads = 1
    # Idle workers would otherwise spin on the cores that the sampler needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class Network:
    """One ONNX network: `source` names its input, `results` the outputs wanted, in that order."""

    def __init__(
        self, path: Path, *, sha256: str, source: str, results: tuple[str, ...], threads: int | None = None
    ) -> None:
        content, options = verified(path, sha256), session_options(threads)
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise WeightsCorrupt(f"{path} is not an ONNX network that can be run: {error}") from error
        takes = [i.name for i in self._session.get_inputs()]
        gives = [o.name for o in self._session.get_outputs()]
        if takes != [source] or not set(results) <= set(gives):
            raise WeightsCorrupt(f"{path} maps {takes} to {gives}, expected [{source!r}] to {list(results)}")
        self.source, self.results = source, results

    def __call__(self, tensor: Array) -> list[Array]:
        """The outputs, in the order of `results`, for one batch (N, 3, S, S) float32 in [-1, 1]."""
        outputs = self._session.run(list(self.results), {self.source: tensor})
        return [np.asarray(output, dtype=np.float32) for output in outputs]


def to_tensor(crops: Array) -> Array:
    """(N, 3, S, S) float32 in [-1, 1] of (N, S, S, 3) RGB uint8."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(127.5) - np.float32(1)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsMissing(f"{path} cannot be read: {error.strerror or error}") from error
