"""The recogniser that the embedder is distilled from."""

from pathlib import Path

import numpy as np

from personae.data.teachers import teacher_input
from personae.reading.onnx_file import model_of
from personae.types import Array

_LINEAR = (0, 5, 12)  # blocks that change size or width, and so are not added to what came in
STEM = "/dw_conv/Relu_1_output_0"
BLOCKS = tuple(
    f"/features/features.{number}/" + ("conv/conv.2/Conv_output_0" if number in _LINEAR else "Add_output_0")
    for number in range(15)
)
_OUTPUT = "output"


class Teacher:
    """MobileFaceNet with the maps between its blocks as further outputs, in the order of `Embedder.units`."""

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime

        model = model_of(path)
        there = {one.name for one in model.graph.output}
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in (STEM, *BLOCKS) if name not in there
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, crop: Array) -> tuple[Array, Array]:
        """Unit vector (128,) and last feature map (128, 7, 7) of a (112, 112, 3) uint8 crop."""
        vector, features = self.session.run([_OUTPUT, BLOCKS[-1]], {"input": teacher_input(crop)})
        return vector[0] / np.linalg.norm(vector[0]), features[0]

    def units(self, crop: Array) -> list[Array]:
        """What the stem, each block and the head make of a (112, 112, 3) uint8 crop: maps (C, h, w) and, last, the raw
        vector (128,)."""
        return [one[0] for one in self.session.run([STEM, *BLOCKS, _OUTPUT], {"input": teacher_input(crop)})]
