"""personae train NAME --cache cache/faces --out runs/NAME

The one loop that runs every recipe. A step depends on (seed, rank, step) alone, so the same command after a
stop, at any point, goes on to the same losses. `torchrun` / `accelerate launch` spread it over processes.
"""

import json
import math
import os
import shutil
import threading
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from personae.errors import BadOption
from personae.io import atomic, lock
from personae.sampling.fast.precision import best_dtype
from personae.shapes import Float
from personae.training.duel import Duel
from personae.training.optimizer import Muon, grouped

Metrics = dict[str, Any]
_LISTENED = 20  # steps after which every weight should have had a gradient
_USUAL, _WILD = 10, 30.0  # logged norms that tell what is usual, and how many times that is too much


class Trainable(Protocol):
    """What a recipe trains: a model, its data, its loss, its held-out report and its export."""

    @property
    def model(self) -> nn.Module:
        """What has weights to learn."""

    def batch(self, rng: np.random.Generator, size: int) -> Any:
        """One batch on the CPU; depends on `rng` only; called from a background thread."""

    def loss(self, model: nn.Module, batch: Any, generator: torch.Generator) -> tuple[Float[Tensor, ""], Metrics]:
        """The scalar to minimise, and figures to log. `model` may be wrapped; draw noise from `generator`."""

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out measures of `model` in evaluation mode."""

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write what ships into `folder`."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast. Learning rate: linear warm-up, constant, then a cosine fall to zero."""

    steps: int
    batch: int  # images per step over all processes
    at_once: int | None = None  # images that a process holds at a time, gradients adding up; None: all of its share
    lr: float
    optimizer: Literal["adamw", "muon"] = "adamw"
    warmup: int = 200  # steps
    decay: float = 0.3  # the last share of the steps, in which the learning rate falls
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # gradient norm
    ema: float = 0.999  # decay of the exponential moving average, warmed up
    seed: int = 0
    report_every: int = 1000  # steps
    save_minutes: float = 4.0
    compile: bool = True

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch, self.report_every, 1 if self.at_once is None else self.at_once)
        if min(counts) < 1 or self.lr <= 0:
            raise BadOption(f"steps, batch, at_once and report_every must be >= 1 and lr > 0, got {self}")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        falling = max(1, round(self.steps * self.decay))
        left = (self.steps - step) / falling
        fall = 1.0 if left >= 1 else 0.5 - 0.5 * math.cos(math.pi * max(left, 0.0))
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup)) * fall

    def parts(self, processes: int) -> int:
        """Into how many parts, of one size, each of the processes splits its share of a batch."""
        share = self.batch // processes
        parts = 1 if self.at_once is None else -(-share // self.at_once)
        if share < 1 or share % parts:
            raise BadOption(
                f"a batch of {self.batch} for {processes} processes cannot be split into equal parts of at most "
                f"{self.at_once}: choose numbers that divide it"
            )
        return parts


def _batches(task: Trainable, schedule: Schedule, first: int, rank: int, world: int) -> Iterator[tuple[int, Any]]:
    """The parts of the batches from step `first` on, each with its number, one made ahead in a background thread."""
    parts = schedule.parts(world)
    size = schedule.batch // world // parts

    def make(number: int) -> Any:
        return task.batch(np.random.default_rng([schedule.seed, rank, number]), size)

    with ThreadPoolExecutor(1) as pool:
        numbers = range(first * parts, schedule.steps * parts)
        ahead = pool.submit(make, numbers.start)
        for number in numbers:
            batch = ahead.result()
            ahead = pool.submit(make, number + 1)
            yield number, batch


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch, dictionaries and all, as tensors there."""
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    return torch.as_tensor(batch).to(device) if isinstance(batch, np.ndarray | Tensor) else batch


@contextmanager
def _averaged(model: nn.Module, ema: EMAModel) -> Iterator[nn.Module]:
    """The model with its averaged weights, in evaluation mode, not compiled."""
    parameters = list(model.parameters())
    ema.store(parameters)
    ema.copy_to(parameters)
    model.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield model
    finally:
        ema.restore(parameters)
        model.train()


def _add_gradients(
    accelerator: Accelerator, task: Trainable, model: nn.Module, batches: Iterator[tuple[int, Any]], schedule: Schedule
) -> tuple[Tensor, Metrics]:
    """Add up the gradients of a step's parts; the means of their losses and of their figures."""
    parts = schedule.parts(accelerator.num_processes)
    total: Tensor = torch.zeros((), device=accelerator.device)
    figures: Metrics = defaultdict(float)
    for number, batch in islice(batches, parts):
        generator = torch.Generator(accelerator.device)
        generator.manual_seed(hash((schedule.seed, accelerator.process_index, number)) % 2**63)
        with accelerator.autocast():
            loss, metrics = task.loss(model, to_device(batch, accelerator.device), generator)
        accelerator.backward(loss / parts)
        total = total + loss.detach() / parts
        for name, value in metrics.items():
            figures[name] += value / parts
    return total, figures


def _silent(model: nn.Module, names: set[str]) -> set[str]:
    """Those of a model's weights, by name, that have no gradient."""
    weights = {name: weight for name, weight in model.named_parameters() if name in names}
    return {name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()}


def _warn_of(silent: set[str]) -> None:
    # Losses fall nicely without them: a compiler that dropped every attention's gradient went unseen for four recipes.
    warnings.warn(
        f"no gradient has reached {len(silent)} tensors in {_LISTENED} steps, {min(silent)} among them: they do not "
        "learn. Try --no-compile, or freeze them",
        stacklevel=3,
    )


class _Norms:
    """The logged norms of a training's gradient: warns when they run away, as those of a loss without a floor do."""

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=4 * _USUAL)

    def add(self, norm: float, step: int) -> None:
        """One more."""
        usual = median(self._usual) if len(self._usual) >= _USUAL else 0.0
        if usual and not norm <= _WILD * usual:
            warnings.warn(
                f"the gradient's norm is {norm:.3g} at step {step}, usually it was {usual:.3g}: this training runs "
                "away. Stop it, and begin again with a lower rate or another loss",
                stacklevel=3,
            )
        self._usual.append(norm)


@contextmanager
def _silent_writers() -> Iterator[None]:
    """What TensorBoard's thread cannot write is raised again by its next call here: not printed there as well."""
    hook = threading.excepthook

    def unless_written(failure: threading.ExceptHookArgs) -> None:
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__name__ == "_AsyncWriterThread"):
            hook(failure)

    threading.excepthook = unless_written
    try:
        yield
    finally:
        threading.excepthook = hook


def _save(accelerator: Accelerator, folder: Path, step: int) -> None:
    """A checkpoint that is there whole or not at all; older ones go once it is. Raises `BadOutput`."""
    target, main = folder / f"step-{step:07d}", accelerator.is_main_process
    with atomic.folder(target, replace=True) if main else atomic.errors_about(target) as partial:
        place: str = broadcast_object_list([str(partial)])[0]
        accelerator.save_state(place)
        accelerator.wait_for_everyone()  # each process writes its own random states into the folder
    if main:
        for old in sorted(folder.glob("step-*"))[:-1]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def _agreed(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """What the main process wishes: clocks differ, and all processes must stop and save at the same step."""
    if accelerator.num_processes == 1:
        return list(wishes)
    votes = torch.tensor(wishes, dtype=torch.uint8, device=accelerator.device)
    return [bool(wish) for wish in broadcast(votes)]


def _resume(accelerator: Accelerator, folder: Path) -> int:
    """Load the newest checkpoint, if there is one; returns the step to go on from."""
    checkpoints = sorted(folder.glob("step-*"))
    if not checkpoints:
        return 0
    accelerator.load_state(str(checkpoints[-1]))
    return int(checkpoints[-1].name.removeprefix("step-"))


def train(
    task: Trainable, schedule: Schedule, out: str | Path, *, minutes: float | None = None, bf16: bool | None = None
) -> dict[str, float]:
    """Run, or go on with, a training in `out`; export at the end (and whenever `minutes` run out).

    bf16: autocast to bfloat16; None: where the device is faster so. One without the instructions emulates them, many
    times slower than float32.

    Writes `log.jsonl` (one line per logged step), TensorBoard files, `checkpoints/` and `export/`.
    Returns the last report. Raises `BadOutput` if they cannot be written, or another process trains in `out`.
    """
    folder = Path(out)
    if bf16 is None:
        home = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        bf16 = best_dtype(home) is torch.bfloat16
    with atomic.errors_about(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # One process of a spread training owns the folder for all: the one that writes into it.
        main = int(os.environ.get("RANK", "0")) == 0
        alone = lock.own(folder / lock.NAME, f"the training run {folder}") if main else nullcontext()
        with alone, _silent_writers():
            return _train(task, schedule, folder, minutes=minutes, bf16=bf16)


def _prepared(accelerator: Accelerator, raw: nn.Module, schedule: Schedule) -> tuple[nn.Module, Any, EMAModel]:
    """The model as it is trained, its optimizer, and its averaged weights; all are part of checkpoints."""
    groups = grouped(raw, hidden=schedule.optimizer == "muon")
    optimizer = Muon(groups, schedule.lr, schedule.betas, schedule.weight_decay)
    ema = EMAModel(raw.parameters(), decay=schedule.ema, use_ema_warmup=True, power=0.75, foreach=True)
    model, prepared = accelerator.prepare(raw, optimizer)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)
    accelerator.init_trackers("logs")
    return model, prepared, ema


def _log(accelerator: Accelerator, folder: Path, step: int, figures: Metrics, row: Metrics) -> None:
    """Figures for TensorBoard, and a row for `log.jsonl`."""
    accelerator.log(figures, step=step)
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": step} | row) + "\n")


def _train(task: Trainable, schedule: Schedule, folder: Path, *, minutes: float | None, bf16: bool) -> dict[str, float]:
    accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no", log_with="tensorboard", project_dir=str(folder))
    if accelerator.num_processes > 1 and isinstance(task.model, Duel):
        raise BadOption("a training against a judge runs in one process: start it without torchrun")
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    # Channels last: what convolutions like best, on AMX as on tensor cores.
    raw = task.model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model, optimizer, ema = _prepared(accelerator, raw, schedule)
    first = _resume(accelerator, checkpoints)
    if schedule.compile:
        getattr(task, "compile", raw.compile)()
    started = saved = time.monotonic()
    report: dict[str, float] = {}
    stop = False
    model.train()
    silent, norms = {name for name, weight in raw.named_parameters() if weight.requires_grad}, _Norms()
    batches = _batches(task, schedule, first, accelerator.process_index, accelerator.num_processes)
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss, figures = _add_gradients(accelerator, task, model, batches, schedule)
        if step < first + _LISTENED:
            silent = _silent(raw, silent)
            if silent and step + 1 == first + _LISTENED:
                _warn_of(silent)
        norm = accelerator.clip_grad_norm_(model.parameters(), schedule.clip)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(raw.parameters())
        done = step + 1
        if accelerator.is_main_process and (done % 25 == 0 or done < 25 or done == schedule.steps):
            figures |= {"loss": loss, "norm": norm, "lr": schedule.rate(step)}
            figures |= {"minutes": (time.monotonic() - started) / 60}
            figures = {name: float(value) for name, value in figures.items()}
            _log(accelerator, folder, done, figures, figures)
            norms.add(figures["norm"], done)
        now = time.monotonic()
        stop, due = _agreed(
            accelerator,
            minutes is not None and now - started > minutes * 60,
            now - saved > schedule.save_minutes * 60,
        )
        last = stop or done == schedule.steps
        if last or due:
            _save(accelerator, checkpoints, done)
            saved = time.monotonic()
        if last or done % schedule.report_every == 0:
            with _averaged(raw, ema), accelerator.autocast():
                report = {name: float(value) for name, value in task.report(raw).items()}
            _log(accelerator, folder, done, report, {"report": report})
        if stop:
            break
    if accelerator.is_main_process:
        with _averaged(raw, ema), atomic.folder(folder / "export", replace=True) as export:
            task.export(raw, export)
    accelerator.end_training()
    return report
