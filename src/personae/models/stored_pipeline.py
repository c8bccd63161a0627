"""A model's networks, reader and optional components: opened from a folder, moved, offloaded and saved as one.

pipe = FacePipeline.from_pretrained("nano")        # `personae.pipeline` adds what a model does
pipe.has_component("controlnet")                   # True; never downloads
pipe.component("controlnet")                       # loaded now, and from now on a component as diffusers has them
pipe.to("cuda"); pipe.enable_model_cpu_offload(); pipe.save_pretrained("mine")
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from diffusers import DiffusionPipeline
from torch import nn

from personae.errors import WeightsCorrupt
from personae.models import catalog, components, config, hub, offload, saving
from personae.models import folder as model_folder
from personae.models.official import layout, published
from personae.reading import align
from personae.reading.reader import FaceReader
from personae.reading.reader_folder import open_folder
from personae.threads import loading

READER = "reader"  # its folder in a model's
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


class StoredPipeline(DiffusionPipeline):
    """The parts of a model, as a diffusers pipeline without a call.

    Arguments:
        vae: AutoencoderDC or AutoencoderKL.
        text_encoder, tokenizer: CLIP's, tuned so that a vector may stand for the word `id`.
        unet, scheduler: diffusers'.
        reader: reads photos and measures the likeness of results; None: people are identities.
        crop_template: how the faces of its images are aligned (`reading.align`).
        identity_space, identity_width: of the identities that it was trained with; None: the reader's.
        steps, guidance_scale: of a call that names none. motion_guidance: the same, for a pose or an expression of one
            face, if the reader can guide.
        autoguidance, controlnet, exp_adapter, face_tokens, facex, lcm, parser, ref_adapter, taesd: the optional
            components (`models.components`); None: loaded from the model's folder when first used.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _optional_components = list(components.COMPONENTS)  # noqa: RUF012 (diffusers' own attribute)

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        reader: FaceReader | None = None,
        crop_template: str = "portrait",
        identity_space: str | None = None,
        identity_width: int | None = None,
        steps: int = 25,
        guidance_scale: float = 3.0,
        motion_guidance: float = 0.0,
        autoguidance: Any = None,
        controlnet: Any = None,
        exp_adapter: Any = None,
        face_tokens: Any = None,
        facex: Any = None,
        lcm: Any = None,
        parser: Any = None,
        ref_adapter: Any = None,
        taesd: Any = None,
    ) -> None:
        super().__init__()
        align.template(crop_template)
        if reader is not None and identity_space not in (None, reader.space):
            raise WeightsCorrupt(
                f"this model was trained on identities of {identity_space!r}, its reader measures {reader.space!r}: "
                "use the reader that belongs to it"
            )
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        optional = {
            "autoguidance": autoguidance,
            "controlnet": controlnet,
            "exp_adapter": exp_adapter,
            "face_tokens": face_tokens,
            "facex": facex,
            "lcm": lcm,
            "parser": parser,
            "ref_adapter": ref_adapter,
            "taesd": taesd,
        }
        # Registered without their classes: diffusers would else list them in `model_index.json` and write them itself.
        self.register_modules(**dict.fromkeys(optional))
        for name, module in optional.items():
            setattr(self, name, module)
        self.register_to_config(
            crop_template=crop_template,
            identity_space=identity_space or (reader.space if reader else "unnamed"),
            identity_width=identity_width or (reader.width if reader else None),
            steps=steps,
            guidance_scale=guidance_scale,
            motion_guidance=motion_guidance,
        )
        self.reader = reader
        self.name: str | None = None
        self.folder: Path | None = None
        self._files: Mapping[str, Path] | None = None  # of a model whose files lie in more places than its folder
        self._on_hub: Mapping[str, hub.Source] = {}  # optional components that can be fetched
        self._loaded_from: dict[str, tuple[nn.Module, Path]] = {}  # optional components, and where they lie
        self._of_files: Mapping[str, Any] = {}  # the other parts, as its files hold them; None: one that replaced it
        self.interrupt = False
        self._num_timesteps = 0
        self._sha256: str | None = None

    @property
    def num_timesteps(self) -> int:
        """How many steps the call that runs, or the last one, has. Diffusers' name."""
        return self._num_timesteps

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Diffusers' own, and the reader computes beside the networks, as far as onnxruntime can."""
        super().to(*args, **kwargs)
        if self.reader is not None:
            self.reader.to(str(self.device))
        return self

    # ------------------------------------------------------------------ optional components

    def has_component(self, name: str) -> bool:
        """Whether the model has the optional component `name`, loaded or not. Never downloads. Raises `BadOption` for
        an unknown name."""
        components.require_known(name)
        return getattr(self, name) is not None or self._component_folder(name) is not None or name in self._on_hub

    def component(self, name: str) -> Any:
        """An optional component (`models.components`), loaded when first used; fetched if the model is one of the
        Hub's. Raises `BadOption` for an unknown name, `WeightsMissing`, `WeightsCorrupt`, and as `hub.fetch`."""
        components.require_known(name)
        if getattr(self, name) is None:
            with loading():
                folder = self._component_folder(name)
                if folder is None and name in self._on_hub:
                    source = self._on_hub[name]
                    folder = (hub.fetch(source) / source.files[0]).parent
                folder = components.require_present(name, folder, self)
                with offload.suspended(self):
                    module = components.load(name, folder, self).to(self._execution_device)
                    setattr(self, name, module)
                    self._loaded_from[name] = module, folder
        return getattr(self, name)

    def _component_folder(self, name: str) -> Path | None:
        """Where it lies on this machine; None if it does not."""
        folder = None if self.folder is None else self.folder / name
        return folder if folder is not None and folder.is_dir() else None

    def _component_folders(self) -> dict[str, Path]:
        """Of the components that are in a folder: those that were loaded from it, and those that never were."""
        folders = {}
        for name in components.COMPONENTS:
            module, (loaded, folder) = getattr(self, name), self._loaded_from.get(name, (None, None))
            place = folder if module is loaded and folder is not None else None
            if module is None:
                place = self._component_folder(name)
            if place is not None:
                folders[name] = place
        return folders

    # ------------------------------------------------------------------ on disk

    @property
    def sha256(self) -> str | None:
        """One hash for all files of the model; None if it was not loaded from files, or has a part that is not of them.
        The reader is none of these parts."""
        files = self._files or self.folder
        if files is None or self._has_replaced():
            return None
        if self._sha256 is None:
            self._sha256 = catalog.fingerprint(files)
        return self._sha256

    def _has_replaced(self) -> bool:
        """Whether a network, tokenizer, scheduler or component took the place of what its files hold."""
        # torch.compile(network) is another object around the same network.
        parts = {name: getattr(getattr(self, name), "_orig_mod", getattr(self, name)) for name in self._of_files}
        if any(part is not self._of_files[name] for name, part in parts.items()):
            return True
        put_in = {name for name in components.COMPONENTS if getattr(self, name) is not None}
        return bool(put_in - self._component_folders().keys())

    @classmethod
    @loading()
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        reader: FaceReader | Literal[False] | None = None,
        base: str | Path | None = None,
        revision: str | None = None,
        accept_licence: bool = False,
        convolutions: torch.memory_format = torch.preserve_format,
        **kwargs: Any,
    ) -> Self:
        """Diffusers' own, for a model folder with its `reader/`, a Hub id, a named model, or Arc2Face's published
        files. float32 unless `dtype` says otherwise; convolutions: the layout of their weights, `preserve_format` as
        stored; the other arguments as `personae.load`.

        Raises `WeightsMissing`; `WeightsCorrupt` if a file is not what the folder's `sha256.json` promises, or cannot
        be read; `LicenceRefused`.
        """
        model = catalog.MODELS.get(str(pretrained_model_name_or_path))
        if not {"dtype", "torch_dtype"} & set(kwargs):
            kwargs["dtype"] = torch.float32
        if model is not None and model.hub is not None:
            found = layout.of_named(model, accept_licence=accept_licence)
            pipe = cls._published(found, reader, accept_licence, convolutions, kwargs)
            pipe._on_hub = model.extras
            return pipe
        folder = catalog.resolve(pretrained_model_name_or_path, revision=revision)
        catalog.verify(folder)
        if catalog.is_published(folder):
            return cls._published(layout.find(folder, base=base), reader, accept_licence, convolutions, kwargs)
        options = model_folder.load_options(folder, kwargs)
        if reader is None and (folder / READER).is_dir():
            reader = open_folder(folder / READER)
        with model_folder.loading_errors(folder):
            options = model_folder.networks(folder, options, convolutions) | options
            pipe = super().from_pretrained(str(folder), reader=reader or None, **options)
        model_folder.require_weights(folder, pipe)
        pipe.name, pipe.folder, pipe._of_files = str(folder), folder, _of_files(pipe, kwargs)
        return pipe

    @classmethod
    def _published(
        cls,
        found: layout.Layout,
        reader: FaceReader | Literal[False] | None,
        accept_licence: bool,
        convolutions: torch.memory_format,
        options: dict[str, Any],
    ) -> Self:
        """Of Arc2Face's published files. options: of `from_pretrained`: a dtype, networks to take instead."""
        dtypes = options.pop("torch_dtype", None) or options.pop("dtype")
        space = options.pop("identity_space", None)
        parts = published.arguments(
            found,
            dtypes,
            reader=reader,
            accept_licence=accept_licence,
            identity_space=space,
            convolutions=convolutions,
            replacements=options,
        )
        pipe = cls(**parts)
        pipe.name, pipe.folder, pipe._files = str(found.folder), found.folder, found.files()
        pipe._of_files = _of_files(pipe, options)
        return pipe

    @classmethod
    def from_pipe(cls, pipeline: Any, **kwargs: Any) -> Self:
        """Diffusers' own: another pipeline of the same networks, reader and components, those that are not loaded yet
        included. As in diffusers, all networks, which both share, are brought to `dtype` (float32)."""
        # Passed by name: diffusers would compare their classes with annotations, which would have to be imported.
        parts = {"reader": getattr(pipeline, "reader", None)} | pipeline.components
        pipe = super().from_pipe(pipeline, **(parts | kwargs))
        if isinstance(pipeline, StoredPipeline):
            for name in ("name", "folder", "_files", "_of_files", "_on_hub"):
                setattr(pipe, name, getattr(pipeline, name))
            pipe._loaded_from = dict(pipeline._loaded_from)
        return pipe

    def save_pretrained(self, save_directory: str | Path, *, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Diffusers' own, and the reader, the optional components, and `sha256.json`. A new folder appears whole or not
        at all, and goes to the Hub when it is whole.

        A component that was loaded from a folder is written as that folder; one that was put in, by its own `save`.
        push_to_hub: with `repo_id`, `private`, `token`, `commit_message` and `create_pr`, as in diffusers.

        Raises `BadOutput` if the folder cannot be written; with `push_to_hub` what the Hub's client raises.
        """
        target, upload = Path(save_directory), saving.Upload.taken_from(kwargs)
        with saving.writing(target) as folder:
            super().save_pretrained(str(folder), **kwargs)
            if self.reader is not None:
                self.reader.save(folder / READER)
            if self.folder is not None:
                components.copy_identity_files(self.folder, folder)
            modules = {name: getattr(self, name) for name in components.COMPONENTS}
            components.save(modules, self._component_folders(), folder)
        if push_to_hub:
            upload.send(self, target)

    def to_json_string(self) -> str:
        """What `model_index.json` holds. Not the optional components: one is there if its folder is."""
        return config.as_saved(super().to_json_string())


def _of_files(pipe: StoredPipeline, replacements: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a pipeline that was just loaded, None for those that the caller gave instead."""
    return {name: None if name in replacements else getattr(pipe, name) for name in PARTS}
