"""personae evaluate --suite precision --people 8 --steps 12

Float32 against bfloat16 on this machine: what the probe measures and picks; seconds an image in each, reading it back
included, in turns, so that their ratio holds on a busy machine, too; the likeness that the model's own reader sees; and
how far the pictures of the same seeds lie apart.
"""

import time
from typing import Annotated

import numpy as np
import torch
import typer

import personae
from personae.evaluation import machine
from personae.evaluation.suite_options import Model
from personae.sampling.fast import precision
from personae.types import Array


def main(
    model: Model = "nano",
    people: Annotated[int, typer.Option(help="Identities: directions of a normal distribution.")] = 8,
    steps: Annotated[int, typer.Option(help="Of the ordinary sampler.")] = 12,
) -> None:
    """Print one line for each figure."""
    for name, value in machine.describe().items():
        typer.echo(f"{name}: {value}")
    rates = precision.rates(anew=True)
    typer.echo(f"probe: {rates}, ratio {rates.ratio:.2f}, picked {rates.dtype}, {torch.get_num_threads()} threads")
    pipes = {dtype: personae.load(model, torch_dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    width = pipes[torch.float32].config.identity_width
    vectors = np.random.default_rng(0).standard_normal((people, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in pipes}
    likeness: dict[torch.dtype, list[float]] = {dtype: [] for dtype in pipes}
    pixels: dict[torch.dtype, list[Array]] = {dtype: [] for dtype in pipes}
    for pipe in pipes.values():
        pipe(vectors[:1], seed=0, num_inference_steps=1)  # the first call compiles kernels
    for person in range(people):
        for dtype, pipe in pipes.items():
            began = time.perf_counter()
            out = pipe(vectors[person : person + 1], seed=person, num_inference_steps=steps)
            seconds[dtype].append(time.perf_counter() - began)
            pixels[dtype].append(np.asarray(out.images[0]))
            likeness[dtype].append(out.likeness[0] if out.likeness else np.nan)
    one, other = (np.stack(pixels[dtype]).astype(np.float64) for dtype in pipes)
    for dtype in pipes:
        typer.echo(
            f"{dtype}: {np.median(seconds[dtype]):.2f} s an image of {steps} steps, "
            f"likeness {np.nanmean(likeness[dtype]):.3f} of {people}"
        )
    ratio = np.median(np.array(seconds[torch.float32]) / np.array(seconds[torch.bfloat16]))
    loss = np.nanmean(np.array(likeness[torch.float32]) - np.array(likeness[torch.bfloat16]))
    typer.echo(f"bfloat16 is {ratio:.2f} times as fast and loses {loss:+.4f} of likeness")
    typer.echo(f"drift: mean {np.abs(one - other).mean():.2f}, largest {np.abs(one - other).max():.0f} of 255")


if __name__ == "__main__":
    typer.run(main)
