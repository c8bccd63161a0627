"""START HERE: the road from a photo to new pictures of the person in it.

    pipe = personae.load("nano")
    face = pipe.read("me.jpg")[0]
    out = pipe(face, num_images_per_prompt=4, seed=0)
    out.images, out.seeds, out.likeness

`FacePipeline.__call__` reads as the flow: read -> condition -> sample -> decode -> judge. It is a diffusers pipeline:
`from_pretrained`, `save_pretrained`, `to`, offloading and `callback_on_step_end` work as everywhere.

Legend: P people, N = P x num_images_per_prompt images, person after person; D width of an identity.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from personae.compiled import is_compiled
from personae.conditioning.arc2face import PROMPT, encode_identities, encode_text
from personae.conditioning.regional_attention import likeness_by_region
from personae.conditioning.types import Conditioning
from personae.controls.registry import plan_for
from personae.controls.request import GuidanceInputs, Plan, Request, Steering
from personae.errors import (
    BadIdentity,
    BadOption,
    BadOutput,
    NoFaceFound,
    SpaceMismatch,
    WeightsCorrupt,
    WeightsMissing,
)
from personae.io.boundary import errors_as
from personae.models import catalog, components, hub
from personae.models import folder as model_folder
from personae.models.official import layout, parts
from personae.reading import align
from personae.reading.insightface import open_folder
from personae.reading.photo import PhotoSource
from personae.reading.reader import FaceReader
from personae.sampling import codec, schedulers
from personae.sampling.fast import modes, precision
from personae.sampling.fast.allocator import keep_freed_memory
from personae.sampling.guidance import GuidanceTerm, guided
from personae.sampling.loop import OnStep, denoise, draw_noise, generators_for
from personae.sampling.unet_hooks import engaged
from personae.threads import loading, one_at_a_time
from personae.types import Array, Edit, Face, Generation, Identity
from personae.version import __version__

if TYPE_CHECKING:
    from personae.editing.inputs import EditSource
    from personae.editing.tasks import Task

People = Face | Identity | Sequence[Face | Identity] | Array | Tensor
StepCallback = Callable[["FacePipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]
READER = "reader"
_OUTPUT_TYPES = ("latent", "np", "pil", "pt")


@loading()
def load(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    torch_dtype: torch.dtype | None = None,
    compile: bool = False,  # noqa: A002 (torch's own word)
    reader: FaceReader | Literal[False] | None = None,
    base: str | Path | None = None,
    revision: str | None = None,
    accept_licence: bool = False,
) -> "FacePipeline":
    """A model by name, folder or Hub id (`owner/name`), ready to use.

    device: None = an accelerator if there is one. torch_dtype: of UNet and autoencoder; None = bfloat16 where this
    machine was measured to be faster in it, else float32 (`sampling/fast/precision.py`). compile: let torch compile the
    UNet (pays off in bulk). reader: instead of the model's own; False: none, for identities only. base: Stable
    Diffusion 1.5, for Arc2Face's published files that lie without it. revision: of a Hub id. accept_licence: of weights
    that ask for it, remembered. Raises `BadOption`, `WeightsMissing`, `WeightsCorrupt`, `LicenceRefused`.
    """
    place = modes.device_for(device)
    dtype = torch_dtype or precision.best_dtype(place)
    dtypes = {"unet": dtype, "vae": dtype, "default": torch.float32}
    with model_folder.no_bars():
        pipe = FacePipeline.from_pretrained(
            name, dtype=dtypes, reader=reader, base=base, revision=revision, accept_licence=accept_licence
        ).to(place)
    pipe.name = str(name)
    pipe.set_progress_bar_config(disable=None)  # None: only on a terminal
    modes.prepare(pipe, compile=compile)
    return pipe


class FacePipeline(DiffusionPipeline):
    """Identity in, faces out. For one thread at a time: a second one meets `PipelineBusy`. Pipelines of their own may
    be loaded and called in as many threads as there are.

    vae: AutoencoderDC, AutoencoderKL. text_encoder, tokenizer: tuned so that a vector may stand for `id`.
    reader: reads photos and judges results; without one, give identities and get no likeness.
    crop_template: how the faces of its images are aligned. identity_space, identity_width: of the identities it was
    trained with (None: the reader's). steps, guidance_scale: what is used unless a call says otherwise;
    motion_guidance: the same, of one face that is asked for a pose or an expression (where the reader can).
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _callback_tensor_inputs = ("latents",)

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
    ) -> None:
        super().__init__()
        align.template(crop_template)
        if reader is not None and identity_space not in (None, reader.space):
            raise WeightsCorrupt(
                f"this model was trained on identities of {identity_space!r}, its reader measures {reader.space!r}: "
                "use the reader that belongs to it"
            )
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
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
        self.interrupt = False
        self._sha256: str | None = None
        self._loaded_components: dict[str, Any] = {}

    # ------------------------------------------------------------------ the flow

    def read(self, source: PhotoSource, *, motion: bool = True) -> list[Face]:
        """The faces of a photo (path, bytes, PIL image, (H, W, 3) RGB uint8), largest first; [] if there are none.

        Raises `BadImage`; `WeightsMissing` if this model came without a reader.
        """
        if self.reader is None:
            raise WeightsMissing("this model has no reader: load it with reader=..., or give it identities")
        return self.reader.read(source, motion=motion)

    @one_at_a_time
    @torch.no_grad()
    def __call__(
        self,
        faces: People,
        *,
        prompt: str | None = None,
        negative_prompt: str = "",
        num_images_per_prompt: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        height: int | None = None,
        width: int | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        measure_likeness: bool = True,
        batch_size: int = 16,
        **steering: Unpack[Steering],
    ) -> Generation:
        """New images of each person.

        faces: what `read` gives, identities, or bare embeddings (P, D) of this model's space.
        prompt: words around `{person}`, e.g. "a smiling {person}, black and white"; None: the person alone. Words
        without it, "a man at the beach", are Face0's: text and face side by side, by the model's `face_tokens/`.
        num_inference_steps, guidance_scale, scheduler: None = the model's own; `schedulers.SCHEDULERS` has the names.
        seed: image n gets seed + n, counted over all people; or N seeds; None: drawn and reported.
        generator: instead of seeds, one per image. latents: (N, c, h, w) instead of noise.
        height, width: in pixels; None: the model's own.
        output_type: "pil"; "np" (N, H, W, 3) or "pt" (N, 3, H, W) in 0-1; "latent".
        callback_on_step_end: (pipe, step, t, {"latents"}) -> None or {"latents"}; `pipe.interrupt = True` stops.
        measure_likeness: read every image back and compare. batch_size: images per network call; changes no result.
        steering: `personae.controls.request.Steering`: pose, expression, reference, fast sampling, speed, the weights
        of text and face, and `regions`, which puts all the people into every picture (`people` of the result are then
        0).

        Raises `BadIdentity`, `SpaceMismatch`, `BadOption`; `WeightsMissing` for steering that this model lacks;
        `PipelineBusy` in a second thread.
        """
        for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
            words = f"{name} is one text for all images of a call, got a {type(text).__name__}: call once for each text"
            _check(text is None or isinstance(text, str), words)
        _check(num_images_per_prompt >= 1, f"num_images_per_prompt must be at least 1, got {num_images_per_prompt}")
        _check(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
        _check(output_type in _OUTPUT_TYPES, f"output_type is one of {_OUTPUT_TYPES}, got {output_type!r}")

        said: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "scheduler": scheduler,
            "height": height,
            "width": width,
        }
        together = steering.get("regions") is not None
        request = self._request(
            faces, said, prompt=prompt, negative_prompt=negative_prompt, copies=num_images_per_prompt, together=together
        )
        generators = _generators(seed, generator, len(request.person_index))
        seeds = [g.initial_seed() for g in generators]
        plan = plan_for(self, request, steering)
        settings = self._own_settings() | plan.defaults | {k: v for k, v in said.items() if v is not None}

        noise = self._noise(latents, generators, request.grid)
        mode = (plan.mode or modes.MODES["exact"]).for_steps(settings["num_inference_steps"])
        clean, stepper = self._sample(
            request, plan, settings, mode, noise, generators, batch_size=batch_size, callback=callback_on_step_end
        )
        images, likeness = clean, None
        if output_type != "latent":
            decoder = self.component("taesd") if mode.tiny_decoder else self.vae
            images = codec.decode(decoder, clean, batch_size=min(batch_size, modes.decoded_at_once(decoder, clean)))
            likeness = self._likeness_of(images, request, plan.guidance) if measure_likeness else None
        self.maybe_free_model_hooks()
        settings = {"prompt": prompt, "negative_prompt": negative_prompt} | settings | plan.settings
        return Generation(
            images=_as_type(images, output_type),
            seeds=seeds,
            people=list(request.person_index),
            likeness=likeness,
            recipe=self._recipe(settings, request.people, request.faces)
            | {"sampler": type(stepper).__name__, "noise": "seed" if latents is None else "given"},
        )

    @one_at_a_time
    def edit(
        self,
        task: "str | Task",
        *,
        source: "EditSource | None" = None,
        target: "EditSource | None" = None,
        tokens: "Mapping[str, EditSource] | None" = None,
        region: str | Sequence[str] | None = None,
        mask: PhotoSource | None = None,
        face: int = 1,
        all_faces: bool = False,
        seed: int | Sequence[int] | None = None,
        num_images: int = 1,
        **changes: Any,
    ) -> Edit:
        """A photo in which one face, or all of them, are made anew; everything else stays byte for byte.

        task: a name of `editing.tasks.TASKS` (swap, head, reenact, inpaint, attribute, style, mix) or a row of one's
        own. source, target: the photos that it takes, or a face that was read, or an earlier edit.
        tokens: pieces from other photos, by name (`conditioning.facex.representation.TOKENS`), of their largest faces.
        region: what is made anew instead of what the task says, by name (`reading.face_regions`), one or several.
        mask: the same as a picture of the photo's size, white what is made anew. face: which one of the photo that is
        edited, 1 the largest; all_faces: one after the other.
        seed: image n gets seed + n; or num_images seeds; None: drawn and reported. num_images: how many photos.
        changes: of the person: shift (of the identity, by name, in standard deviations: `directions`), pose (yaw,
        pitch, roll, or some by name), expression (amounts by name), what is not named stays; and any option of a call,
        such as prompt, num_inference_steps, guidance_scale, strength or likeness_guidance.

        Uses the model's `facex/`, or without it what else there is (`editing.conditioning`). Raises `NoFaceFound`,
        naming the photo; `BadOption` for an unknown task, token, region or face, a missing photo, a mask of another
        size; `BadImage`; `WeightsMissing` for what this model cannot do.
        """
        from personae.editing.edit import edit

        return edit(
            self,
            task,
            source=source,
            target=target,
            tokens=tokens,
            region=region,
            mask=mask,
            face=face,
            all_faces=all_faces,
            seed=seed,
            num_images=num_images,
            **changes,
        )

    # ------------------------------------------------------------------ its stages

    def identities(self, faces: People) -> list[Identity]:
        """Whatever may stand for people, as identities of this model's space.

        Raises `NoFaceFound` for an empty list, `SpaceMismatch`, `BadIdentity` for a wrong width, NaN or zero.
        """
        given = _listed(faces)
        if len(given) == 0:
            raise NoFaceFound("there is nobody to generate: the list of faces is empty")
        if isinstance(given, list | tuple) and all(isinstance(one, Face | Identity) for one in given):
            people = [_identity_of(one) for one in given]
        else:
            people = [Identity(vector=row, space=self.config.identity_space) for row in _embeddings(given)]
        for person in people:
            person.require(self.config.identity_space)
            if person.vector.size != (self.config.identity_width or person.vector.size):
                raise BadIdentity(
                    f"this model reads identities of {self.config.identity_width} numbers, got {person.vector.size}: "
                    "read the photo with the model's own reader"
                )
        return people

    def condition(
        self, people: Sequence[Identity], prompt: str | None = None, negative_prompt: str = ""
    ) -> tuple[Conditioning, Conditioning]:
        """What the UNet is told: (P rows about the people, one row for the unguided half)."""
        vectors = torch.from_numpy(np.stack([person.vector for person in people]))
        text = PROMPT if prompt is None else prompt
        positive = encode_identities(vectors, self.tokenizer, self.text_encoder, text)
        return positive, encode_text([negative_prompt], self.tokenizer, self.text_encoder)

    def _request(
        self,
        faces: People,
        said: Mapping[str, Any],
        *,
        prompt: str | None,
        negative_prompt: str,
        copies: int,
        together: bool,
    ) -> Request:
        """Who and what is asked for: each person `copies` times, or all of them `together` in as many pictures."""
        listed = _listed(faces)
        people = self.identities(listed)
        return Request(
            faces=listed,
            people=people,
            person_index=[person for person in range(1 if together else len(people)) for _ in range(copies)],
            grid=self._grid(said["height"], said["width"]),
            prompt=prompt,
            negative_prompt=negative_prompt,
            settings=said,
        )

    def _guidance_terms(
        self, request: Request, inputs: GuidanceInputs | None, timesteps: Tensor
    ) -> tuple[Conditioning | list[GuidanceTerm], Conditioning]:
        """What guidance leads to, N rows, and away from, one row."""
        if inputs is not None:
            return inputs.terms(timesteps), inputs.negative
        positive, negative = self.condition(request.people, request.prompt, request.negative_prompt)
        return positive.rows(torch.tensor(request.person_index)), negative

    def _sample(
        self,
        request: Request,
        plan: Plan,
        settings: Mapping[str, Any],
        mode: modes.Mode,
        noise: Tensor,
        generators: Sequence[torch.Generator],
        *,
        batch_size: int,
        callback: StepCallback | None,
    ) -> tuple[Tensor, Any]:
        """Clean latents (N, c, h, w) from noise of that shape, and the scheduler that walked there."""
        # On the CPU: to look at a time must not keep an accelerator waiting.
        stepper = schedulers.fresh(
            settings["scheduler"], like=self.scheduler, steps=settings["num_inference_steps"], device="cpu"
        )
        controls = [*plan.hooks, *modes.controls_of(mode)]
        positive, negative = self._guidance_terms(request, plan.guidance, stepper.timesteps)
        predict = guided(
            self.unet,
            positive,
            negative,
            settings["guidance_scale"],
            hooks=controls,
            interval=modes.guided_times(stepper.timesteps, mode.guidance_interval),
            batch_size=batch_size,
            pad=is_compiled(self.unet),
        )
        for around in plan.around:
            predict = around(predict, stepper)
        noise, mask_blend = noise.to(self._execution_device), plan.mask_blend
        left_out = 0 if mask_blend is None else mask_blend.first_step(stepper)
        with (
            keep_freed_memory(),
            engaged(controls, self.unet),
            self._after_each_step(len(stepper.timesteps) - left_out, callback) as on_step,
        ):
            clean = denoise(predict, noise, stepper, generators=generators, on_step=on_step, mask_blend=mask_blend)
        return clean, stepper

    def likeness(self, images: Tensor, people: Sequence[Identity]) -> list[float] | None:
        """The cosine between each image (N, 3, H, W) in [-1, 1], read back, and the identity asked for; NaN where no
        face is found; None without a reader."""
        if self.reader is None:
            return None
        found = self.reader.identify(codec.to_uint8(images))
        return [
            float(seen.vector @ wanted.vector) if seen else float("nan")
            for seen, wanted in zip(found, people, strict=True)
        ]

    def likeness_together(self, images: Tensor, people: Sequence[Identity], regions: Tensor) -> list[float] | None:
        """As `likeness`, of images (N, 3, H, W) that show all the people, each in one of the regions (P, h, w): of each
        image, the cosine of the person who is met the least; NaN where one of them is not found."""
        if self.reader is None:
            return None
        read = [self.reader.read(pixels, motion=False) for pixels in codec.to_uint8(images)]
        return [float(np.min(likeness_by_region(faces, people, regions))) for faces in read]

    def _likeness_of(self, images: Tensor, request: Request, inputs: GuidanceInputs | None) -> list[float] | None:
        if inputs is not None and inputs.regions is not None:
            return self.likeness_together(images, request.people, inputs.regions)
        return self.likeness(images, [request.people[person] for person in request.person_index])

    def _own_settings(self) -> dict[str, Any]:
        return {
            "num_inference_steps": self.config.steps,
            "guidance_scale": self.config.guidance_scale,
            "scheduler": None,
        }

    def _grid(self, height: int | None, width: int | None) -> tuple[int, int]:
        """Height and width of the latents. Raises `BadOption` for an image that they do not make."""
        cell, own = codec.pixels_per_cell(self.vae), self.unet.config.sample_size
        for name, side in (("height", height), ("width", width)):
            right = side is None or (isinstance(side, Integral) and side > 0 and side % cell == 0)
            _check(right, f"{name} must be a multiple of {cell} pixels, got {side!r}: the model's own is {own * cell}")
        return (own if height is None else height // cell), (own if width is None else width // cell)

    def _noise(self, latents: Tensor | None, generators: Sequence[torch.Generator], grid: tuple[int, int]) -> Tensor:
        shape = (self.unet.config.in_channels, *grid)
        if latents is None:
            return draw_noise(shape, generators)
        wanted = (len(generators), *shape)
        _check(tuple(latents.shape) == wanted, f"latents must be {wanted}, got {tuple(latents.shape)}")
        return latents.float()

    @contextmanager
    def _after_each_step(self, count: int, callback: StepCallback | None) -> Iterator[OnStep]:
        """What is done after each of `count` steps: the bar moves, the caller's callback, the stop."""
        self.interrupt = False
        with self.progress_bar(total=count) as bar:

            def on_step(step: int, t: Tensor, latents: Tensor) -> Tensor | None:
                bar.update()
                if callback is not None:
                    latents = (callback(self, step, t, {"latents": latents}) or {}).get("latents", latents)
                return None if self.interrupt else latents

            yield on_step

    def has_component(self, name: str) -> bool:
        """Whether the model has the optional component `name` (`models.components`), loaded or not. Never downloads."""
        return name in self._loaded_components or name in self._on_hub or self._component_folder(name) is not None

    def component(self, name: str) -> Any:
        """An optional component of the model (`models.components`), loaded when first used; fetched, if the model is
        one of the Hub's. Raises `BadOption` for an unknown name, `WeightsMissing`, `WeightsCorrupt`, and as
        `hub.fetch`."""
        if name not in self._loaded_components:
            with loading():
                folder = self._component_folder(name)
                if folder is None and name in self._on_hub:
                    source = self._on_hub[name]
                    folder = (hub.fetch(source) / source.files[0]).parent
                self._loaded_components[name] = components.load(name, folder, self)
        return self._loaded_components[name]

    def _component_folder(self, name: str) -> Path | None:
        """Where it lies on this machine; None if it does not."""
        folder = None if self.folder is None else self.folder / name
        return folder if folder is not None and folder.is_dir() else None

    # ------------------------------------------------------------------ on disk

    @property
    def sha256(self) -> str | None:
        """One hash for all files of the model, or None if it was not loaded from files."""
        files = self._files or self.folder
        if self._sha256 is None and files is not None:
            self._sha256 = catalog.fingerprint(files)
        return self._sha256

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
        **kwargs: Any,
    ) -> "FacePipeline":
        """Diffusers' own, for a model folder with its `reader/`, a Hub id, a named model, or Arc2Face's published
        files. float32 unless `dtype` says otherwise; the rest as `load`.

        Raises `WeightsMissing`; `WeightsCorrupt` if a file is not what the folder's `sha256.json` promises, or
        cannot be read; `LicenceRefused`.
        """
        name = str(pretrained_model_name_or_path)
        model = catalog.MODELS.get(name)
        if not {"dtype", "torch_dtype"} & set(kwargs):
            kwargs["dtype"] = torch.float32
        if model is not None and model.hub is not None:
            found = layout.of_named(model, accept_licence=accept_licence)
            pipe = cls._published(found, reader, accept_licence, kwargs)
            pipe._on_hub = model.extras
            return pipe
        folder = catalog.resolve(pretrained_model_name_or_path, revision=revision)
        catalog.verify(folder)
        if catalog.is_published(folder):
            return cls._published(layout.find(folder, base=base), reader, accept_licence, kwargs)
        model_folder.require_parts(folder)
        if "text_encoder" not in kwargs:
            model_folder.require_text_fits(folder)
        if reader is None and (folder / READER).is_dir():
            reader = open_folder(folder / READER)
        kwargs["reader"] = reader or None
        kwargs.setdefault("use_safetensors", True)  # else diffusers falls back to pickles, which can run code
        kwargs["local_files_only"] = True
        try:
            with errors_as(WeightsCorrupt, f"{folder} cannot be loaded", "install or fetch the model again"):
                pipe = super().from_pretrained(str(folder), **kwargs)
        except WeightsCorrupt as error:
            if "no file named" not in str(error):
                raise
            raise WeightsMissing(str(error)) from error
        model_folder.require_weights(folder, pipe)
        pipe.name, pipe.folder = str(folder), folder
        return pipe

    @classmethod
    def _published(
        cls,
        found: layout.Layout,
        reader: FaceReader | Literal[False] | None,
        accept_licence: bool,
        options: dict[str, Any],
    ) -> "FacePipeline":
        """A pipeline of Arc2Face's published files, with the steps and the guidance of its authors. `options`: of
        `from_pretrained`, a dtype and parts to take instead of the files'."""
        dtype = options.pop("torch_dtype", None) or options.pop("dtype")
        space = options.pop("identity_space", None) or found.space()
        unknown = sorted(options.keys() - parts.NAMES)
        _check(not unknown, f"Arc2Face's published files are loaded without the option {', '.join(unknown)}")
        if reader is None:
            reader = found.reader(accept_licence=accept_licence)
        if reader and reader.width != layout.WIDTH:
            raise SpaceMismatch(
                f"Arc2Face reads identities of {layout.WIDTH} numbers, this reader measures {reader.width} "
                f"({reader.space}): use the reader that belongs to it"
            )
        pipe = cls(
            **parts.load(found, dtype, given=options),
            reader=reader or None,
            crop_template="ffhq",
            identity_space=space,
            identity_width=layout.WIDTH,
            steps=25,
            guidance_scale=3.0,
        )
        pipe.name, pipe.folder, pipe._files = str(found.folder), found.folder, found.files()
        return pipe

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Diffusers' own, and the reader, the optional parts, and `sha256.json`. A new folder appears whole or not
        at all. Raises `BadOutput` if it cannot be written."""
        target = Path(save_directory)
        try:
            with model_folder.whole(target) as folder:
                super().save_pretrained(folder, **kwargs)
                if self.reader is not None:
                    self.reader.save(folder / READER)
                if self.folder is not None:
                    components.copy(self.folder, folder)
                catalog.seal(folder)
        except OSError as error:
            raise BadOutput(f"the model cannot be saved to {target}: {error.strerror or error}") from error

    def _recipe(self, settings: dict[str, Any], people: Sequence[Identity], given: Sequence[Any]) -> dict[str, Any]:
        """How a call was made. `settings` are its own arguments, so that `pipe(person, seed=..., **settings)` is a
        replay."""
        photos = [one.photo if isinstance(one, Face) else None for one in given]
        inputs = [
            {
                "photo_sha256": photo.sha256 if photo else None,
                "identity_sha256": hashlib.sha256(person.vector.tobytes()).hexdigest(),
            }
            for person, photo in zip(people, photos, strict=True)
        ]
        return {
            "task": "generate",
            "model": {"name": self.name, "sha256": self.sha256, "identity_space": self.config.identity_space},
            "settings": settings,
            "inputs": inputs,
            "dtype": str(self.unet.dtype).removeprefix("torch."),
            "device": self._execution_device.type,
            "versions": {"personae": __version__, "diffusers": diffusers.__version__, "torch": torch.__version__},
        }


def _listed(faces: People) -> Any:
    return [faces] if isinstance(faces, Face | Identity) else faces


def _identity_of(one: Face | Identity) -> Identity:
    if isinstance(one, Identity):
        return one
    if one.identity is None:
        raise BadIdentity("this face was read without its identity: read the photo again with identity=True")
    return one.identity


def _embeddings(given: Any) -> Array:
    """(P, D) float64, which holds whatever they are exactly, of a bare list, array or tensor."""
    try:
        rows = given.detach().double().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise BadIdentity(
            f"people are faces, identities or embeddings (P, D), got a {type(given).__name__} of something else: "
            "read photos first, with pipe.read"
        ) from error
    if rows.ndim != 2:
        raise BadIdentity(f"embeddings come as (P, D), got shape {rows.shape}")
    return rows


def _generators(
    seed: int | Sequence[int] | None, generator: torch.Generator | Sequence[torch.Generator] | None, count: int
) -> list[torch.Generator]:
    """One per image, from what the caller gave; drawn if nothing."""
    _check(seed is None or generator is None, "give seeds or generators, not both")
    if generator is not None:
        generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        _check(
            len(generators) == count, f"{count} images need one generator each, got {len(generators)}: or give seed="
        )
        return generators
    first = secrets.randbelow(2**31) if seed is None else seed
    seeds = [int(first) + n for n in range(count)] if isinstance(first, int | Integral) else [int(s) for s in first]
    _check(len(seeds) == count, f"{count} images need one seed each, or a single first one; got {len(seeds)}")
    _check(all(0 <= s < 2**63 for s in seeds), f"seeds lie between 0 and 2^63 - 1, got {seeds}")
    return generators_for(seeds)


def _as_type(images: Tensor, output_type: str) -> Any:
    if output_type == "latent":
        return images.cpu()
    if output_type == "pil":
        return [Image.fromarray(pixels) for pixels in codec.to_uint8(images)]
    unit = (images / 2 + 0.5).cpu()
    return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).numpy()


def _check(right: bool, otherwise: str) -> None:
    if not right:
        raise BadOption(otherwise)
