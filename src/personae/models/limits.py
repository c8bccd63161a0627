"""How far a model turns a head before it is no face any more: measured, and kept in its folder as `limits.json`.

    limits = Limits.of(pipe.folder)                    # a folder without the file is held to no less than geometry is
    limits.require({"yaw": 35.0})                      # BadOption beyond the range, a warning near its edge
    limits.within({"yaw": 60.0})                       # {"yaw": 40.0}, with a warning: what a photo asks for

    {"format": "personae.limits/1", "pose": {"yaw": {"good": 30, "most": 40}, ...}}

`personae evaluate --suite angles` measures and shows what the file is written from.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from personae.errors import BadOption, WeightsCorrupt

FILE, _FORMAT = "limits.json", "personae.limits/1"
GEOMETRY = {"yaw": 75.0, "pitch": 75.0, "roll": 60.0}  # degrees either way; beyond, no face is left to see
_MOST_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """By angle, degrees either way: `good`, up to where faces are whole; `most`, beyond which there is none."""

    good: Mapping[str, float]
    most: Mapping[str, float]

    @classmethod
    def of(cls, folder: Path | None) -> "Limits":
        """Of a model's folder. Raises as `read`."""
        path = None if folder is None else folder / FILE
        if path is None or not path.is_file():
            return cls(good=GEOMETRY, most=GEOMETRY)
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> "Limits":
        """Of a file. Raises `WeightsCorrupt` for one that is no table, or is not there."""
        try:
            with path.open("rb") as file:
                table = json.loads(file.read(_MOST_BYTES))
            rows = table["pose"] if table["format"] == _FORMAT else {}
            good, most = ({name: float(rows[name][key]) for name in GEOMETRY} for key in ("good", "most"))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise WeightsCorrupt(f"{path} is no table of angles ({error!r}): fetch the model again") from error
        if not all(0 <= good[name] <= most[name] <= GEOMETRY[name] for name in GEOMETRY):
            raise WeightsCorrupt(f"{path} allows impossible angles: good up to most up to {GEOMETRY}, got {rows}")
        return cls(good=good, most=most)

    def require(self, angles: Mapping[str, float]) -> None:
        """Raise `BadOption` for an angle that this model cannot hold; warn of one that it holds badly."""
        for name, angle in angles.items():
            if name in self.most and not abs(angle) <= self.most[name]:
                raise BadOption(
                    f"{name} of a pose lies within {self.most[name]:g} degrees with this model, got {angle:g}: "
                    "beyond, no face is left"
                )
            if name in self.good and abs(angle) > self.good[name]:
                warnings.warn(
                    f"{name} {angle:g} is near what this model can hold ({self.most[name]:g} degrees): expect a face "
                    f"that is not whole; up to {self.good[name]:g} it is",
                    stacklevel=4,
                )

    def within(self, angles: Mapping[str, float]) -> dict[str, float]:
        """The angles of a photo's face, held to what this model can hold; warns if that is less."""
        result = dict(angles)
        for name in self.most.keys() & angles.keys():
            if abs(angles[name]) > self.most[name]:
                result[name] = self.most[name] if angles[name] > 0 else -self.most[name]
                warnings.warn(
                    f"the photo's {name} is {angles[name]:.0f} degrees, of which this model holds {self.most[name]:g}",
                    stacklevel=4,
                )
        return result
