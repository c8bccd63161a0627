"""python benchmarks/animate.py --pairs 2 -o docs/figures/animate.json

Made-up people who do what videos of other made-up people do, 48 frames each, end to end with sound: how near their
motion comes to the driver's, how much they flicker beside frames with noise of their own, and what a frame costs.
Poses and blendshapes are read off driver and result by MediaPipe's landmarker, which had no part in making either.
"""

import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from modes import write
from PIL import Image

import personae
from personae.data.teachers import Teachers
from personae.evaluation import estimate, flicker, machine
from personae.evaluation.estimate import Estimate
from personae.gather import strangers
from personae.pipeline import FacePipeline
from personae.types import Array, Face, Identity, Motion
from personae.video import face_tracker, smoothing, video_file
from personae.video.animate import Settings, animate
from personae.video.frame_renderer import Portrait, moves_of
from personae.video.motion_track import COLUMNS, Track

FPS, RATE = Fraction(24), 16_000
READ = ("yaw", "pitch", "roll", "blendshape")
WAVES = {  # what the drivers do: (mean, amplitude, seconds of a round)
    "yaw": (0.0, 25.0, 2.0),
    "pitch": (2.0, 8.0, 1.3),
    "jawOpen": (0.3, 0.3, 0.7),
    "mouthSmileLeft": (0.3, 0.3, 1.7),
    "mouthSmileRight": (0.3, 0.3, 1.7),
}


def asked_of_drivers(frames: int, start: float) -> Track:
    """The waves, begun at `start` seconds."""
    motion, seconds = np.zeros((frames, len(COLUMNS))), start + np.arange(frames) / float(FPS)
    for name, (mean, amplitude, length) in WAVES.items():
        motion[:, COLUMNS.index(name)] = mean + amplitude * np.sin(2 * np.pi * seconds / length)
    return Track(fps=FPS, motion=motion.clip(-89, 89))


def photo_of(pipe: FacePipeline, person: Identity, seed: int) -> Array:
    """(300, 360, 3): a picture of the person on a plain wall."""
    made = pipe(person, seed=seed, measure_likeness=False).images[0].resize((192, 192), Image.Resampling.LANCZOS)
    wall = Image.new("RGB", (360, 300), (98, 108, 116))
    wall.paste(made, (84, 54))
    return np.asarray(wall)


def with_sound(path: Path, frames: Sequence[Array]) -> Path:
    """A video of the frames, twice as large, and a sine to copy."""
    silent = path.with_name("silent.mp4")
    large = [np.asarray(Image.fromarray(one).resize((256, 256), Image.Resampling.LANCZOS)) for one in frames]
    video_file.write(silent, large, fps=FPS, force=True)
    wave = np.sin(2 * np.pi * 440 * np.arange(int(RATE * len(frames) / FPS)) / RATE) * 8000
    with av.open(str(silent)) as seen, av.open(str(path), "w") as made:
        stream, heard = made.add_stream_from_template(seen.streams.video[0]), made.add_stream("aac", rate=RATE)
        heard.layout = "mono"
        for packet in seen.demux(seen.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
        samples = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts = RATE, 0
        made.mux([*heard.encode(samples), *heard.encode()])
    return path


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.pts is not None]


class Pair:
    """One driver and one who follows: what of the run is to be judged."""

    def __init__(self, pipe: FacePipeline, number: int, frames: int, options: dict[str, Any], folder: Path) -> None:
        source, other = strangers(pipe.folder, 2, seed=20 + number)
        self.photo = photo_of(pipe, source, seed=number)
        acting = _read(pipe, photo_of(pipe, other, seed=100 + number))
        moves = moves_of(asked_of_drivers(frames, start=0.37 * number), pipe.config.crop_template)
        drawn = [
            Portrait(pipe, acting, seed=200 + number, options=options).draw(moves[t : t + 8]) for t in _eights(frames)
        ]
        self.driver = with_sound(folder / f"driver{number}.mp4", [one for some in drawn for one in some])
        began = time.perf_counter()
        done = animate(
            pipe, self.photo, self.driver, folder / f"out{number}.mp4", settings=Settings(on_no_face="hold"), **options
        )
        self.seconds = (time.perf_counter() - began) / frames
        self.sound_kept = sound_of(done.path) == sound_of(self.driver)
        self.driving, self.made = list(video_file.frames(self.driver)), list(video_file.frames(done.path))
        assert len(self.made) == frames
        # The same moves once more without a photo around them: at one seed, and at one for every frame.
        read = smoothing.smoothed(smoothing.held(face_tracker.read(self.driver, pipe.reader)), "savgol")
        told = [move.numbers for move in moves_of(read, pipe.config.crop_template) if move is not None]
        self.same = _portraits(pipe, source, told, [number] * frames, options)
        self.own = _portraits(pipe, source, told, range(300, 300 + frames), options)


def _eights(count: int) -> range:
    return range(0, count, 8)


def _read(pipe: FacePipeline, pixels: Array) -> Face:
    return pipe.read(pixels)[0]


def _portraits(
    pipe: FacePipeline, who: Identity, told: Sequence[Any], seeds: Sequence[int], options: dict[str, Any]
) -> list[Array]:
    made = []
    for t in _eights(len(told)):
        some = told[t : t + 8]
        as_animated: dict[str, Any] = {"motion_guidance": 0.0, "measure_likeness": False, **options}
        images = pipe([who] * len(some), pose=some, seed=list(seeds[t : t + 8]), **as_animated).images
        made += [np.asarray(image) for image in images]
    return made


def judged(pair: Pair, teachers: Teachers) -> dict[str, Array]:
    """Numbers per frame, of the frames in which the landmarker finds every face it needs."""
    wanted = [teachers.motion(frame) for frame in pair.driving]
    got = [teachers.motion(frame) for frame in pair.made]
    still = teachers.motion(pair.photo)
    assert still is not None, "the landmarker finds no face in the photo"
    both = [(a, b) for a, b in zip(wanted, got, strict=True) if a is not None and b is not None]
    figures = {"found": np.array([len(both) / len(wanted)])}
    for name in ("yaw", "pitch", "roll"):
        figures[f"{name}_error"] = np.array([abs(_angle(a, name) - _angle(b, name)) for a, b in both])
        figures[f"{name}_undriven"] = np.array([abs(_angle(a, name) - _angle(still, name)) for a, _ in both])
    figures["blendshape_error"] = np.array([np.abs(a.blendshapes - b.blendshapes)[1:].mean() for a, b in both])
    figures["blendshape_undriven"] = np.array([np.abs(a.blendshapes - still.blendshapes)[1:].mean() for a, _ in both])
    marks = [
        [motion and motion.landmarks for motion in map(teachers.motion, frames)] for frames in (pair.same, pair.own)
    ]
    runs = [t for t in range(len(pair.same) - 1) if all(m[i] is not None for m in marks for i in (t, t + 1))]
    for name, frames, where in (("same", pair.same, marks[0]), ("own", pair.own, marks[1])):
        figures[f"high_pass_{name}"] = flicker.high_pass(frames)
        figures[f"warp_{name}"] = np.array([flicker.warp_error(frames[t : t + 2], where[t : t + 2])[0] for t in runs])
    return figures


def _share(part: Array, whole: Array) -> Estimate:
    """The mean of one in shares of the mean of the other, frames resampled together."""
    return estimate.bootstrap(lambda rows: part[rows].mean(-1) / whole[rows].mean(-1), len(part), 0)


def _angle(motion: Motion, name: str) -> float:
    return float(getattr(motion.pose, name))


def measure(pipe: FacePipeline, teachers: Teachers, pairs: int, frames: int, steps: int, keep: Path) -> dict[str, Any]:
    """The report."""
    runs, seconds, kept = [], [], []
    for number in range(pairs):
        typer.echo(f"pair {number} ...", err=True)
        pair = Pair(pipe, number, frames, {"num_inference_steps": steps}, keep)
        runs.append(judged(pair, teachers))
        seconds.append(pair.seconds)
        kept.append(pair.sound_kept)
    numbers = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    figures = {
        "flicker": _share(numbers["warp_same"], numbers["warp_own"]),
        "found": estimate.mean(numbers["found"]),
        "seconds": estimate.mean(np.array(seconds)),
    }
    groups = {
        "motion": {
            row: {f"{name}_error": estimate.mean(numbers[f"{name}_{column}"]) for name in READ}
            for row, column in (("animated", "error"), ("the photo as it is", "undriven"))
        },
        "noise": {
            row: {name: estimate.mean(numbers[f"{name}_{column}"]) for name in ("warp", "high_pass")}
            for row, column in (("one seed for all frames", "same"), ("a seed for each frame", "own"))
        },
    }
    return {
        "kind": "animate",
        "subject": f"model {pipe.name or 'unnamed'}",
        "machine": machine.describe(),
        "settings": {"pairs": pairs, "frames": frames, "steps": steps, "fps": str(FPS), "sound_kept": all(kept)},
        "figures": {name: one.as_json() for name, one in figures.items()},
        "groups": {
            label: {name: {key: one.as_json() for key, one in row.items()} for name, row in rows.items()}
            for label, rows in groups.items()
        },
        "caveats": [
            "made-up people and drivers, all nano's own; n counts frames, which are no independent witnesses",
            "undriven: the source's photo as it is, beside each frame of the driver",
            "seconds: reading the driver, drawing, writing; on a machine that was training at the time",
        ],
    }


def main(
    model: Annotated[str, typer.Option(help="Name or folder.")] = "nano",
    out: Annotated[Path, typer.Option("-o", "--out", help="The JSON to write.")] = Path("docs/figures/animate.json"),
    pairs: Annotated[int, typer.Option(help="Sources and drivers.")] = 2,
    frames: Annotated[int, typer.Option(help="Of each video.")] = 48,
    steps: Annotated[int, typer.Option(help="Sampling steps per frame.")] = 8,
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
    keep: Annotated[Path | None, typer.Option(help="Leave the videos in this folder.")] = None,
) -> None:
    """Measure animations and write a report that `personae.evaluation.tables` can draw."""
    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        write(measure(pipe, Teachers(teachers), pairs, frames, steps, folder), out)


if __name__ == "__main__":
    typer.run(main)
