"""python benchmarks/compare.py --steps-timed 4 -o docs/figures/compare.json

personae against the recipe of Arc2Face's README (diffusers' `StableDiffusionPipeline`, DPM-Solver++), in one process,
on the same random weights of Stable Diffusion 1.5's full size, in turns. Run it on an otherwise idle machine. The same
command measures a GPU (--device cuda --compile --batch 1 --batch 16 -o docs/figures/compare-gpu.json); --tiny is a
rehearsal in seconds, whose figures mean nothing.
"""

import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import diffusers
import numpy as np
import torch
import typer
from networks import FULL, TINY, Size, build, tiny_decoder
from speed import CORES, run
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import CLIPTokenizer

from personae.evaluation import machine, tables
from personae.evaluation.estimate import Estimate, mean
from personae.pipeline import FacePipeline
from personae.sampling import speed

PLAIN = {"cpu": ("float32", "bfloat16"), "cuda": ("float16",)}  # the README's on this device; a better one, if any
KINDS = {"cpu": "compare", "cuda": "compare_gpu"}
MODES = tuple(speed.MODES)


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
    kinds = ({"steps": 25, "guidance": 3.0, "lcm": False}, {"steps": 4, "guidance": 1.0, "lcm": True})
    return [Work(**kind, batch=batch) for kind in kinds for batch in batches]


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
        speed.prepare(self.pipe)

    def seconds(self, work: Work) -> float:
        return _timed(lambda: self.generate(work), self.pipe.device)

    def flop(self, work: Work) -> int:
        """The floating-point operations of one image of `work`, counted while it runs; before compiling."""
        one = Work(steps=work.steps, guidance=work.guidance, lcm=work.lcm, batch=1)
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


def sides(
    size: Size, tokenizer: CLIPTokenizer, device: torch.device, folder: Path, timed: int | None, only: str | None = None
) -> Iterator[tuple[str, "Plain | Personae"]]:
    """Everyone by name, or `only` one; all on the same numbers, each in its own precision."""
    best = _name(speed.best_dtype(device))
    tiny_decoder(size).save_pretrained(folder / "taesd")
    plain = dict.fromkeys([PLAIN[device.type][0], *(d for d in PLAIN[device.type][1:] if d == best)])
    rows = {f"diffusers {dtype}": (dtype, None) for dtype in plain}
    rows |= {f"personae {mode} ({best})": (best, mode) for mode in MODES}
    chosen = {name: row for name, row in rows.items() if only in (None, name)}
    made = build(size, tokenizer, getattr(torch, next(iter(chosen.values()))[0]))
    shared: dict[str, Any] | None = None  # by all of personae's: one model serves every speed
    for name, (dtype, mode) in chosen.items():
        if mode is None:
            yield name, Plain(_copied(made, dtype, only), size, device, timed)
        else:
            if shared is None:
                shared = _copied(made, dtype, only)
                shared["text_encoder"].float()  # as `personae.load` keeps it
            yield name, Personae(shared, size, device, folder, mode)


def _copied(parts: dict[str, Any], dtype: str, only: str | None) -> dict[str, Any]:
    if only is not None:  # nobody else needs them: a copy would spoil the peak
        return parts
    networks = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
    return parts | {name: copy.deepcopy(part).to(getattr(torch, dtype)) for name, part in networks.items()}


def peak_tflops(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The best that this machine does on a product of square matrices: 10^12 operations per second."""
    a = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / min(_timed(lambda: a @ a, device) for _ in range(10)) / 1e12


def memory_gib(side: str, work: Work, device: torch.device, tokenizer: Path, tiny: bool) -> float:
    """The peak of a fresh process that does nothing but `work` (shortened: more steps need no more memory)."""
    options = ["--memory-of", side, "--batch", str(work.batch), "--device", str(device), "--tokenizer", str(tokenizer)]
    text, _, resident = run([sys.executable, __file__, *options, *(["--tiny"] if tiny else [])], CORES)
    return float(text.splitlines()[-1]) if device.type == "cuda" else resident


def compare(
    size: Size,
    tokenizer: CLIPTokenizer,
    *,
    device: torch.device,
    batches: Sequence[int] = (1, 4),
    repeats: int = 3,
    steps_timed: int | None = None,
    compile: bool = False,  # noqa: A002 (torch's own word)
    peak_side: int = 4096,
    memory: Callable[[str, Work], float] | None = None,
) -> dict[str, Any]:
    """The report. memory: (side, work) -> GiB, None = not measured."""
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        everyone = dict(sides(size, tokenizer, device, Path(name), steps_timed))
        peaks = {
            dtype: peak_tflops(device, getattr(torch, dtype), peak_side)
            for dtype in dict.fromkeys(_name(side.pipe.unet.dtype) for side in everyone.values())
        }
        flop = {
            (mode, work): everyone[side].flop(work)
            for side, mode in ((side, one.mode) for side, one in everyone.items() if isinstance(one, Personae))
            for work in works([1])
        }
        if compile:
            speed.prepare(next(one for one in everyone.values() if isinstance(one, Personae)).pipe, compile=True)
        groups = {}
        for work in works(batches):
            typer.echo(f"{work} ...", err=True)
            groups[str(work)] = _rows(everyone, work, repeats, peaks, flop, memory)
    first = next(iter(everyone))
    return {
        "kind": KINDS[device.type],
        "subject": f"random weights of Stable Diffusion 1.5's {'full' if size is FULL else 'TINY'} size"
        + (f" on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""),
        "machine": machine.describe(),
        "settings": {"repeats": repeats, "steps_timed": steps_timed, "compile": compile, "peaks_tflops": peaks},
        "figures": _headlines(groups, device.type),
        "groups": {work: {side: _json(row) for side, row in rows.items()} for work, rows in groups.items()},
        "caveats": [
            f"each side measured in turns, {repeats} times, after a warm-up; intervals and n are over these runs",
            *([_scaled(steps_timed)] if steps_timed else []),
            _units(first, peaks),
            "memory is the peak of a fresh process, measured for guided steps",
        ],
    }


def _scaled(steps: int) -> str:
    return f"of diffusers' guided runs, {steps} steps were timed and scaled up to 25; personae's were timed whole"


def _units(first: str, peaks: dict[str, float]) -> str:
    here = ", ".join(f"{dtype} {tflops:.3g} TFLOP/s" for dtype, tflops in peaks.items())
    return (
        f"seconds are per image; speedup is against {first}; peak is the share of the best matrix product in the same "
        f"precision ({here} here), counting the arithmetic that the side really does"
    )


def _rows(
    everyone: dict[str, Any],
    work: Work,
    repeats: int,
    peaks: dict[str, float],
    flop: dict[tuple[str, Work], int],
    memory: Callable[[str, Work], float] | None,
) -> dict[str, dict[str, Estimate]]:
    """A row of figures for each side."""
    for side in everyone.values():
        side.seconds(work)  # warm-up: kernels are chosen, graphs compiled, pages touched
    took = np.array([[side.seconds(work) / work.batch for side in everyone.values()] for _ in range(repeats)]).T
    rows = {}
    for (name, side), seconds in zip(everyone.items(), took, strict=True):
        one = Work(steps=work.steps, guidance=work.guidance, lcm=work.lcm, batch=1)
        done = flop[getattr(side, "mode", "exact"), one]  # diffusers does the arithmetic of exact
        peak = peaks[_name(side.pipe.unet.dtype)]
        measured = memory(name, work) if memory and not work.lcm else np.nan
        rows[name] = {
            "seconds": mean(seconds),
            "speedup": mean(took[0] / seconds),
            "peak": mean(done / seconds / 1e12 / peak),
            "memory": Estimate(value=measured, low=np.nan, high=np.nan, n=1),
        }
    return rows


def _headlines(groups: dict[str, dict[str, dict[str, Estimate]]], device: str) -> dict[str, Any]:
    """What the bars are set on: the guided and the LCM recipe, on a CPU for one image, on a GPU at the largest
    batch."""
    guided, lcm = ([work for work in groups if kind in work] for kind in ("guided", "LCM"))
    if device == "cpu":
        rows = {name.split()[1]: row for name, row in groups[guided[0]].items() if name.startswith("personae")}
        figures = {f"{mode}_speedup": row["speedup"] for mode, row in rows.items()}
        plain = next(iter(groups[guided[0]].values()))
        share = rows["exact"]["memory"].value / plain["memory"].value
        figures["memory_share"] = Estimate(value=share, low=np.nan, high=np.nan, n=1)
    else:
        figures = {
            f"{kind}_images_per_s": Estimate(value=1 / row.value, low=1 / row.high, high=1 / row.low, n=row.n)
            for kind, work in (("guided", guided[-1]), ("lcm", lcm[-1]))
            for name, row in ((name, row["seconds"]) for name, row in groups[work].items())
            if name.startswith("personae exact")
        }
    return _json(figures)


def _json(figures: dict[str, Estimate]) -> dict[str, Any]:
    return {name: figure.as_json() for name, figure in figures.items()}


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
    out: Annotated[Path, typer.Option("-o", "--out", help="The JSON to write.")] = Path("docs/figures/compare.json"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[list[int], typer.Option(help="Images per call; may come more than once.")] = [1, 4],  # noqa: B006
    repeats: Annotated[int, typer.Option(help="Runs of each side, in turns.")] = 3,
    steps_timed: Annotated[int | None, typer.Option(help="Steps of diffusers' runs to time and scale up.")] = None,
    compile: Annotated[bool, typer.Option(help="Compile personae's networks.")] = False,  # noqa: A002
    tokenizer: Annotated[Path, typer.Option(help="A folder with CLIP's.")] = Path("../shared/clip_tokenizer"),
    tiny: Annotated[bool, typer.Option(help="A rehearsal on tiny networks.")] = False,
    memory_of: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure everyone and write a report that `personae.evaluation.tables` can draw."""
    size, place, words = TINY if tiny else FULL, torch.device(device), CLIPTokenizer.from_pretrained(tokenizer)
    if memory_of:
        _spend(memory_of, size, words, place, batch[0])
        return
    report = compare(
        size,
        words,
        device=place,
        batches=batch,
        repeats=repeats,
        steps_timed=steps_timed,
        compile=compile,
        peak_side=256 if tiny else 4096 if device == "cpu" else 8192,
        memory=lambda side, work: memory_gib(side, work, place, tokenizer, tiny),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    typer.echo(tables.markdown(report))


def _spend(side: str, size: Size, tokenizer: CLIPTokenizer, device: torch.device, batch: int) -> None:
    """The work of the fresh process whose peak is measured. Nine steps: the fewest in which every mode acts."""
    work = Work(steps=9, guidance=3.0, lcm=False, batch=batch)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        dict(sides(size, tokenizer, device, Path(name), 2, only=side))[side].seconds(work)
    typer.echo(torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0)


if __name__ == "__main__":
    typer.run(main)
