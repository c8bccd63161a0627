"""What a trained base is, as files."""

from pathlib import Path

from personae.training.export import save_half
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.prompts import Prompts


def export_base(model: IdentityToFace, prompts: Prompts, folder: Path) -> None:
    """Write `unet/`, `text_encoder/` and `tokenizer/`, in half precision, into `folder`."""
    prompts.save(folder / "tokenizer")
    save_half(model.unet, folder / "unet")
    save_half(model.text_encoder, folder / "text_encoder")
