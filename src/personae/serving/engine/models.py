"""The models of one worker: loaded when first wanted, within a budget of memory, the least recently used leaves first.

models = ModelShelf({"nano": Path("nano")}, device="cpu", budget=2 << 30)
pipe = models.get("nano")
"""

import gc
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personae.errors import BadOption, unknown_name

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

    # A name of the catalog, a folder or a Hub id; or what loads a pipeline.
    ModelSource = str | Path | Callable[[], FacePipeline]


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model once it was loaded.

    side: of its images, in pixels. components: the optional ones that it has. directions: names that a shift takes.
    reads: whether it has a reader for photos. bundled: whether it came with the package. memory: bytes of its weights.
    folder: where it lies; None: it came without files.
    """

    name: str
    side: int
    steps: int
    guidance_scale: float
    identity_space: str
    identity_width: int | None
    components: tuple[str, ...]
    directions: tuple[str, ...]
    reads: bool
    samples: bool
    bundled: bool
    device: str
    dtype: str
    sha256: str | None
    memory: int
    folder: Path | None


class ModelShelf:
    """The models of one device. For one thread, the worker's; `facts` may be read by any.

    sources: where each name comes from. budget: bytes that the weights of all loaded models may take; None: no limit.
    """

    def __init__(self, sources: "Mapping[str, ModelSource]", *, device: str | None, budget: int | None) -> None:
        self._sources, self._device, self._budget = dict(sources), device, budget
        self._pipes: OrderedDict[str, FacePipeline] = OrderedDict()
        self._sizes: dict[str, int] = {}  # of all that were ever loaded
        self._too_large: set[str] = set()
        self.facts: dict[str, ModelFacts] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of those in memory."""
        return tuple(self._pipes)

    def get(self, name: str) -> "FacePipeline":
        """A pipeline, loaded now if need be. Raises `BadOption` for an unknown name, or a model that is larger than the
        budget; whatever `personae.load` raises."""
        if name not in self._sources:
            raise unknown_name("model", name, self._sources)
        if name not in self._pipes:
            self._require_fitting(name)
            self._make_room(self._sizes.get(name, 0), besides=name)
            pipe = self._load(name)
            self._sizes[name] = size_of(pipe)
            if self._budget is not None and self._sizes[name] > self._budget:
                self._too_large.add(name)
            self._require_fitting(name)
            self._pipes[name] = pipe
            self.facts[name] = _facts(name, pipe)
        self._pipes.move_to_end(name)
        self._make_room(0, besides=name)
        return self._pipes[name]

    def measure(self, name: str) -> None:
        """Look again at a model's size, to which components that it loaded meanwhile were added."""
        if name in self._pipes:
            self._sizes[name] = size_of(self._pipes[name])
            self._make_room(0, besides=name)

    def _require_fitting(self, name: str) -> None:
        """Raise `BadOption` for a model that was found to be larger than the budget."""
        if name in self._too_large:
            assert self._budget is not None  # it was compared with it
            raise BadOption(
                f"model {name!r} takes {self._sizes[name] / 2**20:.0f} MiB, more than the budget of "
                f"{self._budget / 2**20:.0f}: raise the budget"
            )

    def _load(self, name: str) -> "FacePipeline":
        source = self._sources[name]
        if callable(source):
            return source()
        from personae.pipeline import load  # late: it brings torch

        pipe = load(source, device=self._device)
        pipe.name = name
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _make_room(self, coming: int, *, besides: str) -> None:
        """Let go of models until the others, and `coming` bytes, fit the budget."""
        if self._budget is None:
            return
        left = [name for name in self._pipes if name != besides]
        while left and coming + sum(self._sizes[name] for name in self._pipes) > self._budget:
            del self._pipes[left.pop(0)]
            gc.collect()
            _free_cached()


def size_of(pipe: Any) -> int:
    """Bytes of all weights of a pipeline: of its networks as they are in memory, of its reader as its files are."""
    from torch import nn  # late: the worker's thread has it already

    networks = {id(one): one for one in pipe.components.values() if isinstance(one, nn.Module)}
    tensors = {
        tensor.data_ptr(): tensor.nbytes
        for network in networks.values()
        for tensor in (*network.parameters(), *network.buffers())
    }
    reader = 0 if pipe.folder is None else sum(file.stat().st_size for file in pipe.folder.glob("reader/*.onnx"))
    return sum(tensors.values()) + reader


def _free_cached() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _facts(name: str, pipe: Any) -> ModelFacts:
    from personae.identity import PEOPLE, directions
    from personae.models import catalog, components
    from personae.sampling.latent_grid import own_side

    folder = pipe.folder
    known = folder is not None and (folder / directions.FILE).is_file()
    return ModelFacts(
        name=name,
        side=own_side(pipe.vae, pipe.unet),
        steps=pipe.config.steps,
        guidance_scale=pipe.config.guidance_scale,
        identity_space=pipe.config.identity_space,
        identity_width=pipe.config.identity_width,
        components=tuple(one for one in components.COMPONENTS if pipe.has_component(one)),
        directions=tuple(directions.of_model(folder)) if known else (),
        reads=pipe.reader is not None,
        samples=folder is not None and (folder / PEOPLE).is_file(),
        bundled=folder is not None and folder in {entry.folder for entry in catalog.MODELS.values()},
        device=str(pipe.device),
        dtype=str(pipe.unet.dtype).removeprefix("torch."),
        sha256=pipe.sha256,
        memory=size_of(pipe),
        folder=folder,
    )
