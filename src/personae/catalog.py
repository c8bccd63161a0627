"""Which models there are, by name: where each comes from, under which licence, and whether it is whole.

    catalog.resolve("nano")          # Path of the bundled model
    catalog.resolve("runs/mine")     # Path, if it is a model folder
    catalog.verify(path)             # raises WeightsCorrupt if a file is not what `sha256.json` promises

Reads the disk only when asked, loads no model.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from personae.errors import WeightsCorrupt, WeightsMissing, unknown_name

INDEX = "model_index.json"
MANIFEST = "sha256.json"
_HASHED = (".json", ".onnx", ".safetensors", ".txt")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the table.

    `folder` is where it lies in the package, or None while it has to be fetched; `size` is the side of its images
    in pixels; `width` that of the identity it reads.
    """

    name: str
    about: str
    source: str
    licence: str
    size: int
    width: int
    folder: Path | None = None


MODELS = {
    model.name: model
    for model in (
        Model(
            name="nano",
            about="Arc2Face in small, trained by this project's own recipes; bundled, runs on a CPU",
            source="bundled; trained on FairFace (Karkkainen and Joo 2021, CC BY 4.0)",
            licence="Apache-2.0",
            size=128,
            width=128,
            folder=Path(__file__).parent / "weights" / "nano",
        ),
        Model(
            name="arc2face",
            about="the official Arc2Face (Papantoniou et al., ECCV 2024) on Stable Diffusion 1.5",
            source="huggingface.co/FoivosPar/Arc2Face",
            licence="MIT code; data and recogniser for non-commercial research only",
            size=512,
            width=512,
        ),
    )
}


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a named model or of a path. Raises `BadOption` for an unknown name, `WeightsMissing` if what
    is named is not (yet) here."""
    model = MODELS.get(str(name_or_path))
    folder = model.folder if model else Path(name_or_path)
    if folder is None:
        raise WeightsMissing(
            f"model {name_or_path!r} is not part of this version: it arrives with a later one; "
            "use 'nano' or the path of a model folder"
        )
    if model is None and not folder.exists():
        if len(folder.parts) == 1:
            raise unknown_name("model", str(name_or_path), MODELS)
        raise WeightsMissing(f"no model folder {folder}: give a path that exists, or one of {', '.join(MODELS)}")
    if not (folder / INDEX).is_file():
        raise WeightsMissing(f"{folder} is not a model folder: it has no {INDEX}")
    return folder


def present(model: Model) -> bool:
    """Whether a named model can be loaded now."""
    return model.folder is not None and (model.folder / INDEX).is_file()


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file that a model folder loads, by its path inside the folder."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in _HASHED and p.name != MANIFEST)
    found = {}
    for path in files:
        with path.open("rb") as file:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def fingerprint(folder: Path) -> str:
    """One sha256 for a whole model folder: what a recipe names it by, wherever it lies."""
    return hashlib.sha256(json.dumps(hashes(folder), sort_keys=True).encode()).hexdigest()


def seal(folder: Path) -> None:
    """Write `sha256.json`, the promise that `verify` holds a model folder to. The last step of making a bundle."""
    (folder / MANIFEST).write_text(json.dumps(hashes(folder), indent=1, sort_keys=True) + "\n")


def verify(folder: Path) -> None:
    """Raise `WeightsCorrupt` if a file differs from `sha256.json`; a folder without one promises nothing."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    try:
        promised = json.loads(manifest.read_text())
        changed = sorted(set(promised.items()) ^ set(hashes(folder).items()))
    except (ValueError, AttributeError) as error:
        raise WeightsCorrupt(f"{manifest} cannot be read ({error}): fetch the model again") from error
    if changed:
        raise WeightsCorrupt(
            f"{folder / changed[0][0]} is not the file that {MANIFEST} promises: install or fetch the model again"
        )
