"""What a face does, frame by frame, in numbers; and the files that hold it.

    track = load("nod.csv", fps=25)                 # also .json and .npz; `personae edit track` reads one off a video
    save("nod.json", smoothed(track, "savgol"))     # see smoothing.py
    angles, tilt = track.upright("portrait")

Columns are `yaw`, `pitch`, `roll` in degrees, as in `types.Pose`, and blendshapes by name, 0-1; one that a file leaves
out is 0 throughout. Legend: T frames, B blendshapes (52).
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import tilt_of
from personae.errors import BadData, BadOption, unknown_name
from personae.io import archive, regular
from personae.io.boundary import errors_as
from personae.reading.rotation import turn
from personae.shapes import Bool, Float, Float64
from personae.types import BLENDSHAPES, Array, Pose

ANGLES = ("yaw", "pitch", "roll")
COLUMNS = (*ANGLES, *BLENDSHAPES)
SUFFIXES = (".json", ".csv", ".npz")
_FORMAT = "personae.track/1"
_STEEPEST = 89.0  # degrees of yaw and pitch; beyond, angles say no more which way is which
_MOST_BYTES = 256 << 20
_FASTEST = 1000  # frames per second
_FINEST = 100_000  # the largest denominator of frames per second: containers average to fractions that no file needs
MOST_FRAMES = 500_000  # more than two hours of 60 per second
_PLAIN = re.compile(r"[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,9})?")


@dataclass(frozen=True, kw_only=True)
class Track:
    """`fps`: frames per second, to the next fraction of a denominator up to 100,000. `motion` (T, 3 + B) float64, by
    `COLUMNS`: yaw and pitch within 89 degrees, roll within 180, blendshapes 0-1; a row of NaN: no face is seen there.
    """

    fps: Fraction
    motion: Float64[Array, "T 55"]

    def __post_init__(self) -> None:
        motion = np.asarray(self.motion, np.float64)
        if len(motion) > MOST_FRAMES:
            raise BadData(f"a track has at most {MOST_FRAMES} frames, got {len(motion)}: cut it into parts")
        if motion.ndim != 2 or motion.shape[1] != len(COLUMNS) or not len(motion):
            raise BadData(f"a track holds (T, {len(COLUMNS)}) numbers, T at least 1, got {motion.shape}")
        if not Fraction(1, _FINEST) <= self.fps <= _FASTEST:
            raise BadData(f"a track's fps lies between 1/{_FINEST} and {_FASTEST}, got {self.fps}")
        known = motion[np.isfinite(motion).all(1)]
        if len(known) + int(np.isnan(motion).all(1).sum()) != len(motion):
            raise BadData("a frame of a track has all of its numbers or none: some are missing or infinite")
        if len(known) and (np.abs(known[:, : len(ANGLES)]) > (_STEEPEST, _STEEPEST, 180)).any():
            most = f"{_STEEPEST:g}"
            raise BadData(f"yaw and pitch of a track lie between -{most} and {most} degrees, roll between -180 and 180")
        if len(known) and not (known[:, 3:].min() >= 0 and known[:, 3:].max() <= 1):
            raise BadData("blendshapes of a track lie between 0 and 1")
        object.__setattr__(self, "motion", motion)
        object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(_FINEST))

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def visible(self) -> Bool[Array, " T"]:
        """(T,) bool: the frames that show the face."""
        return ~np.isnan(self.motion[:, 0])

    @property
    def angles(self) -> Float[Array, "T 3"]:
        """(T, 3) degrees: yaw, pitch, roll, as the video shows them."""
        return self.motion[:, :3]

    @property
    def blendshapes(self) -> Float[Array, "T 52"]:
        """(T, B), 0-1."""
        return self.motion[:, 3:]

    def upright(self, template: str) -> tuple[Float[Array, "T 3"], Float[Array, " T"]]:
        """(T, 3) the angles in a crop of `template` that stands the face upright, which is what models are trained on;
        and (T,) the tilt that the crop took away, degrees clockwise (`pose_map.tilt_of`)."""
        model, tilt = FaceModel.bundled(), np.full(len(self), np.nan)
        for t in np.flatnonzero(self.visible):
            pose = Pose(**dict(zip(ANGLES, self.angles[t], strict=True)))
            tilt[t] = tilt_of(model, pose, self.blendshapes[t], template)
        return turn(self.angles, -tilt), tilt


def within_range(motion: Float[Array, "T 55"]) -> Float64[Array, "T 55"]:
    """(T, 3 + B) as a track may hold it: a roll beyond 180 degrees counted from the other side, since a turn of the
    picture goes round; yaw, pitch and blendshapes held at the ends of their ranges."""
    yaw_pitch, roll, shapes = np.split(motion, (ANGLES.index("roll"), len(ANGLES)), axis=1)
    roll = roll - 360 * np.round(roll / 360)
    return np.concatenate([yaw_pitch.clip(-_STEEPEST, _STEEPEST), roll, shapes.clip(0, 1)], 1).astype(np.float64)


def save(path: str | Path, track: Track) -> None:
    """Write `.json`, `.csv` or `.npz`, whole or not at all; replaces a file. Raises `BadOption`, `BadOutput`."""
    from personae.provenance import writer  # late: reading a track needs none of it

    suffix = require_suffix(path)
    writer.write(path, _WRITERS[suffix](track), force=True)


def load(path: str | Path, *, fps: float | Fraction | None = None) -> Track:
    """What `save` wrote, or a table of one's own. fps: needed for a file that does not say; else it must be None or
    the file's. Raises `BadOption` for that and for columns that there are not, `BadData` for another file."""
    place = Path(path)
    suffix = require_suffix(path)
    content = regular.read(place, _MOST_BYTES, BadData)
    with errors_as(BadData, f"{place} is not a track that can be read"):
        own, columns = _READERS[suffix](content, place)
        motion = _by_column(columns)
    if fps is not None and not 0 < fps <= _FASTEST:  # NaN is neither
        raise BadOption(f"--fps lies above 0 and up to {_FASTEST}, got {fps}")
    if own is None and fps is None:
        raise BadOption(f"{place} does not say its frames per second: give --fps")
    if own is not None and fps is not None and abs(float(own) - float(fps)) > 1e-3:
        raise BadOption(f"{place} has {float(own):g} frames per second, got --fps {float(fps):g}: leave it out")
    return Track(fps=own or Fraction(fps or 0).limit_denominator(1001), motion=motion)


def require_suffix(path: str | Path) -> str:
    """The kind of file, `.json`, `.csv` or `.npz`. Raises `BadOption` for another."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise BadOption(f"a track is a {', '.join(SUFFIXES)} file, got {path}")
    return suffix


Columns = Mapping[str, Array]  # (T,) each, by name
Read = tuple[Fraction | None, Columns]


def _by_column(columns: Columns) -> Float[Array, "T 55"]:
    """(T, 3 + B) of some of the columns."""
    for name in columns:
        if name not in COLUMNS:
            raise unknown_name("track column", name, COLUMNS)
    if not columns:
        raise BadData("a track needs at least one column: yaw, pitch, roll or a blendshape")
    motion = np.zeros((len(next(iter(columns.values()))), len(COLUMNS)))
    for name, values in columns.items():
        motion[:, COLUMNS.index(name)] = values
    motion[np.isnan(motion).any(1) & _all_nan(columns)] = np.nan  # columns left out say nothing of a face
    return motion


def _all_nan(columns: Columns) -> Array:
    return np.asarray(np.isnan(np.stack(list(columns.values()))).all(0))


def _number(cell: Any) -> float:
    return float("nan") if cell in (None, "") else float(cell)


def _table(names: Sequence[str], rows: Sequence[Sequence[Any] | None]) -> Columns:
    for name in names:
        if name not in COLUMNS:
            raise unknown_name("track column", str(name), COLUMNS)
    if len(set(names)) != len(names):
        raise BadData(f"a column of the track is there twice: {', '.join(names)}")
    if len(rows) > MOST_FRAMES:
        raise BadData(f"a track has at most {MOST_FRAMES} frames, got {len(rows)}: cut it into parts")
    table = np.full((len(rows), len(names)), np.nan)
    for t, row in enumerate(rows):
        if row is None:
            continue
        if len(row) != len(names):
            raise BadData(f"frame {t} of the track has {len(row)} numbers for {len(names)} columns")
        table[t] = [_number(cell) for cell in row]
    return {name: table[:, i] for i, name in enumerate(names)}


def _fraction(value: Any) -> Fraction:
    """Frames per second. Text like `1e999999999` would keep `Fraction` busy for ever: only plain numbers are read."""
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        raise BadData(f"a track's fps is a number or a fraction such as 30000/1001, got {value[:40]!r}")
    return Fraction(value)


def _from_json(content: bytes, path: Path) -> Read:
    stored = json.loads(content)
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise BadData(f'{path} is not a track: it does not say "format": "{_FORMAT}"')
    return _fraction(stored["fps"]), _table(stored["columns"], stored["frames"])


def _from_csv(content: bytes, path: Path) -> Read:
    names, *rows = [*csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))] or [[]]
    return None, _table([name.strip() for name in names], [row or None for row in rows])


def _from_npz(content: bytes, path: Path) -> Read:
    stored = archive.npz(content, _MOST_BYTES, BadData, str(path))
    fps = _fraction(str(stored.pop("fps"))) if "fps" in stored else None
    for name, values in stored.items():
        if values.ndim != 1 or len(values) != len(next(iter(stored.values()))):
            raise BadData(f"column {name} of {path} has shape {values.shape}: all columns have one length")
    return fps, {name: values.astype(np.float64) for name, values in stored.items()}


def _rows(track: Track) -> list[list[float] | None]:
    return [
        [round(x, 4) for x in row] if visible else None
        for row, visible in zip(track.motion.tolist(), track.visible, strict=True)
    ]


def to_json(track: Track) -> bytes:
    """What `save` writes into a `.json`."""
    content = {"format": _FORMAT, "fps": str(track.fps), "columns": list(COLUMNS), "frames": _rows(track)}
    return json.dumps(content).encode()


def _to_csv(track: Track) -> bytes:
    text = io.StringIO()
    nothing = [""] * len(COLUMNS)
    csv.writer(text).writerows([COLUMNS, *(nothing if row is None else row for row in _rows(track))])
    return text.getvalue().encode()


def _to_npz(track: Track) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = {name: track.motion[:, i] for i, name in enumerate(COLUMNS)}
    np.savez(content, fps=np.array(str(track.fps)), **arrays)
    return content.getvalue()


_READERS = {".json": _from_json, ".csv": _from_csv, ".npz": _from_npz}
_WRITERS = {".json": to_json, ".csv": _to_csv, ".npz": _to_npz}
