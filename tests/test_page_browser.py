"""The page in headless Chromium: every tab does its work, nothing is fetched from elsewhere, axe finds no fault."""

import io
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Where one of them is missing there is nothing to test with.
pytest.importorskip("gradio", reason="the extra page is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

from typer.testing import CliRunner  # noqa: E402

from personae.cli.app import app  # noqa: E402
from personae.models import catalog  # noqa: E402
from personae.provenance import writer  # noqa: E402
from personae.provenance.recipe import read_recipe  # noqa: E402
from personae.serving import Engine, Generate, Sample  # noqa: E402
from personae.serving.page import serve  # noqa: E402
from personae.serving.page.texts import Words  # noqa: E402
from personae.video import motion_track  # noqa: E402
from typed_commands import parse  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.is_file(), reason="needs Debian's chromium at /usr/bin/chromium"),
    pytest.mark.timeout(600),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 120_000  # ms: the machine may be busy
SHOTS = os.environ.get("PAGE_SHOTS")  # a folder for pictures of the page, if somebody wants to look
# Every animation that ends has ended.
SETTLED = """() => Promise.all(document.getAnimations()
    .filter((one) => one.effect.getComputedTiming().iterations !== Infinity)
    .map((one) => one.finished.catch(() => {})))"""  # one that was cancelled has ended, too
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]}}
TABS = ("generate", "words", "together", "edit", "motion", "people", "video", "origin")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(["nano"]) as made:
        assert made.wait_until_ready(300)
        yield made


@pytest.fixture(scope="module")
def files(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of people who do not exist, alone and together, and a head that turns for three frames."""
    folder = tmp_path_factory.mktemp("files")
    for name, seed in (("ann", 5), ("bob", 8)):
        who = engine.run(Sample(count=1, seed=seed))
        [image] = engine.run(Generate(people=who, seed=seed, measure_likeness=False)).images
        image.resize((256, 256), Image.Resampling.LANCZOS).save(folder / f"{name}.png")
    ann, bob = (Image.open(folder / f"{name}.png") for name in ("ann", "bob"))
    together = Image.new("RGB", (560, 290), (190, 196, 190))
    together.paste(ann, (12, 17))
    together.paste(bob.resize((224, 224)), (310, 40))
    together.save(folder / "both.png")
    result = engine.run(Generate(people=who, seed=seed))
    Image.new("RGB", (256, 256), "grey").save(folder / "grey.png")
    (folder / "signed.png").write_bytes(next(writer.files_of(result, people=who, identity=False)))
    motion = np.zeros((3, len(motion_track.COLUMNS)))
    motion[:, 0] = (0, 6, 12)
    motion_track.save(folder / "turn.json", motion_track.Track(fps=Fraction(8), motion=motion))
    return folder


class Visit:
    """An open page: what it asked the network for, and ways to work with it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", lambda answer: self.errors.append(answer.url) if answer.status == 403 else None)
        page.goto(address)
        page.wait_for_selector("#generate-run")

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def tab(self, name: str) -> None:
        """Open a tab, in the list or in the menu of those that find no room."""
        tabs = self.page.get_by_role("tab")
        at = TABS.index(name)
        if tabs.count() > at and tabs.nth(at).is_visible():
            tabs.nth(at).click()
        else:
            self.page.locator(".overflow-menu > button").click()
            self.page.locator(".overflow-dropdown button").nth(at - tabs.count()).click()
        self.page.locator(f"#{name}-status, #{name}-file").first.wait_for(state="attached")

    def upload(self, field: str, *paths: Path) -> None:
        self.page.locator(f"#{field} input[type=file]").set_input_files([str(path) for path in paths])

    def text(self, field: str) -> str:
        return str(self.page.locator(f"#{field}").inner_text())

    def count(self, name: str, pictures: int) -> None:
        field = self.page.locator(f"#{name}-count input[type=number]")
        field.fill(str(pictures))
        field.press("Tab")

    def make(self, name: str, pictures: int = 1) -> None:
        """Press the button, and wait for so many results."""
        links = f"#{name}-results figure a[download]"
        before = self.page.locator(links).first.get_attribute("href") if self.page.locator(links).count() else None
        problems = self.page.locator(f"#{name}-status .p-error")
        old = problems.text_content() if problems.count() else None
        self.page.locator(f"#{name}-run").click()
        self.page.wait_for_function(
            """([name, before, pictures, old]) => {
                const cards = document.querySelectorAll(`#${name}-results figure`);
                const fresh = cards.length === pictures
                    && cards[0].querySelector("a[download]").getAttribute("href") !== before;
                const problem = document.querySelector(`#${name}-status .p-error`);
                return fresh || (problem && problem.textContent !== old);
            }""",
            arg=[name, before, pictures, old],
        )
        assert not self.page.locator(f"#{name}-status .p-error").count(), self.text(f"{name}-status")
        sync_api.expect(self.page.locator(f"#{name}-status")).to_contain_text("Done", timeout=PATIENCE)

    def agree(self, name: str) -> None:
        """Again if the page takes it back, since photos have only just come."""
        box = self.page.locator(f"#{name}-consent input")
        for _ in range(5):
            with suppress(sync_api.Error):
                box.check()
            self.page.wait_for_timeout(500)
            if box.is_checked():
                return
        sync_api.expect(box).to_be_checked()

    def commands(self, name: str) -> list[str]:
        return [one.get_attribute("data-copy") for one in self.page.locator(f"#{name}-results [data-copy]").all()]

    def fetched(self, name: str, kind: str) -> bytes:
        """The file of the only result, or what lies beside it, by the end of its name."""
        [link] = self.page.locator(f"#{name}-results a[download$='{kind}']").all()
        answer = self.page.request.get(f"{self.address}{link.get_attribute('href')}")
        assert answer.ok
        return bytes(answer.body())

    def look(self, name: str) -> None:
        """No fault that axe finds, and a picture for whoever wants one."""
        self.page.evaluate(SETTLED)  # a card that is still fading in has no contrast
        found = axe.Axe().run(self.page, options=WCAG).response["violations"]
        assert not found, [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
        if SHOTS:
            self.page.evaluate("document.activeElement?.blur()")
            self.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONAE_CONFIG", str(tmp_path_factory.mktemp("config")))
        patch.setenv("PERSONAE_NO_WATERMARK", "1")  # so that pixels can be compared; test_page.py has a marked picture
        page, address = serve(engine, wait=False)
        yield address
        page.close()


@pytest.fixture(scope="module")
def visit(browser: Any, address: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    yield Visit(context.new_page(), address)
    context.close()


@pytest.fixture
def typed_again(visit: Visit, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the copied command of a tab's only result where its photos lie, and compare pixel for pixel."""

    def run(name: str, *beside: str) -> None:
        [line, *_] = visit.commands(name)
        monkeypatch.chdir(shutil.copytree(files, tmp_path / "home"))
        for file in beside:
            Path(file).write_bytes(visit.fetched(name, file))
        for command in line.split(" && "):
            _, *words = shlex.split(command)
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, (command, done.output)
        kind = ".mp4" if name == "video" else "-seed*.png"
        [made] = [path for path in Path.cwd().rglob(f"*{kind}") if "people" not in path.parts]
        page, shell = (_pixels(content) for content in (_only(visit, name), made.read_bytes()))
        np.testing.assert_array_equal(page, shell)

    return run


def _only(visit: Visit, name: str) -> bytes:
    [first, *_] = visit.page.locator(f"#{name}-results a[download]").all()
    return bytes(visit.page.request.get(f"{visit.address}{first.get_attribute('href')}").body())


def _pixels(content: bytes) -> np.ndarray:
    """(H, W, 3) of a picture; (F, H, W, 3) of a video."""
    if content[4:8] != b"ftyp":
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    import av

    with av.open(io.BytesIO(content)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def test_generate_wants_consent_and_makes_a_row(visit: Visit, files: Path, typed_again: Callable[..., None]) -> None:
    visit.tab("generate")
    visit.upload("generate-photos", files / "ann.png")
    visit.page.locator("#generate-photos img").first.wait_for()
    visit.page.locator("#generate-run").click()
    sync_api.expect(visit.page.locator("#generate-status .p-error")).to_contain_text("confirm first")
    visit.agree("generate")
    visit.count("generate", 2)
    visit.make("generate", 2)
    commands = visit.commands("generate")
    seeds = [int(re.search(r"--seed (\d+)", line)[1]) for line in commands]  # type: ignore[index]
    assert seeds[1] == seeds[0] + 1
    assert all(line.startswith("personae generate ann.png ") for line in commands)
    for line in commands:
        parse(line)
    assert visit.page.locator("#generate-seed input, #generate-seed textarea").input_value() == str(seeds[0])
    shapes = visit.page.evaluate("[...document.querySelectorAll('#generate-results img')].map(i => i.naturalWidth)")
    assert shapes == [catalog.MODELS["nano"].size] * 2
    visit.page.locator("#generate-results [data-copy]").first.click()
    copied = visit.page.locator("#generate-results [data-copy]").first
    sync_api.expect(copied).to_have_text("Copied")
    copied.click()  # once more, before it says again what it does
    sync_api.expect(copied).to_have_text("Copy command")
    visit.look("generate")
    typed_again("generate")


def test_words_beside_a_face(visit: Visit, files: Path, typed_again: Callable[..., None]) -> None:
    visit.tab("words")
    visit.upload("words-photos", files / "bob.png")
    visit.page.locator("#words-prompt textarea").fill("photo of a man, black and white")
    visit.page.locator("#words-photos img").first.wait_for()
    visit.agree("words")
    visit.count("words", 1)
    visit.make("words")
    [line] = visit.commands("words")
    assert "--prompt" in shlex.split(line)
    visit.look("words")
    typed_again("words")


def test_several_people_in_one_picture(visit: Visit, files: Path, typed_again: Callable[..., None]) -> None:
    visit.tab("together")
    visit.upload("together-photos", files / "ann.png", files / "bob.png")
    visit.page.locator("#together-plan img").nth(1).wait_for()
    visit.agree("together")
    visit.count("together", 1)
    visit.make("together")
    [line] = visit.commands("together")
    assert "--region 0,0,0.5,1 --region 0.5,0,1,1" in line
    width = visit.page.evaluate("document.querySelector('#together-results img').naturalWidth")
    assert width == 2 * catalog.MODELS["nano"].size
    visit.look("together")
    typed_again("together")


def test_a_face_is_picked_and_swapped(visit: Visit, files: Path, typed_again: Callable[..., None]) -> None:
    visit.tab("edit")
    visit.upload("edit-source", files / "ann.png")
    visit.upload("edit-target", files / "both.png")
    visit.page.locator("[data-face='2']").click()
    sync_api.expect(visit.page.locator("[data-face='2']")).to_have_attribute("aria-pressed", "true")
    visit.agree("edit")
    visit.make("edit")
    [line] = visit.commands("edit")
    assert line.startswith("personae edit swap ann.png both.png")
    assert "--face 2" in line
    slider = visit.page.locator("#edit-results input[type=range]")
    slider.focus()
    slider.press("End")  # all of the photo before
    assert visit.page.locator("#edit-results .p-compare").get_attribute("style") == "--at: 100%;"
    slider.press("Home")
    slider.fill("50")
    visit.look("edit")
    typed_again("edit")


def test_the_next_face_gets_another_source(visit: Visit, files: Path, tmp_path: Path) -> None:
    """A result is edited further; and all faces at once."""
    visit.tab("edit")
    first = visit.page.locator("#edit-results a[download]").get_attribute("download")
    visit.page.locator("[data-further]").click()
    sync_api.expect(visit.page.locator("#edit-target img").first).to_have_attribute("src", re.compile(re.escape(first)))
    sync_api.expect(visit.page.locator("#edit-consent input")).not_to_be_checked()
    sync_api.expect(visit.page.locator("#edit-faces img")).to_have_attribute("src", re.compile(re.escape(first)))
    visit.page.locator("#edit-face label").last.click()
    sync_api.expect(visit.page.locator("[data-face='1']")).to_have_attribute("aria-pressed", "true")
    visit.agree("edit")
    visit.make("edit")
    [line] = visit.commands("edit")
    assert line.startswith(f"personae edit swap ann.png {first} --seed")
    assert "--all-faces" in line
    (tmp_path / "twice.png").write_bytes(_only(visit, "edit"))
    assert len(read_recipe(tmp_path / "twice.png")["earlier"]) == 1, "the first edit is remembered"
    visit.page.locator("#edit-target button[aria-label]").first.click()
    visit.upload("edit-target", files / "both.png")
    sync_api.expect(visit.page.locator("#edit-faces img")).to_have_attribute("src", re.compile("both.png"))


def test_what_is_painted_over_is_made_anew(visit: Visit, typed_again: Callable[..., None]) -> None:
    visit.tab("edit")
    visit.page.locator("#edit-task label").nth(3).click()
    canvas = visit.page.locator("#edit-mask canvas").first
    canvas.wait_for()
    visit.page.wait_for_timeout(1500)  # the editor lays its layers out
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    for step in range(8):
        visit.page.mouse.move(x + 4 * step, y + 3 * step)
    visit.page.mouse.up()
    visit.agree("edit")
    visit.make("edit")
    [line] = visit.commands("edit")
    assert line.startswith("personae edit inpaint both.png")
    assert "--mask mask.png" in line
    assert visit.page.locator("#edit-results a[download='mask.png']").count() == 1
    visit.look("inpaint")
    typed_again("edit", "mask.png")


def test_the_drawn_head_follows_the_sliders(visit: Visit, files: Path, typed_again: Callable[..., None]) -> None:
    visit.tab("motion")
    head = visit.page.locator("#motion-head img")
    before = head.get_attribute("src")
    field = visit.page.locator("#motion-yaw input[type=number]")
    field.fill("20")
    field.press("Tab")
    sync_api.expect(head).to_have_attribute("alt", re.compile(r"turned \+20"))
    assert head.get_attribute("src") != before
    smile = visit.page.locator("#motion-smile input[type=range]")
    smile.focus()
    smile.press("End")
    visit.upload("motion-photo", files / "ann.png")
    visit.page.locator("#motion-photo img").first.wait_for()
    visit.agree("motion")
    visit.count("motion", 1)
    visit.make("motion")
    [line] = visit.commands("motion")
    assert "--pose 20,0,0" in line
    assert "--expression smile=1" in line
    visit.look("motion")
    typed_again("motion")


def test_people_who_do_not_exist_need_no_consent(visit: Visit, typed_again: Callable[..., None]) -> None:
    visit.tab("people")
    for slot in ("first", "second"):
        visit.page.locator(f"#people-{slot}-random").click()
        visit.page.locator(f"#people-{slot}-look img").wait_for()
    visit.count("people", 1)
    visit.make("people")
    [line] = visit.commands("people")
    assert line.count("personae identity sample") == 2
    assert "--blend 0.5" in line
    with visit.page.expect_download() as download:
        visit.page.locator("#people-results a[download$='.identity']").click()
    from personae import identity

    assert identity.load(download.value.path()).vector.shape == (128,)
    visit.look("people")
    typed_again("people")


def test_a_photo_does_what_a_track_does(
    visit: Visit, files: Path, typed_again: Callable[..., None], tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="the extra video is not installed")
    visit.tab("video")
    visit.upload("video-photo", files / "ann.png")
    visit.upload("video-driver", files / "turn.json")
    visit.page.locator("#video-photo img").first.wait_for()
    sync_api.expect(visit.page.locator("#video-driver")).to_contain_text("turn")
    visit.agree("video")
    visit.make("video")
    [line] = visit.commands("video")
    assert line.startswith("personae edit animate ann.png turn.json")
    visit.look("video")
    (tmp_path / "turned.mp4").write_bytes(_only(visit, "video"))
    typed_again("video")
    visit.tab("origin")
    visit.upload("origin-file", tmp_path / "turned.mp4")
    sync_api.expect(visit.page.locator("#origin-look video")).to_be_visible()
    sync_api.expect(visit.page.locator("#origin-report")).to_contain_text("of the 3 frames")
    assert "Made of" in visit.text("origin-report")
    visit.look("origin-video")
    visit.page.locator("#origin-file button[aria-label]").first.click()


def test_where_a_picture_comes_from(visit: Visit, tmp_path: Path) -> None:
    visit.tab("generate")
    with visit.page.expect_download() as download:
        visit.page.locator("#generate-results a[download]").first.click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    visit.tab("origin")
    visit.upload("origin-file", saved)
    visit.page.locator("#origin-report .p-mark").first.wait_for()
    assert visit.page.locator("#origin-report .p-yes").count() >= 2
    assert '"ai_generated": true' in visit.page.locator("#origin-report pre").text_content()
    visit.look("origin")


def test_everything_came_from_this_machine(visit: Visit) -> None:
    assert visit.elsewhere == []
    assert visit.errors == []


@pytest.mark.parametrize(
    ("width", "language", "scheme"), [(390, "de-DE", "dark"), (390, "es-ES", "light")], ids=["german", "spanish"]
)
def test_a_phone_by_night_and_other_languages(
    browser: Any, address: str, files: Path, width: int, language: str, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, locale=language, color_scheme=scheme)
    visit = Visit(context.new_page(), address)
    word = {"de-DE": "Erzeugen", "es-ES": "Generar"}[language]
    sync_api.expect(visit.page.locator("#generate-run")).to_have_text(word)
    for name in TABS:
        visit.tab(name)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, name
        visit.look(f"phone-{name}-{language[:2]}")
    assert visit.page.evaluate("document.documentElement.lang") == language[:2]
    ahead = Words(language[:2])("head_alt", yaw=0.0, pitch=0.0, roll=0.0)
    sync_api.expect(visit.page.locator("#motion-head img")).to_have_attribute("alt", ahead)
    visit.upload("origin-file", files / "signed.png")
    visit.page.locator("#origin-report .p-mark").first.wait_for()
    report = visit.text("origin-report")
    trusted = {"de-DE": "dem Zertifikat vertrauen Sie", "es-ES": "en cuyo certificado confías"}[language]
    assert trusted in report
    assert "the" not in report.split("{")[0].split(), "a word of English is left in it"
    visit.look(f"phone-report-{language[:2]}")
    visit.tab("generate")
    visit.page.locator("#generate-run").click()
    problem = {"de-DE": "bestätigen", "es-ES": "Confirma"}[language]
    sync_api.expect(visit.page.locator("#generate-status .p-error")).to_contain_text(problem)
    visit.tab("edit")
    visit.upload("edit-target", files / "grey.png")
    problem = visit.page.locator("#edit-faces .p-error")
    sync_api.expect(problem).to_contain_text({"de-DE": "kein Gesicht", "es-ES": "ningún rostro"}[language])
    sync_api.expect(problem.locator("[lang=en]")).to_contain_text("give a photo that shows one clearly")
    assert visit.elsewhere == []
    context.close()


def test_the_keyboard_is_enough(browser: Any, address: str) -> None:
    """From the top of the page to the button by Tab alone, and something shows where one is."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    visit = Visit(context.new_page(), address)
    for _ in range(40):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.id") == "generate-run":
            break
    assert visit.page.evaluate("document.activeElement.id") == "generate-run"
    assert visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    visit.page.keyboard.press("Enter")
    sync_api.expect(visit.page.locator("#generate-status .p-error")).to_be_visible()
    context.close()


def test_who_closes_the_page_leaves_no_work_behind(browser: Any, address: str, engine: Engine, files: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    visit = Visit(context.new_page(), address)
    visit.upload("generate-photos", files / "ann.png")
    visit.page.locator("#generate-photos img").first.wait_for()
    visit.agree("generate")
    visit.count("generate", 8)
    before = engine.stats().images
    visit.page.locator("#generate-run").click()
    visit.page.locator("#generate-results figure").first.wait_for()
    context.close()
    images, until = -1, time.monotonic() + 60
    while images != (images := engine.stats().images):
        assert time.monotonic() < until
        time.sleep(3)
    assert images - before < 8


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("words.png", "words.png is not a JPEG, PNG, WebP or AVIF picture."),
        ("dot.png", "dot.png has 1 x 1 pixels: a side needs at least 16."),
        ("grey.png", "No face was found in grey.png: give a photo that shows one clearly."),
    ],
)
def test_a_file_that_will_not_do_is_said(browser: Any, address: str, tmp_path: Path, name: str, sentence: str) -> None:
    side = {"dot.png": 1, "grey.png": 256}.get(name)
    if side is None:
        (tmp_path / name).write_text("no picture")
    else:
        Image.new("RGB", (side, side), "grey").save(tmp_path / name)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    visit = Visit(context.new_page(), address)
    visit.upload("generate-photos", tmp_path / name)
    visit.page.locator("#generate-photos img").first.wait_for(state="attached")
    visit.agree("generate")
    visit.page.locator("#generate-run").click()
    sync_api.expect(visit.page.locator("#generate-status .p-error")).to_have_text(sentence)
    visit.tab("edit")
    visit.upload("edit-target", tmp_path / name)
    sync_api.expect(visit.page.locator("#edit-faces .p-error")).to_have_text(sentence)
    sync_api.expect(visit.page.locator("#edit-faces .p-error")).to_be_visible()
    visit.tab("people")
    visit.upload("people-first-file", tmp_path / name)
    sync_api.expect(visit.page.locator("#people-first-look .p-error")).to_have_text(sentence)
    sync_api.expect(visit.page.locator("#people-first-look .p-error")).to_be_visible()
    context.close()
