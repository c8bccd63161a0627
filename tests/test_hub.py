"""The Hub's cache, laid out by hand: what is in it needs no network, what is not is one clear error."""

import hashlib
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

import personae
from official_fixtures import published
from official_reference import people
from personae.errors import BadOption, BadOutput, LicenceRefused, WeightsCorrupt, WeightsMissing
from personae.io import user_folders
from personae.models import catalog, hub, licences
from personae.models.hub import Source
from personae.pipeline import FacePipeline

REVISION = "a" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an empty configuration, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv(licences.ENVIRONMENT, raising=False)
    return tmp_path / "hub"


def store(cache: Path, repo: str, revision: str, files: dict[str, bytes], branch: str | None = "main") -> Path:
    """Put files into the cache as the client does: blobs by hash, a snapshot of links, a branch's commit."""
    place = cache / f"models--{repo.replace('/', '--')}"
    snapshot = place / "snapshots" / revision
    for name, content in files.items():
        blob = place / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    if branch:
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / branch).write_text(revision)
    return snapshot


def source(**changes: object) -> Source:
    return Source(**{"repo": "some/one", "revision": REVISION, "files": ("a.onnx", "b/c.json")} | changes)


FILES = {"a.onnx": b"network", "b/c.json": b"{}"}


def test_what_is_cached_needs_no_network(cache: Path) -> None:
    assert hub.cached(source()) is None
    snapshot = store(cache, "some/one", REVISION, FILES)
    assert hub.fetch(source()) == hub.cached(source()) == snapshot
    assert hub.fetch(source(revision=None)) == snapshot  # main


def test_what_is_not_cached_says_that_the_network_is_forbidden(cache: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"some/one \(a.onnx, b/c.json\).*HF_HUB_OFFLINE forbids"):
        hub.fetch(source())
    store(cache, "some/one", REVISION, {"a.onnx": b"network"})  # half a download
    with pytest.raises(WeightsMissing, match=r"b/c\.json of some/one .*HF_HUB_OFFLINE forbids"):
        hub.fetch(source())


def test_a_known_hash_is_held_to(cache: Path) -> None:
    store(cache, "some/one", REVISION, FILES)
    right = hashlib.sha256(b"network").hexdigest()
    hub.fetch(source(sha256={"a.onnx": right}))
    with pytest.raises(WeightsCorrupt, match=f"sha256 {right[:12]}, expected 000000000000"):
        hub.fetch(source(sha256={"a.onnx": "0" * 64}))


def test_a_watched_file_is_held_to_its_first_use(cache: Path, tmp_path: Path) -> None:
    snapshot = store(cache, "some/one", REVISION, FILES)
    watched = source(watched=("a.onnx",))
    hub.fetch(watched)
    pins = json.loads((tmp_path / "config" / "first-use.json").read_text())
    assert pins == {f"some/one@{REVISION}/a.onnx": hashlib.sha256(b"network").hexdigest()}
    hub.fetch(watched)
    (snapshot / "a.onnx").resolve().write_bytes(b"changed")
    with pytest.raises(WeightsCorrupt, match=r"a\.onnx has sha256"):
        hub.fetch(watched)
    (tmp_path / "config" / "first-use.json").write_text("[")
    with pytest.raises(WeightsCorrupt, match=r"first-use\.json cannot be read"):
        hub.fetch(watched)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch):
    """A Hub that answers with `error`, or plans a download of `size` bytes; says whether files were asked for."""
    asked = []

    def answer(error: Exception | None = None, size: int = 0) -> list[str]:
        def snapshot_download(repo_id: str, *, dry_run: bool = False, **options: object) -> object:
            if not dry_run:
                asked.append(repo_id)
            if error is not None:
                raise error
            return [huggingface_hub.DryRunFileInfo(REVISION, size, "a.onnx", "a.onnx", False, True)]

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return asked

    return answer


def test_too_little_room_is_said_before_anything_is_fetched(online) -> None:
    asked = online(size=10**18)
    with pytest.raises(BadOutput, match=r"needs 1000000000.0 GB"):
        hub.fetch(source())
    assert asked == []


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ConnectionError("no route"), WeightsMissing, "cannot be fetched .* check the network"),
        (OSError(28, "No space left"), BadOutput, "disk is full"),
    ],
)
def test_a_failing_download_is_one_clear_error(error: Exception, kind: type, message: str, online) -> None:
    online(error)
    with pytest.raises(kind, match=message) as raised:
        hub.fetch(source())
    assert "\n" not in str(raised.value)


# ---------------------------------------------------------------------- models


def test_a_model_by_hub_id_is_loaded_from_the_cache(cache: Path, nano_folder: Path) -> None:
    files = {path.relative_to(nano_folder).as_posix(): path.read_bytes() for path in nano_folder.rglob("*.*")}
    store(cache, "some/model", REVISION, files)
    pipe = personae.load("some/model", device="cpu", torch_dtype=torch.float32)
    assert pipe.name == "some/model"
    assert pipe.reader is not None
    again = FacePipeline.from_pretrained("some/model", revision=REVISION)
    assert again.sha256 == pipe.sha256 == catalog.fingerprint(nano_folder)


def test_a_hub_id_that_is_nowhere(cache: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no folder some/model here, and from the Hub: .*HF_HUB_OFFLINE"):
        personae.load("some/model")
    with pytest.raises(BadOption, match="did you mean 'arc2face'"):
        personae.load("arcface")


@pytest.fixture
def filled(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds tiny files of all of arc2face's names; its detector's hash is the tiny file's."""
    models, base = published(tmp_path / "made")
    (models / "arcface.onnx").write_bytes(b"recogniser")
    row = catalog.MODELS["arc2face"]
    for part, folder in ((row.hub, models), (row.base, base)):
        store(cache, part.repo, part.revision, {file: (folder / file).read_bytes() for file in part.files}, branch=None)
    store(cache, row.detector.repo, row.detector.revision, {"scrfd_10g_bnkps.onnx": b"detector"}, branch=None)
    monkeypatch.setitem(row.detector.sha256, "scrfd_10g_bnkps.onnx", hashlib.sha256(b"detector").hexdigest())
    shutil.rmtree(tmp_path / "made")
    return cache


def test_arc2face_by_name_comes_out_of_the_cache(filled: Path) -> None:
    assert catalog.present(catalog.MODELS["arc2face"])
    pipe = personae.load("arc2face", accept_licence=True, reader=False, device="cpu", torch_dtype=torch.float32)
    assert pipe.config.identity_space == f"arc2face/arcface/{hashlib.sha256(b'recogniser').hexdigest()[:12]}"
    assert pipe.name == "arc2face"
    assert len(pipe(people(1), seed=0, num_inference_steps=2).images) == 1
    with pytest.raises(WeightsMissing, match=r"controlnet/config.json.*HF_HUB_OFFLINE"):
        pipe.component("controlnet")
    lora = catalog.MODELS["arc2face"].extras["lcm"]
    snapshot = store(filled, lora.repo, REVISION, {lora.files[0]: b"lora"})
    assert pipe.has_component("lcm")
    with pytest.raises(WeightsCorrupt, match=str(snapshot)):
        pipe.component("lcm")  # found there, and not a LoRA
    with pytest.raises(BadOption, match="did you mean 'controlnet'"):
        pipe.has_component("controlnets")


def test_arc2face_by_name_is_not_here_without_its_files(cache: Path) -> None:
    assert not catalog.present(catalog.MODELS["arc2face"])
    with pytest.raises(WeightsMissing, match=r"FoivosPar/Arc2Face .*HF_HUB_OFFLINE"):
        personae.load("arc2face", accept_licence=True)


def test_a_recogniser_that_changed_since_its_first_use_is_refused(filled: Path) -> None:
    row = catalog.MODELS["arc2face"]
    folder = catalog.resolve("arc2face", accept_licence=True)
    (folder / "arcface.onnx").resolve().write_bytes(b"another")
    with pytest.raises(WeightsCorrupt, match=r"arcface\.onnx has sha256"):
        catalog.resolve(row.name)


# ---------------------------------------------------------------------- licences


def test_a_licence_is_shown_and_accepted_once(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(LicenceRefused, match=r"non-commercial research only .*--accept-licence.*=arc2face"):
        catalog.resolve("arc2face")
    catalog.resolve("arc2face", accept_licence=True)
    assert list(json.loads((tmp_path / "config" / "licences.json").read_text())) == ["arc2face"]
    catalog.resolve("arc2face")


def test_the_environment_accepts_for_one_process(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(licences.ENVIRONMENT, "other,arc2face")
    catalog.resolve("arc2face")
    assert not (tmp_path / "config" / "licences.json").exists()
    monkeypatch.setenv(licences.ENVIRONMENT, "other")
    with pytest.raises(LicenceRefused):
        catalog.resolve("arc2face")


def test_an_acceptance_that_cannot_be_kept_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "file" / "config"))
    with pytest.warns(UserWarning, match="cannot be remembered"):
        licences.require(licences.ARC2FACE, accepted=True)


def test_the_configuration_lies_where_the_system_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSONAE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_folders.config_folder() == tmp_path / "personae"
