"""What an operator forbids holds whichever way a person or a picture takes: every face of a photo, every photo among
the options, every frame of a video. With a pipeline of the test's own."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from personae.errors import Refused
from personae.io import video_file
from personae.serving import Animate, DenyList, Edit, Generate, Policy, Ticket
from personae.serving.engine.perform import perform
from personae.serving.engine.requests import EngineRequest
from personae.types import Identity
from personae.video import animate as animating
from personae.video.animation import Animation, Settings

PEOPLE = {name: Identity(vector=row, space="s/t/0") for name, row in zip(("ann", "bob", "cem"), np.eye(3), strict=True)}


class Pipe:
    """Reads `b"bob ann"` as a photo of Bob and, smaller, Ann."""

    num_timesteps = 1

    def __init__(self) -> None:
        self.works = 0

    def read(self, photo: bytes, *, motion: bool = True) -> list[Any]:
        return [SimpleNamespace(identity=PEOPLE[name]) for name in photo.decode().split()]

    def identities(self, people: Sequence[Any]) -> list[Identity]:
        return [one.identity for one in people]

    def edit(self, *_: Any, **__: Any) -> None:
        self.works += 1

    __call__ = edit


def outcome(request: EngineRequest, policy: Policy, pipe: Pipe) -> Any:
    ticket = Ticket(request)
    perform(pipe, [ticket], policy)  # type: ignore[arg-type]
    return ticket.result(0)


@pytest.mark.parametrize(
    "request_",
    [
        Animate(source=b"bob ann", driver="talk.mp4", out="0.mp4", settings=Settings(face=2)),
        Animate(source=b"bob", driver="talk.mp4", out="0.mp4", options={"reference": b"ann"}),
        Generate(people=[b"bob"], seed=0, options={"reference": b"ann"}),
        Generate(people=[b"bob"], seed=0, options={"image": b"cem ann", "strength": 0.5}),
        Edit(task="attribute", target=b"bob cem ann", face=3, seed=0),
        Edit(task="swap", source=b"bob", target=b"cem", seed=0, options={"reference": b"cem ann"}),
    ],
    ids=["another face", "reference of a video", "reference", "image", "third face", "reference of an edit"],
)
def test_a_denied_person_is_found_in_every_photo(request_: EngineRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, pipe = Policy(deny_list=DenyList.of([PEOPLE["ann"]], threshold=0.9)), Pipe()
    monkeypatch.setattr(animating, "animate", pipe.edit)
    with pytest.raises(Refused, match="deny-list"):
        outcome(request_, policy, pipe)
    assert pipe.works == 0
    outcome(request_, Policy(deny_list=DenyList.of([Identity(vector=[1, 1, 1], space="s/t/0")], threshold=0.9)), pipe)
    assert pipe.works == 1


@pytest.mark.parametrize(
    "request_",
    [
        Animate(source=b"bob", driver="ann.mp4", out="0.mp4"),
        Generate(people=[b"bob"], seed=0, options={"pose": b"ann", "expression": b"ann"}),
        Edit(task="attribute", target=b"bob", seed=0, pose=b"ann", expression=b"ann"),
    ],
    ids=["driver", "pose and expression", "pose and expression of an edit"],
)
def test_a_denied_person_may_show_how_a_head_is_held(request_: EngineRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only angles and amounts are taken over, so that nobody is shown who should not be (docs/guides/operating.md)."""
    policy, pipe = Policy(deny_list=DenyList.of([PEOPLE["ann"]], threshold=0.9)), Pipe()
    monkeypatch.setattr(animating, "animate", pipe.edit)
    outcome(request_, policy, pipe)
    assert pipe.works == 1


def test_the_output_filter_sees_every_frame_of_a_video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def animate(pipe: Any, source: Any, driver: Any, out: Path, **_: Any) -> Animation:
        frames = (np.full((64, 64, 3), 40 * number, np.uint8) for number in range(5))
        video_file.write(out, frames, fps=Fraction(25))
        report = out.with_suffix(".json")
        report.write_text("{}")
        return Animation(path=out, report=report, drawn=5)

    monkeypatch.setattr(animating, "animate", animate)
    shades: list[int] = []

    def too_bright(image: Image.Image) -> str | None:
        shades.append(round(np.asarray(image).mean()))
        return "too bright" if limit < shades[-1] else None

    limit, request = 255, Animate(source=b"bob", driver="talk.mp4", out=tmp_path / "0.mp4")
    result = outcome(request, Policy(output_filter=too_bright), Pipe())
    assert np.allclose(shades, [0, 40, 80, 120, 160], atol=8)
    result.path.unlink()
    limit = 140
    with pytest.raises(Refused, match="too bright"):
        outcome(request, Policy(output_filter=too_bright), Pipe())
    assert not list(tmp_path.glob("0.*"))
