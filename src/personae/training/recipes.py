"""personae train NAME --cache cache/faces --teachers ../shared/teachers

Every named run: what it builds, how long, how fast. The order in which nano came to be is the order below; a later
recipe finds the exports of the earlier ones under `--runs` (default `runs/`), or else in the bundled model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from personae.errors import unknown_name
from personae.io import lock
from personae.training import beside, builders
from personae.training.inputs import ADAPTERS, WORDED, Inputs, bundled
from personae.training.loop import Schedule, Trainable, train
from personae.training.recipe_table import SUMMARIES

__all__ = ["RECIPES", "Inputs", "Recipe", "bundled", "recipe", "run"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One named run."""

    name: str
    build: Callable[[Inputs], Trainable]
    schedule: Schedule

    @property
    def summary(self) -> str:
        """What it trains, in a line."""
        return SUMMARIES[self.name]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="nano-embedder",
            build=builders.embedder,
            # Not compiled: each block takes what the teacher makes, never another block's result.
            schedule=Schedule(
                steps=800,
                batch=64,
                lr=4e-3,
                warmup=20,
                decay=0.6,
                ema=0.99,
                weight_decay=0.0,
                report_every=250,
                compile=False,
            ),
        ),
        Recipe(
            name="nano-embedder-longer",
            build=builders.embedder_longer,
            schedule=Schedule(
                steps=4000,
                batch=64,
                lr=1e-3,
                warmup=100,
                decay=0.7,
                ema=0.998,
                weight_decay=0.02,
                report_every=250,
                compile=False,
            ),
        ),
        Recipe(
            name="nano-detector",
            build=builders.detector,
            schedule=Schedule(
                steps=3000, batch=16, lr=2e-3, warmup=100, decay=0.5, ema=0.998, weight_decay=0.02, report_every=1500
            ),
        ),
        Recipe(
            name="nano-motion",
            build=builders.motion,
            schedule=Schedule(
                steps=3000, batch=64, lr=2e-3, warmup=100, decay=0.5, ema=0.998, weight_decay=0.02, report_every=1500
            ),
        ),
        Recipe(
            name="nano-motion-made",
            build=builders.motion_generated,
            schedule=Schedule(
                steps=1500, batch=64, lr=1e-3, warmup=50, decay=0.7, ema=0.998, weight_decay=0.02, report_every=750
            ),
        ),
        Recipe(
            name="nano-autoencoder",
            build=builders.autoencoder,
            schedule=Schedule(
                steps=1500,
                batch=32,
                lr=8e-4,
                warmup=100,
                decay=0.4,
                ema=0.998,
                weight_decay=0.0,
                report_every=500,
            ),
        ),
        Recipe(
            name="portrait-autoencoder",
            build=builders.portrait_autoencoder,
            # Not compiled: pictures come in two sizes, and it was slower in the pilot.
            schedule=Schedule(
                steps=20_000,
                batch=8,
                lr=6e-4,
                warmup=60,
                decay=0.7,
                ema=0.999,
                weight_decay=0.0,
                report_every=1000,
                compile=False,
            ),
        ),
        Recipe(
            name="portrait-decoder",
            build=builders.portrait_decoder,
            schedule=Schedule(
                steps=15_000,
                batch=8,
                lr=3e-4,
                warmup=60,
                decay=0.5,
                betas=(0.0, 0.99),
                ema=0.999,
                weight_decay=0.0,
                report_every=1000,
                compile=False,
            ),
        ),
        Recipe(
            name="portrait-small-decoder",
            build=builders.portrait_small_decoder,
            schedule=Schedule(
                steps=600,
                batch=16,
                lr=1e-3,
                warmup=30,
                decay=0.5,
                ema=0.995,
                weight_decay=0.0,
                report_every=300,
                compile=False,
            ),
        ),
        Recipe(
            name="portrait",
            build=builders.portrait,
            schedule=Schedule(
                steps=40_000,
                batch=32,
                lr=1e-3,
                optimizer="muon",
                warmup=100,
                decay=0.3,
                ema=0.9995,
                weight_decay=0.0,
                report_every=2000,
            ),
        ),
        Recipe(
            name="nano-base",
            build=builders.base,
            schedule=Schedule(steps=1900, batch=64, lr=7e-4, warmup=200, decay=0.3, ema=0.996, report_every=950),
        ),
        Recipe(
            name="nano-longer",
            build=builders.longer,
            schedule=Schedule(
                steps=5000, batch=64, lr=1e-3, optimizer="muon", warmup=100, decay=0.4, ema=0.998, report_every=500
            ),
        ),
        Recipe(
            name="nano-controlnet",
            build=builders.controlnet,
            schedule=Schedule(
                steps=1000, batch=16, lr=2e-3, warmup=50, decay=0.4, ema=0.995, weight_decay=0.0, report_every=1000
            ),
        ),
        Recipe(
            name="nano-expression",
            build=builders.expression,
            # Not compiled: torch 2.13 then gives an IP-Adapter's processors no gradient (the norm stays 0).
            schedule=Schedule(
                steps=2000, batch=16, lr=1e-3, warmup=50, decay=0.4, ema=0.995, report_every=1000, compile=False
            ),
        ),
        Recipe(
            name="nano-fast",
            build=builders.fast,
            schedule=Schedule(
                steps=1000,
                batch=16,
                lr=5e-4,
                warmup=20,
                decay=0.5,
                betas=(0.0, 0.99),
                ema=0.995,
                weight_decay=0.0,
                report_every=500,
                compile=False,
            ),
        ),
        Recipe(
            name="face0-nano",
            build=builders.face0,
            schedule=Schedule(
                steps=1400, batch=32, lr=5e-4, optimizer="muon", warmup=40, decay=0.5, ema=0.995, report_every=1400
            ),
        ),
        Recipe(
            name="face0-sd15",
            build=builders.face0_sd15,
            # The paper's, but for `at_once`, Adam's betas and the decay of weights, of which it says nothing.
            schedule=Schedule(
                steps=500_000,
                batch=256,
                at_once=8,
                lr=2e-5,
                warmup=0,
                decay=0.0,
                betas=(0.9, 0.999),
                ema=0.9999,
                report_every=5000,
                save_minutes=30,
            ),
        ),
        Recipe(
            name="facex-nano",
            build=builders.facex,
            # Not compiled: hooks and all, every request would be compiled anew.
            schedule=Schedule(
                steps=1750,
                batch=28,
                lr=1e-3,
                warmup=100,
                decay=0.4,
                ema=0.998,
                weight_decay=0.01,
                report_every=500,
                compile=False,
            ),
        ),
        Recipe(
            name="facex-sd15",
            build=builders.facex_sd15,
            # Ours, and untried: the paper gives none.
            schedule=Schedule(
                steps=100_000,
                batch=32,
                at_once=4,
                lr=5e-5,
                warmup=1000,
                decay=0.2,
                ema=0.9999,
                report_every=2500,
                save_minutes=30,
                compile=False,
            ),
        ),
        Recipe(
            name="nano-reference",
            build=builders.reference,
            schedule=Schedule(
                steps=1000,
                batch=24,
                lr=1e-3,
                warmup=50,
                decay=0.4,
                ema=0.998,
                weight_decay=0.0,
                report_every=500,
                compile=False,
            ),
        ),
        Recipe(
            name="watermark",
            build=builders.watermark,
            # Not compiled: attacks change sizes.
            schedule=Schedule(
                steps=2400,
                batch=16,
                lr=2e-3,
                warmup=100,
                decay=0.4,
                ema=0.998,
                weight_decay=0.0,
                report_every=250,
                save_minutes=3.0,
                compile=False,
            ),
        ),
    )
}


def recipe(name: str) -> Recipe:
    """A recipe by name; an unknown one is answered with the nearest."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


def run(
    name: str,
    *,
    cache: str | Path,
    teachers: str | Path,
    runs: str | Path = "runs",
    steps: int | None = None,
    minutes: float | None = None,
    compiled: bool | None = None,
    people: str | Path | None = None,
    draw: int = 0,
    data: str | Path | None = None,
    base: str | Path | None = None,
    reader: str = "nano",
    backbone: str | Path | None = None,
) -> dict[str, float]:
    """Run, or go on with, a recipe; returns its last report. `steps` and `compiled` override the schedule's,
    `minutes` stops early (resume with the same command). people, draw, data, base, reader, backbone: as in
    `Inputs`, for the recipes that take them."""
    chosen = recipe(name)
    schedule = replace(
        chosen.schedule,
        steps=chosen.schedule.steps if steps is None else steps,
        compile=chosen.schedule.compile if compiled is None else compiled,
    )
    inputs = Inputs(
        cache=Path(cache),
        teachers=Path(teachers),
        runs=Path(runs),
        people=None if people is None else Path(people),
        draw=draw,
        bundle=bundled(),
        data=None if data is None else Path(data),
        base=None if base is None else Path(base),
        reader=reader,
        backbone=None if backbone is None else Path(backbone),
    )
    folder = inputs.runs / name
    if folder.is_dir():
        with lock.own(folder / lock.NAME, f"the training run {folder}"):
            pass  # another process that has it is reported before the data are read
    if name in ADAPTERS:
        base = inputs.of_base(worded=name != WORDED).start
        assert base is not None
        beside.note(folder, base)
    if name in ("portrait", "portrait-small-decoder"):
        beside.note_latents(folder, inputs.head_vae())
    torch.manual_seed(schedule.seed)  # of the fresh weights
    return train(chosen.build(inputs), schedule, folder, minutes=minutes)
