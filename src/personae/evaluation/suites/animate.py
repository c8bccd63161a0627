"""personae evaluate --suite animate --pairs 2 -o docs/figures/animate.json

Synthetic people animated by videos of other synthetic people, 48 frames each, end to end with sound: the error of their
motion to the driver's, their flicker beside frames that each have a seed of their own, and the cost of a frame. Poses
and blendshapes of driver and result are read by MediaPipe's landmarker, which took no part in generating either.
"""

import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

import personae
from personae.console import note
from personae.data.teachers import Teachers
from personae.errors import BadData, WeightsMissing
from personae.evaluation import estimate, flicker
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import teachers_folder
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.suite_options import Model, ReportFile, TeachersFolder
from personae.gather import strangers
from personae.io import video_file
from personae.pipeline import FacePipeline
from personae.shapes import Float, UInt8
from personae.types import Array, Identity, Motion
from personae.video import face_tracker, smoothing
from personae.video.animate import animate
from personae.video.animation import Settings
from personae.video.frame_renderer import Move, PortraitRenderer, moves_of
from personae.video.motion_track import COLUMNS, Track

FPS, RATE = Fraction(24), 16_000
READ = ("yaw", "pitch", "roll", "blendshape")
WAVES = {  # the motion of the drivers: (mean, amplitude, seconds of a period)
    "yaw": (0.0, 25.0, 2.0),
    "pitch": (2.0, 8.0, 1.3),
    "jawOpen": (0.3, 0.3, 0.7),
    "mouthSmileLeft": (0.3, 0.3, 1.7),
    "mouthSmileRight": (0.3, 0.3, 1.7),
}


def driver_track(frames: int, start: float) -> Track:
    """The waves, from `start` seconds on."""
    motion, seconds = np.zeros((frames, len(COLUMNS))), start + np.arange(frames) / float(FPS)
    for name, (mean, amplitude, length) in WAVES.items():
        motion[:, COLUMNS.index(name)] = mean + amplitude * np.sin(2 * np.pi * seconds / length)
    return Track(fps=FPS, motion=motion.clip(-89, 89))


def photo_of(pipe: FacePipeline, person: Identity, seed: int) -> Array:
    """(300, 360, 3): a picture of the person on a plain wall."""
    face = pipe(person, seed=seed, measure_likeness=False).images[0].resize((192, 192), Image.Resampling.LANCZOS)
    wall = Image.new("RGB", (360, 300), (98, 108, 116))
    wall.paste(face, (84, 54))
    return np.asarray(wall)


def with_sound(path: Path, frames: Sequence[UInt8[Array, "H W 3"]]) -> Path:
    """A video of the frames, twice as large, and a sine to copy."""
    import av  # the extra `video`

    silent = path.with_name("silent.mp4")
    large = [np.asarray(Image.fromarray(one).resize((256, 256), Image.Resampling.LANCZOS)) for one in frames]
    video_file.write(silent, large, fps=FPS, force=True)
    wave = np.sin(2 * np.pi * 440 * np.arange(int(RATE * len(frames) / FPS)) / RATE) * 8000
    with av.open(str(silent)) as source, av.open(str(path), "w") as target:
        stream, sound = target.add_stream_from_template(source.streams.video[0]), target.add_stream("aac", rate=RATE)
        sound.layout = "mono"
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
        samples = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts = RATE, 0
        target.mux([*sound.encode(samples), *sound.encode()])
    return path


def sound_of(path: Path) -> list[bytes]:
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.pts is not None]


class Pair:
    """One driving video and one person who follows it: the frames that are judged.

    `photo`: the person's; `driving`, `animated`: frames (H, W, 3); `same`, `own`: the same moves without a photo around
    them, from one seed and from a seed for each frame; `seconds` per frame; `copied_sound`: whether it came along.
    """

    def __init__(self, pipe: FacePipeline, number: int, frames: int, options: dict[str, Any], folder: Path) -> None:
        if pipe.folder is None or pipe.reader is None:
            raise WeightsMissing("animations need a model folder with random people and a reader: name such a model")
        template = pipe.config.crop_template
        source, other = strangers(pipe.folder, 2, seed=20 + number)
        self.photo = photo_of(pipe, source, seed=number)
        actor = pipe.read(photo_of(pipe, other, seed=100 + number))[0]
        acted = _present(moves_of(driver_track(frames, start=0.37 * number), template))
        portrait = PortraitRenderer(pipe, actor, seed=200 + number, options=options)
        drawn = [frame for t in _eights(frames) for frame in portrait.draw(acted[t : t + 8])]
        driver = with_sound(folder / f"driver{number}.mp4", drawn)
        began = time.perf_counter()
        settings = Settings(on_no_face="hold")
        done = animate(pipe, self.photo, driver, folder / f"out{number}.mp4", settings=settings, **options)
        self.seconds = (time.perf_counter() - began) / frames
        self.copied_sound = sound_of(done.path) == sound_of(driver)
        self.driving, self.animated = list(video_file.frames(driver)), list(video_file.frames(done.path))
        assert len(self.animated) == frames
        track = smoothing.smoothed(smoothing.without_gaps(face_tracker.read(driver, pipe.reader)), "savgol")
        moves = [move.numbers for move in _present(moves_of(track, template))]
        self.same = _portraits(pipe, source, moves, [number] * frames, options)
        self.own = _portraits(pipe, source, moves, range(300, 300 + frames), options)


def _eights(count: int) -> range:
    return range(0, count, 8)


def _present(moves: Sequence[Move | None]) -> list[Move]:
    return [move for move in moves if move is not None]


def _portraits(
    pipe: FacePipeline, person: Identity, moves: Sequence[Any], seeds: Sequence[int], options: dict[str, Any]
) -> list[Array]:
    call: dict[str, Any] = {"motion_guidance": 0.0, "measure_likeness": False, **options}  # as animations do
    frames = list[Array]()
    for t in _eights(len(moves)):
        some = moves[t : t + 8]
        images = pipe([person] * len(some), pose=some, seed=list(seeds[t : t + 8]), **call).images
        frames += [np.asarray(image) for image in images]
    return frames


def judged(pair: Pair, teachers: Teachers) -> dict[str, Float[Array, " n"]]:
    """Numbers per frame, of the frames in which the landmarker finds every face it needs."""
    still = teachers.motion(pair.photo)
    if still is None:
        raise BadData("the landmarker finds no face in the photo that is animated")
    read = [[teachers.motion(frame) for frame in frames] for frames in (pair.driving, pair.animated)]
    both = [(a, b) for a, b in zip(*read, strict=True) if a is not None and b is not None]
    figures = {"found": np.array([len(both) / len(pair.driving)])}
    for name in ("yaw", "pitch", "roll"):
        figures[f"{name}_error"] = np.array([abs(_angle(a, name) - _angle(b, name)) for a, b in both])
        figures[f"{name}_undriven"] = np.array([abs(_angle(a, name) - _angle(still, name)) for a, _ in both])
    figures["blendshape_error"] = np.array([np.abs(a.blendshapes - b.blendshapes)[1:].mean() for a, b in both])
    figures["blendshape_undriven"] = np.array([np.abs(a.blendshapes - still.blendshapes)[1:].mean() for a, _ in both])
    return figures | _flicker(pair, teachers)


def _flicker(pair: Pair, teachers: Teachers) -> dict[str, Array]:
    """Of both kinds of noise, between neighbouring frames whose landmarks are found in both."""
    motions = {"same": list(map(teachers.motion, pair.same)), "own": list(map(teachers.motion, pair.own))}
    found = [all(one[t] is not None for one in motions.values()) for t in range(len(pair.same))]
    runs = [t for t in range(len(found) - 1) if found[t] and found[t + 1]]
    figures: dict[str, Array] = {}
    for name, frames in (("same", pair.same), ("own", pair.own)):
        marks = [None if one is None else one.landmarks for one in motions[name]]
        errors = [
            flicker.warp_error(frames[t : t + 2], [one for one in marks[t : t + 2] if one is not None])[0] for t in runs
        ]
        figures |= {f"high_pass_{name}": flicker.high_pass(frames), f"warp_{name}": np.array(errors)}
    return figures


def _share(part: Array, whole: Array) -> Estimate:
    """The mean of one in shares of the mean of the other, frames resampled together."""
    return estimate.bootstrap(lambda rows: part[rows].mean(-1) / whole[rows].mean(-1), len(part), 0)


def _angle(motion: Motion, name: str) -> float:
    return float(getattr(motion.pose, name))


def measure(pipe: FacePipeline, teachers: Teachers, pairs: int, frames: int, steps: int, keep: Path) -> Report:
    """The report."""
    runs, seconds, sound = [], [], []
    for number in range(pairs):
        note(f"pair {number} ...")
        pair = Pair(pipe, number, frames, {"num_inference_steps": steps}, keep)
        runs.append(judged(pair, teachers))
        seconds.append(pair.seconds)
        sound.append(pair.copied_sound)
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
    return assemble(
        kind="animate",
        subject=f"model {pipe.name or 'unnamed'}",
        settings={"pairs": pairs, "frames": frames, "steps": steps, "fps": str(FPS), "sound_kept": all(sound)},
        figures=figures,
        groups=groups,
        caveats=[
            "people and drivers are synthetic, generated by the model; n counts frames, which are not independent",
            "the photo as it is: the source's photo, compared with each frame of the driver",
            "seconds: reading the driver, generating, writing",
        ],
    )


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "animate.json",
    pairs: Annotated[int, typer.Option(help="Sources and drivers.")] = 2,
    frames: Annotated[int, typer.Option(help="Of each video.")] = 48,
    steps: Annotated[int, typer.Option(help="Sampling steps per frame.")] = 8,
    teachers: TeachersFolder = None,
    keep: Annotated[Path | None, typer.Option(help="Leave the videos in this folder.")] = None,
) -> None:
    """Measure animations and write a report that documents can draw tables from."""
    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        publish(measure(pipe, Teachers(teachers_folder(teachers)), pairs, frames, steps, folder), out)


if __name__ == "__main__":
    typer.run(main)
