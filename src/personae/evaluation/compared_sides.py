"""Who is compared in the `compare` suite, each in a process of its own: as a user runs it, with its own memory.

    write(FULL, tokenizer, folder)                     # random weights that all of them load
    first, *_ = sides(folder, torch.device("cpu"), timed=4, compile=False)
    with Apart(first) as apart:
        print(apart.run(work, counted=False).seconds, apart.memory_gib())

In one process the plain recipe would profit from personae's setting of the memory allocator.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import CLIPTextModel, CLIPTokenizer

from personae import pipeline
from personae.evaluation.random_networks import Size, build, tiny_decoder
from personae.pipeline import FacePipeline
from personae.sampling.fast import mode_table, modes, precision

PLAIN = {"cpu": ("float32", "bfloat16"), "cuda": ("float16",)}  # the README's on this device; a better one, if any
MODES = tuple(mode_table.MODES)
_SPACE, _TINY = "random/benchmark/0", "taesd"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One thing to time: `batch` images of one person."""

    steps: int
    guidance: float
    lcm: bool
    batch: int

    def __str__(self) -> str:
        return f"{self.steps} {'LCM' if self.lcm else 'guided'} steps, batch {self.batch}"


def works(batches: Sequence[int]) -> list[Work]:
    """Both recipes of the README: 25 guided steps, and 4 of LCM-LoRA (which costs the same fused or absent)."""
    guided = [Work(steps=25, guidance=3.0, lcm=False, batch=batch) for batch in batches]
    return guided + [Work(steps=4, guidance=1.0, lcm=True, batch=batch) for batch in batches]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a side took for all of a work. flop: floating-point operations; NaN: not counted."""

    seconds: float
    flop: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a process needs to know to become one of those compared.

    Attributes:
        name: of its row.
        dtype: torch's name of the precision of UNet and autoencoder.
        mode: a speed of personae; None: the README's recipe, by diffusers.
        folder: with the weights, as `write` leaves it.
        device: cpu or cuda.
        timed: steps that are run of work whose steps all cost the same; the rest is scaled up. None: all.
        compile: what torch compiles the networks for (`modes.prepare`); False: nothing.
    """

    name: str
    dtype: str
    mode: str | None
    folder: Path
    device: str
    timed: int | None = None
    compile: bool | str = False

    def runner(self) -> "Plain | Personae":
        """It, in this process."""
        return Plain(self) if self.mode is None else Personae(self)


def write(size: Size, tokenizer: Path, folder: Path) -> None:
    """A model folder of random float32 weights, the tiny decoder included."""
    parts = build(size, CLIPTokenizer.from_pretrained(tokenizer), torch.float32)
    pipe = FacePipeline(**parts, identity_space=_SPACE, identity_width=size.identity)
    pipe.save_pretrained(folder)
    tiny_decoder(size).save_pretrained(folder / _TINY)
    (folder / "sha256.json").unlink()  # gigabytes that every side would hash first


def sides(
    folder: Path,
    device: torch.device,
    *,
    timed: int | None,
    compile: bool | str,  # noqa: A002
    modes: Sequence[str] = MODES,
) -> list[Side]:
    """Everyone, the README's recipe first, what is compiled last: compiling takes longest. modes: personae's."""
    best = str(precision.best_dtype(device)).removeprefix("torch.")
    plain = dict.fromkeys([PLAIN[device.type][0], *(d for d in PLAIN[device.type][1:] if d == best)])
    rows: list[tuple[str, str, str | None]] = [(f"diffusers {dtype}", dtype, None) for dtype in plain]
    rows += [(f"personae {mode} ({best})", best, mode) for mode in MODES if mode in modes]
    found = [
        Side(name=name, dtype=dtype, mode=mode, folder=folder, device=str(device), timed=timed)
        for name, dtype, mode in rows
    ]
    # The other modes hang hooks on the UNet, which then runs as written.
    compiled = [replace(one, name=f"{one.name}, compiled", compile=compile) for one in found if one.mode == "exact"]
    return [*found, *(compiled if compile else [])]


class Plain:
    """The README's recipe."""

    def __init__(self, side: Side) -> None:
        # Part by part, as the README has it.
        dtype, self.timed = getattr(torch, side.dtype), side.timed
        self.pipe = diffusers.StableDiffusionPipeline(
            unet=diffusers.UNet2DConditionModel.from_pretrained(side.folder / "unet", torch_dtype=dtype),
            vae=diffusers.AutoencoderKL.from_pretrained(side.folder / "vae", torch_dtype=dtype),
            text_encoder=CLIPTextModel.from_pretrained(side.folder / "text_encoder", dtype=dtype),
            tokenizer=CLIPTokenizer.from_pretrained(side.folder / "tokenizer"),
            scheduler=diffusers.DPMSolverMultistepScheduler.from_pretrained(side.folder / "scheduler"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).to(side.device)
        self.pipe.set_progress_bar_config(disable=True)

    def run(self, work: Work, *, counted: bool = False) -> Run:
        """All of `work`."""
        pipe = self.pipe
        kind = diffusers.LCMScheduler if work.lcm else diffusers.DPMSolverMultistepScheduler
        pipe.scheduler = kind.from_config(pipe.scheduler.config)

        def generate(steps: int, on_step: Callable[..., Any] | None) -> None:
            # `project_face_embs`, as far as time goes: the prompt with the person in it, through the text encoder.
            ids = pipe.tokenizer("photo of a id person", padding="max_length", return_tensors="pt", **_cut(pipe))
            pipe(
                prompt_embeds=pipe.text_encoder(ids.input_ids.to(pipe.device))[0],
                num_inference_steps=steps,
                guidance_scale=work.guidance,
                num_images_per_prompt=work.batch,
                callback_on_step_end=on_step,
            )

        return _run(generate, work, self.timed, pipe.device, counted=counted)


class Personae:
    """This package at one of its speeds."""

    def __init__(self, side: Side) -> None:
        self.pipe = pipeline.load(side.folder, device=side.device, torch_dtype=getattr(torch, side.dtype))
        self.pipe.set_progress_bar_config(disable=True)
        self.mode = side.mode
        self.timed = side.timed if side.mode == "exact" else None  # the steps of the others do not all cost the same
        if side.compile:
            modes.prepare(self.pipe, compile=side.compile)
        width = self.pipe.config.identity_width
        self.person = np.random.default_rng(0).standard_normal((1, width)).astype(np.float32)

    def run(self, work: Work, *, counted: bool = False) -> Run:
        """All of `work`. counted: count its operations, too; not of what is compiled."""

        def generate(steps: int, on_step: Callable[..., Any] | None) -> None:
            self.pipe(
                self.person,
                num_images_per_prompt=work.batch,
                num_inference_steps=steps,
                guidance_scale=work.guidance,
                scheduler="lcm" if work.lcm else None,
                seed=0,
                batch_size=max(work.batch, 1),
                speed=self.mode,
                callback_on_step_end=on_step,
            )

        return _run(generate, work, self.timed, self.pipe.device, counted=counted)


# PyTorch's own table has the kernels of GPUs only.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
}


def _run(
    generate: Callable[[int, Callable[..., Any] | None], None],
    work: Work,
    timed: int | None,
    device: torch.device,
    *,
    counted: bool,
) -> Run:
    """`generate(steps, after each step)` of all steps, or of `timed` ones, at least two, and scaled up by the median
    of what a step takes."""
    steps = work.steps if timed is None else min(work.steps, max(timed, 2))
    seconds, flops = list[float](), list[float]()
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) if counted else nullcontext() as counter:

        def count() -> float:
            return float("nan") if counter is None else float(counter.get_total_flops())

        def on_step(_pipe: Any, _step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            wait(device)
            seconds.append(time.perf_counter())
            flops.append(count())
            return tensors

        wait(device)
        start = time.perf_counter()
        generate(steps, on_step if steps < work.steps else None)  # waiting after every step costs a GPU time
        wait(device)
        took, flop, missing = time.perf_counter() - start, count(), work.steps - steps
    if missing:
        took += missing * float(np.median(np.diff(seconds)))
        flop += missing * float(np.median(np.diff(flops)))
    return Run(seconds=took, flop=flop)


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cut(pipe: Any) -> dict[str, int]:
    return {"max_length": min(pipe.tokenizer.model_max_length, pipe.text_encoder.config.max_position_embeddings)}


class Apart:
    """A side in a process of its own, which ends with the block."""

    def __init__(self, side: Side) -> None:
        self.side, self.warm = side, set[Work]()  # warm: works that it has done before
        before = set(multiprocessing.active_children())
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _become, (side,))
        self._pool.submit(int)  # with the first task the process begins, and loads
        (self._process,) = set(multiprocessing.active_children()) - before

    def run(self, work: Work, *, counted: bool, limit: float | None = None) -> Run:
        """All of `work`. Raises `TimeoutError` after `limit` seconds; the process is then ended."""
        answer = self._pool.submit(_run_here, work, counted)
        try:
            return answer.result(limit)
        except TimeoutError:
            self._process.kill()
            raise

    def memory_gib(self) -> float:
        """Its peak since it began, loading included; of a GPU, of the memory there."""
        return self._pool.submit(_memory_gib).result()

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


# ---------------------------------------------------------------------- inside such a process

_I: tuple[Side, "Plain | Personae"]


def _become(side: Side) -> None:
    global _I
    torch.set_grad_enabled(False)
    _I = side, side.runner()


def _run_here(work: Work, counted: bool) -> Run:
    return _I[1].run(work, counted=counted)


def _memory_gib() -> float:
    if _I[1].pipe.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20  # kB
