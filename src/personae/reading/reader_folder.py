"""A reader's folder, opened with the library that its `reader.json` names.

reader = open_folder("src/personae/weights/nano/reader")
"""

from pathlib import Path

from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io import regular
from personae.reading.insightface import LIBRARY, InsightFaceReader
from personae.reading.reader import CONFIG_NAME, FaceReader


def open_folder(folder: str | Path, *, threads: int | None = None) -> FaceReader:
    """The reader of a folder.

    Arguments:
        folder: holds `reader.json` and the networks that it lists.
        threads: of each network; None: all cores, at most 4.

    Raises `WeightsMissing`, `WeightsCorrupt`; `PersonaeError` for one of InsightFace's without the extra.
    """
    config = regular.read_object(Path(folder) / CONFIG_NAME, WeightsCorrupt, missing=WeightsMissing)
    foreign = config.get("library") == LIBRARY
    return (InsightFaceReader if foreign else FaceReader).from_folder(folder, threads=threads)
