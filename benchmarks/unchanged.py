"""python benchmarks/unchanged.py OTHER_CHECKOUT: does this tree make the same pictures, to the byte, as another?

    git worktree add ../before house-start && python benchmarks/unchanged.py ../before

For changes that must not change a picture. A list of generations, edits and one short training, on fixed seeds and in
float32, runs in a process of its own on each of the two trees, one after the other on this machine, and their pixels
and losses are compared for equality. Machines differ in the last bits, so nothing is stored. `--only swap,plain` runs
some of the list. Exit code 1 if anything differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
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
}
STEPS = 6  # of an edit and of a generation that does not say


def _photos() -> dict[str, np.ndarray]:
    """Two photos of one face that no network takes for the same: as it is, and mirrored, darker and cut."""
    from skimage import data

    pixels = np.ascontiguousarray(data.astronaut())
    return {"a": pixels, "b": np.ascontiguousarray((pixels[:300, 330:30:-1] * 0.8).astype(np.uint8))}


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


def _losses() -> np.ndarray:
    """Of twenty steps of the embedder's recipe on drawn faces."""
    import json

    import torch

    from personae.training.autoencoder import AutoencoderTask
    from personae.training.loop import Schedule, train
    from training_fixtures import tiny_embedder, write_cache

    with tempfile.TemporaryDirectory() as folder:
        cache, out = write_cache(Path(folder) / "cache", count=24), Path(folder) / "run"
        torch.manual_seed(0)
        tiny_embedder(Path(folder) / "embedder.onnx")
        schedule = Schedule(steps=20, batch=2, lr=1e-3, report_every=20, compile=False)
        train(AutoencoderTask(cache, Path(folder) / "embedder.onnx"), schedule, out, bf16=False)
        rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return np.array([row["loss"] for row in rows if "loss" in row])


def make(target: Path, only: set[str]) -> None:
    """Run the list on the `personae` that this process imports."""
    import torch

    import personae

    torch.use_deterministic_algorithms(True, warn_only=True)
    wanted: dict[str, Callable[[], np.ndarray]] = {}
    pipe = personae.load("nano", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    photos = _photos()
    face = pipe.read(photos["a"])[0]
    wanted |= {name: lambda o=options: _generated(pipe, face, o) for name, options in GENERATIONS.items()}
    wanted |= {name: lambda n=name, o=options: _edited(pipe, n, o, photos) for name, options in EDITS.items()}
    wanted["training"] = _losses
    made = {name: run() for name, run in wanted.items() if not only or name in only}
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
