"""reader = open_reader("nano"); reader.read("me.jpg")

The reader of a model alone, without torch: of a named model, of a folder in either layout, of a Hub id.
"""

from pathlib import Path

from personae.models import catalog
from personae.models.official import layout
from personae.reading.reader import FaceReader
from personae.reading.reader_folder import open_folder


def open_reader(
    name: str | Path, *, base: str | Path | None = None, accept_licence: bool = False, threads: int | None = None
) -> FaceReader | None:
    """None if the model came without one: it takes identities instead of photos.

    base, accept_licence: as `personae.load`. Of a named model on the Hub, only the reader's own files are fetched.
    Raises `BadOption`, `WeightsMissing`, `WeightsCorrupt`, `LicenceRefused`.
    """
    model = catalog.MODELS.get(str(name))
    if model is not None and model.hub is not None:
        return layout.reader_of_named(model, accept_licence=accept_licence, threads=threads)
    folder = catalog.resolve(name)
    if catalog.is_published(folder):
        return layout.find(folder, base=base).reader(accept_licence=accept_licence, threads=threads)
    return open_folder(folder / "reader", threads=threads) if (folder / "reader").is_dir() else None
