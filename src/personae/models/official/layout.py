"""Arc2Face's published files: where they lie, and in one error all that lack.

    found = find("models", base="stable-diffusion-v1-5")      # a folder of one's own
    found = of_named(catalog.MODELS["arc2face"])              # the Hub's cache
    found.reader(accept_licence=True)

`models/` as the authors have it: `arc2face/`, `encoder/`, `arcface.onnx` (there or in `antelopev2/`), optionally
`controlnet/`, `exp_adapter/`, `ref_adapter/`; `vae/`, `tokenizer/` and `scheduler/` of Stable Diffusion 1.5 in a
folder of their own or beside these. Recogniser and detector are looked for by name, in the places named here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from personae.errors import WeightsCorrupt, WeightsMissing
from personae.io import atomic, regular
from personae.io.archive import member
from personae.io.folder_contents import require_plain
from personae.models import catalog, hub, licences
from personae.models.catalog import Model
from personae.models.hub import Source
from personae.reading.embed import space_name
from personae.reading.insightface import insightface_reader
from personae.reading.reader import FaceReader

WIDTH = 512  # of arcface.onnx's vectors
RECOGNISER, DETECTOR, PACK = "arcface.onnx", "scrfd_10g_bnkps.onnx", "antelopev2"
DETECTOR_SHA256 = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
# The recogniser that `antelopev2` brings and that users of the official code are told to delete: another space.
GLINTR100_SHA256 = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"

_LARGEST_DETECTOR = 64 << 20  # bytes; it has 17 million
# Each line: files of which one must be there; the last is what was published.
_MODEL = (
    ("arc2face/config.json",),
    ("arc2face/diffusion_pytorch_model.safetensors",),
    ("encoder/config.json",),
    ("encoder/model.safetensors", "encoder/pytorch_model.bin"),
)
_BASE = (
    ("scheduler/scheduler_config.json",),
    ("tokenizer/tokenizer.json", "tokenizer/merges.txt"),
    ("tokenizer/tokenizer.json", "tokenizer/vocab.json"),
    ("vae/config.json",),
    ("vae/diffusion_pytorch_model.safetensors",),
)
# The zip holds a folder of its own name, so that it often ends up as antelopev2/antelopev2.
_PACKS = (PACK, f"{PACK}/{PACK}", f"models/{PACK}", f"models/{PACK}/{PACK}", ".")
_BASES = (".", "stable-diffusion-v1-5", "../stable-diffusion-v1-5")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A published model, whole. `recogniser` is None if it can only be driven by embeddings, `detector` then too."""

    folder: Path
    base: Path
    recogniser: Path | None
    detector: Path | None

    def files(self) -> dict[str, Path]:
        """What makes the pictures, by name: the same names wherever the files lie."""
        places = (self.folder, _MODEL), (self.base, _BASE)
        return {name: place / name for place, lines in places for name in _one_of(place, lines)}

    def space(self) -> str | None:
        """The identity space that the recogniser makes; None without one. Raises `WeightsCorrupt` for the wrong one."""
        return (
            None if self.recogniser is None else space_name("arc2face", "arcface", _recogniser_sha256(self.recogniser))
        )

    def reader(self, *, accept_licence: bool = False, threads: int | None = None) -> FaceReader | None:
        """What reads photos for this model; None without a recogniser. Raises `LicenceRefused`, `WeightsCorrupt`."""
        if self.recogniser is None or self.detector is None:
            return None
        licences.require(licences.ARC2FACE, accepted=accept_licence)
        return _reader(self.detector, self.recogniser, threads)


def find(folder: str | Path, *, base: str | Path | None = None) -> Layout:
    """A published model in a folder of one's own.

    base: the folder (or Hub id) of Stable Diffusion 1.5; None: beside the model.
    Raises `WeightsMissing`, naming everything that lacks and where to get it.
    """
    root = Path(folder)
    ground = _base_folder(root, base)
    recogniser = _first(root, _PACKS, RECOGNISER)
    detector = None if recogniser is None else _detector(root)
    official = catalog.MODELS["arc2face"]
    lacking = [
        (official.hub, _lacking(root, _MODEL)),
        (official.base, _lacking(ground, _BASE)),
        (official.detector, [DETECTOR] if recogniser is not None and detector is None else []),
    ]
    if any(files for _, files in lacking):
        places = [f"{', '.join(files)} from {source.url}" for source, files in lacking if source and files]
        raise WeightsMissing(
            f"{root} is no complete Arc2Face: it lacks {'; '.join(places)} "
            "(Stable Diffusion's parts may lie in another folder: base=...)"
        )
    return Layout(folder=root, base=ground, recogniser=recogniser, detector=detector)


def of_named(model: Model, *, accept_licence: bool = False) -> Layout:
    """A named model, fetched from the Hub unless it is in its cache. Raises as `hub.fetch`, and `LicenceRefused`."""
    folder = catalog.resolve(model.name, accept_licence=accept_licence)
    if model.base is None or model.detector is None:
        raise WeightsCorrupt(f"the catalog does not say what {model.name} is built on")
    detector = hub.fetch(model.detector) / DETECTOR
    return Layout(folder=folder, base=hub.fetch(model.base), recogniser=folder / RECOGNISER, detector=detector)


def reader_of_named(model: Model, *, accept_licence: bool = False, threads: int | None = None) -> FaceReader:
    """The reader of a named model; nothing else of it is fetched."""
    licences.require(licences.ARC2FACE, accepted=accept_licence)
    if model.hub is None or model.detector is None:
        raise WeightsCorrupt(f"the catalog does not say where {model.name} reads from")
    alone = Source(repo=model.hub.repo, revision=model.hub.revision, files=(RECOGNISER,), watched=(RECOGNISER,))
    return _reader(hub.fetch(model.detector) / DETECTOR, hub.fetch(alone) / RECOGNISER, threads)


def _reader(detector: Path, recogniser: Path, threads: int | None) -> FaceReader:
    bundled = catalog.MODELS["nano"]
    return insightface_reader(
        detector=detector,
        detector_sha256=DETECTOR_SHA256,
        recogniser=recogniser,
        recogniser_sha256=_recogniser_sha256(recogniser),
        name="arc2face",
        motion=catalog.resolve(bundled.name) / "reader" if catalog.present(bundled) else None,
        threads=threads,
    )


def _recogniser_sha256(path: Path) -> str:
    found = regular.sha256(path, WeightsCorrupt, missing=WeightsMissing)
    if found == GLINTR100_SHA256:
        raise WeightsCorrupt(
            f"{path} is antelopev2's own glintr100.onnx under another name, whose identities Arc2Face does not read: "
            f"fetch {RECOGNISER} from {catalog.MODELS['arc2face'].source}"
        )
    return found


def _base_folder(root: Path, base: str | Path | None) -> Path:
    if base is None:
        return next((place for place in map(root.joinpath, _BASES) if (place / "vae").is_dir()), root)
    if Path(base).is_dir():
        require_plain(Path(base))
        return Path(base)
    known = catalog.MODELS["arc2face"].base
    if known is not None and hub.is_id(str(base)):
        same = str(base) == known.repo
        return hub.fetch(known if same else Source(repo=str(base), revision=None, files=known.files))
    raise WeightsMissing(f"base {base} is neither a folder nor a Hub id: give the folder of Stable Diffusion 1.5")


def _detector(root: Path) -> Path | None:
    """By name, in the model's folder, InsightFace's own, or the zip as downloaded."""
    insightface = Path.home() / ".insightface" / "models"
    found = _first(root, _PACKS, DETECTOR) or _first(insightface, (PACK, f"{PACK}/{PACK}"), DETECTOR)
    archive = root / f"{PACK}.zip"
    return found or (_unpacked(archive) if regular.is_file(archive) else None)


def _unpacked(archive: Path) -> Path:
    """The detector out of the pack's zip, written once into a folder beside it: the very one, whatever the zip is."""
    target = archive.with_suffix("") / DETECTOR
    content = member(archive, f"{PACK}/{DETECTOR}", _LARGEST_DETECTOR, WeightsCorrupt)
    found = hashlib.sha256(content).hexdigest()
    if found != DETECTOR_SHA256:
        raise WeightsCorrupt(
            f"the {DETECTOR} in {archive} has sha256 {found[:12]}, expected {DETECTOR_SHA256[:12]}: fetch it again"
        )
    target.parent.mkdir(exist_ok=True)
    return atomic.write(target, content, replace=True)


def _first(root: Path, places: tuple[str, ...], name: str) -> Path | None:
    return next((root / place / name for place in places if (root / place / name).is_file()), None)


def _one_of(root: Path, lines: tuple[tuple[str, ...], ...]) -> list[str]:
    """The file of each line that is there."""
    return [next(name for name in line if (root / name).is_file()) for line in lines]


def _lacking(root: Path, lines: tuple[tuple[str, ...], ...]) -> list[str]:
    return [line[-1] for line in lines if not any((root / name).is_file() for name in line)]
