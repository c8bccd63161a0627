"""personae evaluate --suite compare --steps-timed 4 -o docs/figures/compare.json

personae against the recipe of Arc2Face's README (diffusers' `StableDiffusionPipeline`, DPM-Solver++), on the same
random weights of Stable Diffusion 1.5's full size, in turns, each side in a process of its own
(`evaluation.compared_sides`). All processes live together, one at work and the others idle, if memory suffices;
otherwise they live one after the other. Run it on an otherwise idle machine. The same command measures a GPU (--device
cuda --compile --batch 1 --batch 16 --minutes 10 -o docs/figures/compare-gpu.json); --tiny is a rehearsal, whose figures
mean nothing. After every run of a side the report so far is written.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import torch
import typer

from personae.console import note
from personae.errors import BadOption, unknown_name
from personae.evaluation import estimate, machine
from personae.evaluation.compared_sides import MODES, Apart, Run, Side, Work, sides, wait, works, write
from personae.evaluation.estimate import Estimate, mean
from personae.evaluation.random_networks import FULL, TINY
from personae.evaluation.report import FOLDER, Report, assemble, publish, save_json
from personae.evaluation.suite_options import ReportFile

_BESIDE_WEIGHTS = 2.0  # GiB that a side takes at its peak beside its weights, generously
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
Rows = dict[str, dict[str, Estimate]]


class Alive(StrEnum):
    """Which processes live at the same time."""

    AUTO = "auto"
    ALL = "all"
    ONE = "one"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How sides are measured.

    Attributes:
        batches: images in a call.
        repeats: runs of each side; of n images a call, an n-th.
        together: whether all processes live together; otherwise one at a time.
        why: the same in words, for the report.
        minutes: after which nothing more is begun, and what is running is ended; None: no limit.
        peak_side: of the square matrices whose product is the physical limit.
    """

    batches: Sequence[int] = (1, 4)
    repeats: int = 3
    together: bool = True
    why: str = "all processes alive, one at work"
    minutes: float | None = None
    peak_side: int = 4096

    def turns(self, work: Work) -> int:
        """How often each side does `work`."""
        return max(1, self.repeats // work.batch)


@dataclass(kw_only=True)
class Results:
    """What was measured so far, by side and work."""

    runs: dict[tuple[str, Work], list[Run]] = field(default_factory=lambda: defaultdict(list))
    flop: dict[tuple[str, Work], float] = field(default_factory=dict)  # of one image
    memory: dict[tuple[str, Work], float] = field(default_factory=dict)  # GiB
    out_of_time: bool = False


def kind_of(those: Sequence[Side]) -> str:
    """Of the report: the family of processors whose bars hold, by what is compared at last."""
    last = those[-1]
    if last.device == "cuda":
        return "compare_gpu"
    if last.dtype == "float32":
        return "compare_float32"
    return "compare_amx" if machine.has_amx() else "compare_avx512"


def weights_gib(side: Side) -> float:
    """GiB that a side's networks take in its precision."""
    numbers = sum(path.stat().st_size for path in side.folder.glob("*/*.safetensors")) / _BYTES["float32"]
    return numbers * _BYTES[side.dtype] / 2**30


def plan_alive(those: Sequence[Side], available: int) -> tuple[bool, str]:
    """Whether the processes of all sides fit into memory together, and that in words.

    available: bytes that may be taken.
    """
    need = sum(weights_gib(side) + _BESIDE_WEIGHTS for side in those)
    free = available / 2**30
    facts = f"together they need about {need:.0f} GiB, {free:.0f} are free"
    if need <= free:
        return True, f"all processes alive, one at work ({facts})"
    return False, f"one process alive at a time, loaded and warmed up anew for every turn ({facts})"


def visits(those: Sequence[Side], plan: Plan) -> Iterator[tuple[Side, Work]]:
    """Who does which work after whom. All alive: side after side does the same work, so that what is compared lies
    close in time; one alive: each does all that it has to."""
    tasks = works(plan.batches)
    if plan.together:
        for work in tasks:
            for _ in range(plan.turns(work)):
                yield from ((side, work) for side in those)
        return
    for turn in range(max(map(plan.turns, tasks))):
        for side in those:
            yield from ((side, work) for work in tasks if turn < plan.turns(work))


def measured(those: Sequence[Side], plan: Plan, save: Callable[[Results], None]) -> Results:
    """The results. save: called with what there is after each run."""
    found = Results()
    end = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
    with ExitStack() as alive:
        processes: dict[str, Apart] = {}
        for side, work in visits(those, plan):
            if not plan.together and side.name not in processes:
                alive.close()
                processes.clear()
            if side.name not in processes:
                processes[side.name] = alive.enter_context(Apart(side))
            note(f"{side.name}: {work} ...")
            try:
                _visit(processes[side.name], work, found, end)
            except TimeoutError:
                found.out_of_time = True
                break
            save(found)
    return found


def _visit(process: Apart, work: Work, found: Results, end: float | None) -> None:
    """One timed run, and what else is looked at on the occasion. Raises `TimeoutError` at `end`."""
    side, key = process.side, (process.side.name, work)

    def run(what: Work, *, counted: bool = False) -> Run:
        return process.run(what, counted=counted, limit=None if end is None else max(end - time.monotonic(), 0))

    if work not in process.warm:
        # Kernels are chosen, graphs compiled, pages touched. Nine steps are the fewest in which every mode acts.
        run(replace(work, steps=min(work.steps, 9 if side.device == "cuda" or side.compile else 2)))
        process.warm.add(work)
    one = replace(work, batch=1)
    uncounted = side.mode is not None and not side.compile and (side.name, one) not in found.flop
    # Counting costs a CPU nothing that could be measured, beside layers of milliseconds; a GPU waits for it.
    along = uncounted and work == one and side.device == "cpu"
    if uncounted and not along:
        found.flop[side.name, one] = run(one, counted=True).flop
    result = run(work, counted=along)
    if along:
        found.flop[key] = result.flop
    found.runs[key].append(result)
    if not work.lcm and key not in found.memory:
        found.memory[key] = process.memory_gib()


def peak_tflops(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The best that this machine does on a product of square matrices: 10^12 operations per second."""
    a = torch.randn(side, side, device=device).to(dtype)

    def seconds() -> float:
        wait(device)
        start = time.perf_counter()
        a @ a
        wait(device)
        return time.perf_counter() - start

    return 2 * side**3 / min(seconds() for _ in range(10)) / 1e12


def compare(
    those: Sequence[Side], plan: Plan, *, subject: str, save: Callable[[Report], None] = lambda _: None
) -> Report:
    """The report. subject: what is measured, in words. save: called with the report so far after each run."""
    device = torch.device(those[0].device)
    with torch.no_grad():
        peaks = {side.dtype: peak_tflops(device, getattr(torch, side.dtype), plan.peak_side) for side in those}

    def report(found: Results) -> Report:
        groups = {str(work): rows for work in works(plan.batches) if (rows := _rows(those, work, found, peaks))}
        return assemble(
            kind=kind_of(those),
            subject=subject,
            settings={
                "repeats": plan.repeats,
                "steps_timed": those[0].timed,
                "compile": those[-1].compile,
                "alive": "together" if plan.together else "one at a time",
                "minutes": plan.minutes,
                "peaks_tflops": peaks,
            },
            figures=_headlines(groups, those),
            groups=groups,
            caveats=_caveats(those, plan, found, peaks),
        )

    return report(measured(those, plan, lambda found: save(report(found))))


def _caveats(those: Sequence[Side], plan: Plan, found: Results, peaks: Mapping[str, float]) -> list[str | None]:
    timed, here = those[0].timed, ", ".join(f"{dtype} {tflops:.3g} TFLOP/s" for dtype, tflops in peaks.items())
    scaled = (
        f"of the guided runs of diffusers and of `exact`, whose steps all cost the same, {timed} steps were timed and "
        "scaled up to 25; the others were timed whole"
    )
    units = (
        f"seconds are per image; speedup is against {those[0].name}; peak is the share of the best matrix product in "
        f"the same precision ({here} here), counting the arithmetic that the side really does"
    )
    late = f"out of time: {plan.minutes or 0:.3g} minutes were allowed, and what is missing was not measured"
    return [
        f"each side in a process of its own, in turns after a warm-up, {plan.why}; intervals and n are over these runs",
        scaled if timed else None,
        units,
        "memory is the peak of the side's process, loading included, up to the end of its guided runs of that batch",
        late if found.out_of_time else None,
    ]


def _rows(those: Sequence[Side], work: Work, found: Results, peaks: Mapping[str, float]) -> Rows:
    """A row of figures for each side that has done `work`, if the first has."""
    took = {side.name: np.array([run.seconds / work.batch for run in found.runs[side.name, work]]) for side in those}
    first, exact = took[those[0].name], next((side for side in those if side.mode == "exact"), those[0])
    rows = {}
    for side in those:
        seconds = took[side.name]
        if not (len(first) and len(seconds)):
            continue
        turns = min(len(first), len(seconds))
        # diffusers and what is compiled do the arithmetic of exact
        counted = side if side.mode is not None and not side.compile else exact
        flop = found.flop.get((counted.name, replace(work, batch=1)), np.nan)
        rows[side.name] = {
            "seconds": mean(seconds),
            "speedup": mean(first[:turns] / seconds[:turns]),
            "peak": mean(flop / 1e12 / seconds / peaks[side.dtype]) if np.isfinite(flop) else estimate.UNKNOWN,
            "memory": estimate.plain(np.nan if work.lcm else found.memory[side.name, work], 1),
        }
    return rows


def _headlines(groups: Mapping[str, Rows], those: Sequence[Side]) -> dict[str, Estimate]:
    """What the bars are set on: the guided and the LCM recipe, on a CPU for one image, on a GPU at the largest
    batch. What is not there yet is left out."""
    guided, lcm = ([rows for work, rows in groups.items() if kind in work] for kind in ("guided", "LCM"))
    if those[0].device == "cpu":
        return _of_one_image(guided[0], those) if guided else {}
    figures = {}
    for kind, groups_of_kind in (("guided", guided), ("lcm", lcm)):
        exact = [row["seconds"] for name, row in (groups_of_kind or [{}])[-1].items() if "personae exact" in name]
        if exact:
            best = min(exact, key=lambda seconds: seconds.value)  # as written or compiled
            figures[f"{kind}_images_per_s"] = Estimate(
                value=1 / best.value, low=1 / best.high, high=1 / best.low, n=best.n
            )
    return figures


def _of_one_image(guided: Mapping[str, dict[str, Estimate]], those: Sequence[Side]) -> dict[str, Estimate]:
    rows = {side.mode: guided[side.name] for side in those if side.name in guided and not side.compile}
    figures = {f"{mode}_speedup": row["speedup"] for mode, row in rows.items() if mode is not None}
    exact = next((side for side in those if side.mode == "exact" and side.name in guided), None)
    if exact is not None:
        peak, plain = rows["exact"]["memory"].value, guided[those[0].name]["memory"].value
        if exact.dtype == "float32":
            figures["memory_beside"] = estimate.plain(peak - weights_gib(exact), 1)
        else:
            figures["memory_share"] = estimate.plain(peak / plain, 1)
    return figures


def _compiled_for(compile: bool, mode: str | None) -> bool | str:  # noqa: A002
    if mode is not None and not compile:
        raise BadOption("--compile-mode says how --compile compiles: give both")
    return mode or compile


def main(
    out: ReportFile = FOLDER / "compare.json",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[list[int], typer.Option(help="Images per call; may come more than once.")] = [1, 4],  # noqa: B006
    repeats: Annotated[int, typer.Option(help="Runs of each side, in turns; of n images a call, an n-th.")] = 3,
    speed: Annotated[
        list[str], typer.Option(help="personae's to measure; may come more than once.", show_default="all")
    ] = list(MODES),  # noqa: B006
    steps_timed: Annotated[int | None, typer.Option(help="Steps to time, and to scale up from, of equal ones.")] = None,
    compile: Annotated[bool, typer.Option(help="Measure personae's exact compiled, too.")] = False,  # noqa: A002
    compile_mode: Annotated[str | None, typer.Option(help="torch's: reduce-overhead, max-autotune.")] = None,
    minutes: Annotated[float | None, typer.Option(help="End by then, with what there is.")] = None,
    alive: Annotated[Alive, typer.Option(help="All sides' processes at once, one after the other, or what fits.")] = (
        Alive.AUTO
    ),
    tokenizer: Annotated[Path, typer.Option(help="A folder with CLIP's.")] = Path("../shared/clip_tokenizer"),
    tiny: Annotated[bool, typer.Option(help="A rehearsal on tiny networks.")] = False,
) -> None:
    """Measure everyone and write a report that documents can draw tables from."""
    if unknown := sorted(set(speed) - set(MODES)):
        raise unknown_name("speed", unknown[0], MODES)
    place, began = torch.device(device), time.monotonic()
    what = _compiled_for(compile, compile_mode)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        write(TINY if tiny else FULL, tokenizer, folder)
        those = sides(folder, place, timed=steps_timed, compile=what, modes=speed)
        together, why = plan_alive(those, psutil.virtual_memory().available)
        if alive is not Alive.AUTO:
            together, why = alive is Alive.ALL, f"processes alive: {alive.value}, as --alive wants it"
        note(why)
        subject = f"random weights of Stable Diffusion 1.5's {'TINY' if tiny else 'full'} size"
        if place.type == "cuda":
            subject += f" on {torch.cuda.get_device_name(place)}"
        plan = Plan(
            batches=batch,
            repeats=repeats,
            together=together,
            why=why,
            minutes=None if minutes is None else minutes - (time.monotonic() - began) / 60,
            peak_side=256 if tiny else 4096 if device == "cpu" else 8192,
        )
        report = compare(those, plan, subject=subject, save=lambda so_far: save_json(so_far, out))
    publish(report, out)


if __name__ == "__main__":
    typer.run(main)
