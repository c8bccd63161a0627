"""The functions behind the page's tabs: forms out of the registry, orders, commands, words, what a file says."""

import gc
import re
import shlex
import shutil
import string
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra page is not installed")

from typer.testing import CliRunner

from conftest import made_up
from personae import errors
from personae.cli.app import app
from personae.conditioning.facex.representation import TOKENS
from personae.controls import registry
from personae.editing.tasks import TASKS
from personae.errors import BadImage, BadOption, JobCancelled, NoFaceFound, QueueFull, WeightsCorrupt
from personae.models.limits import GEOMETRY
from personae.pipeline import FacePipeline
from personae.provenance import findings
from personae.provenance import signature as signatures
from personae.provenance.recipe import read_recipe
from personae.provenance.sentences import ENGLISH
from personae.reading.face_regions import GROUPS, REGIONS
from personae.serving import Engine
from personae.serving.page import commands, edit_orders, faces, generate, options_form, people, results, together, work
from personae.serving.page.consent import ConsentLog
from personae.serving.page.drawing import head_picture
from personae.serving.page.edit_orders import EditFields
from personae.serving.page.motion import Movement, photo_order
from personae.serving.page.results import Card, Shelf
from personae.serving.page.slots import Slot, draw
from personae.serving.page.sweep import repeat
from personae.serving.page.texts import FINDINGS, LANGUAGES, Words, german, spanish, translations
from personae.serving.page.ui import first_seed
from personae.serving.page.video import VideoFields
from personae.serving.page.work import Desk, Order
from personae.types import Detection, Face, Photo, Pose
from test_sentences import STATES, everything

EN = Words()
SMALL = {"num_inference_steps": 2}


@pytest.fixture
def desk(nano_like: FacePipeline, tmp_path: Path) -> Iterator[Desk]:
    with Engine({"tiny": lambda: nano_like}) as engine:
        assert engine.wait_until_ready(60)
        yield Desk(engine=engine, shelf=Shelf(tmp_path / "results"), consent=ConsentLog(tmp_path / "consent.jsonl"))


def help_of(*verbs: str) -> str:
    return CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).output


# ---------------------------------------------------------------------- forms


def test_every_option_with_a_flag_and_a_widget_is_offered_and_no_other() -> None:
    rows = registry.rows()
    names = {row["name"] for row in options_form.offered(rows)}
    assert {"prompt", "num_inference_steps", "pose_scale", "look", "reference"} <= names
    assert not names & {"assembly", "regions", "image", "mask_image", "negative_prompt"}
    assert {row["name"] for row in options_form.offered(rows, components=())} < names
    assert [row["name"] for row in options_form.offered(rows, groups=["Speed"], besides=["fast"])] == ["speed"]


def test_a_form_says_only_what_differs_from_the_usual() -> None:
    rows = {row["name"]: row for row in registry.rows()}
    wanted = [rows[name] for name in ("num_inference_steps", "speed", "text_interval", "face_weight", "scheduler")]
    assert options_form.read(wanted, ["", "exact", "", 0.0, ""]) == {}
    found = options_form.read(wanted, ["12", "fast", "0,0.5", 1, "dpm++"])
    assert found == {
        "num_inference_steps": 12,
        "speed": "fast",
        "text_interval": (0.0, 0.5),
        "face_weight": 1.0,
        "scheduler": "dpm++",
    }
    own = {**rows["num_inference_steps"], "default": 25}
    assert options_form.read([own], [25]) == {}
    assert options_form.read([own], [26]) == {"num_inference_steps": 26}


def test_a_form_is_a_widget_for_each_row_at_the_usual() -> None:
    import gradio as gr

    rows = options_form.offered(registry.rows())
    with gr.Blocks():
        form = options_form.OptionsForm.of(rows, lambda key: key)
    assert [widget.label for widget in form.widgets] == [f"option_{row['name']}" for row in rows]
    assert form.read([widget.value for widget in form.widgets]) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_inference_steps", "many"),
        ("num_inference_steps", "2.5"),
        ("likeness_guidance", -1),
        ("text_interval", "1"),
    ],
)
def test_impossible_values_are_sentences(name: str, value: Any) -> None:
    [row] = [row for row in registry.rows() if row["name"] == name]
    with pytest.raises(BadOption):
        options_form.value_of(row, value)


def test_seeds_are_drawn_held_and_checked() -> None:
    assert first_seed("7", True) == 7
    assert {first_seed("7", False) for _ in range(3)} != {7}
    assert 0 <= first_seed("", True) < 1_000_000
    for wrong in ("-1", "seven", "9" * 20, "²"):
        with pytest.raises(BadOption, match="seed"):
            first_seed(wrong, True)


# ---------------------------------------------------------------------- commands


def test_commands_are_typed_as_a_shell_takes_them() -> None:
    photos = [Path("/x/my photo.jpg")]
    line = commands.generate(photos, {"prompt": "a {person}", "pose": [-20.0, 0.0, 5.5]}, seed=7)
    words = shlex.split(line)
    assert words[:5] == ["personae", "generate", "my photo.jpg", "--seed", "7"]
    assert words[5:] == ["--prompt", "a {person}", "--pose=-20,0,5.5"]
    assert commands.generate(["a.png"], {}, seed=1, model="sd").endswith("--model sd")
    both = commands.averaged([Path("a.jpg"), Path("b.jpg")], {"num_inference_steps": 3}, seed=2)
    assert both == (
        "personae identity mean a.jpg b.jpg -o person.identity && personae generate person.identity --seed 2 --steps 3"
    )


def test_a_copied_number_is_this_very_one() -> None:
    for value in (0.1 + 0.2, 7.123456789, 1.5, 20.0, 1e-7):
        assert float(commands.number(value)) == value
    assert commands.number(20.0) == "20"
    assert commands.flags({"guidance_scale": 7.123456789}) == {"--guidance": "7.123456789"}
    assert commands.amounts({"smile": 0.12345678}) == "smile=0.12345678"


def test_a_command_says_where_its_model_comes_from(nano_like: FacePipeline) -> None:
    """A folder of one's own may be called as a model of the catalog is."""
    models = {"nano": "runs/nano", "mine": "runs/mine", "plain": "nano", "drawn": lambda: nano_like}
    engine = Engine(models, warm=())
    typed = {name: order(nano_like).command(7, engine.source_of(name)).partition(" --model ")[2] for name in models}
    engine.close()
    assert typed == {"nano": "runs/nano", "mine": "runs/mine", "plain": "", "drawn": ""}
    assert engine.source_of(None) == "runs/nano"


def test_every_option_of_the_page_has_a_flag_of_the_command_line() -> None:
    typed, edits, films = help_of("generate"), help_of("edit", "swap"), help_of("edit", "animate")
    options = registry.options()
    for row in options_form.offered(registry.rows()):
        assert options[row["name"]].flags(row["name"])[0] in typed, row["name"]
    for name in edit_orders.OPTIONS:
        assert options[name].flags(name)[0] in edits, name
    from personae.serving.page import video

    for name in video.OPTIONS:
        assert options[name].flags(name)[0] in films, name
    assert all(f"--{piece}" in help_of("edit", "mix") for piece in edit_orders.PIECES)


def test_tasks_regions_and_pieces_are_those_that_there_are() -> None:
    assert set(edit_orders.FIELDS) == set(TASKS)
    for name, task in TASKS.items():
        assert edit_orders.takes_two(name) == (name == "mix" or "source" in task.roles), name
        assert edit_orders.changes_source(name) == (task.canvas == "source"), name
    assert set(edit_orders.REGIONS) == {*REGIONS, *GROUPS}
    assert set(edit_orders.PIECES) == set(TOKENS)


# ---------------------------------------------------------------------- orders


def order(nano_like: FacePipeline, **options: Any) -> Order:
    [person] = made_up(nano_like, 1)
    return generate.order_of(person, [Path("/up/me.jpg")], {**SMALL, **options}, model="tiny", words=EN)


def test_a_row_grows_one_picture_at_a_time(desk: Desk, nano_like: FacePipeline) -> None:
    views = list(work.make(desk, order(nano_like), session="a", seed=7, count=3, words=EN))
    cards = [view.row.count("<figure") for view in views]
    assert cards == sorted(cards)
    assert cards[-1] == 3
    assert {1, 2} <= set(cards)
    assert views[0].row.count("p-wait") == 3
    last = views[-1]
    assert "Done: 3" in last.status
    assert all(f"--seed {seed}" in last.row for seed in (7, 8, 9))
    assert "Likeness" in last.row


def test_files_are_marked_and_say_nothing_of_who_it_is(desk: Desk, nano_like: FacePipeline) -> None:
    list(work.make(desk, order(nano_like), session="a", seed=7, count=1, words=EN))
    [path] = desk.shelf.folder.rglob("*.png")
    assert path.name == "me-seed7.png"
    recipe = read_recipe(path)
    assert (recipe["seed"], recipe["ai_generated"]) == (7, True)
    assert "identity" not in recipe
    [person] = made_up(nano_like, 1)
    alone = nano_like([person], seed=7, **SMALL)
    plain = np.asarray(alone.images[0]).astype(int)
    assert np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - plain).mean() < 4  # but for the watermark


def test_errors_are_sentences_without_places(desk: Desk, nano_like: FacePipeline, caplog: Any) -> None:
    [view] = list(work.make(desk, order(nano_like, scheduler="lcm"), session="a", seed=0, count=1, words=EN))[-1:]
    assert 'role="alert"' in view.status
    assert "<figure" not in view.row
    text = work.explained(NoFaceFound("no face was found in /tmp/secret/me.jpg: give another"), EN)
    assert text == ("No face was found in me.jpg: give another.", "")
    assert work.explained(JobCancelled("x"), EN) == ("Stopped.", "")
    assert work.explained(ZeroDivisionError("/etc"), EN) == (EN("bug"), "")
    assert "the page failed" in caplog.text


def test_errors_say_in_the_readers_language_what_kind_they_are() -> None:
    """The library's own words follow, marked as English; what the page itself misses is not said twice."""
    problem = BadImage("me.jpg is damaged: give another file")
    html = work.complaint(problem, Words("de"))
    assert "Dieses Bild lässt sich nicht verwenden. " in html
    assert '<span lang="en">me.jpg is damaged: give another file.</span>' in html
    assert work.explained(QueueFull("busy"), Words("es"))[0].startswith("Ahora hay")
    assert work.explained(WeightsCorrupt("x"), Words("de")) == ("Das ging nicht.", "X.")
    missing = Words("de").mistake("photo_missing")
    assert work.explained(missing, Words("de")) == ("Bitte zuerst ein Foto hinzufügen.", "")
    assert german.ERRORS.keys() == spanish.ERRORS.keys()
    assert all(issubclass(getattr(errors, name), errors.PersonaeError) for name in german.ERRORS)


def test_stop_ends_what_a_session_has_running(desk: Desk, nano_like: FacePipeline) -> None:
    views: list[Any] = []
    long = order(nano_like, num_inference_steps=1000)
    thread = threading.Thread(
        target=lambda: views.extend(work.make(desk, long, session="a", seed=0, count=2, words=EN))
    )
    thread.start()
    while not desk.running.stop("a"):
        assert desk.running.stop("b") == 0
    thread.join(30)
    assert "Stopped." in views[-1].status


def test_stop_between_two_pictures_ends_the_press(desk: Desk, nano_like: FacePipeline) -> None:
    """There is no ticket to cancel then; the next press begins anew."""
    plain = order(nano_like)

    def encode(result: Any) -> bytes:
        assert desk.running.stop("a") == 0
        return plain.encode(result)

    stopped = replace(plain, encode=encode)
    last = list(work.make(desk, stopped, session="a", seed=0, count=3, words=EN))[-1]
    assert "Stopped." in last.status
    assert last.row.count("<figure") == 1
    [last] = list(work.make(desk, plain, session="a", seed=0, count=1, words=EN, stops=0))[-1:]
    assert "Stopped." in last.status, "a stop since the press, while photos were read"
    assert "Done: 1" in list(work.make(desk, plain, session="a", seed=0, count=1, words=EN))[-1].status


def test_results_are_deleted_when_they_are_old(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", age=0)
    first = shelf.put("a.png", b"1")
    second = shelf.put("b.png", b"2")
    assert not first.exists()
    assert second.read_bytes() == b"2"
    assert (tmp_path / "shelf").stat().st_mode & 0o777 == 0o700


def test_what_is_being_made_stays_until_it_is_there(tmp_path: Path) -> None:
    """And so do the uploads that it is made of, which lie beside the shelf."""
    shelf, uploads = Shelf(tmp_path / "results", uploads=tmp_path, age=-1), tmp_path / "a"
    uploads.mkdir()
    (uploads / "talk.mp4").touch()
    with shelf.place("me.mp4", inputs=[uploads / "talk.mp4"]) as out:
        first, second = shelf.put("b.png", b"1"), shelf.put("c.png", b"1")
        assert not first.exists()
        assert second.exists()
        assert out.parent.is_dir()
        assert uploads.is_dir()
    shelf.sweep()
    assert list(tmp_path.rglob("*")) == [shelf.folder]


def test_two_sweeps_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path / "results", age=0)
    shelf.put("a.png", b"1")
    plain = Path.is_dir

    def is_dir(path: Path, **facts: Any) -> bool:
        if path.parent == shelf.folder:
            shutil.rmtree(path)  # the other was there first
            return True
        return plain(path, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", is_dir)
        second = shelf.put("b.png", b"2")
    assert second.read_bytes() == b"2"
    shutil.rmtree(tmp_path)
    shelf.sweep()


def test_results_and_uploads_go_by_themselves(tmp_path: Path) -> None:
    """Nobody need ask for another picture; and the thread that does it goes with the shelf."""
    shelf = Shelf(tmp_path / "results", uploads=tmp_path, age=0)
    (tmp_path / "upload").mkdir()
    result = shelf.put("a.png", b"1")
    thread, until = repeat(shelf.sweep, pause=0.01), time.monotonic() + 10
    while (tmp_path / "upload").exists() or result.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert shelf.folder.is_dir()
    del shelf
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_consent_is_recorded_without_anybody(tmp_path: Path) -> None:
    log = ConsentLog(tmp_path / "new" / "consent.jsonl")
    log.record("edit swap", pictures=2)
    log.record("generate", pictures=1)
    lines = log.path.read_text().splitlines() if log.path else []
    assert len(lines) == 2
    assert '"kind": "edit swap", "pictures": 2' in lines[0]
    assert (tmp_path / "new" / "consent.jsonl").stat().st_mode & 0o777 == 0o600


def test_only_files_of_the_shelf_are_edited_further(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    inside, outside = shelf.put("a.png", b"1"), tmp_path / "me.png"
    outside.write_bytes(b"2")
    assert shelf.own(str(inside)) == inside
    for typed in (str(outside), f"{inside.parent}/../../../me.png", str(inside.parent), "", "a.png"):
        assert shelf.own(typed) is None


def test_what_strangers_wrote_is_text(tmp_path: Path) -> None:
    nasty = '"><script>alert(1)</script>'
    card = Card(path=tmp_path / f"{nasty}.png", seed=1, likeness=float("nan"), command=nasty, alt=nasty)
    html = results.row([card], words=EN) + results.error(nasty) + results.sentence(nasty)
    tags = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            tags.append(tag)

    Tags().feed(html)
    assert "script" not in tags
    assert EN("likeness_none") in html


# ---------------------------------------------------------------------- edits


def test_edits_as_their_command_says_them(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    ann, both = Path("/up/ann.jpg"), Path("/up/both.png")

    def line(**facts: Any) -> str:
        fields = EditFields(source=ann, target=both, **facts)
        return edit_orders.order_of(fields, {"strength": 0.5}, model="mine", words=EN, shelf=shelf).command(3, "nano")

    assert "--all-faces" in line(task="swap", face=edit_orders.ALL_FACES)
    assert line(task="swap", face=2) == "personae edit swap ann.jpg both.png --seed 3 --face 2 --strength 0.5"
    assert line(task="reenact").startswith("personae edit reenact ann.jpg both.png")
    assert line(task="mix", pieces=["hair"]) == "personae edit mix both.png --seed 3 --hair ann.jpg --strength 0.5"
    assert "--region mouth --region eyes" in line(task="inpaint", regions=["mouth", "eyes"])
    assert "--age 1.5" in line(task="attribute", shift={"age": 1.5})
    moved = {"pose": [20.0, 0.0, 0.0], "expression": {"smile": 0.8}}
    assert "--pose 20,0,0 --expression smile=0.8" in line(task="attribute", moved=moved)
    painted = np.zeros((8, 8), bool)
    painted[2:5, 2:5] = True
    order = edit_orders.order_of(
        EditFields(task="inpaint", source=None, target=both, mask=painted), {}, model="nano", words=EN, shelf=shelf
    )
    assert "--mask mask.png" in order.command(0, "nano")
    [(name, place)] = order.more
    assert name == EN("save_mask")
    assert (np.asarray(Image.open(place)) > 0).sum() == 9


@pytest.mark.parametrize(
    "facts",
    [{"task": "swap", "target": Path("a")}, {"task": "inpaint", "target": Path("a")}, {"task": "style"}],
    ids=str,
)
def test_what_is_missing_is_said_before_any_work(facts: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        EditFields(**{"source": None, "target": None, **facts}).require_whole(EN)


def test_paint_becomes_a_mask_of_the_photos_size() -> None:
    layer = Image.new("RGBA", (10, 10))
    layer.paste((80, 160, 140, 255), (0, 0, 5, 10))
    mask = edit_orders.painted({"layers": [layer]}, (40, 20))
    assert mask.shape == (20, 40)
    assert mask[:, :20].all()
    assert not mask[:, 20:].any()
    assert edit_orders.painted({"layers": [Image.new("RGBA", (4, 4))]}, (4, 4)) is None
    assert edit_orders.painted(None, (4, 4)) is None


def test_faces_are_buttons_where_they_are() -> None:
    photo = Photo(pixels=np.zeros((100, 200, 3), np.uint8))
    found = [
        Face(detection=Detection(box=np.float32(box), points=np.zeros((5, 2), np.float32), score=0.9), photo=photo)
        for box in ((20, 10, 60, 50), (150, 50, 220, 90))
    ]
    html = faces.picker(Path("/up/both.png"), found, 1, EN)
    assert "left:10.00%;top:10.00%;width:20.00%;height:40.00%" in html
    assert "left:75.00%;top:50.00%;width:25.00%;height:40.00%" in html
    assert html.count('aria-pressed="true"') == 1
    assert "<button" not in faces.picker(Path("/up/one.png"), found[:1], 1, EN)


# ---------------------------------------------------------------------- several people


def test_regions_in_equal_parts_or_as_typed() -> None:
    assert together.boxes_of("row", "", 2) == [(0, 0, 0.5, 1), (0.5, 0, 1, 1)]
    assert together.boxes_of("column", "", 2) == [(0, 0, 1, 0.5), (0, 0.5, 1, 1)]
    assert together.boxes_of("own", "0,0,0.5,1; 0.5,0,1,0.9", 2)[1] == (0.5, 0, 1, 0.9)
    assert together.size_of("row", 3, 128) == {"width": 384, "height": 128}
    assert together.size_of("column", 3, 128) == {"width": 128, "height": 384}
    for wrong in ("0,0,1,1", "0,0,1;0,0,1,1", "a.png;b.png", "0,0,2,1;0,0,1,1", "1,0,0,1;0,0,1,1", "nan,0,1,1;0,0,1,1"):
        with pytest.raises(BadOption, match="region"):
            together.boxes_of("own", wrong, 2)


def test_the_plan_has_the_shape_of_the_picture() -> None:
    assert together.shape_of("row", 2, None, {}) == {"width": 2, "height": 1}
    assert together.shape_of("row", 2, 128, {"height": 256}) == {"width": 256, "height": 256}
    assert together.shape_of("row", 2, None, {"height": 256}) == {"width": 2, "height": 1}
    assert together.shape_of("row", 2, None, {"height": 256, "width": 256}) == {"width": 256, "height": 256}
    usual = {row["name"]: options_form.value_of(together._by_people(row), "128") for row in registry.rows()
             if row["name"] in ("height", "width")}  # fmt: skip
    assert usual == {"height": 128, "width": 128}, "a model's own side is an answer, too"


def test_a_picture_of_several_people_and_its_command(desk: Desk, nano_like: FacePipeline) -> None:
    photos, who = [Path("/up/ann.jpg"), Path("/up/bob.jpg"), Path("/up/cem.jpg")], made_up(nano_like, 3)
    boxes, side = together.boxes_of("row", "", 3), desk.engine.facts["tiny"].side
    options = {**SMALL, **together.size_of("row", 3, side)}
    made = together.order_of(who, photos, boxes, options, model="tiny", words=EN)
    words = shlex.split(made.command(7, "nano"))
    assert words[2:5] == ["ann.jpg", "bob.jpg", "cem.jpg"]
    typed = [words[at + 1] for at, word in enumerate(words) if word == "--region"]
    assert [[float(share) for share in text.split(",")] for text in typed] == [list(box) for box in boxes]
    last = list(work.make(desk, made, session="a", seed=7, count=1, words=EN))[-1]
    assert "Done: 1" in last.status
    [path] = desk.shelf.folder.rglob("*.png")
    assert Image.open(path).size == (side * 3, side)
    assert together.plan(boxes, photos, {"width": 3, "height": 1}, EN).count("<img") == 3


# ---------------------------------------------------------------------- several models


def test_a_page_with_several_models_offers_them_and_their_own_defaults(nano_like: FacePipeline, tmp_path: Path) -> None:
    from personae.serving.page import blocks

    for names in (["tiny"], ["tiny", "/models/other"]):
        with Engine({name: lambda: nano_like for name in names}) as engine:
            assert engine.wait_until_ready(60)
            page = blocks(engine, folder=tmp_path / "page", consent=tmp_path / "consent.jsonl")
        parts = page.blocks.values()
        [column] = [one for one in parts if one.elem_id == "model"]
        assert column.visible == (len(names) > 1)
        [picker] = column.children[0].children if hasattr(column.children[0], "children") else column.children
        assert picker.choices == [(Path(name).name, name) for name in names]
        steps = [one.value for one in parts if getattr(one, "label", None) and "num_inference_steps" in str(one.label)]
        assert steps
        assert all((value is None) == (len(names) > 1) for value in steps[:1])


# ---------------------------------------------------------------------- pose, people, video


def test_sliders_are_options_and_a_drawing_that_follows() -> None:
    rest = [0.0] * 14
    assert Movement.of(rest, "").options() == {}
    moved = Movement.of([20, 0, 0, 0.5, *[0] * 10], "jawOpen=0.4")
    assert moved.options() == {"pose": [20.0, 0.0, 0.0], "expression": {"smile": 0.5, "jawOpen": 0.4}}
    with pytest.raises(BadOption):
        Movement.of(rest, "nonsense=1")
    ahead, turned = (head_picture(Pose(yaw=yaw, pitch=0, roll=0), {}) for yaw in (0, 25))
    assert ahead.shape == turned.shape
    assert (ahead[..., 3] > 0).mean() > 0.2
    assert (ahead != turned).any(-1).mean() > 0.1
    wide = head_picture(Pose(yaw=0, pitch=0, roll=0), {"jawOpen": 1.0})
    assert (ahead != wide).any(-1).mean() > 0.02


def test_options_of_new_pictures_are_no_change_of_a_photo() -> None:
    movement = Movement.of([20, *[0.0] * 13], "")
    facts: dict[str, Any] = {"model": "nano", "ui": SimpleNamespace(desk=SimpleNamespace(shelf=None))}
    made = photo_order(Path("/up/me.jpg"), movement, {"strength": 0.5}, words=EN, **facts)
    assert made.command(3, None) == "personae edit attribute me.jpg --seed 3 --pose 20,0,0 --strength 0.5"
    assert made.request(3).options == {"strength": 0.5}
    for language, title in (("en", "Pose scale"), ("de", Words("de").title_of("pose_scale"))):
        with pytest.raises(BadOption, match=title):
            photo_order(Path("/up/me.jpg"), movement, {"pose_scale": 0.5}, words=Words(language), **facts)


def test_somebody_between_two_and_their_command(desk: Desk, nano_like: FacePipeline, tmp_path: Path) -> None:
    from personae import identity

    ann, bob = made_up(nano_like, 2)
    slots = []
    for name, who in (("ann", ann), ("bob", bob)):
        identity.save(tmp_path / f"{name}.identity", who)
        slots.append(Slot(file=tmp_path / f"{name}.identity"))
    found = people.between(desk, slots, 0.25, {}, "a", "tiny")
    np.testing.assert_allclose(found.vector, identity.blend(ann, bob, 0.25).vector, atol=1e-6)
    made = people.order_of(
        slots, found, {}, amount=0.25, by={"age": 1.0}, model="nano", words=EN, file=tmp_path / "x.identity"
    )
    assert made.command(4, "nano") == "personae generate ann.identity bob.identity --seed 4 --shift age=1 --blend 0.25"
    nobody = [Slot(file=tmp_path / "stranger9.identity", drawn=9)]
    made = people.order_of(nobody, found, {}, amount=0.5, by={}, model="nano", words=EN, file=tmp_path / "x.identity")
    assert made.command(4, "nano") == (
        "personae identity sample --seed 9 -o people && personae generate people/stranger9-0.identity --seed 4"
    )


def test_a_model_that_cannot_draw_people_is_said(desk: Desk) -> None:
    from personae.errors import WeightsMissing

    with pytest.raises(WeightsMissing):
        draw(desk, 3, "a", "tiny")


def test_videos_as_their_command_says_them() -> None:
    fields = VideoFields(photo=Path("/up/me.jpg"), driver=Path("/up/talk.mp4"), frames=24, smooth="none")
    assert fields.command({"num_inference_steps": 4}, seed=2, model="nano") == (
        "personae edit animate me.jpg talk.mp4 --seed 2 --out me-animated.mp4 --frames 0:24 --smooth none --steps 4"
    )
    request = fields.request(Path("/out/x.mp4"), {}, seed=2, model="nano", words=EN)
    assert request.frames == (0, 24)
    with pytest.raises(BadOption):
        VideoFields(photo=None, driver=None).request(Path("x.mp4"), {}, seed=0, model="nano", words=EN)


# ---------------------------------------------------------------------- words


def places(text: str) -> set[str]:
    """What is filled into a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_says_everything_with_the_same_values() -> None:
    english = LANGUAGES["en"]
    for language, texts in LANGUAGES.items():
        assert set(texts) == set(english), language
        for key, text in texts.items():
            assert places(text) == places(english[key]), (language, key)
    whole = translations()
    assert set(whole["de"]) == set(whole["en"])
    assert whole["en"]["option_num_inference_steps"] == "Steps"
    usual = {language: whole[language]["usual_scheduler"] for language in LANGUAGES}
    assert usual == {"en": "the model's", "de": "wie im Modell", "es": "lo del modelo"}
    [scheduler] = [row for row in registry.rows() if row["name"] == "scheduler"]
    assert options_form.choices_of(scheduler, Words("de"))[:2] == [("wie im Modell", ""), ("ddim", "ddim")]
    known = registry.options()
    for language in ("german", "spanish"):
        module = __import__(f"personae.serving.page.texts.{language}", fromlist=["OPTIONS"])
        assert set(module.OPTIONS) <= set(known)


def test_no_text_is_left_over() -> None:
    """All are named in the code, some by how they begin; angles by what geometry calls them."""
    code = "".join(path.read_text() for path in Path(work.__file__).parent.glob("*.py"))
    begun = re.findall(r'"(\w+_)\{', code)
    assert "state_" in begun
    for key in LANGUAGES["en"].keys() - set(GEOMETRY):
        assert f'"{key}"' in code or f"'{key}'" in code or key.startswith(tuple(begun)), key


def test_findings_are_said_in_every_language() -> None:
    """By the same keys with the same values; and so are the states of marks."""
    for language, texts in FINDINGS.items():
        assert {key: places(text) for key, text in texts.items()} == {
            key: places(text) for key, text in ENGLISH.items()
        }, language
    for text in set(everything()):
        by = {language: Words(language).render(text) for language in FINDINGS}
        assert by.pop("en") == text
        assert all(other and other != text and "{" not in other for other in by.values()), by
    assert Words("de").render("an error's own words") == "an error's own words"
    for state in (*STATES, signatures.UNKNOWN, findings.HOLDS, findings.CHANGED, findings.UNSIGNED, findings.DAMAGED):
        assert f"state_{state}" in LANGUAGES["de"]
    for state in (findings.ABSENT, findings.PRESENT, findings.UNSEARCHED, findings.OTHER):
        assert f"state_{state}" in LANGUAGES["de"]


def test_the_readers_language() -> None:
    assert Words.of_header("de-AT,de;q=0.9,en;q=0.5").language == "de"
    assert Words.of_header("es").language == "es"
    assert Words.of_header("fr, es;q=0.4").language == "en", "as the labels are, which the browser picks"
    assert Words.of_header(None).language == "en"
    assert Words("de")("working", number=1, total=2, step=3, steps=4) == "Bild 1 von 2: Schritt 3 von 4"


# ---------------------------------------------------------------------- origin


def test_where_a_picture_comes_from(desk: Desk, nano_like: FacePipeline, tmp_path: Path) -> None:
    from personae.serving.page import origin

    list(work.make(desk, order(nano_like), session="a", seed=7, count=1, words=EN))
    [path] = desk.shelf.folder.rglob("*.png")
    html = origin.report(path, EN)
    assert EN("mark_c2pa") in html
    assert html.count('class="p-mark p-yes"') >= 2
    assert "&quot;seed&quot;: 7" in html
    Image.new("RGB", (64, 64), "red").save(tmp_path / "plain.png")
    plain = origin.report(tmp_path / "plain.png", EN)
    assert "proves nothing" in plain
    assert "<details" not in plain
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BadImage):
        origin.report(tmp_path / "text.png", EN)


def test_a_video_that_cannot_be_read_has_a_report_all_the_same(tmp_path: Path) -> None:
    from personae.serving.page import origin

    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    html = origin.report(tmp_path / "cut.mp4", EN)
    assert html.count(EN("state_not looked for")) == 3
    assert "<details" not in html
