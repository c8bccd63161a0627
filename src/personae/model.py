"""`Model`: what controls, editing, video and evaluation need of a pipeline, as types only.

`personae.pipeline.FacePipeline` is one. Whoever lies below the pipeline takes a `Model` and so knows nothing of it.
Imports are for type checkers alone: at run time this module brings nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from personae.conditioning.types import Conditioning
    from personae.reading.photo import PhotoSource
    from personae.reading.reader import FaceReader
    from personae.types import Face, Generation, Identity


class Model(Protocol):
    """A diffusion model that makes faces, with its networks, its reader and its optional components.

    vae, text_encoder, tokenizer, unet, scheduler: diffusers' and transformers'. reader: None if it came without one.
    name, folder, sha256: where it was loaded from, None if it was not. interrupt: set to stop a call that runs.
    """

    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any
    reader: "FaceReader | None"
    name: str | None
    folder: Path | None
    interrupt: bool

    @property
    def config(self) -> Any:
        """`crop_template`, `identity_space`, `identity_width`, `steps`, `guidance_scale`, `motion_guidance`."""

    @property
    def sha256(self) -> str | None:
        """One hash for all files of the model."""

    @property
    def device(self) -> "torch.device":
        """Where its networks are."""

    @property
    def _execution_device(self) -> "torch.device":
        """Where its networks compute: with offloading, another than `device`. Diffusers' name."""

    def __call__(self, faces: Any, **options: Any) -> "Generation":
        """New images of each person: `FacePipeline.__call__`."""

    def read(self, source: "PhotoSource", *, motion: bool = True) -> "list[Face]":
        """The faces of a photo, largest first."""

    def identities(self, faces: Any) -> "list[Identity]":
        """Whatever may stand for people, as identities of this model's space."""

    def condition(
        self, people: "Sequence[Identity]", prompt: str | None = None, negative_prompt: str = ""
    ) -> "tuple[Conditioning, Conditioning]":
        """P rows about the people, and one row for the unguided half."""

    def has_component(self, name: str) -> bool:
        """Whether it has an optional component (`models.components`). Never downloads."""

    def component(self, name: str) -> Any:
        """An optional component, loaded when first used. Raises `WeightsMissing`."""
