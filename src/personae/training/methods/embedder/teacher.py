"""The recogniser that the embedder is distilled from."""

from pathlib import Path

import numpy as np

from personae.data.teachers import teacher_input
from personae.reading.onnx_file import model_of
from personae.types import Array


class Teacher:
    """MobileFaceNet with its last spatial map as a second output."""

    _MAP = "/features/features.14/Add_output_0"  # (1, 128, 7, 7), a linear bottleneck

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime

        model = model_of(path)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(self._MAP))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, crop: Array) -> tuple[Array, Array]:
        """Unit vector (128,) and feature map (128, 7, 7) of a (112, 112, 3) uint8 crop."""
        vector, features = self.session.run(None, {"input": teacher_input(crop)})
        return vector[0] / np.linalg.norm(vector[0]), features[0]
