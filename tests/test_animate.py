"""Animations: every frame told its own motion at the same noise, stopped runs that go on, one error per mistake; and
on the bundled model: heads that follow the driver, and less flicker than with noise of its own in every frame."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import model_fixtures
from model_fixtures import empty_photo
from personae import cli
from personae.conditioning.facex.representation import TOKENS
from personae.editing import warp as warps
from personae.editing.tilt import leaning
from personae.errors import BadOption, BadOutput, BadVideo, NoFaceFound, PersonaeError, WeightsMissing
from personae.evaluation import flicker
from personae.gather import strangers
from personae.io import video_file
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.types import Detection, Face, Identity, Motion, Photo, Pose
from personae.video import face_tracker, smoothing
from personae.video import motion_track as track
from personae.video.animate import _draw, animate
from personae.video.animation import Settings, plan_of
from personae.video.frame_renderer import Move, PhotoRenderer, PortraitRenderer, moves_of
from personae.video.frame_store import FrameStore, folders_of
from personae.video.motion_track import COLUMNS, Track
from reading_fixtures import POSE
from video_fixtures import packets, wandering, write_video

photo = model_fixtures.photo  # the fixture
FAST = {"num_inference_steps": 2}
COUNT = 7


def motion(count: int, **columns: np.ndarray | float) -> Track:
    numbers = np.zeros((count, len(COLUMNS)))
    for name, values in columns.items():
        numbers[:, COLUMNS.index(name)] = values
    return Track(fps=Fraction(25), motion=numbers)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "talk.mp4", wandering(COUNT))


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("gappy") / "gappy.mp4", wandering(COUNT, empty=(0, 3, 4)))


def report(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text())


def pictures(path: Path) -> np.ndarray:
    return np.stack(list(video_file.frames(path)))


# ---------------------------------------------------------------------- the whole of it


def test_a_photo_does_what_a_video_does(moving: FacePipeline, photo: Path, clip: Path, tmp_path: Path) -> None:
    done = animate(moving, photo, clip, tmp_path / "out.mp4", batch_size=3, **FAST)
    assert (done.path, done.drawn) == (tmp_path / "out.mp4", COUNT)
    assert video_file.probe(done.path) == video_file.Clip(fps=Fraction(25), size=(320, 160), sound="aac")
    assert packets(done.path) == packets(clip)
    told = report(done.path)
    assert [row["frame"] for row in told["frames"]] == list(range(COUNT))
    assert {row["made"] for row in told["frames"]} == {"read"}
    assert told["frames"][2]["seconds"] == 0.08
    assert told["moved_by"] == ["pose"]
    assert told["settings"]["seed"] == 0
    # The tiny reader reads one pose off everything, and where it is told a tilt, so is the crop.
    assert told["frames"][0]["pose"]["yaw"] == pytest.approx(POSE[0], abs=0.5)
    made, before = pictures(done.path), np.asarray(Image.open(photo))
    assert np.abs(made[:, :, 200:].astype(int) - before[:, 200:]).mean() < 4  # beside the face: the photo, compressed
    assert folders_of(done.path) == []


def test_beside_the_head_the_photo_is_kept_byte_for_byte(moving: FacePipeline, photo: Path, clip: Path) -> None:
    [face] = moving.read(photo)
    moves = [move for move in moves_of(face_tracker.read(clip, moving.reader), "portrait") if move is not None]
    renderer = PhotoRenderer(moving, face, moves, seed=0, options=FAST)
    before = np.asarray(Image.open(photo))
    for after in renderer.draw(moves[:2]):
        assert after.shape == before.shape
        np.testing.assert_array_equal(after[:, 200:], before[:, 200:])
        assert (after != before).any()


def test_frames_of_a_grey_photo_are_grey(moving: FacePipeline, photo: Path) -> None:
    grey = np.asarray(Image.open(photo).convert("L").convert("RGB"))
    [move] = moves_of(motion(1, yaw=10), "portrait")
    for pixels, colours in ((grey, False), (np.asarray(Image.open(photo)), True)):
        [face] = moving.read(pixels)
        [frame] = PhotoRenderer(moving, face, [move], seed=0, options=FAST).draw([move])
        assert (frame != pixels).any(-1).sum() > 100
        assert (np.ptp(frame, axis=-1) > 0).any() == colours


def test_a_long_driver_takes_no_more_memory_than_a_short_one(moving: FacePipeline, photo: Path) -> None:
    [face] = moving.read(photo)
    [move] = moves_of(motion(1, yaw=20), "portrait")

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            PhotoRenderer(moving, face, [move] * count, seed=0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what stays: the mesh
    window = PhotoRenderer(moving, face, [move], seed=0)._heads.size
    assert peak(80) < peak(2) + 20 * window


def test_any_batch_is_the_same_frame(moving: FacePipeline, photo: Path) -> None:
    [face] = moving.read(photo)
    moves = moves_of(motion(3, yaw=[-20, 0, 20], jawOpen=[0, 0.5, 1]), "portrait")
    renderer = PortraitRenderer(moving, face, seed=5, options=FAST)
    together = renderer.draw(moves)
    for move, picture in zip(moves, together, strict=True):
        [alone] = renderer.draw([move])
        assert np.abs(alone.astype(int) - picture).max() <= 1
        [plain] = moving(face, pose=move.numbers, seed=5, measure_likeness=False, **FAST).images
        assert np.abs(np.asarray(plain, int) - picture).max() <= 1
    assert np.abs(together[0].astype(int) - together[2]).max() > 2


def test_frames_of_a_leaning_head_lean(moving: FacePipeline, photo: Path) -> None:
    """The crop turns about its middle: a face upright in it leans clockwise by the tilt asked for."""
    [face] = moving.read(photo)
    upright = Move(pose=moves_of(motion(1), "portrait")[0].pose, tilt=0, blendshapes=np.zeros(52))
    renderer = PhotoRenderer(moving, face, [upright], seed=0, options=FAST)
    for tilt in (-20.0, 0.0, 20.0):
        place = leaning(renderer._still, tilt)
        inverse = np.linalg.inv(place.matrix[:, :2])
        across = inverse @ (1, 0)  # what lies to the right in the crop, in the photo
        assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(tilt)
        middle = (place.size - 1) / 2
        still = renderer._still
        there = np.linalg.solve(still.matrix[:, :2], middle - still.matrix[:, 2])
        np.testing.assert_allclose(place.matrix[:, :2] @ there + place.matrix[:, 2], middle)


def test_what_facex_is_told_of_a_frame(moving: FacePipeline, photo: Path) -> None:
    """All of the photo's face, but pose, expression and gaze of the same face moved."""
    [face] = moving.read(photo)
    [move] = moves_of(motion(1, yaw=20, jawOpen=0.7), "portrait")
    renderer = PhotoRenderer(moving, face, [move], seed=0, options=FAST)
    canvas = leaning(renderer._still, move.tilt)
    edit_mask = renderer._edit_mask(canvas)[warps.middle(canvas.size)]
    assembly = renderer._assembly(0, move, canvas, edit_mask)
    assert set(assembly.sources) == set(TOKENS)
    for token in TOKENS:
        pose = move.pose if token in ("pose", "expression", "gaze") else renderer._still.pose
        assert assembly.face(token).pose == pose, token
    np.testing.assert_array_equal(assembly.face("expression").blendshapes, move.blendshapes)
    np.testing.assert_array_equal(assembly.reference, canvas.crop)
    assert edit_mask.any()


@pytest.mark.parametrize("portrait", [True, False])
def test_a_track_drives_as_well(moving: FacePipeline, photo: Path, portrait: bool, tmp_path: Path) -> None:
    track.save(tmp_path / "nod.csv", motion(4, pitch=[0, 8, 8, 0], roll=[0, 150, 0, 0]))
    settings = Settings(portrait=portrait, smooth="none")
    done = animate(moving, photo, tmp_path / "nod.csv", tmp_path / "out.mkv", fps=12, settings=settings, **FAST)
    side = moving.unet.config.sample_size * 4
    assert video_file.probe(done.path) == video_file.Clip(
        fps=Fraction(12), size=(side, side) if portrait else (320, 160), sound=None
    )
    told = report(done.path)["frames"]
    assert [row.get("limited", False) for row in told] == [False] * 4
    assert told[1]["pose"]["tilt"] == pytest.approx(150, abs=3)


def test_a_driver_that_turns_too_far_is_held_back(moving: FacePipeline, photo: Path, tmp_path: Path) -> None:
    settings = Settings(portrait=True, smooth="none")
    done = animate(moving, photo, motion(2, yaw=[0, 85]), tmp_path / "out.mp4", settings=settings, **FAST)
    first, second = report(done.path)["frames"]
    assert "limited" not in first
    assert second["limited"]
    assert second["pose"]["yaw"] == 75


# ---------------------------------------------------------------------- frames without a face


def test_without_a_face_in_some_frames(moving: FacePipeline, photo: Path, gappy: Path, tmp_path: Path) -> None:
    with pytest.raises(NoFaceFound, match=r"no face in 3 of the driver's 7 frames \(0, 3-4\): pass --on-no-face"):
        animate(moving, photo, gappy, tmp_path / "out.mp4", **FAST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.png"]  # nothing half-written
    made = {}
    for mode in ("hold", "skip"):
        out = tmp_path / f"{mode}.mp4"
        settings = Settings(on_no_face=mode, portrait=True)
        made[mode] = animate(moving, photo, gappy, out, settings=settings, **FAST)
        assert len(pictures(out)) == COUNT  # the sound stays where it belongs
        assert packets(out) == packets(gappy)
        assert [row["face"] for row in report(out)["frames"]] == [False, True, True, False, False, True, True]
    assert (made["hold"].drawn, made["skip"].drawn) == (7, 4)
    assert [row["made"] for row in report(made["hold"].path)["frames"]][:4] == ["hold", "read", "read", "hold"]
    shown = {row["frame"]: row["shows"] for row in report(made["skip"].path)["frames"] if row["made"] == "skipped"}
    assert shown == {0: 1, 3: 2, 4: 2}


def test_without_a_face_in_any_frame(moving: FacePipeline, photo: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "empty.mp4", wandering(3, empty=(0, 1, 2)))
    for mode in ("error", "hold", "skip"):
        with pytest.raises(NoFaceFound, match=r"none of the 3 frames of .*empty.mp4 shows a face"):
            animate(moving, photo, clip, tmp_path / "out.mp4", settings=Settings(on_no_face=mode))
    with pytest.raises(NoFaceFound, match="2 faces at once"):
        face_tracker.read(write_video(tmp_path / "one.mp4", wandering(2)), moving.reader, face=2)


# ---------------------------------------------------------------------- the same face


def seen(left: float, who: Sequence[float], size: float = 50) -> Face:
    box = np.array((left, 10, left + size, 10 + size), np.float32)
    found = Detection(box=box, points=np.zeros((5, 2), np.float32), score=0.9)
    return Face(detection=found, identity=Identity(vector=np.array(who, float), space="test"))


ANN, BOB = (1.0, 0.1, 0.0), (0.0, 0.1, 1.0)


def test_a_head_on_its_side_or_upside_down_is_read_on(
    moving: FacePipeline, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolls = [0, 90, 135, 179, -179, -120, 0]
    poses = iter([Pose(yaw=91.0, pitch=-2.0, roll=float(roll)) for roll in rolls])

    def read(pixels: np.ndarray) -> list[Face]:
        shapes = np.zeros(52, np.float32)
        made = Motion(landmarks=np.zeros((478, 3), np.float32), pose=next(poses), blendshapes=shapes)
        return [dataclasses.replace(seen(0, ANN), motion=made)]

    monkeypatch.setattr(moving.reader, "read", read)
    followed = face_tracker.read(clip, moving.reader)
    np.testing.assert_array_equal(followed.angles, [(89, -2, roll) for roll in rolls])
    steady = smoothing.smoothed(followed, "savgol")
    assert all(move is not None for move in moves_of(steady, "portrait"))


def test_the_same_face_is_followed() -> None:
    follower = face_tracker.Follower()
    assert follower.find([]) is None
    frames = [[seen(0, ANN), seen(100, BOB, 40)], [seen(95, BOB, 60), seen(5, ANN)], [seen(90, BOB)]]
    found = [follower.find(faces) for faces in frames]
    assert found[:2] == [frames[0][0], frames[1][1]]  # though the other is larger now
    assert found[2] is None  # the other is no stand-in
    after_a_cut = [seen(90, BOB), seen(200, ANN)]
    assert follower.find(after_a_cut) is after_a_cut[1]


def test_two_that_cross_are_told_apart() -> None:
    follower = face_tracker.Follower(face=2)
    follower.find([seen(0, ANN, 60), seen(40, BOB)])
    crossing = [seen(36, ANN, 60), seen(28, BOB)]
    assert follower.find(crossing) is crossing[1]


def test_numbers_for_people() -> None:
    assert face_tracker.spans([0, 1, 2, 7, 9, 10]) == "0-2, 7, 9-10"
    assert face_tracker.overlap(np.array((0, 0, 2, 2)), np.array((1, 0, 3, 2))) == pytest.approx(1 / 3)
    assert face_tracker.overlap(np.array((0, 0, 2, 2)), np.array((5, 0, 6, 2))) == 0


# ---------------------------------------------------------------------- stopped, and gone on


def test_a_stopped_run_goes_on(moving: FacePipeline, photo: Path, clip: Path, tmp_path: Path) -> None:
    def stop_at(stage: str, done: int, total: int | None) -> None:
        if stage == "drawing" and done >= 4:
            raise KeyboardInterrupt

    whole = animate(moving, photo, clip, tmp_path / "whole.mp4", batch_size=2, **FAST)
    with pytest.raises(KeyboardInterrupt):
        animate(moving, photo, clip, tmp_path / "out.mp4", batch_size=2, on_frame=stop_at, **FAST)
    (left,) = folders_of(tmp_path / "out.mp4")
    assert len(list(left.glob("*.png"))) == 4
    assert not (tmp_path / "out.mp4").exists()
    mine = tmp_path / "out.json"
    mine.write_text("mine")
    with pytest.raises(BadOutput, match=r"out\.json already there"):
        animate(moving, photo, clip, tmp_path / "out.mp4", batch_size=2, **FAST)
    assert mine.read_text() == "mine"
    mine.unlink()
    left.rename(tmp_path / ".out.mp4.frames")  # as a version before named it
    other = animate(moving, photo, clip, tmp_path / "out.mp4", frames=(0, 1), settings=Settings(seed=1), **FAST)
    assert other.drawn == 1  # frames of other settings are left alone
    assert folders_of(other.path) == [tmp_path / ".out.mp4.frames"]
    done = animate(moving, photo, clip, tmp_path / "out.mp4", batch_size=2, force=True, **FAST)
    assert done.drawn == 3
    assert folders_of(done.path) == []
    np.testing.assert_array_equal(pictures(done.path), pictures(whole.path))
    assert report(done.path)["frames"] == report(whole.path)["frames"]


def test_a_killed_command_goes_on(
    moving_folder: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = write_video(tmp_path / "many.mp4", wandering(20))
    words = ["edit", "animate", photo, many, "-o", tmp_path / "out.mp4", "-m", moving_folder, "--steps", 4]
    words = [*map(str, words), "--batch-size", "1", "--json"]

    def frames() -> int:
        return sum(len(list(folder.glob("[0-9]*.png"))) for folder in folders_of(tmp_path / "out.mp4"))

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-m", "personae", *words], env=environment) as running:
        until = time.monotonic() + 120
        while frames() < 3 and running.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        running.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(sys, "argv", ["personae", *words, "--seed", "1"])
        with pytest.raises(SystemExit) as refusal:
            cli.main()
        assert refusal.value.code == 2
        message = capsys.readouterr().err
        assert f"process {running.pid} on " in message
        assert "is already at work on the video" in message
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    kept = frames()
    assert 3 <= kept < 20
    assert not (tmp_path / "out.mp4").exists()
    monkeypatch.setattr(sys, "argv", ["personae", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["drawn"] == 20 - kept
    assert len(pictures(tmp_path / "out.mp4")) == 20
    assert packets(tmp_path / "out.mp4") == packets(many)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.mp4", "me.png", "out.json", "out.mp4"]


def test_ranges_of_frames_make_the_whole(moving: FacePipeline, photo: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    whole = animate(moving, photo, clip, tmp_path / "whole.mp4", batch_size=1, **FAST)
    first = animate(moving, photo, clip, out, frames=(0, 3), keep_frames=True, batch_size=1, **FAST)
    assert first.drawn == 3
    assert len(pictures(out)) == 3
    second = animate(moving, photo, clip, out, keep_frames=True, batch_size=1, force=True, **FAST)
    assert second.drawn == COUNT - 3
    np.testing.assert_array_equal(pictures(out), pictures(whole.path))
    part = animate(moving, photo, clip, out, frames=(2, 5), batch_size=1, force=True, **FAST)
    assert part.drawn == 0
    assert [row["frame"] for row in report(out)["frames"]] == [2, 3, 4]
    assert 0 < len(packets(out)) < len(packets(clip))


def test_a_damaged_plan_is_not_trusted(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "work", {"seed": 1})
    store.put(0, np.zeros((4, 4, 3), np.uint8))
    assert 0 in FrameStore(tmp_path / "work", {"seed": 1})
    (tmp_path / "work" / "plan.json").write_text("{")  # and it holds a frame
    with pytest.raises(BadOutput, match="its plan is damaged"):
        FrameStore(tmp_path / "work", {"seed": 1})
    assert 0 not in FrameStore(tmp_path / "work", {"seed": 1}, force=True)


class Counting:
    """Draws what tells who was drawn together."""

    moved_by = ()

    def draw(self, moves: Sequence[int]) -> list[np.ndarray]:
        return [np.full((2, 2, 3), 16 * move + len(moves), np.uint8) for move in moves]


@pytest.mark.parametrize("stop", range(1, 10))
def test_frames_are_drawn_in_the_same_company_after_a_stop(tmp_path: Path, stop: int) -> None:
    moves, numbers = [None if t in (3, 8) else t for t in range(12)], range(1, 12)

    def run(name: str) -> tuple[int, list[int]]:
        with FrameStore(tmp_path / name, {"seed": 1}) as store:
            drawn = _draw(Counting(), moves, numbers, store, 4, lambda *_: None)
            return drawn, [int(store.get(t)[0, 0, 0]) for t in numbers if moves[t] is not None]

    class Stopped(FrameStore):
        def put(self, number: int, pixels: np.ndarray) -> None:
            if len(list(self.folder.glob("*.png"))) == stop - 1:
                raise KeyboardInterrupt
            super().put(number, pixels)

    with pytest.raises(KeyboardInterrupt), Stopped(tmp_path / "out", {"seed": 1}) as store:
        _draw(Counting(), moves, numbers, store, 4, lambda *_: None)
    drawn, pixels = run("out")
    assert drawn == 9 - (stop - 1)
    assert pixels == run("whole")[1]


def test_a_reading_outlives_what_fails_after_it(
    moving: FacePipeline, photo: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadOption, match="the driver has 0:7"):
        animate(moving, photo, clip, tmp_path / "out.mp4", frames=(3, 9), **FAST)
    monkeypatch.setattr(face_tracker, "read", _never)
    done = animate(moving, photo, clip, tmp_path / "out.mp4", frames=(3, 5), **FAST)
    assert done.drawn == 2
    assert folders_of(done.path) == []


def _never(*_: object, **__: object) -> None:
    pytest.fail("the driver was read")


def test_a_plan_knows_who_moves_and_what_arrays_hold(moving: FacePipeline, photo: Path) -> None:
    [face] = moving.read(photo)
    other = Identity(vector=-face.identity.vector, space=face.identity.space)
    calm = dataclasses.replace(face.motion, blendshapes=face.motion.blendshapes / 2)
    first = np.zeros((100, 100, 3), np.uint8)
    second = first.copy()
    second[50, 50] = 1  # what numpy leaves out of its text
    content = photo.read_bytes()

    def plan(one: Face = face, **options: object) -> str:
        made = plan_of(moving, one, motion(2), Settings(), fps=None, options=options, measured=True)
        return json.dumps(made)

    faces = [face, dataclasses.replace(face, identity=other), dataclasses.replace(face, motion=calm)]
    plans = [*map(plan, faces), *(plan(reference=one) for one in (first, second, content, photo))]
    assert len({*plans}) == len(plans)
    assert plan() == plans[0]
    assert plan(reference=memoryview(content)) == plan(reference=bytearray(content)) == plan(reference=content)


# ---------------------------------------------------------------------- mistakes


def test_what_is_impossible_is_named_before_the_driver_is_read(
    moving: FacePipeline,
    nano_like: FacePipeline,
    photo: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(face_tracker, "read", _never)
    cases = {
        "frames 3:3 are not there": {"frames": (3, 3)},
        "frames -1:3 are not there": {"frames": (-1, 3)},
        "batch_size must be at least 1": {"batch_size": 0},
        "an animation sets seed itself": {"seed": 3},
        "an animation sets output_type itself": {"output_type": "np"},
        "an animation sets measure_likeness itself": {"measure_likeness": True},
        "unknown option 'stesp'": {"stesp": 3},
    }
    for message, options in cases.items():
        for portrait in (False, True):
            with pytest.raises(BadOption, match=message):
                animate(moving, photo, clip, tmp_path / "out.mp4", settings=Settings(portrait=portrait), **options)
    with pytest.raises(WeightsMissing, match="neither a controlnet/"):
        animate(nano_like, photo, clip, tmp_path / "out.mp4", **FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["me.png"]


def test_what_is_read_is_never_replaced(moving: FacePipeline, photo: Path, clip: Path, tmp_path: Path) -> None:
    before, link = clip.read_bytes(), tmp_path / "link.mp4"
    link.symlink_to(clip)
    for target in (clip, link):
        with pytest.raises(BadOutput, match=r"\.mp4 is what is read"):
            animate(moving, photo, clip, target, force=True, **FAST)
    track = tmp_path / "nod.json"
    track.write_text("{}")
    with pytest.raises(BadOutput, match=r"nod\.json is what is read"):
        animate(moving, photo, track, tmp_path / "nod.mp4", force=True, **FAST)
    assert clip.read_bytes() == before
    assert track.read_text() == "{}"


def test_mistakes_are_named(moving: FacePipeline, photo: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"

    def wanted(error: type[PersonaeError], message: str, source=photo, drive=clip, target=out, **asked) -> None:
        with pytest.raises(error, match=message):
            animate(moving, source, drive, target, **(FAST | asked))

    wanted(NoFaceFound, "empty.png", source=empty_photo(tmp_path / "empty.png"))
    wanted(BadVideo, "no such file", drive=tmp_path / "none.mp4")
    wanted(BadVideo, "not a video", drive=photo.with_suffix(".txt") if photo.with_suffix(".txt").touch() else __file__)
    wanted(BadOption, "written as .mp4", target=tmp_path / "out.gif")
    wanted(BadOption, "frames 3:9 are not there: the driver has 0:7", frames=(3, 9))
    wanted(BadOption, "frames 3:3 are not there", frames=(3, 3))
    wanted(BadOption, "a video has its own", fps=25)
    wanted(BadOption, "an animation sets pose itself", pose=(0, 0, 0))
    wanted(BadOption, "unknown option 'stesp'", stesp=3)
    wanted(BadOption, "batch_size must be at least 1", batch_size=0)
    wanted(BadOption, "no face 2", settings=Settings(face=2))
    out.write_bytes(b"mine")
    wanted(BadOutput, "already there")
    assert out.read_bytes() == b"mine"
    for name, value in {"smooth": "kalman", "on_no_face": "guess", "face": 0}.items():
        with pytest.raises(BadOption):
            Settings(**{name: value})


def test_a_model_that_nothing_moves_says_so(nano_like: FacePipeline, photo: Path, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="neither a controlnet/ for poses nor an exp_adapter/"):
        animate(nano_like, photo, clip, tmp_path / "out.mp4", **FAST)


def test_on_the_command_line(
    moving_folder: Path,
    photo: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["personae", "edit", *map(str, words), "-m", str(moving_folder)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out, printed.err

    code, printed, _ = run("track", clip, "-o", "talk.json", "--smooth", "one-euro")
    assert (code, printed.strip()) == (0, "talk.json")
    assert len(track.load("talk.json")) == COUNT
    code, printed, _ = run("animate", photo, "talk.json", "-o", "out.mp4", "--frames", ":2", "--steps", 2, "--portrait")
    assert (code, printed.strip()) == (0, "out.mp4")
    assert len(pictures(Path("out.mp4"))) == 2
    for words, message in (
        (("animate", photo, clip, "-o", "out.mp4"), "already there"),
        (("animate", photo, clip, "-o", "new.mp4", "--frames", "2-4"), "first:end"),
        (("animate", photo, __file__, "-o", "new.mp4"), "not a video"),
        (("track", clip, "-o", "talk.txt"), ".json, .csv, .npz"),
    ):
        code, printed, complaint = run(*words)
        assert (code, printed) == (2, ""), complaint
        assert message in complaint
        assert len(complaint.splitlines()) == 1
    assert not Path("new.mp4").exists()


# ---------------------------------------------------------------------- on the bundled model

nano_is_here = pytest.mark.skipif(not catalog.present(catalog.MODELS["nano"]), reason="the bundled model is not here")


@nano_is_here
def test_less_flicker_than_with_noise_of_its_own_in_every_frame(nano: FacePipeline) -> None:
    """A head that turns slowly, six frames: the same pose, the same person, told apart by the noise alone."""
    [who] = strangers(nano.folder, 1, seed=5)
    moves = moves_of(motion(6, yaw=np.linspace(-6, 6, 6)), nano.config.crop_template)
    asked = {"pose": [move.numbers for move in moves], "num_inference_steps": 4, "measure_likeness": False}

    def made(seeds: Sequence[int]) -> list[np.ndarray]:
        return [np.asarray(image) for image in nano([who] * 6, seed=list(seeds), **asked).images]

    same, own = made([7] * 6), made(range(7, 13))

    def landmarks(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [nano.read(frame)[0].motion.landmarks for frame in frames]

    warp = [flicker.warp_error(frames, landmarks(frames)).mean() for frames in (same, own)]
    high = [flicker.high_pass(frames).mean() for frames in (same, own)]
    assert warp[0] < 0.5 * warp[1], (warp, high)
    assert high[0] < 0.25 * high[1], (warp, high)


@nano_is_here
def test_a_head_turns_as_it_is_told(nano: FacePipeline, tmp_path: Path) -> None:
    """On photos of people made up, with the face in the middle of them; how far, on average."""
    turns: Callable[[Track], list[Move | None]] = lambda of: moves_of(of, nano.config.crop_template)  # noqa: E731
    moves = [move for move in turns(motion(3, yaw=[-25, 0, 25])) if move is not None]
    turned = []
    for seed in range(5, 9):
        [who] = strangers(nano.folder, 1, seed=seed)
        [portrait] = nano(who, seed=2, num_inference_steps=8).images
        canvas = Image.new("RGB", (300, 260), (120, 130, 140))
        canvas.paste(portrait.resize((180, 180), Image.Resampling.LANCZOS), (60, 40))
        face = nano.read(Photo(pixels=np.asarray(canvas)))[0]
        frames = PhotoRenderer(nano, face, moves, seed=0, options={"num_inference_steps": 6}).draw(moves)
        left, middle, right = (nano.read(frame)[0].motion.pose.yaw for frame in frames)
        assert left < middle < right
        turned.append(right - left)
        np.testing.assert_array_equal(frames[0][:10], np.asarray(canvas)[:10])
    assert np.mean(turned) > 20
