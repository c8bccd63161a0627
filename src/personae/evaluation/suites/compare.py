"""personae evaluate --suite compare --steps-timed 4 -o docs/figures/compare.json

personae against the recipe of Arc2Face's README (diffusers' `StableDiffusionPipeline`, DPM-Solver++), on the same
random weights of Stable Diffusion 1.5's full size, in turns. Every side lives in a process of its own, idle while
another is timed: as a user runs it, with its own memory. (In one process the plain recipe profits from personae's
setting of the memory allocator.) Run it on an otherwise idle machine. The same command measures a GPU (--device cuda
--compile --batch 1 --batch 16 -o docs/figures/compare-gpu.json); --tiny is a rehearsal, whose figures mean nothing.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import diffusers
import numpy as np
import torch
import typer
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import CLIPTokenizer

from personae.console import note
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate, mean
from personae.evaluation.random_networks import FULL, TINY, Size, build, tiny_decoder
from personae.evaluation.report import FOLDER, assemble, publish
from personae.evaluation.suite_options import ReportFile
from personae.pipeline import FacePipeline
from personae.sampling.fast import mode_table, modes, precision
from personae.sampling.fast.allocator import release_freed_memory

PLAIN = {"cpu": ("float32", "bfloat16"), "cuda": ("float16",)}  # the README's on this device; a better one, if any
KINDS = {"cpu": "compare", "cuda": "compare_gpu"}
MODES = tuple(mode_table.MODES)


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


class Plain:
    """The README's recipe. Timed over the first `timed` steps and scaled up: its steps cost the same, all of them."""

    def __init__(self, parts: dict[str, Any], size: Size, device: torch.device, timed: int | None) -> None:
        self.pipe = diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        ).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.timed = timed

    def seconds(self, work: Work) -> float:
        """For all of `work`."""
        pipe, ends = self.pipe, list[float]()
        kind = diffusers.LCMScheduler if work.lcm else diffusers.DPMSolverMultistepScheduler
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        steps = min(work.steps, max(self.timed or work.steps, 2))

        def on_step(_pipe: Any, _step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            _wait(pipe.device)
            ends.append(time.perf_counter())
            return tensors

        def generate() -> None:
            # `project_face_embs`, as far as time goes: the prompt with the person in it, through the text encoder.
            ids = pipe.tokenizer("photo of a id person", padding="max_length", return_tensors="pt", **_cut(pipe))
            pipe(
                prompt_embeds=pipe.text_encoder(ids.input_ids.to(pipe.device))[0],
                num_inference_steps=steps,
                guidance_scale=work.guidance,
                num_images_per_prompt=work.batch,
                callback_on_step_end=on_step,
            )

        took = _timed(generate, pipe.device)
        return took + (work.steps - steps) * float(np.median(np.diff(ends)))


class Personae:
    """This package at one of its speeds; always timed whole, since its steps do not all cost the same."""

    def __init__(self, parts: dict[str, Any], size: Size, device: torch.device, folder: Path, mode: str) -> None:
        self.pipe = FacePipeline(**parts, identity_space="random/benchmark/0", identity_width=size.identity).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.folder, self.mode = folder, mode  # the folder holds taesd/
        self.person = np.random.default_rng(0).standard_normal((1, size.identity)).astype(np.float32)
        modes.prepare(self.pipe)

    def seconds(self, work: Work) -> float:
        return _timed(lambda: self.generate(work), self.pipe.device)

    def flop(self, work: Work) -> int:
        """The floating-point operations of one image of `work`, counted while it runs; before compiling."""
        one = replace(work, batch=1)
        with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
            self.generate(one)
        return counter.get_total_flops()

    def generate(self, work: Work) -> None:
        self.pipe(
            self.person,
            num_images_per_prompt=work.batch,
            num_inference_steps=work.steps,
            guidance_scale=work.guidance,
            scheduler="lcm" if work.lcm else None,
            seed=0,
            batch_size=max(work.batch, 1),
            speed=self.mode,
        )


# PyTorch's own table has the kernels of GPUs only.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
}


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a process needs to know to become one of those compared. mode: of personae; None: diffusers."""

    name: str
    dtype: str
    mode: str | None
    size: Size
    tokenizer: Path
    device: str
    timed: int | None
    compile: bool

    def runner(self, folder: Path) -> "Plain | Personae":
        """It, on the numbers that all have; personae's tiny decoder is kept in `folder`."""
        device, dtype = torch.device(self.device), getattr(torch, self.dtype)
        parts = build(self.size, CLIPTokenizer.from_pretrained(self.tokenizer), torch.float32)
        for name in ("unet", "vae", "text_encoder"):
            # `personae.load` keeps the text encoder in float32, in which identities are exact.
            parts[name].to(torch.float32 if self.mode and name == "text_encoder" else dtype)
        if self.mode is None:
            return Plain(parts, self.size, device, self.timed)
        tiny_decoder(self.size).save_pretrained(folder / "taesd")
        return Personae(parts, self.size, device, folder, self.mode)


def sides(size: Size, tokenizer: Path, device: torch.device, timed: int | None, compile: bool) -> list[Side]:  # noqa: A002
    """Everyone, the README's recipe first."""
    best = _name(precision.best_dtype(device))
    plain = dict.fromkeys([PLAIN[device.type][0], *(d for d in PLAIN[device.type][1:] if d == best)])
    rows: list[tuple[str, str, str | None]] = [(f"diffusers {dtype}", dtype, None) for dtype in plain]
    rows += [(f"personae {mode} ({best})", best, mode) for mode in MODES]
    common: dict[str, Any] = {"size": size, "tokenizer": tokenizer, "device": str(device), "timed": timed}
    return [Side(name=name, dtype=dtype, mode=mode, compile=compile, **common) for name, dtype, mode in rows]


class Apart:
    """A side in a process of its own."""

    def __init__(self, side: Side, folder: Path) -> None:
        self.side = side
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _become, (side, folder))

    def flop(self, work: Work) -> int:
        return self._pool.submit(_flop, work).result()

    def ready(self) -> None:
        """After counting, before timing."""
        self._pool.submit(_ready).result()

    def seconds(self, work: Work) -> float:
        return self._pool.submit(_seconds, work).result()

    def memory_gib(self) -> float:
        """The peak since `ready`."""
        return self._pool.submit(_memory_gib).result()

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


# ---------------------------------------------------------------------- inside such a process

_I: tuple[Side, "Plain | Personae"]


def _become(side: Side, folder: Path) -> None:
    global _I
    torch.set_grad_enabled(False)
    _I = side, side.runner(folder)


def _flop(work: Work) -> int:
    _, runner = _I
    assert isinstance(runner, Personae)
    return runner.flop(work)


def _ready() -> None:
    side, runner = _I
    if side.compile and isinstance(runner, Personae):
        modes.prepare(runner.pipe, compile=True)
    if runner.pipe.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:  # the weights were made in float32; the peak counts from here
        release_freed_memory()
        with open("/proc/self/clear_refs", "w") as kernel:  # noqa: PTH123 (no file: a request to the kernel)
            kernel.write("5")


def _seconds(work: Work) -> float:
    return _I[1].seconds(work)


def _memory_gib() -> float:
    if _I[1].pipe.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20  # kB


# ---------------------------------------------------------------------- all of them


@contextmanager
def everyone(those: Sequence[Side]) -> Iterator[dict[str, Apart]]:
    """The sides by name, alive together."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield {side.name: stack.enter_context(Apart(side, folder)) for side in those}


def peak_tflops(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The best that this machine does on a product of square matrices: 10^12 operations per second."""
    a = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / min(_timed(lambda: a @ a, device) for _ in range(10)) / 1e12


def compare(
    those: Sequence[Side], *, batches: Sequence[int] = (1, 4), repeats: int = 3, peak_side: int = 4096
) -> dict[str, Any]:
    """The report."""
    first = those[0]
    device = torch.device(first.device)
    with torch.no_grad():
        peaks = {side.dtype: peak_tflops(device, getattr(torch, side.dtype), peak_side) for side in those}
    with everyone(those) as apart:
        flop = {
            (mode, work): one.flop(work) for one in apart.values() if (mode := one.side.mode) for work in works([1])
        }
        for one in apart.values():
            one.ready()
        groups = {}
        for work in works(batches):
            note(f"{work} ...")
            groups[str(work)] = _rows(apart, work, repeats, peaks, flop)
    return assemble(
        kind=KINDS[device.type],
        subject=f"random weights of Stable Diffusion 1.5's {'full' if first.size is FULL else 'TINY'} size"
        + (f" on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""),
        settings={
            "repeats": repeats,
            "steps_timed": first.timed,
            "compile": first.compile,
            "peaks_tflops": peaks,
        },
        figures=_headlines(groups, device.type),
        groups=groups,
        caveats=[
            "each side in a process of its own, measured in turns after a warm-up; intervals and n are over these runs",
            _scaled(first.timed) if first.timed else None,
            _units(first.name, peaks),
            "memory is the peak of the side's process after loading, up to the end of its guided runs of that batch",
        ],
    )


def _scaled(steps: int) -> str:
    return f"of diffusers' guided runs, {steps} steps were timed and scaled up to 25; personae's were timed whole"


def _units(first: str, peaks: dict[str, float]) -> str:
    here = ", ".join(f"{dtype} {tflops:.3g} TFLOP/s" for dtype, tflops in peaks.items())
    return (
        f"seconds are per image; speedup is against {first}; peak is the share of the best matrix product in the same "
        f"precision ({here} here), counting the arithmetic that the side really does"
    )


def _rows(
    apart: dict[str, Apart], work: Work, repeats: int, peaks: dict[str, float], flop: dict[tuple[str, Work], int]
) -> dict[str, dict[str, Estimate]]:
    """A row of figures for each side."""
    for one in apart.values():
        # Warm-up: kernels are chosen, graphs compiled, pages touched. Nine steps: the fewest in which every mode acts.
        one.seconds(replace(work, steps=min(work.steps, 9)))
    turns = max(1, repeats // work.batch)  # as many images for each, about
    took = np.array([[one.seconds(work) / work.batch for one in apart.values()] for _ in range(turns)]).T
    rows = {}
    for (name, one), seconds in zip(apart.items(), took, strict=True):
        # diffusers does the arithmetic of exact
        tflop = flop[one.side.mode or "exact", replace(work, batch=1)] / 1e12
        memory = np.nan if work.lcm else one.memory_gib()
        rows[name] = {
            "seconds": mean(seconds),
            "speedup": mean(took[0] / seconds),
            "peak": mean(tflop / seconds / peaks[one.side.dtype]),
            "memory": estimate.plain(memory, 1),
        }
    return rows


def _headlines(groups: dict[str, dict[str, dict[str, Estimate]]], device: str) -> dict[str, Estimate]:
    """What the bars are set on: the guided and the LCM recipe, on a CPU for one image, on a GPU at the largest
    batch."""
    guided, lcm = ([work for work in groups if kind in work] for kind in ("guided", "LCM"))
    if device == "cpu":
        rows = {name.split()[1]: row for name, row in groups[guided[0]].items() if name.startswith("personae")}
        figures = {f"{mode}_speedup": row["speedup"] for mode, row in rows.items()}
        plain = next(iter(groups[guided[0]].values()))
        share = rows["exact"]["memory"].value / plain["memory"].value
        figures["memory_share"] = estimate.plain(share, 1)
    else:
        figures = {
            f"{kind}_images_per_s": Estimate(value=1 / row.value, low=1 / row.high, high=1 / row.low, n=row.n)
            for kind, work in (("guided", guided[-1]), ("lcm", lcm[-1]))
            for name, row in ((name, row["seconds"]) for name, row in groups[work].items())
            if name.startswith("personae exact")
        }
    return figures


def _timed(act: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    act()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cut(pipe: Any) -> dict[str, int]:
    return {"max_length": min(pipe.tokenizer.model_max_length, pipe.text_encoder.config.max_position_embeddings)}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main(
    out: ReportFile = FOLDER / "compare.json",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[list[int], typer.Option(help="Images per call; may come more than once.")] = [1, 4],  # noqa: B006
    repeats: Annotated[int, typer.Option(help="Runs of each side, in turns; of n images a call, an n-th.")] = 3,
    steps_timed: Annotated[int | None, typer.Option(help="Steps of diffusers' runs to time and scale up.")] = None,
    compile: Annotated[bool, typer.Option(help="Compile personae's networks.")] = False,  # noqa: A002
    tokenizer: Annotated[Path, typer.Option(help="A folder with CLIP's.")] = Path("../shared/clip_tokenizer"),
    tiny: Annotated[bool, typer.Option(help="A rehearsal on tiny networks.")] = False,
) -> None:
    """Measure everyone and write a report that documents can draw tables from."""
    size, place = TINY if tiny else FULL, torch.device(device)
    report = compare(
        sides(size, tokenizer, place, steps_timed, compile),
        batches=batch,
        repeats=repeats,
        peak_side=256 if tiny else 4096 if device == "cpu" else 8192,
    )
    publish(report, out)


if __name__ == "__main__":
    typer.run(main)
