"""personae evaluate --suite overhead --rounds 20 --limit 1.15

What the pipeline costs beside its networks: `pipe(...)` against a bare loop over the same text encoder, UNet, scheduler
and decoder, which knows no options, no hooks and no batches. Both generate the same person from the same seeds, in
turns. On a CPU the time is that of this process alone, whatever else the machine does. Exits with 1 above `--limit`.
"""

import copy
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from personae.conditioning.arc2face import encode_identities, encode_text
from personae.conditioning.types import Conditioning
from personae.console import say
from personae.evaluation.suite_options import Model, Steps
from personae.pipeline import FacePipeline, load
from personae.types import Identity

LIMIT = 1.15  # of the medians' ratio


@torch.no_grad()
def bare_loop(pipe: FacePipeline, person: Identity, seeds: list[int], steps: int, guidance_scale: float) -> Tensor:
    """(N, 3, H, W) in [-1, 1]: guidance with diffusers' own classes, as few lines as there are; away from the model's
    own `autoguidance/` if it has one."""
    vectors = torch.from_numpy(person.vector)[None].expand(len(seeds), -1)
    positive = encode_identities(vectors, pipe.tokenizer, pipe.text_encoder, "photo of a {person}")
    negative = encode_text([""] * len(seeds), pipe.tokenizer, pipe.text_encoder)
    weaker = pipe.component("autoguidance") if pipe.has_component("autoguidance") else None
    classed = pipe.unet.config.class_embed_type is not None

    def velocity(unet: Any, latents: Tensor, t: Tensor, *rows: Conditioning) -> Tensor:
        tokens = torch.cat([row.tokens for row in rows]).to(unet.dtype)
        pooled = torch.cat([row.pooled for row in rows if row.pooled is not None]).to(unet.dtype) if classed else None
        inputs = torch.cat([latents] * len(rows)).to(unet.dtype)
        return unet(inputs, t, encoder_hidden_states=tokens, class_labels=pooled, return_dict=False)[0].float()

    side, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    noise = [torch.randn(channels, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    scheduler = copy.deepcopy(pipe.scheduler)
    scheduler.set_timesteps(steps)
    latents = torch.stack(noise).to(pipe.device) * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        if weaker is None:
            without, conditional = velocity(pipe.unet, latents, t, negative, positive).chunk(2)
        else:
            without = velocity(weaker, latents, t, negative)
            conditional = velocity(pipe.unet, latents, t, positive)
        prediction = without + guidance_scale * (conditional - without)
        latents = scheduler.step(prediction, t, latents, return_dict=False)[0]
    scaled = (latents / pipe.vae.config.scaling_factor).to(pipe.vae.dtype)
    return torch.cat([pipe.vae.decode(one[None], return_dict=False)[0] for one in scaled]).float().clamp(-1, 1)


def measure(pipe: FacePipeline, *, images: int, steps: int | None, rounds: int) -> dict[str, float]:
    """Medians over `rounds` of the seconds of one call of each kind, their ratio, and the largest difference of a pixel
    in 0-1 between the two, which must be rounding alone for the times to mean anything."""
    rng = np.random.default_rng(0)
    person = Identity(vector=rng.standard_normal(pipe.config.identity_width), space=pipe.config.identity_space)
    count, scale, seeds = steps or pipe.config.steps, pipe.config.guidance_scale, list(range(images))

    def full() -> Tensor:
        options: dict[str, Any] = {"num_inference_steps": count, "measure_likeness": False, "output_type": "pt"}
        result = pipe(person, num_images_per_prompt=images, seed=seeds, **options)
        return torch.as_tensor(result.images)

    def bare() -> Tensor:
        return bare_loop(pipe, person, seeds, count, scale).cpu() / 2 + 0.5

    clock = time.process_time if pipe.device.type == "cpu" else time.perf_counter
    difference = float((full() - bare()).abs().max())  # both are warm now
    seconds: dict[Callable[[], Tensor], list[float]] = {full: [], bare: []}
    for number in range(rounds):
        for job in (full, bare) if number % 2 else (bare, full):
            start = clock()
            job()  # which ends on the CPU, so that an accelerator has done its work
            seconds[job].append(clock() - start)
    medians = {job: float(np.median(times)) for job, times in seconds.items()}
    return {
        "pipeline_s": medians[full],
        "bare_s": medians[bare],
        "ratio": medians[full] / medians[bare],
        "difference": difference,
    }


def main(
    model: Model = "nano",
    images: Annotated[int, typer.Option(help="Images of one call.")] = 4,
    steps: Steps = None,
    rounds: Annotated[int, typer.Option(help="Calls of each kind.")] = 20,
    limit: Annotated[float, typer.Option(help="The ratio above which the exit code is 1.")] = LIMIT,
) -> None:
    """Print both times and their ratio."""
    pipe = load(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    found = measure(pipe, images=images, steps=steps, rounds=rounds)
    say(
        f"pipeline {found['pipeline_s']:.3f} s, bare loop {found['bare_s']:.3f} s: ratio {found['ratio']:.3f} "
        f"(limit {limit:g}); the images differ by at most {found['difference']:.1e}"
    )
    if found["ratio"] > limit:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
