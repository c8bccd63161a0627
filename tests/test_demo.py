"""The demo: a row for everything that the model can do, every picture in a file of its own with its recipe."""

from pathlib import Path

import pytest

from personae import demo
from personae.errors import NoFaceFound
from personae.pipeline import FacePipeline
from personae.provenance.recipe import read_recipe
from personae.sheet import Card


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One or two pictures a row."""
    for name in ("VARIATIONS", "STRANGERS"):
        monkeypatch.setattr(demo, name, 1)
    monkeypatch.setattr(demo, "AMOUNTS", (0.0, 1.0))
    for name in ("POSES", "EXPRESSIONS"):
        first, *_ = getattr(demo, name).items()
        monkeypatch.setattr(demo, name, dict([first]))
    monkeypatch.setattr(demo, "PROMPTS", demo.PROMPTS[:1])


@pytest.mark.usefixtures("short")
def test_it_shows_what_the_model_can_do(nano: FacePipeline, tmp_path: Path) -> None:
    announced: list[tuple[str, int]] = []

    def stage(title: str, images: int) -> dict[str, object]:
        announced.append((title, images))
        return {}

    page = demo.run(nano, tmp_path / "demo", steps=1, stage=stage).read_text()
    for title in ("A photo in", "That person out", "In any pose", "With any expression", "In words", "Into a photo"):
        assert f"<h2>{title}</h2>" in page
    pictures = sorted((tmp_path / "demo").glob("*.png"))
    assert sum(images for _, images in announced) == len(pictures) == 9
    assert page.count("<figure>") == len(pictures) + 2  # the photo, and who is put into it
    settings = {path.stem.split("-")[0]: read_recipe(path)["settings"] for path in pictures}
    assert settings["pose"]["pose"] == [-25, 0, 0]
    assert max(settings["expression"]["expression"].values()) == 0.9
    assert settings["words"]["prompt"] == demo.PROMPTS[0]


@pytest.mark.usefixtures("short")
def test_what_the_model_cannot_do_is_left_out(
    nano: FacePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_component = nano.has_component
    monkeypatch.setattr(nano, "has_component", lambda name: name != "controlnet" and has_component(name))
    page = demo.run(nano, tmp_path / "demo", steps=1).read_text()
    assert "In any pose" not in page
    assert "With any expression" in page


def test_a_model_that_draws_no_face_swaps_none() -> None:
    class NoFaces:
        def edit(self, task: str, *_: object, source: object = None, **__: object) -> Card:
            if task == "swap":
                raise NoFaceFound("none")
            return Card(image=Path("edit.png"))

    people = [Card(image=Path("stranger.png"), likeness=float("nan"))] * 2
    section = demo._edits(NoFaces(), demo.portrait(), people, 0)  # type: ignore[arg-type]
    assert [card.image for card in section.cards] == [Path("edit.png")]
