"""What an operator forbids: people who are not to be made, pictures that are not to leave.

    DenyList.of([ann, bob], threshold=0.5).save("denied.safetensors")
    Policy(deny_list=DenyList.load("denied.safetensors"), output_filter=my_filter)

The engine asks both, so that whatever stands on it obeys: the server, the page, programs that open an `Engine`. What
calls a pipeline itself does not: the command line, ComfyUI's nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from personae.errors import BadIdentity, BadOption, Refused, SpaceMismatch
from personae.io import vector_file
from personae.types import Array, Edit, Generation, Identity, described_space

if TYPE_CHECKING:
    from PIL import Image

    # A picture -> why it may not leave; None: it may.
    OutputFilter = Callable[[Image.Image], str | None]

_FORMAT = "personae.deny-list/1"


@dataclass(frozen=True, kw_only=True)
class DenyList:
    """People who are not to be made.

    vectors: (N, D) float32, unit norm, of `space`. threshold: from which cosine on somebody counts as one of them, 0 to
    1. A recogniser errs: whoever looks alike may be refused, and a denied person in a bad photo may pass.
    """

    vectors: Array
    space: str
    threshold: float

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.vectors):
            raise BadIdentity(f"a deny-list holds vectors (N, D), at least one, got shape {self.vectors.shape}")
        if not 0 < self.threshold <= 1:
            raise BadOption(f"the threshold of a deny-list is a cosine above 0 and at most 1, got {self.threshold}")
        rows = [Identity(vector=row, space=self.space).vector for row in self.vectors]
        object.__setattr__(self, "vectors", np.stack(rows))

    @classmethod
    def of(cls, people: Sequence[Identity], *, threshold: float) -> DenyList:
        """Of identities of one space. Raises `SpaceMismatch`, `BadIdentity`, `BadOption`."""
        if not people:
            raise BadIdentity("a deny-list names at least one person")
        for one in people[1:]:
            people[0].require_alike(one)
        return cls(vectors=np.stack([one.vector for one in people]), space=people[0].space, threshold=threshold)

    @classmethod
    def load(cls, path: str | Path) -> DenyList:
        """What `save` wrote. Raises `BadIdentity`, `BadOption`."""
        tensors, facts = vector_file.read(path, _FORMAT, ("vectors",))
        try:
            threshold = float(facts.get("threshold", "nan"))
        except ValueError as error:
            raise BadIdentity(f"{path} states no threshold that is a number: write it again") from error
        return cls(vectors=tensors["vectors"], space=facts["space"], threshold=threshold)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all. Raises `BadOutput`."""
        vector_file.write(
            path, {"vectors": self.vectors}, kind=_FORMAT, space=self.space, threshold=repr(self.threshold)
        )

    def require_space(self, space: str) -> None:
        """Raise `SpaceMismatch` unless it was measured by the recogniser of a model: it would protect nobody."""
        if self.space != space:
            raise SpaceMismatch(
                f"the deny-list was measured in {described_space(self.space)}, the model reads {space!r}: nobody on it "
                "would be recognised; write it again with this model's reader (`personae identity deny PHOTOS`)"
            )

    def check(self, people: Iterable[Identity]) -> None:
        """Raise `Refused` if one of them is on it. The message does not say whom it is taken for."""
        for one in people:
            self.require_space(one.space)
            if float((self.vectors @ one.vector).max()) >= self.threshold:
                raise Refused("the operator's deny-list forbids pictures of this person")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What an operator forbids; None: nothing.

    deny_list: whom. output_filter: called with every finished picture, before anyone gets it; says why it may not
    leave, or None; so is every frame of a video. With a filter there are no previews, which it could not judge.
    """

    deny_list: DenyList | None = None
    output_filter: OutputFilter | None = None

    def check_people(self, people: Iterable[Identity]) -> None:
        """Raise `Refused` if somebody is on the deny-list."""
        if self.deny_list is not None:
            self.deny_list.check(people)

    def check_result(self, result: Any) -> None:
        """Raise `Refused` if the output filter objects to one of the pictures of a result."""
        if isinstance(result, Generation | Edit):
            self.check_images(result.images)

    def check_images(self, images: Iterable[Image.Image]) -> None:
        """Raise `Refused` if the output filter objects to one of them."""
        if self.output_filter is None:
            return
        for image in images:
            if reason := self.output_filter(image):
                raise Refused(f"the output filter refused a picture: {reason}")
