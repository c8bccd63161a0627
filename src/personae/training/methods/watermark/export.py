"""What ships of the mark: two ONNX files, which take pictures of any size, and a record of both."""

from pathlib import Path

import torch
from torch import Tensor, nn

from personae.io import atomic
from personae.reading.onnx_file import file_sha256
from personae.training.export_onnx import export_onnx
from personae.training.methods.watermark.network import Mark

STRENGTH = 1.4  # grey levels of the residual where nothing hides it
THRESHOLD = 6.0  # of the score: noise reaches 5.2, and so do few pictures; the message must agree as well
_EXAMPLE = 32  # samples


class _Writer(nn.Module):
    """Canvas (N, 13, H, W), a picture's samples and the pattern -> residual (N, 1, H, W), in grey levels."""

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark

    def forward(self, canvas: Tensor) -> Tensor:
        strength = torch.full((1, 1, 1, 1), STRENGTH)
        return self.mark.residual(canvas[:, :12], canvas[:, 12:], strength)


def export_mark(mark: Mark, folder: Path) -> None:
    """Write `encoder.onnx`, `decoder.onnx` and `watermark.json`."""
    canvas = torch.zeros(2, 13, _EXAMPLE, _EXAMPLE)
    encoder, decoder = folder / "encoder.onnx", folder / "decoder.onnx"
    export_onnx(_Writer(mark), canvas, encoder, ["canvas"], ["residual"], free=(0, 2, 3))
    export_onnx(mark.decoder, canvas[:, :12], decoder, ["picture"], ["evidence"], free=(0, 2, 3))
    facts = {"encoder": file_sha256(encoder), "decoder": file_sha256(decoder)}
    atomic.write_json(folder / "watermark.json", facts | {"threshold": THRESHOLD})
