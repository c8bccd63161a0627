"""Which models there are, by name: where each comes from, under which licence, and whether it is whole.

    catalog.resolve("nano")          # Path of the bundled model
    catalog.resolve("runs/mine")     # Path, if it is a model folder
    catalog.resolve("arc2face", accept_licence=True)    # Path in the Hub's cache, fetched if it is not there
    catalog.resolve("owner/name")    # the same for anyone's model folder on the Hub
    catalog.verify(path)             # raises WeightsCorrupt if a file is not what `sha256.json` promises

Reads the disk and the network only when asked, loads no model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from personae.errors import WeightsCorrupt, WeightsMissing, unknown_name
from personae.io import atomic, regular
from personae.io.folder_contents import require_plain
from personae.models import hub, licences
from personae.models.hub import Source
from personae.models.licences import Licence

INDEX = "model_index.json"
MANIFEST = "sha256.json"
_HASHED = (".bin", ".json", ".onnx", ".safetensors", ".txt")
# Folders that only Arc2Face's published layout has (`personae.official`).
_PUBLISHED = ("arc2face", "encoder")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the table.

    `folder` is where it lies in the package, or None if it is fetched from the Hub; `size` is the side of its images
    in pixels; `width` that of the identity it reads. `ask`: the licence to be accepted before anything is fetched.
    Of the Hub: `hub` holds the model, `base` what it is built on, `detector` finds its faces, `extras` its optional
    parts by folder.
    """

    name: str
    about: str
    source: str
    licence: str
    size: int
    width: int
    folder: Path | None = None
    ask: Licence | None = None
    hub: Source | None = None
    base: Source | None = None
    detector: Source | None = None
    extras: Mapping[str, Source] = field(default_factory=dict)


def _arc2face(*files: str, watched: tuple[str, ...] = ()) -> Source:
    # Seen in public use with all of these files but the adapters; the repository's own history has it among the
    # commits that describe them. Nothing could be fetched where this was written.
    return Source(
        repo="FoivosPar/Arc2Face",
        revision="321709b2e9697ea2a5bd06c8a51b340592333e1e",
        files=files,
        watched=watched,
    )


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
            folder=Path(__file__).parents[1] / "weights" / "nano",
        ),
        Model(
            name="arc2face",
            about="the official Arc2Face (Papantoniou et al., ECCV 2024) on Stable Diffusion 1.5",
            source="huggingface.co/FoivosPar/Arc2Face",
            licence="MIT; recogniser and detector for non-commercial research only; base CreativeML OpenRAIL-M",
            size=512,
            width=512,
            ask=licences.ARC2FACE,
            hub=_arc2face(
                "arc2face/config.json",
                "arc2face/diffusion_pytorch_model.safetensors",
                "encoder/config.json",
                "encoder/pytorch_model.bin",
                "arcface.onnx",
                watched=("encoder/pytorch_model.bin", "arcface.onnx"),
            ),
            base=Source(
                repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
                revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
                files=(
                    "scheduler/scheduler_config.json",
                    "tokenizer/merges.txt",
                    "tokenizer/special_tokens_map.json",
                    "tokenizer/tokenizer_config.json",
                    "tokenizer/vocab.json",
                    "vae/config.json",
                    "vae/diffusion_pytorch_model.safetensors",
                ),
            ),
            # The `antelopev2` pack comes from InsightFace as one zip of 361 MB; this is its detector alone, and the
            # hash, not the uploader, says so.
            detector=Source(
                repo="DIAMONIK7777/antelopev2",
                revision="ba0c3e10f4548361eb9a63265d87ce1140ab5a05",
                files=("scrfd_10g_bnkps.onnx",),
                sha256={"scrfd_10g_bnkps.onnx": "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"},
            ),
            extras={
                "controlnet": _arc2face("controlnet/config.json", "controlnet/diffusion_pytorch_model.safetensors"),
                "exp_adapter": _arc2face("exp_adapter/exp_adapter.bin", watched=("exp_adapter/exp_adapter.bin",)),
                "ref_adapter": _arc2face("ref_adapter/pytorch_lora_weights.safetensors"),
                # No revision of it could be verified, so its content is pinned by its first use.
                "lcm": Source(
                    repo="latent-consistency/lcm-lora-sdv1-5",
                    revision=None,
                    files=("pytorch_lora_weights.safetensors",),
                    watched=("pytorch_lora_weights.safetensors",),
                ),
            },
        ),
    )
}


def resolve(name_or_path: str | Path, *, revision: str | None = None, accept_licence: bool = False) -> Path:
    """The folder of a named model, of a path, or of a repository on the Hub (`owner/name`), fetched if need be.

    revision: of a repository; None = its main branch. accept_licence: of a named model that asks for it.
    Raises `BadOption` for an unknown name, `WeightsMissing` if what is named is not here and cannot be fetched,
    `LicenceRefused`.
    """
    model = MODELS.get(str(name_or_path))
    if model is not None and model.hub is not None:
        if model.ask is not None:
            licences.require(model.ask, accepted=accept_licence)
        return hub.fetch(model.hub)
    folder = model.folder if model and model.folder else Path(name_or_path)
    if not regular.exists(folder):
        folder = _elsewhere(str(name_or_path), revision)
    if not (folder / INDEX).is_file() and not is_published(folder):
        raise WeightsMissing(
            f"{folder} is not a model folder: it has no {INDEX}, nor {' and '.join(f'{p}/' for p in _PUBLISHED)}"
        )
    require_plain(folder)
    return folder


def _elsewhere(name: str, revision: str | None) -> Path:
    """The folder of a model that is neither named nor here."""
    if len(Path(name).parts) == 1:
        raise unknown_name("model", name, MODELS)
    if not hub.is_id(name):
        raise WeightsMissing(f"no model folder {name}: give a path that exists, or one of {', '.join(MODELS)}")
    try:
        return hub.fetch_model(name, revision)
    except WeightsMissing as error:
        raise WeightsMissing(f"there is no folder {name} here, and from the Hub: {error}") from error


def is_published(folder: Path) -> bool:
    """Whether a folder looks like Arc2Face's published one, whole or not."""
    return not (folder / INDEX).is_file() and any((folder / part).is_dir() for part in _PUBLISHED)


def present(model: Model) -> bool:
    """Whether a named model can be loaded now, without a network."""
    if model.folder is not None:
        return (model.folder / INDEX).is_file()
    return all(source is None or hub.cached(source) for source in (model.hub, model.base, model.detector))


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file that a model folder loads, by its path inside the folder. Hidden ones are nobody's: what
    a killed process left half-written, for one."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in _HASHED and p.name != MANIFEST)
    names = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): _sha256(path)
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _sha256(path: Path) -> str:
    return regular.sha256(path, WeightsCorrupt, missing=WeightsMissing)


def fingerprint(folder: Path | Mapping[str, Path]) -> str:
    """One sha256 for a whole model, wherever it lies: what a recipe names it by. A mapping of names to files stands
    for a model whose files lie in several places."""
    found = hashes(folder) if isinstance(folder, Path) else {name: _sha256(path) for name, path in folder.items()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def seal(folder: Path) -> None:
    """Write `sha256.json`, the promise that `verify` holds a model folder to. The last step of making a bundle."""
    atomic.write_json(folder / MANIFEST, hashes(folder))


def verify(folder: Path) -> None:
    """Raise `WeightsCorrupt` if a file differs from `sha256.json`; a folder without one promises nothing."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    promised = regular.read_object(manifest, WeightsCorrupt, advice="fetch the model again")
    if not all(isinstance(sha256, str) for sha256 in promised.values()):
        raise WeightsCorrupt(f"{manifest} must hold a sha256 for every file: fetch the model again")
    changed = sorted(set(promised.items()) ^ set(hashes(folder).items()))
    if changed:
        raise WeightsCorrupt(
            f"{folder / changed[0][0]} is not the file that {MANIFEST} promises: install or fetch the model again"
        )
