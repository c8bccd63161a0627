"""personae serve and identity deny: what they take, what they refuse, and the files that start them elsewhere."""

import re
import shlex
import socket
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from cli_fixtures import Run
from model_fixtures import face_photo, tiny_model_folder
from personae.serving.api import run as serving
from personae.serving.api.keys import Key, Keys
from personae.serving.api.settings import Settings
from personae.serving.safety import DenyList

ROOT = Path(__file__).parents[1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of servers that would have run."""
    found: list[Settings] = []
    monkeypatch.setattr(serving, "run", lambda settings, **_: found.append(settings))
    return found


def test_what_is_chosen(run: Run, started: list[Settings], tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("ann aaaaaaaaaaaaaaaaaaaaaaaa\n")
    keys.chmod(0o600)
    words = f"--host 0.0.0.0 --port 9 --keys {keys} --state s -m nano -m mine=runs/mine --memory 2 --no-output-filter"
    assert run("serve", *words.split()).code == 0
    [settings] = started
    assert (settings.host, settings.port, settings.state) == ("0.0.0.0", 9, Path("s"))
    assert settings.models == {"nano": "nano", "mine": "runs/mine"}
    assert settings.memory == 2 * 2**30
    assert settings.keys.owner_of("a" * 24) == "ann"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--host", "0.0.0.0"], "give a file of keys"),
        (["-m", "nano", "-m", "other/nano"], "two models are called"),
        (["--keys", "nothing.txt"], "nothing.txt"),
        (["-m", ""], "NAME=FOLDER"),
        (["-m", "mine="], "NAME=FOLDER"),
        (["-m", "=runs/mine"], "NAME=FOLDER"),
        (["-m", "/"], "NAME=FOLDER"),
        *((["--memory", value], "--memory is a number of GiB above 0") for value in ("nan", "inf", "-1", "0", "1e300")),
        *(([flag, "nan"], flag) for flag in ("--job-seconds", "--results-for")),
        *(([flag, "inf"], f"{flag} is a number of seconds") for flag in ("--job-seconds", "--results-for")),
    ],
)
def test_what_is_refused(run: Run, started: list[Settings], words: list[str], reason: str) -> None:
    done = run("serve", *words)
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
    assert not started


def test_a_folder_may_have_an_equals_sign_in_its_name(
    run: Run, started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "lr=2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    words = ["/models/lr=1e-4", "mine=/runs/lr=1/x", "lr=2", "runs/a/", "ann/hers", "best=ann/theirs"]
    assert run("serve", *(word for one in words for word in ("-m", one)), "--no-output-filter").code == 0
    assert started.pop().models == {
        "lr=1e-4": "/models/lr=1e-4",
        "mine": "/runs/lr=1/x",
        "lr=2": "lr=2",
        "a": "runs/a/",
        "hers": "ann/hers",
        "best": "ann/theirs",
    }
    assert run("serve", "-m", ".", "--no-output-filter").code == 0
    assert started.pop().models == {"mine": "."}


def test_what_keeps_it_from_starting_is_one_line(run: Run, tmp_path: Path) -> None:
    state = ["--state", tmp_path / "state", "--port", "0"]
    for words, reason in (
        (["-m", "runs/mine"], "--output-filter"),
        (["--output-filter", "no.such:thing"], "output filter"),
        (["--deny-list", "gone.safetensors"], "gone.safetensors"),
        (["-m", "x=no-such-folder", "--no-output-filter"], "no-such-folder"),
    ):
        done = run("serve", *state, *words)
        assert done.code == 2, (words, done.err)
        assert reason in done.err.splitlines()[-1], done.err


def test_an_address_that_is_taken(run: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("serve", "--state", tmp_path / "state", "--port", port)
    assert done.code == 2
    assert f"127.0.0.1:{port}" in done.err


def test_an_ipv6_address_stands_in_brackets() -> None:
    from personae.serving.api.run import address_of

    assert address_of("::1", 8000) == "http://[::1]:8000"
    assert address_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"


def test_a_deny_list_is_written(run: Run, tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path)
    photo = face_photo(tmp_path / "ann.png")
    target = tmp_path / "denied.safetensors"
    assert run("identity", "deny", photo, "-o", target, "--threshold", "0.7", "--model", model).code == 0
    found = DenyList.load(target)
    assert len(found.vectors) == 1
    assert found.threshold == 0.7


# ---------------------------------------------------------------------- files that start it elsewhere


def commands(text: str) -> list[list[str]]:
    """The commands `personae ...` in a unit or a Dockerfile."""
    unit = re.findall(r"^ExecStart=\S*/(personae .*)$", text, re.MULTILINE)
    docker = re.findall(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)
    return [shlex.split(one) for one in unit] + [[part.strip(' "') for part in one.split(",")] for one in docker]


@pytest.mark.parametrize("name", ["personae.service", "Dockerfile"])
def test_the_command_line_takes_what_they_pass(
    run: Run, started: list[Settings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keys, "read", classmethod(lambda cls, path: cls([Key.of("ann", "a" * 20)])))
    [words] = commands((ROOT / "packaging" / name).read_text())
    assert run(*words[1:]).code == 0
    assert started[0].state.is_absolute()


def test_the_dockerfile_names_what_there_is() -> None:
    """Every file that it copies is there, in the repository and in what is sent to the builder."""
    lines = (ROOT / "packaging" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copies = [line.split()[1:] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    sources = {source for *some, _ in copies for source in some}
    assert sources == {".", "constraints.txt"}
    extras = re.search(r"\[([\w,]+)\]\"", "\n".join(lines))
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    # What the wheel is built of: the sources, and the files that pyproject.toml names.
    named = {project["readme"], *project.get("license-files", ())} - {""}
    built = {"pyproject.toml", "constraints.txt", *(name for name in named if (ROOT / name).is_file())}
    built |= {str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".onnx")}
    assert len(built) > 100
    left_out = sorted(name for name in built if is_ignored(name))
    assert not left_out
    assert is_ignored("tests/conftest.py") or is_ignored(".git/config")  # it says something at all


def is_ignored(name: str) -> bool:
    """Whether .dockerignore leaves a file out: its last line that matches the file, or a folder that it is in."""
    places, found = [name, *map(str, PurePosixPath(name).parents)], False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!").strip("/")
        if not pattern or pattern.startswith("#"):
            continue
        # `**/` is any number of folders; `*` is within one name.
        words = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        if any(re.fullmatch(words.replace(r"\?", "[^/]"), place) for place in places):
            found = not line.startswith("!")
    return found


def test_the_units_paths_fit_together() -> None:
    """systemd makes /var/lib/NAME of StateDirectory; nothing else may be written, so that all must lie there."""
    text = (ROOT / "packaging" / "personae.service").read_text()
    [folder] = re.findall(r"^StateDirectory=(\S+)$", text, re.MULTILINE)
    [words] = commands(text)
    assert words[words.index("--state") + 1] == f"/var/lib/{folder}"
    variables = dict(one.split("=", 1) for one in re.findall(r"\b(XDG_\w+=\S+)", text))
    assert variables.keys() == {"XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    assert all(Path(value).is_relative_to(f"/var/lib/{folder}") for value in variables.values())
    assert "ProtectSystem=strict" in text
    assert "ReadWritePaths" not in text
