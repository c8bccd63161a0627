"""START HERE: the road from a photo to new pictures of the person in it.

    pipe = personae.load("nano")
    face = pipe.read("me.jpg")[0]
    out = pipe(face, num_images_per_prompt=4, seed=0)
    out.images, out.seeds, out.likeness

`FacePipeline.__call__` is the flow, in ten numbered steps; docs/architecture.md says in which file each step is. How
a model is opened, moved, offloaded and saved is `models.stored_pipeline`: a diffusers pipeline, for the optional
components as well.

Legend: P people, N = P x num_images_per_prompt images, person after person; D width of an identity; c, h, w of latents.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from personae.compiled import is_compiled
from personae.conditioning.arc2face import PROMPT, encode_identities, encode_text
from personae.conditioning.regional_attention import likeness_by_region
from personae.conditioning.types import Conditioning
from personae.controls.batch import BatchControl
from personae.controls.options import Options
from personae.controls.picture_size import PictureSizeControl
from personae.controls.prompt import PromptControl
from personae.controls.registry import controls_of, plan_for
from personae.controls.request import Plan, Request, find
from personae.controls.signature import named_options
from personae.controls.steps import StepsControl
from personae.errors import WeightsMissing
from personae.identity.resolve import listed, resolve
from personae.models import folder as model_folder
from personae.models.stored_pipeline import StoredPipeline
from personae.provenance.call_recipe import call_recipe
from personae.reading.photo import PhotoSource
from personae.reading.reader import FaceReader
from personae.sampling import codec, output_types, schedulers
from personae.sampling.fast import modes, precision
from personae.sampling.fast.allocator import keep_freed_memory
from personae.sampling.fast.mode_table import MODES, Mode
from personae.sampling.generators import are_fresh, per_image
from personae.sampling.guidance import GuidanceTerm, Predict, guided
from personae.sampling.latent_grid import latent_grid, starting_noise
from personae.sampling.loop import OnStep, denoise
from personae.sampling.text_guidance import GuidanceInputs
from personae.sampling.unet_hooks import engaged
from personae.shapes import Bool, Float, Float32
from personae.threads import loading, one_at_a_time
from personae.types import Edit, Face, Generation, Identity

if TYPE_CHECKING:
    from personae.editing.inputs import EditSource
    from personae.editing.tasks import Task
    from personae.identity.resolve import People

StepCallback = Callable[["FacePipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]


@loading()
def load(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    torch_dtype: torch.dtype | None = None,
    compile: bool | str = False,  # noqa: A002 (torch's own word)
    reader: FaceReader | Literal[False] | None = None,
    base: str | Path | None = None,
    revision: str | None = None,
    accept_licence: bool = False,
) -> "FacePipeline":
    """Open a model, ready to use.

    Arguments:
        name: of the catalog (`personae models`), a folder, or a Hub id (`owner/name`).
        device: None = an accelerator if there is one.
        torch_dtype: of UNet and autoencoder; None = bfloat16 where this machine was measured to be faster in it, else
            float32 (`sampling/fast/precision.py`).
        compile: let torch compile the UNet (pays off in bulk); or in which of its modes, such as "max-autotune".
        reader: instead of the model's own; False: none, for identities only.
        base: Stable Diffusion 1.5, for Arc2Face's published files that lie without it.
        revision: of a Hub id.
        accept_licence: of weights that ask for it, remembered.

    Raises `BadOption`, `WeightsMissing`, `WeightsCorrupt`, `LicenceRefused`.
    """
    place = modes.device_for(device)
    dtype = torch_dtype or precision.best_dtype(place)
    dtypes = {"unet": dtype, "vae": dtype, "default": torch.float32}
    with model_folder.no_bars():
        pipe = FacePipeline.from_pretrained(
            name,
            dtype=dtypes,
            reader=reader,
            base=base,
            revision=revision,
            accept_licence=accept_licence,
            convolutions=modes.CONVOLUTIONS,
        ).to(place)
    pipe.name = str(name)
    pipe.set_progress_bar_config(disable=None)  # None: only on a terminal
    modes.prepare(pipe, compile=compile)
    return pipe


class FacePipeline(StoredPipeline):
    """Identity in, faces out. Arguments: `models.stored_pipeline.StoredPipeline`.

    For one thread at a time: a second one meets `PipelineBusy`. Pipelines of their own may be loaded and called in as
    many threads as there are.
    """

    _callback_tensor_inputs = ("latents",)

    # ------------------------------------------------------------------ the flow

    def read(self, source: PhotoSource, *, motion: bool = True) -> list[Face]:
        """The faces of a photo, largest first; [] if there are none.

        Arguments:
            source: a path, bytes, a PIL image, (H, W, 3) RGB uint8.
            motion: read pose, expression and landmarks, too.

        Raises `BadImage`; `WeightsMissing` if this model came without a reader.
        """
        if self.reader is None:
            raise WeightsMissing("this model has no reader: load it with reader=..., or give it identities")
        return self.reader.read(source, motion=motion)

    @named_options
    @one_at_a_time
    @torch.no_grad()
    def __call__(
        self,
        faces: "People",
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Float[Tensor, "N c h w"] | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        measure_likeness: bool = True,
        **options: Unpack[Options],
    ) -> Generation:
        """New images of each person.

        Arguments:
            faces: what `read` returns, identities, or bare embeddings (P, D) of this model's space.
            generator: instead of seeds, one per image; the recipe knows what one draws as long as nothing was drawn
                from it before.
            latents: (N, c, h, w) instead of noise.
            output_type: "pil"; "np" (N, H, W, 3) or "pt" (N, 3, H, W) in 0-1; "latent".
            callback_on_step_end: (pipe, step, t, {"latents"}) -> None or {"latents"}; `pipe.interrupt = True` stops.
            measure_likeness: read every image back and compare.
            options: `personae.controls.options.Options`, which has each with its type and meaning. Of the call:
                `prompt`, `negative_prompt`, `num_images_per_prompt`, `seed` (image n gets seed + n, counted over all
                people; or N seeds; None: drawn and reported), `batch_size`, `num_inference_steps`, `guidance_scale`,
                `scheduler`, `height`, `width`. To steer: pose, expression, reference, fast sampling, speed, the
                weights of text and face, and `regions`, which puts all the people into every picture (`people` of the
                result are then 0).

        Raises `BadIdentity`, `SpaceMismatch`, `BadOption`; `WeightsMissing` for an option that this model lacks the
        component of; `PipelineBusy` in a second thread.
        """
        output_types.require(output_type)
        controls = controls_of(options)
        words, batch = find(controls, PromptControl), find(controls, BatchControl)
        steps, size = find(controls, StepsControl), find(controls, PictureSizeControl)
        # 1. People: faces, identities or bare embeddings become identities of the model's space.
        people = self.identities(faces)
        in_one_picture = options.get("regions") is not None
        request = Request(
            faces=list(listed(faces)),
            people=people,
            person_index=np.repeat(range(1 if in_one_picture else len(people)), batch.num_images_per_prompt).tolist(),
            grid=latent_grid(self.vae, self.unet, height=size.height, width=size.width),
            controls=controls,
        )
        # 2. Seeds: one generator for each image.
        generators = per_image(batch.seed, generator, len(request.person_index))
        noise_from = "seed" if latents is None and are_fresh(generators) else "given"
        # 3. Plan: the options become hooks on the UNet, settings, and what guidance leads to.
        plan = plan_for(self, request)
        settings = steps.settings(self, plan.defaults) | size.settings
        mode = (plan.mode or MODES["exact"]).for_steps(settings["num_inference_steps"])
        # 4. Noise: drawn from each image's own generator.
        noise = starting_noise(latents, generators, (self.unet.config.in_channels, *request.grid))
        # 5. Schedule: a scheduler of this call's own, on the CPU: reading a time must not keep an accelerator waiting.
        count, name = settings["num_inference_steps"], settings["scheduler"]
        scheduler_of_call = schedulers.fresh(name, like=self.scheduler, steps=count, device="cpu")
        # 6. Conditioning: what guidance leads to and away from.
        positive, negative = self._guidance_terms(request, plan.guidance, scheduler_of_call.timesteps)
        # 7. Guidance: the UNet and all that hangs on it, as one prediction.
        hooks = [*plan.hooks, *modes.controls_of(mode)]
        predict = guided(
            self.unet,
            positive,
            negative,
            settings["guidance_scale"],
            hooks=hooks,
            interval=modes.guided_times(scheduler_of_call.timesteps, mode.guidance_interval),
            batch_size=batch.batch_size,
            pad=is_compiled(self.unet),
            weaker=self._weaker(plan, settings["guidance_scale"]),
        )
        predict = plan.wrapped(predict, scheduler_of_call)
        # 8. Denoising: from noise to clean latents, step by step.
        clean = self._denoised(predict, noise, scheduler_of_call, generators, plan, hooks, callback_on_step_end)
        # 9. Decoding: latents become pixels.
        images = clean if output_type == "latent" else self._decoded(clean, mode, batch.batch_size)
        # 10. Likeness: every image is read back and compared with its person.
        unread = output_type == "latent" or not measure_likeness
        likeness = None if unread else self._likeness_of(images, request, plan.guidance)
        self.maybe_free_model_hooks()
        settings = {"prompt": words.prompt, "negative_prompt": words.negative_prompt} | settings | plan.settings
        return Generation(
            images=output_types.as_type(images, output_type),
            seeds=[one.initial_seed() for one in generators],
            people=list(request.person_index),
            likeness=likeness,
            recipe=call_recipe(self, settings, people, request.faces, scheduler_of_call, noise=noise_from),
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
        shift: Mapping[str, float] | None = None,
        pose: Any = None,
        expression: Mapping[str, float] | None = None,
        seed: int | Sequence[int] | None = None,
        num_images: int = 1,
        measure_likeness: bool = True,
        **options: Any,
    ) -> Edit:
        """A photo in which one face, or all of them, are made anew; everything else stays byte for byte.

        Arguments:
            task: a name of `editing.tasks.TASKS` (swap, head, reenact, inpaint, attribute, style, mix), or a row.
            source, target: the photos that it takes, or a face that was read, or an earlier edit.
            tokens: pieces from other photos, by name (`conditioning.facex.representation.TOKENS`), of their largest
                faces.
            region: what is made anew instead of the task's own, by name (`reading.face_regions`), one or several.
            mask: the same as a picture of the photo's size, white what is made anew. With a region: both are.
            face: which one of the photo that is edited, 1 the largest; all_faces: one after the other, without those
                that region and mask do not touch.
            shift: of the identity, by name, in standard deviations (`identity.directions`).
            pose: yaw, pitch, roll in degrees, or some of them by name; what is not named stays.
            expression: amounts 0-1 by name; what is not named stays.
            seed: image n gets seed + n; or num_images seeds; None: drawn and reported.
            num_images: how many photos, at least 1.
            measure_likeness: read every edited face back and compare.
            options: of a call, such as prompt, num_inference_steps, guidance_scale, strength or likeness_guidance.

        Uses the model's `facex/`, or without it what else there is (`editing.conditioning`). Raises `NoFaceFound`,
        naming the photo; `BadOption` for an unknown task, token, region or face, a missing photo, a mask of another
        size; `BadImage`; `WeightsMissing` for what this model cannot do.
        """
        from personae.editing.edit import edit  # late: most calls edit nothing, and this loads a mesh and a warp

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
            shift=shift,
            pose=pose,
            expression=expression,
            seed=seed,
            num_images=num_images,
            measure_likeness=measure_likeness,
            **options,
        )

    def identities(self, faces: "People") -> list[Identity]:
        """P people, as identities of this model's space. Arguments and errors as `identity.resolve.resolve`."""
        return resolve(faces, space=self.config.identity_space, width=self.config.identity_width)

    def condition(
        self, people: Sequence[Identity], prompt: str | None = None, negative_prompt: str = ""
    ) -> tuple[Conditioning, Conditioning]:
        """The prompt embeds of the UNet: P rows about the people, and one row for the unconditional half."""
        vectors = torch.from_numpy(np.stack([person.vector for person in people]))
        text = PROMPT if prompt is None else prompt
        positive = encode_identities(vectors, self.tokenizer, self.text_encoder, text)
        return positive, encode_text([negative_prompt], self.tokenizer, self.text_encoder)

    def _guidance_terms(
        self, request: Request, inputs: GuidanceInputs | None, timesteps: Tensor
    ) -> tuple[Conditioning | list[GuidanceTerm], Conditioning]:
        """The rows that guidance leads to, N of each term, and the one row that it leads away from."""
        if inputs is not None:
            return inputs.terms(timesteps), inputs.negative
        words = request.control(PromptControl)
        positive, negative = self.condition(request.people, words.prompt, words.negative_prompt)
        return positive.rows(torch.tensor(request.person_index)), negative

    def _weaker(self, plan: Plan, guidance_scale: float) -> Any:
        """The UNet of the unconditional half, if there is one of its own; None also where hooks may act on both halves,
        or words and faces lead side by side: there the two have to be one."""
        plain = guidance_scale != 1 and not plan.hooks and plan.guidance is None
        return self.component("autoguidance") if plain and self.has_component("autoguidance") else None

    def _denoised(
        self,
        predict: Predict,
        noise: Float32[Tensor, "N c h w"],
        scheduler: Any,
        generators: Sequence[torch.Generator],
        plan: Plan,
        hooks: Sequence[Any],
        callback: StepCallback | None,
    ) -> Float[Tensor, "N c h w"]:
        """Clean latents (N, c, h, w) from noise of that shape, with the hooks on the UNet meanwhile."""
        mask_blend = plan.mask_blend
        left_out = 0 if mask_blend is None else mask_blend.first_step(scheduler)
        self._num_timesteps = len(scheduler.timesteps)
        with (
            keep_freed_memory(),
            engaged(hooks, self.unet),
            self._after_each_step(len(scheduler.timesteps) - left_out, callback) as on_step,
        ):
            return denoise(
                predict,
                noise.to(self._execution_device),
                scheduler,
                generators=generators,
                on_step=on_step,
                mask_blend=mask_blend,
            )

    def _decoded(self, latents: Float[Tensor, "N c h w"], mode: Mode, batch_size: int) -> Float32[Tensor, "N 3 H W"]:
        """Images (N, 3, H, W) in [-1, 1]."""
        decoder = self.component("taesd") if mode.tiny_decoder else self.vae
        return codec.decode(decoder, latents, batch_size=min(batch_size, modes.decoded_at_once(decoder, latents)))

    def likeness(self, images: Float[Tensor, "N 3 H W"], people: Sequence[Identity]) -> list[float] | None:
        """The cosine between each image (N, 3, H, W) in [-1, 1], read back, and the identity asked for; NaN where no
        face is found; None without a reader."""
        if self.reader is None:
            return None
        found = self.reader.identify(codec.to_uint8(images))
        return [
            float(person.vector @ wanted.vector) if person else float("nan")
            for person, wanted in zip(found, people, strict=True)
        ]

    def likeness_together(
        self, images: Float[Tensor, "N 3 H W"], people: Sequence[Identity], regions: Bool[Tensor, "P h w"]
    ) -> list[float] | None:
        """As `likeness`, of images (N, 3, H, W) that show all the people, each in one of the regions (P, h, w): of each
        image, the cosine of the person who is met the least; NaN where one of them is not found."""
        if self.reader is None:
            return None
        read = (self.reader.read(pixels, motion=False) for pixels in codec.to_uint8(images))
        return [float(np.min(likeness_by_region(faces, people, regions))) for faces in read]

    def _likeness_of(self, images: Tensor, request: Request, inputs: GuidanceInputs | None) -> list[float] | None:
        if inputs is not None and inputs.regions is not None:
            return self.likeness_together(images, request.people, inputs.regions)
        return self.likeness(images, [request.people[person] for person in request.person_index])

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
