"""Tracks: files that come back as they were, columns that are known, crops that stand upright; and their smoothing."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from personae.errors import BadData, BadOption, PersonaeError
from personae.types import BLENDSHAPES
from personae.video import motion_track, smoothing
from personae.video.motion_track import COLUMNS, Track

RNG = np.random.default_rng(0)
RATE = 25
SECONDS = np.arange(100) / RATE


def moving(count: int = 6, *, holes: tuple[int, ...] = ()) -> Track:
    rng = np.random.default_rng(1)
    motion = np.concatenate([rng.uniform(-20, 20, (count, 3)), rng.uniform(0, 1, (count, len(BLENDSHAPES)))], 1)
    motion[list(holes)] = np.nan
    return Track(fps=Fraction(RATE), motion=motion)


def one(values: np.ndarray, name: str = "yaw") -> Track:
    """A track of which one column moves."""
    motion = np.zeros((len(values), len(COLUMNS)))
    motion[:, COLUMNS.index(name)] = values
    return Track(fps=Fraction(RATE), motion=motion)


def column(of: Track, name: str = "yaw") -> np.ndarray:
    return of.motion[:, COLUMNS.index(name)]


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", motion_track.SUFFIXES)
@pytest.mark.parametrize("count", [1, 6])
def test_what_is_saved_comes_back(suffix: str, count: int, tmp_path: Path) -> None:
    before = moving(count, holes=() if count == 1 else (0, 3))
    motion_track.save(tmp_path / f"a{suffix}", before)
    after = motion_track.load(tmp_path / f"a{suffix}", fps=RATE if suffix == ".csv" else None)
    assert after.fps == before.fps
    np.testing.assert_allclose(after.motion, before.motion, atol=1e-4)
    assert after.visible.tolist() == before.visible.tolist()


def test_a_table_of_ones_own_has_the_columns_it_needs(tmp_path: Path) -> None:
    (tmp_path / "nod.csv").write_text("pitch,jawOpen\n1,0.5\n\n-2.5,0\n,\n")
    nod = motion_track.load(tmp_path / "nod.csv", fps=12.5)
    assert nod.fps == Fraction(25, 2)
    assert nod.visible.tolist() == [True, False, True, False]
    assert column(nod, "pitch")[[0, 2]].tolist() == [1, -2.5]
    assert nod.blendshapes[0].sum() == 0.5
    np.savez(tmp_path / "nod.npz", yaw=[1, 2, 3])
    assert column(motion_track.load(tmp_path / "nod.npz", fps=30)).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "fps", "error", "message"),
    [
        ("a.csv", "yaw,jawOpn\n1,2\n", 25, BadOption, "unknown track column 'jawOpn': did you mean 'jawOpen'"),
        ("a.csv", "yaw\n1\n", None, BadOption, "does not say its frames per second: give --fps"),
        ("a.csv", "yaw,pitch\n1\n", 25, BadData, "frame 0 of the track has 1 numbers for 2 columns"),
        ("a.csv", "yaw,yaw\n1,1\n", 25, BadData, "there twice"),
        ("a.csv", "yaw\nleft\n", 25, BadData, "not a track that can be read"),
        ("a.csv", "yaw\n", 25, BadData, "T at least 1"),
        ("a.csv", "", 25, BadData, "at least one column"),
        ("a.csv", "yaw,pitch\n1,\n", 25, BadData, "all of its numbers or none"),
        ("a.csv", "yaw\n120\n", 25, BadData, "between -89 and 89"),
        ("a.csv", "roll\n190\n", 25, BadData, "roll between -180 and 180"),
        ("a.csv", "jawOpen\n1.5\n", 25, BadData, "blendshapes of a track lie between 0 and 1"),
        ("a.csv", "yaw\n1\n", 0, BadOption, "fps lies above 0"),
        ("a.json", "{", None, BadData, "not a track that can be read"),
        ("a.json", '{"yaw": [1]}', None, BadData, "it does not say"),
        ("a.npz", "PK nothing", 25, BadData, "no zip file that can be read"),
        ("a.txt", "yaw\n1\n", 25, BadOption, ".json, .csv, .npz"),
    ],
)
def test_files_that_are_no_tracks(
    name: str, content: str, fps: float | None, error: type[PersonaeError], message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        motion_track.load(tmp_path / name, fps=fps)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_any_rate_that_a_container_averages_to_comes_back(suffix: str, tmp_path: Path) -> None:
    odd = Fraction(1_800_000_000, 59_999_983)  # of a video of variable rate
    before = Track(fps=odd, motion=moving().motion)
    motion_track.save(tmp_path / f"a{suffix}", before)
    after = motion_track.load(tmp_path / f"a{suffix}")
    assert after.fps == before.fps
    assert float(after.fps) == pytest.approx(float(odd), rel=1e-6)
    assert Track(fps=Fraction(30_000, 1001), motion=before.motion).fps == Fraction(30_000, 1001)
    with pytest.raises(BadData, match="between 1/100000 and 1000"):
        Track(fps=Fraction(1, 200_000), motion=before.motion)


def test_nothing_is_unpickled_and_fps_is_not_contradicted(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", yaw=np.array([print], object))
    with pytest.raises(BadData, match="holds object, not numbers"):
        motion_track.load(tmp_path / "evil.npz", fps=25)
    motion_track.save(tmp_path / "a.json", moving())
    with pytest.raises(BadOption, match="has 25 frames per second, got --fps 30"):
        motion_track.load(tmp_path / "a.json", fps=30)
    with pytest.raises(BadData, match="no such file"):
        motion_track.load(tmp_path / "none.json")
    assert json.loads((tmp_path / "a.json").read_text())["format"] == "personae.track/1"


# ---------------------------------------------------------------------- upright


@pytest.mark.parametrize("roll", [-25.0, 0.0, 25.0])
def test_a_crop_takes_the_tilt_away(roll: float) -> None:
    upright, tilt = one(np.array([roll, roll]), "roll").upright("portrait")
    np.testing.assert_allclose(tilt, roll, atol=1.5)  # a face is not quite as symmetric as the template
    np.testing.assert_allclose(upright[:, 2], roll - tilt, atol=1e-6)
    np.testing.assert_allclose(upright[:, :2], 0, atol=0.5)
    hole, none = moving(3, holes=(1,)).upright("portrait")
    assert np.isnan(hole[1]).all()
    assert np.isnan(none).tolist() == [False, True, False]


@pytest.mark.parametrize("roll", [-150.0, -90.0, 90.0, 179.0])
def test_a_head_on_its_side_or_upside_down_stands_upright_in_its_crop(roll: float) -> None:
    upright, tilt = one(np.array([roll, roll]), "roll").upright("portrait")
    np.testing.assert_allclose(apart(tilt, roll), 0, atol=1.5)
    np.testing.assert_allclose(upright, 0, atol=1.5)


def apart(one: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Degrees from one direction to the other, the shorter way round."""
    return (one - other + 180) % 360 - 180


# ---------------------------------------------------------------------- smoothing


@pytest.mark.parametrize("name", smoothing.SMOOTHERS)
def test_a_head_that_goes_upside_down_goes_round(name: str) -> None:
    turning = np.linspace(150, 210, 61)  # read as 150 to 180, then from -180 on
    after = column(smoothing.smoothed(one(apart(turning, 0), "roll"), name), "roll")
    assert np.abs(apart(after, turning)).max() < 1.5
    holed = one(np.array([170.0, 0.0, -170.0]), "roll")
    holed.motion[1] = np.nan
    filled = column(smoothing.without_gaps(holed), "roll")
    np.testing.assert_allclose(np.abs(filled), [170, 180, 170])


def test_what_a_filter_overshoots_is_held() -> None:
    jump = np.where(np.arange(40) < 20, 89.0, -89.0)
    assert np.abs(column(smoothing.smoothed(one(jump), "savgol"))).max() == 89


@pytest.mark.parametrize("name", smoothing.SMOOTHERS)
def test_a_face_at_rest_stays_where_it_is(name: str) -> None:
    still = one(np.full(40, 7.0))
    np.testing.assert_allclose(smoothing.smoothed(still, name).motion, still.motion, atol=1e-9)


@pytest.mark.parametrize(("name", "most"), [("savgol", 0.65), ("one-euro", 0.5)])
def test_jitter_is_taken_off(name: str, most: float) -> None:
    jitter = np.random.default_rng(3).normal(0, 1, 400)  # a degree, about what the bundled reader errs by
    after = column(smoothing.smoothed(one(jitter), name))
    assert after.std() < most * jitter.std()
    # What trembles is the step from frame to frame.
    assert np.diff(after).std() < 0.4 * np.diff(jitter).std()


@pytest.mark.parametrize(("name", "most"), [("savgol", 0.2), ("one-euro", 2.0)])
def test_a_turning_head_neither_lags_nor_shrinks(name: str, most: float) -> None:
    turn = 25 * np.sin(2 * np.pi * SECONDS / 2)  # 25 degrees to either side in two seconds
    after = column(smoothing.smoothed(one(turn), name))
    assert np.abs(after - turn)[10:-10].max() < most
    lags = [np.corrcoef(after[20:-20], turn[20 + lag : 80 + lag])[0, 1] for lag in range(-5, 6)]
    assert int(np.argmax(lags)) == 5  # none


@pytest.mark.parametrize(("name", "least"), [("savgol", 0.75), ("one-euro", 0.5)])
def test_a_blink_stays_a_blink(name: str, least: float) -> None:
    blink = np.exp(-(((SECONDS - 2) / 0.07) ** 2))  # shut for some 150 ms
    after = column(smoothing.smoothed(one(blink, "eyeBlinkLeft"), name), "eyeBlinkLeft")
    assert after.max() > least
    assert int(after.argmax()) == int(blink.argmax())
    assert after.min() >= 0


def test_savgol_keeps_parabolas_exactly() -> None:
    values = 3 + 2 * SECONDS - 1.5 * SECONDS**2
    np.testing.assert_allclose(smoothing.savgol(values[:, None], RATE)[:, 0], values, atol=1e-9)
    short = values[:3, None]
    np.testing.assert_array_equal(smoothing.savgol(short, RATE), short)


def test_one_euro_is_the_papers_algorithm() -> None:
    """By hand: cutoffs of 1 Hz and beta 0 make a plain exponential filter, run from both ends."""
    share = 1 / (1 + RATE / (2 * np.pi))
    step = np.array([0.0, 1.0, 1.0])
    forwards = [0, share, share + (1 - share) * share]
    backwards = [(1 - share) * 1 + share * 0, 1, 1]
    after = smoothing.one_euro(step[:, None], RATE, min_cutoff=1.0, beta=0.0)[:, 0]
    np.testing.assert_allclose(after, (np.array(forwards) + backwards) / 2)


@pytest.mark.parametrize("name", smoothing.SMOOTHERS)
def test_holes_stay_holes_unless_they_are_filled(name: str) -> None:
    holed = moving(30, holes=(0, 10, 11, 29))
    after = smoothing.smoothed(holed, name)
    assert after.visible.tolist() == holed.visible.tolist()
    assert np.isnan(after.motion[10]).all()
    full = smoothing.without_gaps(holed)
    assert full.visible.all()
    np.testing.assert_allclose(full.motion[10], holed.motion[9] * 2 / 3 + holed.motion[12] / 3)
    np.testing.assert_array_equal(full.motion[0], full.motion[1])
    np.testing.assert_array_equal(full.motion[29], full.motion[28])


def test_an_unknown_smoothing_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'savgol'"):
        smoothing.smoothed(moving(), "savgoll")
