"""What ships of the mark: two ONNX files, which take pictures of any size, and a record of both."""

from pathlib import Path

import torch
from torch import Tensor, nn

from personae.io import atomic
from personae.reading.onnx_file import file_sha256
from personae.training.export_onnx import export_onnx
from personae.training.methods.watermark.network import Mark

DECIBELS = 40.5  # PSNR of what is marked
THRESHOLD = 6.0  # of the score: noise reaches 5.2, and so do few pictures; the message must agree as well
_EXAMPLE = 32  # samples


class _Writer(nn.Module):
    """Canvas (N, 13, H, W), a picture's unshuffled pixels and the pattern -> coloured residual (N, 3, H, W)."""

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.encoder, self.direction = mark.encoder, mark.direction().detach()

    def forward(self, canvas: Tensor) -> Tensor:
        found: Tensor = self.encoder.drawn(canvas[:, :12], canvas[:, 12:]) * self.direction
        return found


class _Finder(nn.Module):
    """Unshuffled pixels (N, 12, H, W) -> evidence (N, 1, H, W)."""

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.decoder = mark.decoder

    def forward(self, picture: Tensor) -> Tensor:
        found: Tensor = self.decoder.found(picture)
        return found


def export_mark(mark: Mark, folder: Path) -> None:
    """Write `encoder.onnx`, `decoder.onnx` and `watermark.json`."""
    canvas = torch.zeros(2, 13, _EXAMPLE, _EXAMPLE)
    encoder, decoder = folder / "encoder.onnx", folder / "decoder.onnx"
    export_onnx(_Writer(mark), canvas, encoder, ["canvas"], ["residual"], free=(0, 2, 3))
    export_onnx(_Finder(mark), canvas[:, :12], decoder, ["picture"], ["evidence"], free=(0, 2, 3))
    facts = {"encoder": file_sha256(encoder), "decoder": file_sha256(decoder)}
    atomic.write_json(folder / "watermark.json", facts | {"decibels": DECIBELS, "threshold": THRESHOLD})
