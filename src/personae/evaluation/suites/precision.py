"""personae evaluate --suite precision --people 8 --steps 12

Float32 against bfloat16 on this machine: what the probe measures and chooses; seconds per image in each, reading it
back included, in turns, so that their ratio holds on a busy machine, too; the likeness that the model's own reader
measures; and how far the pictures of the same seeds differ.
"""

import time
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
import typer

import personae
from personae.console import say
from personae.evaluation import machine
from personae.evaluation.suite_options import Model
from personae.pipeline import FacePipeline
from personae.sampling.fast import precision
from personae.types import Array


def measure(pipes: Mapping[torch.dtype, FacePipeline], *, people: int, steps: int) -> list[str]:
    """A line for each figure of one model in float32 and bfloat16, in this order, with `people` random identities."""
    width = next(iter(pipes.values())).config.identity_width
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
    lines = [
        f"{dtype}: {np.median(seconds[dtype]):.2f} s per image of {steps} steps, "
        f"likeness {_mean(np.array(likeness[dtype])):.3f} of {people}"
        for dtype in pipes
    ]
    ratio = np.median(np.divide(*map(np.array, seconds.values())))
    loss = _mean(np.subtract(*map(np.array, likeness.values())))
    apart = np.abs(np.subtract(*(np.stack(images).astype(np.float64) for images in pixels.values())))
    lines.append(f"bfloat16 is {ratio:.2f} times as fast and loses {loss:+.4f} of likeness")
    lines.append(f"drift: mean {apart.mean():.2f}, largest {apart.max():.0f} of 255")
    return lines


def _mean(values: Array) -> float:
    """Over the finite; NaN, without a warning, if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def main(
    model: Model = "nano",
    people: Annotated[int, typer.Option(min=1, help="Random identities.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 12,
) -> None:
    """Compare float32 with bfloat16; print a line for each figure."""
    for name, value in machine.describe().items():
        say(f"{name}: {value}")
    rates = precision.rates(anew=True)
    say(f"probe: {rates}, ratio {rates.ratio:.2f}, chosen {rates.dtype}, {torch.get_num_threads()} threads")
    pipes = {dtype: personae.load(model, torch_dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    for line in measure(pipes, people=people, steps=steps):
        say(line)


if __name__ == "__main__":
    typer.run(main)
