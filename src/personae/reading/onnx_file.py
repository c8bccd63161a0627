"""network = Network(folder / "embedder.onnx", sha256=..., source="crop", results={"identity": (None,)})

An ONNX file whose hash and contract are checked when it is opened, run in batches.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.io import regular
from personae.io.boundary import errors_as
from personae.reading.session import Provider, Session
from personae.shapes import Float32, Shaped, UInt8
from personae.types import Array

if TYPE_CHECKING:
    import onnx

_MOST_BYTES = 2 << 30  # protobuf's own limit
# Without one of these words, a file has neither data elsewhere nor a loop; with one, it is looked at in full.
_SUSPICIOUS = (b"location", b"Loop", b"Scan")
_LOOPS = ("Loop", "Scan")
_EXTERNAL = 1  # of TensorProto.DataLocation

Shape = tuple[int | None, ...]


def file_sha256(path: Path) -> str:
    """The hex sha256 of a weight file. Raises `WeightsMissing`, `WeightsCorrupt`."""
    return regular.sha256(path, WeightsCorrupt, missing=WeightsMissing)


def content_of(path: Path) -> bytes:
    """The bytes of an ONNX file that holds all of its weights and ends by itself.

    Weights in other files would be looked for in the current directory, or wherever a stranger says. Raises
    `WeightsMissing`, `WeightsCorrupt`.
    """
    content = regular.read(path, _MOST_BYTES, WeightsCorrupt, missing=WeightsMissing)
    if any(word in content for word in _SUSPICIOUS):
        _require_plain(content, path)
    return content


def verified(path: Path, sha256: str) -> bytes:
    """`content_of` a file, known to be the promised one."""
    content = content_of(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsCorrupt(f"{path} has sha256 {found[:12]}, expected {sha256[:12]}: install it again")
    return content


def model_of(path: str | Path) -> "onnx.ModelProto":
    """An ONNX file as a message. Raises as `content_of`."""
    content = content_of(Path(path))
    import onnx  # late: only a gradient, or training, needs it

    with errors_as(WeightsCorrupt, f"{path} is not an ONNX network"):
        return onnx.load_model_from_string(content)


def _require_plain(content: bytes, path: Path) -> None:
    import onnx  # late: few files need the look

    with errors_as(WeightsCorrupt, f"{path} is not an ONNX network that can be run"):
        model = onnx.load_model_from_string(content)
        for message in _messages(model):
            if isinstance(message, onnx.TensorProto) and (message.external_data or message.data_location == _EXTERNAL):
                raise WeightsCorrupt(
                    f"{path} keeps weights in another file, which is never read: save it with its weights inside"
                )
            if isinstance(message, onnx.NodeProto) and message.op_type in _LOOPS:
                raise WeightsCorrupt(f"{path} holds a {message.op_type}, which may run without end: refused")


def _messages(message: object) -> Iterator[object]:
    """Every part of a protobuf message, at any depth, without recursion."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, value in one.ListFields():  # type: ignore[attr-defined]
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


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
    """One ONNX network: `source` names its input, `results` the outputs wanted, in that order, each with its shape
    after the batch, None a side of any length."""

    def __init__(
        self, path: Path, *, sha256: str, source: str, results: dict[str, Shape], threads: int | None = None
    ) -> None:
        options = session_options(threads)

        def opened(providers: list[Provider]) -> onnxruntime.InferenceSession:
            # Without the fallback, which would try the same again and print about it.
            return onnxruntime.InferenceSession(verified(path, sha256), options, providers=providers, enable_fallback=0)

        with errors_as(WeightsCorrupt, f"{path} is not an ONNX network that can be run"):
            self._session = Session(opened)
            takes = [i.name for i in self._session.get_inputs()]
            gives = [o.name for o in self._session.get_outputs()]
        if takes != [source] or not set(results) <= set(gives):
            raise WeightsCorrupt(f"{path} maps {takes} to {gives}, expected [{source!r}] to {list(results)}")
        self.path, self.source, self.results = path, source, results

    def to(self, device: str) -> None:
        """Compute on `device`, as `session.Session.to`."""
        self._session.to(device)

    def __call__(self, tensor: Float32[Array, "N C H W"]) -> list[Shaped[Array, "N ..."]]:
        """The outputs, in the order of `results`, for one batch (N, 3, S, S) float32 in [-1, 1]."""
        with errors_as(WeightsCorrupt, f"{self.path} cannot be run on {tensor.shape}"):
            found = self._session.run(list(self.results), {self.source: tensor})
            outputs = [np.asarray(output, dtype=np.float32) for output in found]
        for (name, sides), output in zip(self.results.items(), outputs, strict=True):
            wanted = (len(tensor), *sides)
            fits = len(wanted) == output.ndim and all(
                side in (None, own) for side, own in zip(wanted, output.shape, strict=True)
            )
            if not fits or not np.isfinite(output).all():
                raise WeightsCorrupt(
                    f"{self.path} gives {name} of shape {output.shape}, expected {wanted}, all finite: use another"
                )
        return outputs


class OnnxPart:
    """A part of a reader that is one ONNX network."""

    _network: Network

    def to(self, device: str) -> None:
        """Compute on `device`, as `session.Session.to`."""
        self._network.to(device)


def to_tensor(crops: UInt8[Array, "N S S 3"]) -> Float32[Array, "N 3 S S"]:
    """(N, 3, S, S) float32 in [-1, 1] of (N, S, S, 3) RGB uint8."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(127.5) - np.float32(1)
