"""Signatures: who made a file, whether it is still that file, and what becomes of those that others made."""

import io
import json
import multiprocessing
import os
import stat
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from certificate_fixtures import KEYS, issued
from personae import provenance
from personae.errors import BadImage, BadOption, BadOutput
from personae.provenance import credentials, recipe, signature, signer, signing, writer
from personae.provenance.credentials import Credentials
from personae.provenance.detection import detect
from personae.provenance.marks import Marks
from personae.provenance.recipe import canonical, parsed
from personae.reading.metadata import text_in
from personae.types import Ingredient

pytest.importorskip("c2pa")
RECIPE = {
    "format": "personae.recipe/2",
    "task": "generate",
    "model": {"name": "nano", "sha256": "3f" * 32},
    "settings": {},
    "seed": 7,
    "identity": {"space": "a/b/c", "vector": "SECRETVECTOR"},
}
EDIT = RECIPE | {
    "task": "edit",
    "edit": {"task": "swap"},
    "inputs": {"source": {"sha256": "aa" * 32, "name": "ann.jpg"}, "target": {"sha256": "bb" * 32, "name": "me.jpg"}},
}


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of their own."""
    for variable in ("PERSONAE_NO_C2PA", "PERSONAE_NO_WATERMARK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def picture(seed: int = 0, size: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG: kind, and all of its bytes."""
    at, found = 8, []
    while at < len(png):
        size = 12 + int.from_bytes(png[at : at + 4], "big")
        found.append((png[at + 4 : at + 8], png[at : at + size]))
        at += size
    return found


def _png(chunks: list[bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _without(png: bytes, kind: bytes) -> bytes:
    return _png([content for name, content in _chunks(png) if name != kind])


def _places_of_manifest(content: bytes) -> range:
    """Where in a file its manifest lies: the chunk or the segment that holds it, whole."""
    if content.startswith(b"\x89PNG"):
        at = 8
        for name, chunk in _chunks(content):
            if name == b"caBX":
                return range(at, at + len(chunk))
            at += len(chunk)
    elif content.startswith(b"RIFF"):
        at = 12
        while at < len(content):
            size = 8 + int.from_bytes(content[at + 4 : at + 8], "little")
            if content[at : at + 4] == b"C2PA":
                return range(at, at + size)
            at += size + size % 2
    else:
        at = 2
        while content[at + 1] != 0xDA:
            size = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
            if content[at + 1] == 0xEB:  # APP11; a manifest of less than 64 kB lies in one
                return range(at, at + size)
            at += size
    raise AssertionError("it has no manifest")


def _swapped(png: bytes, other: bytes, begins: bytes) -> bytes:
    """A PNG with a chunk of another in the place of its own."""
    [theirs] = [content for _, content in _chunks(other) if content[4:].startswith(begins)]
    return _png([theirs if content[4:].startswith(begins) else content for _, content in _chunks(png)])


@pytest.mark.parametrize("kind", writer.FORMATS)
def test_what_we_write_is_trusted_by_our_root_and_valid_to_others(
    kind: str, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = writer.encode(picture(), kind, RECIPE)
    root = credentials.roots()
    found = detect(content)
    assert (found["c2pa"].state, found["recipe"].state, found["label"].state) == ("trusted", "holds", "present")
    assert found["c2pa"].facts["actions"][0] == {
        "action": "c2pa.created",
        "source_type": "trainedAlgorithmicMedia",
        "task": "generate",
        "model": "nano",
    }
    assert found.stripped == []
    assert "which you trust" in found.verdict
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "somebody-else"))
    stranger = detect(content)
    assert stranger["c2pa"].state == "valid"
    assert "a certificate you don't trust" in stranger["c2pa"].proves
    assert "valid is not trusted" in stranger["c2pa"].proves_not
    assert not (tmp_path / "somebody-else").exists(), "to look makes no key"
    assert detect(content, trust=root)["c2pa"].state == "trusted"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(content))),
        np.asarray(Image.open(io.BytesIO(writer.encode(picture(), kind, RECIPE, marks=Marks(c2pa=False))))),
    )


def test_a_signature_says_nothing_of_who_is_in_the_picture() -> None:
    content = writer.encode(picture(), "png", RECIPE)
    [manifest] = [one for name, one in _chunks(content) if name == b"caBX"]
    assert b"SECRETVECTOR" not in manifest
    assert b"SECRETVECTOR" in content, "but the recipe does"
    for word in (
        str(Path.home()).encode(),
        os.uname().nodename.encode(),
        os.environ.get("USER", "root").encode() + b"@",
    ):
        assert word not in manifest


@pytest.mark.parametrize("kind", writer.FORMATS)
def test_a_flipped_byte_is_found(kind: str) -> None:
    """Wherever it lies. Inside the manifest some bytes say nothing (its padding, names of its boxes): if the library
    takes one of these for unchanged, then all that is signed is."""
    content = writer.encode(picture(), kind, RECIPE)
    before, manifest = detect(content), _places_of_manifest(content)
    assert 2000 < len(manifest) < 6000
    rng = np.random.default_rng(1)
    places = [*rng.integers(8, len(content), 40), *rng.choice(manifest, 20)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        try:
            found = detect(bytes(damaged))
        except BadImage:  # it is no picture any more
            continue
        if found["c2pa"].state == "trusted":
            assert (found["c2pa"].facts, found["recipe"]) == (before["c2pa"].facts, before["recipe"])
            assert place in manifest
        else:
            assert found["c2pa"].state in ("tampered", "damaged", "absent")
            assert found["c2pa"].state != "absent" or found.stripped, "what was there is gone, and that is said"


def test_a_recipe_or_a_manifest_of_another_picture_is_found() -> None:
    one, other = (writer.encode(picture(seed), "png", RECIPE | {"seed": seed}) for seed in (1, 2))
    for begins in (b"iTXtpersonae", b"caBX"):
        found = detect(_swapped(one, other, begins))
        assert (found["c2pa"].state, found["recipe"].state) == ("tampered", "changed")
        assert "not the one that was signed" in found.verdict
    both = _swapped(_swapped(one, other, b"iTXtpersonae"), other, b"caBX")
    assert detect(both)["c2pa"].state == "tampered", "the recipe fits the signature, the pixels do not"
    assert detect(both)["recipe"].state == "unsigned"


def test_what_was_stripped_is_said() -> None:
    content = writer.encode(picture(), "png", RECIPE)
    unsigned = detect(_without(content, b"caBX"))
    assert unsigned["c2pa"].state == "absent"
    assert unsigned["recipe"].state == "unsigned"
    assert unsigned.stripped == ["the signature (C2PA): the recipe says that there was one"]
    bare = detect(_without(content, b"iTXt"))
    assert bare["c2pa"].state == "tampered"
    assert "the recipe: the signature speaks of one" in bare.stripped
    again = io.BytesIO()
    Image.open(io.BytesIO(content)).save(again, "PNG")
    nothing = detect(again.getvalue())
    assert nothing.verdict == "no mark found, which proves nothing"
    off = detect(writer.encode(picture(), "png", RECIPE, marks=Marks.of_environment(c2pa=False)))
    assert off.stripped == [], "it was never there"


def _encoded(kind: str) -> bytes:
    """A picture that nobody signed."""
    plain = io.BytesIO()
    picture().save(plain, kind)
    return plain.getvalue()


@pytest.mark.parametrize(("kind", "length"), [("PNG", -12), ("PNG", 100), ("JPEG", 300), ("JPEG", -2), ("WEBP", 60)])
def test_a_cut_file_that_was_never_signed_is_not_accused(kind: str, length: int) -> None:
    content = _encoded(kind)[:length]
    found = detect(content)
    assert (found["c2pa"].state, found.stripped) == ("absent", [])
    assert "signed" not in found.verdict


@pytest.mark.parametrize("kind", writer.FORMATS)
def test_a_cut_file_with_a_manifest_is_not_what_was_signed(kind: str) -> None:
    content = writer.encode(picture(), kind, RECIPE)
    found = detect(content[: _places_of_manifest(content).stop - 100])
    assert found["c2pa"].state == "damaged"
    assert "changed after it was signed" in found.verdict


def test_a_manifest_is_found_wherever_a_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = writer.encode(picture(), "png", RECIPE)
    for block in (1, 7, 64, 1000, 2**20):
        monkeypatch.setattr(signature, "_BLOCK", block)
        assert signature.holds_manifest(io.BytesIO(signed)), block
        assert not signature.holds_manifest(io.BytesIO(_encoded("PNG") + b"jumb c2pa " * 20)), block


@pytest.mark.parametrize("most", [2000, 1000])
def test_a_label_in_a_large_picture_is_read_by_its_header(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns above its limit, and raises above twice as many pixels: this picture has 2304."""
    content = writer.encode(picture(), "png", RECIPE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with warnings.catch_warnings(action="error"):  # none reaches a user
        found = detect(content)
    assert found["c2pa"].state == "trusted"
    assert found["label"].state == ("present" if most == 2000 else "not looked for")
    assert found.stripped == []
    if most == 1000:
        assert "exceeds limit" in found["label"].facts["reason"]


def test_the_rest_of_the_file_is_the_same_each_time() -> None:
    one, other = (writer.encode(picture(), "png", RECIPE) for _ in range(2))
    assert one != other, "a signature is drawn at random"
    assert _without(one, b"caBX") == _without(other, b"caBX")
    text = text_in(io.BytesIO(one), "it")
    assert text is not None
    assert canonical(parsed(text)) == text


def test_an_edit_carries_the_signature_of_its_photo_on(tmp_path: Path) -> None:
    parent = writer.encode(picture(), "webp", RECIPE)
    photos = [
        Ingredient(role="source", canvas=False),
        Ingredient(role="target", canvas=True, mime="image/webp", encoded=parent),
    ]
    found = detect(writer.encode(picture(3), "jpg", EDIT, ingredients=photos))
    assert (found["c2pa"].state, found["recipe"].state) == ("trusted", "holds")
    assert [one["action"] for one in found["c2pa"].facts["actions"]] == ["c2pa.opened", "c2pa.edited"]
    edited = found["c2pa"].facts["actions"][1]
    assert (edited["source_type"], edited["task"]) == ("compositeWithTrainedAlgorithmicMedia", "swap")
    inputs = {one["title"]: one for one in found.inputs}
    assert inputs["ann.jpg"] == {"by": "c2pa", "title": "ann.jpg", "relationship": "inputTo"}
    assert inputs["me.jpg"]["relationship"] == "parentOf"
    assert (inputs["me.jpg"]["state"], inputs["me.jpg"]["generator"]) == ("valid", f"personae {writer.__version__}")
    assert inputs["me.jpg"]["source_type"] == "trainedAlgorithmicMedia"
    damaged = parent[:100] + b"\0" + parent[101:]
    with_damaged = [photos[0], Ingredient(role="target", canvas=True, mime="image/webp", encoded=damaged)]
    again = detect(writer.encode(picture(3), "jpg", EDIT, ingredients=with_damaged))
    assert again["c2pa"].state == "trusted"
    assert {one["title"]: one for one in again.inputs}["me.jpg"]["state"] == "invalid"
    unreadable = [photos[0], Ingredient(role="target", canvas=True, mime="image/png", encoded=parent)]
    with pytest.warns(UserWarning, match="manifest of the target photo is not carried on"):
        content = writer.encode(picture(3), "jpg", EDIT, ingredients=unreadable)
    last = detect(content)
    assert last["c2pa"].state == "trusted"


def _signed_by_another(actions: list[dict[str, object]], **more: object) -> dict[str, object]:
    """What another program's manifest says."""
    data = {"label": "c2pa.actions.v2", "data": {"actions": actions}}
    return {
        "claim_generator_info": [{"name": "Editor", "version": "1"}],
        "format": "image/png",
        "assertions": [data],
    } | more


def _with_manifest(definition: dict[str, object], parent: bytes | None = None) -> bytes:
    plain, target = io.BytesIO(), io.BytesIO()
    picture().save(plain, "PNG")
    builder = signing._builder(definition, credentials.local())
    if parent is not None:
        about = {"title": "before.png", "format": "image/png", "relationship": "parentOf", "label": "before"}
        builder.add_ingredient_from_stream(json.dumps(about), "image/png", io.BytesIO(parent))
    builder.sign("image/png", plain, target)
    return target.getvalue()


OPENED = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["before"]}}


def test_what_another_program_made_of_a_picture_by_ai_is_still_of_ai() -> None:
    """An editor names no source type for what it does; the picture that it opened has one."""
    colours = {"action": "c2pa.color_adjustments"}
    once = _with_manifest(_signed_by_another([OPENED, colours]), writer.encode(picture(), "png", RECIPE))
    twice = _with_manifest(_signed_by_another([OPENED, colours]), once)
    for content in (once, twice):
        found = detect(content)
        assert found["c2pa"].state == "trusted"
        assert found.inputs[0]["source_type"] == "trainedAlgorithmicMedia"
        assert "its signature (of what it was made from) says that AI made or changed it" in found.verdict
        assert found.stripped == [], "the label and the recipe were another file's"
    http = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    camera = [{"action": "c2pa.created", "digitalSourceType": f"{http}digitalCapture"}]
    filled = {"action": "c2pa.edited", "digitalSourceType": f"{http}compositeWithTrainedAlgorithmicMedia"}
    assert "nothing in it names AI" in detect(_with_manifest(_signed_by_another(camera))).verdict
    assert "its signature says that AI" in detect(_with_manifest(_signed_by_another([*camera, filled]))).verdict


def test_what_others_write_is_no_recipe_and_no_label(tmp_path: Path) -> None:
    """Cameras and other programs have comments and source types of their own."""
    xmp = b'<rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/%s"/>'
    for comment in ('{"device": "GoPro"}', " " * 36, "made with personae", "7", "[1]", "\xe4\xf6"):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + comment.encode("latin-1")
        picture().save(tmp_path / "a.jpg", exif=exif, xmp=xmp % b"digitalCapture")
        found = detect(tmp_path / "a.jpg")
        assert (found["recipe"].state, found["label"].state) == ("absent", "other"), comment
        assert found.verdict == "no mark found, which proves nothing"
        assert recipe.find_recipe(tmp_path / "a.jpg") is None
        assert recipe.past(tmp_path / "a.jpg") == []
    picture().save(tmp_path / "a.jpg", xmp=xmp % b"digitalCapture" + xmp % b"trainedAlgorithmicMedia")
    assert "its label says that AI made or changed it, which nothing proves" in detect(tmp_path / "a.jpg").verdict
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + canonical(RECIPE).encode()[:-9]
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert detect(tmp_path / "a.jpg")["recipe"].state == "damaged"
    with pytest.warns(UserWarning, match="without its history"):
        assert recipe.past(tmp_path / "a.jpg") == []


@pytest.mark.parametrize(
    ("ingredient", "state"),
    [
        ({}, "unknown"),
        ({"validation_status": []}, "unknown"),
        ({"validation_status": [{"code": "assertion.dataHash.mismatch"}]}, "invalid"),
        ({"validation_results": {"activeManifest": {"failure": []}}}, "valid"),
        ({"validation_results": {"activeManifest": {"failure": [{"code": "signingCredential.untrusted"}]}}}, "valid"),
        ({"validation_results": {"activeManifest": {"failure": [{"code": "claim.malformed"}]}}}, "invalid"),
    ],
)
def test_an_input_is_what_whoever_signed_found_it_to_be(ingredient: dict[str, object], state: str) -> None:
    before = {"title": "before.png", "relationship": "parentOf", "active_manifest": "b"} | ingredient
    report = {"active_manifest": "a", "manifests": {"a": {"ingredients": [before]}, "b": {}}}
    [found] = signature._of_report(report).inputs
    assert found["state"] == state


def test_a_manifest_at_an_address_is_not_fetched() -> None:
    plain, linked = io.BytesIO(), io.BytesIO()
    picture().save(plain, "PNG")
    manifest = signing.manifest.definition(RECIPE, "image/png", ())
    builder = signing._builder(manifest, credentials.local())
    builder.set_no_embed()
    builder.set_remote_url("https://127.0.0.1:9/manifest.c2pa")
    builder.sign("image/png", plain, linked)
    found = detect(linked.getvalue())
    assert found["c2pa"].state == "elsewhere"
    assert found.verdict == "its signature lies at an address, and nothing is fetched"


def test_the_photo_of_an_edit_is_kept_only_if_it_is_signed(tmp_path: Path) -> None:
    from personae.reading.photo import load_photo

    signed, plain = (
        writer.encode(picture(), "png", RECIPE),
        writer.encode(picture(), "png", RECIPE, marks=Marks(c2pa=False)),
    )
    assert load_photo(signed).encoded == signed
    assert load_photo(plain).encoded is None


def test_the_key_is_the_users_alone_and_made_once(config: Path) -> None:
    assert credentials.roots() == b""
    one = credentials.of_user()
    place = config / "provenance" / "local.pem"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert credentials.of_user() == one
    facts = credentials.facts(one)
    assert int(facts["until"][:4]) >= 2050, "without a time stamp a signature lives as long as its certificate"
    before = writer.encode(picture(), "png", RECIPE)
    other = signer.renew()
    assert other.chain != one.chain
    assert detect(before)["c2pa"].state == "trusted", "the root before is still known"
    assert detect(writer.encode(picture(), "png", RECIPE))["c2pa"].state == "trusted"


def test_two_processes_that_make_a_key_at_once_end_with_one(config: Path) -> None:
    import subprocess

    program = (
        "from personae.provenance import credentials as c; import sys; sys.stdout.write(c.of_user().chain.decode())"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    chains = [one.communicate(timeout=120)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0, 0]
    assert len(set(chains)) == 1
    assert chains[0].startswith(b"-----BEGIN CERTIFICATE-----")
    assert [path.name for path in (config / "provenance").iterdir()] == ["local.pem"]


def test_a_users_own_chain_and_key_sign(config: Path, tmp_path: Path) -> None:
    own = credentials.local()
    assert own.key is not None
    (tmp_path / "chain.pem").write_bytes(own.chain)
    (tmp_path / "key.pem").write_bytes(own.key)
    (config / "provenance" / "local.pem").unlink()
    signer.choose(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert credentials.of_user().chain == own.chain
    content = writer.encode(picture(), "png", RECIPE)
    assert detect(content)["c2pa"].state == "trusted"
    assert not (config / "provenance" / "local.pem").exists()
    (tmp_path / "key.pem").write_bytes(b"no key")
    with pytest.raises(BadOption, match="holds no private key"):
        writer.encode(picture(), "png", RECIPE)
    (config / "provenance" / "signer.json").write_text("{}")
    with pytest.raises(BadOption, match="personae provenance setup --chain"):
        credentials.of_user()


def _files(folder: Path, chain: bytes, key: bytes) -> tuple[Path, Path]:
    paths = folder / "chain.pem", folder / "key.pem"
    for path, content in zip(paths, (chain, key), strict=True):
        path.write_bytes(content)
    return paths


def test_what_cannot_sign_is_not_chosen(config: Path, tmp_path: Path) -> None:
    own, other = issued(), issued()
    with pytest.raises(BadOption, match=r"cannot sign.*does not match"):
        signer.choose(*_files(tmp_path, own.chain, other.key))
    for algorithm in ("ps256", "es384", "ed25519"):
        with pytest.raises(BadOption, match=f"cannot sign.*{algorithm}"):
            signer.choose(*_files(tmp_path, own.chain, own.key), algorithm=algorithm)
    for locked in (
        own.key.replace(b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"),
        own.key.replace(b"KEY-----\n", b"KEY-----\nProc-Type: 4,ENCRYPTED\n", 1),
    ):
        with pytest.raises(BadOption, match="locked by a password"):
            signer.choose(*_files(tmp_path, own.chain, locked))
    assert not config.exists()
    with pytest.raises(BadOutput, match="does not match"):  # not a file that everybody takes for tampered
        writer.encode(picture(), "png", RECIPE, marks=Marks(credentials=Credentials(chain=own.chain, key=other.key)))


def test_whoever_issued_a_users_chain_is_not_trusted_with_it(config: Path, tmp_path: Path) -> None:
    """All other customers of the same authority would be."""
    own = issued()
    signer.choose(*_files(tmp_path, own.chain, own.key))
    assert credentials.roots() == b""
    assert credentials.to_hand_out() == own.root
    content = writer.encode(picture(), "png", RECIPE)
    assert detect(content)["c2pa"].state == "valid"
    assert detect(content, trust=own.root)["c2pa"].state == "trusted"


@pytest.mark.parametrize("lost", ["key.pem", "chain.pem", "signer.json", "local.pem", "earlier-roots.pem"])
def test_a_choice_that_is_broken_stops_nobody(lost: str, config: Path, tmp_path: Path) -> None:
    content = writer.encode(picture(), "png", RECIPE)  # by the local certificate
    signer.renew()
    own = issued()
    signer.choose(*_files(tmp_path, own.chain, own.key))
    place = (tmp_path if lost in ("key.pem", "chain.pem") else config / "provenance") / lost
    place.write_bytes(b"-----BEGIN NONSENSE")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = detect(content)["c2pa"].state
    assert state == ("valid" if lost == "earlier-roots.pem" else "trusted")
    assert [str(one.message) for one in caught if "are not trusted" in str(one.message)] or lost == "key.pem"
    with warnings.catch_warnings(action="ignore"):
        if lost != "local.pem":
            assert signer.use_local() == credentials.of_user()
            signer.choose(*_files(tmp_path, own.chain, own.key))
            place.write_bytes(b"-----BEGIN NONSENSE")
        assert signer.renew() == credentials.of_user()
        assert detect(writer.encode(picture(), "png", RECIPE))["c2pa"].state == "trusted"


def test_a_choice_is_forgotten_last(config: Path, tmp_path: Path) -> None:
    """What fails on the way leaves everything as it was."""
    before = writer.encode(picture(), "png", RECIPE)  # by the local certificate
    signer.renew()
    home, own = config / "provenance", issued()
    signer.choose(*_files(tmp_path, own.chain, own.key))
    local, earlier = ((home / name).read_bytes() for name in ("local.pem", "earlier-roots.pem"))
    (home / "local.pem").write_bytes(b"-----BEGIN NONSENSE")
    with pytest.raises(BadOption, match="is damaged"):
        signer.use_local()
    assert credentials.own() is not None
    (home / "local.pem").write_bytes(local)
    (home / "earlier-roots.pem").write_bytes(earlier + b"#" * 2**18)
    with (
        pytest.warns(UserWarning, match="not trusted"),
        pytest.raises(BadOption, match=r"earlier-roots\.pem is larger"),
    ):
        signer.renew()
    assert credentials.own() is not None
    assert (home / "local.pem").read_bytes() == local
    (home / "earlier-roots.pem").write_bytes(b"-----BEGIN NONSENSE\n" + earlier)
    signer.renew()
    assert b"NONSENSE" in (home / "earlier-roots.pem").read_bytes()
    assert credentials.own() is None
    assert detect(before)["c2pa"].state == "trusted"


def test_a_wrong_key_is_found_before_the_work(config: Path, tmp_path: Path) -> None:
    own = issued()
    signer.choose(*_files(tmp_path, own.chain, own.key))
    assert signer.settled(Marks()).credentials == credentials.own()
    assert signer.settled(Marks(c2pa=False)) == Marks(c2pa=False)
    (tmp_path / "key.pem").write_bytes(issued().key)
    with pytest.raises(BadOption, match="cannot sign"):
        signer.settled(Marks())
    (tmp_path / "key.pem").unlink()
    with pytest.raises(BadOption, match=r"key\.pem.*--local"):
        signer.settled(Marks())


@pytest.mark.parametrize("algorithm", KEYS)
def test_certificates_of_any_algorithm_sign(algorithm: str) -> None:
    own = issued(algorithm)
    found = Credentials(chain=own.chain, key=own.key, algorithm=algorithm)
    content = writer.encode(picture(), "png", RECIPE, marks=Marks(credentials=found))
    assert detect(content)["c2pa"].state == "valid"
    assert detect(content, trust=own.root)["c2pa"].state == "trusted"
    assert detect(content, trust=own.root)["c2pa"].facts["signer"] == "the leaf"


def test_a_signature_ends_with_its_certificate() -> None:
    own = issued(life=timedelta(seconds=4))
    content = writer.encode(
        picture(), "png", RECIPE, marks=Marks(credentials=Credentials(chain=own.chain, key=own.key))
    )
    time.sleep(6)  # certificates count whole seconds
    found = detect(content, trust=own.root)
    assert (found["c2pa"].state, found["recipe"].state) == ("expired", "holds")
    assert "no time stamp that you trust" in found["c2pa"].proves_not
    with pytest.raises(BadOutput, match="not valid at time of signing"):
        writer.encode(picture(), "png", RECIPE, marks=Marks(credentials=Credentials(chain=own.chain, key=own.key)))


def test_a_time_stamp_authority_is_asked_only_by_those_who_name_one() -> None:
    asked: list[str] = []

    class Authority(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(500)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    own = issued()
    with HTTPServer(("127.0.0.1", 0), Authority) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        writer.encode(picture(), "png", RECIPE, marks=Marks(credentials=Credentials(chain=own.chain, key=own.key)))
        assert asked == []
        url = f"http://127.0.0.1:{server.server_port}/stamp"
        marks = Marks(credentials=Credentials(chain=own.chain, key=own.key, time_stamps=url))
        with pytest.raises(BadOutput, match="cannot be signed"):  # rather than without the stamp that was wanted
            writer.encode(picture(), "png", RECIPE, marks=marks)
        assert asked == ["/stamp"]
        server.shutdown()


def test_manifests_too_large_to_carry_on_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = writer.encode(picture(), "png", RECIPE)
    photos = [Ingredient(role="target", canvas=True, mime="image/png", encoded=parent)]
    monkeypatch.setattr(signing, "_MOST_CARRIED", 5000)
    with pytest.warns(UserWarning, match="too large to be carried on"):
        content = writer.encode(picture(3), "png", EDIT, ingredients=photos)
    found = detect(content)
    assert found["c2pa"].state == "trusted"
    assert [one["title"] for one in found.inputs if "state" not in one] == ["me.jpg"]


def test_a_module_that_hands_no_key_out_signs(config: Path) -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    own = credentials.local()
    assert own.key is not None
    key = serialization.load_pem_private_key(own.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    calls = []

    def sign(content: bytes) -> bytes:
        calls.append(len(content))
        r, s = utils.decode_dss_signature(key.sign(content, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    module = Credentials(chain=own.chain, sign=sign)
    content = writer.encode(picture(), "png", RECIPE, marks=Marks(credentials=module))
    assert calls
    assert detect(content)["c2pa"].state == "trusted"

    def refuse(content: bytes) -> bytes:
        raise RuntimeError("the module is locked")

    with pytest.raises(BadOutput, match="cannot be signed"):
        writer.encode(picture(), "png", RECIPE, marks=Marks(credentials=Credentials(chain=own.chain, sign=refuse)))
    with pytest.raises(BadOption, match="one of the two"):
        Credentials(chain=own.chain)
    with pytest.raises(BadOption, match="algorithm"):
        Credentials(chain=own.chain, sign=sign, algorithm="rot13")
    with pytest.raises(BadOption, match="time-stamp authority"):
        Credentials(chain=own.chain, sign=sign, time_stamps="ftp://x")


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)


@pytest.mark.usefixtures("without_the_extra")
def test_without_the_extra_everything_else_works(config: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"C2PA is off.*personae\[provenance\]") as warned:
        content = writer.encode(picture(), "png", RECIPE)
    assert len(warned) == 1
    found = detect(content)
    assert found["c2pa"].state == "not looked for"
    assert "personae[provenance]" in found["c2pa"].facts["reason"]
    assert found["recipe"].facts["marks"]["why"]["c2pa"] == "the extra provenance is not installed"
    assert found["label"].state == "present"
    assert found.stripped == []
    assert not config.exists()


def test_no_place_for_a_key_is_said_and_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "file" / "config"))
    with pytest.warns(UserWarning, match="no key can be made"):
        content = writer.encode(picture(), "png", RECIPE)
    assert detect(content)["recipe"].facts["marks"]["why"]["c2pa"] == "no key could be made"


def test_the_public_names() -> None:
    assert provenance.detect is detect
    assert {"detect", "Marks", "Credentials", "Detected"} <= set(dir(provenance))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        provenance.nothing  # noqa: B018


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(BadImage, match="is no picture"):
        detect(tmp_path / "notes.txt")
    with pytest.raises(BadImage, match="no such file"):
        detect(tmp_path / "nothing.png")
    with pytest.raises(BadOption, match="trusted certificates"):
        detect(
            writer.encode(picture(), "png", RECIPE),
            trust=b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n",
        )


def test_threads_sign_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda seed: writer.encode(picture(seed), "png", RECIPE | {"seed": seed}), range(12)))
    assert {detect(one)["c2pa"].state for one in files} == {"trusted"}
    assert [detect(one)["recipe"].facts["seed"] for one in files] == list(range(12))


def test_a_forked_child_signs() -> None:
    before = writer.encode(picture(), "png", RECIPE)
    with warnings.catch_warnings(action="ignore"), multiprocessing.get_context("fork").Pool(1) as pool:
        after = pool.apply(writer.encode, (picture(), "png", RECIPE))
    assert [detect(one)["c2pa"].state for one in (before, after)] == ["trusted"] * 2


def test_signing_stays_cheap() -> None:
    plain = writer.encode(picture(size=128), "png", RECIPE, marks=Marks(c2pa=False))
    own = credentials.local()
    signing.sign(plain, "png", RECIPE, (), own)
    began = time.process_time()
    for _ in range(20):
        signed = signing.sign(plain, "png", RECIPE, (), own)
    assert (time.process_time() - began) / 20 < 0.010
    assert len(signed) - len(plain) < 6000


def test_json_of_a_finding_is_plain() -> None:
    json.dumps(detect(writer.encode(picture(), "jpg", EDIT)).as_json())
