"""python benchmarks/unchanged.py OTHER_CHECKOUT: does this tree make the same pictures, to the byte, as another?

    git worktree add ../before house-start && python benchmarks/unchanged.py ../before

For changes that must not change a picture. A list of generations, edits and short trainings, on fixed seeds and in
float32, runs in a process of its own on each of the two trees, one after the other on this machine, and their pixels
and losses are compared for equality. Machines differ in the last bits, so nothing is stored. `--only swap,plain` runs
some of the list. Exit code 1 if anything differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

GENERATIONS: dict[str, dict[str, Any]] = {
    "plain": {"num_images_per_prompt": 2},
    "scheduler": {"scheduler": "flow-heun", "num_inference_steps": 5},
    "prompt": {"prompt": "a smiling {person}, black and white"},
    "words": {"prompt": "photo of a woman, smiling", "negative_prompt": "old"},
    "pose": {"pose": (20, 5, 0)},
    "expression": {"expression": {"jawOpen": 0.6}},
    "likeness_guidance": {"likeness_guidance": 0.1, "num_inference_steps": 6},
    "balanced": {"speed": "balanced"},
    "wide": {"height": 128, "width": 256},
}
EDITS: dict[str, dict[str, Any]] = {
    "swap": {"source": "b", "target": "a"},
    "head": {"source": "b", "target": "a"},
    "reenact": {"source": "a", "target": "b"},
    "inpaint": {"target": "a", "region": "mouth"},
    "attribute": {"target": "a", "expression": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}},
    "shift": {"task": "attribute", "target": "a", "shift": {"age": 1.0}},
    "style": {"target": "a", "prompt": "an oil painting of {person}"},
    "mix": {"target": "a", "tokens": {"eyes": "b"}},
    "whole": {"task": "swap", "source": "b", "target": "a", "strength": 1.0},
    "filled": {"task": "head", "source": "c", "target": "a"},
    "leaning": {"task": "attribute", "target": "a", "pose": {"roll": 25}, "expression": {"jawOpen": 0.6}},
    "several": {"task": "reenact", "source": "a", "target": "b", "num_images": 2},
    "masked": {"task": "mix", "target": "a", "tokens": {"hair": "b", "light": "b"}, "region": ["mouth", "skin"]},
}
TRAININGS = {  # recipes, and how many steps of each
    "nano-autoencoder": 20,
    "nano-embedder": 20,
    "nano-longer": 20,
    "face0-nano": 20,
    "facex-nano": 2,
    "nano-controlnet": 4,
    "nano-expression": 4,
    "nano-fast": 2,
    "nano-reference": 4,
    "nano-motion": 4,
}
STEPS = 6  # of an edit and of a generation that does not say


def _photos() -> dict[str, np.ndarray]:
    """Photos of one face that no network takes for the same: as it is; mirrored, darker and cut; that one, cut through
    the forehead."""
    from skimage import data

    pixels = np.ascontiguousarray(data.astronaut())
    other = np.ascontiguousarray((pixels[:300, 330:30:-1] * 0.8).astype(np.uint8))
    return {"a": pixels, "b": other, "c": np.ascontiguousarray(other[80:])}


def _generated(pipe: Any, face: Any, options: dict[str, Any]) -> np.ndarray:
    options = {"num_inference_steps": STEPS} | options
    out = pipe(face, seed=7, output_type="np", measure_likeness=False, **options)
    return np.asarray(out.images)


def _edited(pipe: Any, name: str, options: dict[str, Any], photos: dict[str, np.ndarray]) -> np.ndarray:
    options = {"num_inference_steps": STEPS, "task": name} | options
    for role in ("source", "target"):
        if role in options:
            options[role] = photos[options[role]]
    if "tokens" in options:
        options["tokens"] = {token: photos[key] for token, key in options["tokens"].items()}
    task = options.pop("task")
    return np.stack([np.asarray(image) for image in pipe.edit(task, seed=7, measure_likeness=False, **options).images])


def _inputs(folder: Path, recipe: str) -> Any:
    """What the recipes take: drawn faces, and tiny random networks in place of labellers and of other recipes' exports.
    FaceX, whose sizes fit nano's only, begins from the bundled model."""
    import torch

    from face_token_fixtures import random_tokens
    from personae.training import recipes
    from test_embedder_training import tiny_teacher, with_faces
    from training_fixtures import tiny_base, tiny_embedder, tiny_motion, tiny_vae

    torch.manual_seed(0)
    (teachers := folder / "teachers").mkdir()
    tiny_teacher(teachers)
    if recipe == "nano-autoencoder":
        tiny_embedder(teachers / "mobilefacenet.onnx")
    bundle = recipes.bundled() if recipe == "facex-nano" else None
    if bundle is None:
        base = folder / "nano-base" / "export"
        tiny_base(base)
        random_tokens(128, pooled=True).save(base / "face_tokens")
        tiny_vae(folder / "nano-autoencoder" / "export" / "vae")
        for name in ("nano-embedder-longer", "nano-embedder"):  # older checkouts take the second
            tiny_embedder(folder / name / "export" / "embedder.onnx")
        tiny_motion(folder / "nano-motion" / "export" / "motion.onnx")
    return recipes.Inputs(cache=with_faces(folder), teachers=teachers, runs=folder, bundle=bundle)


def _losses(recipe: str, steps: int) -> np.ndarray:
    """Of the first steps of a recipe in float32, with batches of four; and its last report."""
    import json

    import torch

    from personae.training import recipes
    from personae.training.loop import train

    with tempfile.TemporaryDirectory() as folder:
        chosen, inputs, out = recipes.recipe(recipe), _inputs(Path(folder), recipe), Path(folder) / "run"
        schedule = replace(chosen.schedule, steps=steps, batch=4, warmup=1, report_every=steps, compile=False)
        torch.manual_seed(0)
        report = train(chosen.build(inputs), schedule, out, bf16=False)
        rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return np.array([row["loss"] for row in rows if "loss" in row] + [report[name] for name in sorted(report)])


def _pictures() -> dict[str, Callable[[], np.ndarray]]:
    """The generations and edits, of the bundled model."""
    import torch

    import personae

    pipe = personae.load("nano", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    photos = _photos()
    face = pipe.read(photos["a"])[0]
    generations = {name: lambda o=options: _generated(pipe, face, o) for name, options in GENERATIONS.items()}
    return generations | {
        name: lambda n=name, o=options: _edited(pipe, n, o, photos) for name, options in EDITS.items()
    }


def make(target: Path, only: set[str]) -> None:
    """Run the list on the `personae` that this process imports."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    wanted: dict[str, Callable[[], np.ndarray]] = {
        recipe: lambda r=recipe, s=steps: _losses(r, s) for recipe, steps in TRAININGS.items()
    }
    if not only or only - TRAININGS.keys():
        wanted = _pictures() | wanted
    made = {}
    for name, run in wanted.items():
        if not only or name in only:
            started = time.process_time()
            made[name] = run()
            sys.stdout.write(f"{name}: {time.process_time() - started:.1f} s\n")
            sys.stdout.flush()
    np.savez(target, **made)


def differences(before: Path, after: Path) -> list[str]:
    """A line for everything that is not the same in both."""
    with np.load(before) as old, np.load(after) as new:
        found = [f"{name}: only one of the two trees has it" for name in set(old.files) ^ set(new.files)]
        for name in sorted(set(old.files) & set(new.files)):
            a, b = old[name], new[name]
            if a.shape != b.shape:
                found.append(f"{name}: {a.shape} became {b.shape}")
            elif not np.array_equal(a, b):
                apart = np.abs(a.astype(np.float64) - b)
                found.append(f"{name}: up to {apart.max():.3g} apart, in {(apart > 0).mean():.1%} of the values")
    return found


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--only", default="", help="names of the list, separated by commas")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make, set(filter(None, options.only.split(","))))
        return 0
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, tree in enumerate((options.other.resolve(), here)):
            files.append(Path(folder) / f"{number}.npz")
            env = os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree / 'tests'}", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, str(tree), "--make", str(files[-1]), "--only", options.only]
            subprocess.run(command, env=env, check=True)
        found = differences(*files)
        count = len(np.load(files[1]).files)
    sys.stdout.write(("\n".join(found) or f"the same: {count} of {count}") + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
