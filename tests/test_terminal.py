"""What strangers' files say reaches the terminal as words, never as orders to it."""

import ast
import json
from pathlib import Path

import pytest

import personae
from cli_fixtures import Run, fails
from personae import console, identity
from personae.types import Identity

ROOT = Path(personae.__file__).parent
NASTY = "\x1b]0;owned\x07\x1b[31mred\u202eder\x9b2J\x7f\r"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("me.jpg", "me.jpg"),
        ("Zoë 王 👩‍💻 می‌خواهم", "Zoë 王 👩‍💻 می‌خواهم"),
        ("\x1b[2J\x07\x00\x7f", r"\x1b[2J\x07\x00\x7f"),
        ("a\nb\rc\td", r"a\x0ab\x0dc\x09d"),
        ("\x9b31m", r"\x9b31m"),
        ("left\u202etfel\u2066x\u200f", r"left\u202etfel\u2066x\u200f"),
        ("\udcff\u2028\U000e0041", r"\udcff\u2028\U000e0041"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert console.plain(text) == shown


def steers(text: str) -> bool:
    return any(console.plain(line) != line for line in text.splitlines()) or "\r" in text


def test_every_way_out_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(NASTY, Path(NASTY))
    console.note(f"{NASTY} {NASTY}" + "x" * 10**6)
    console.say_json({"note": NASTY})
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 5  # what was a line is one
    assert len(shown.err) < 5000
    assert not steers(shown.out)
    assert not steers(shown.err)
    assert json.loads("\n".join(shown.out.splitlines()[2:])) == {"note": NASTY}


def test_files_and_their_names_cannot_write_to_the_terminal(run: Run, tmp_path: Path) -> None:
    who = Identity(vector=[1.0] * 128, space=f"other/arcface/{NASTY}")
    identity.save(tmp_path / "a.identity", who)
    (tmp_path / f"{NASTY}.png").write_bytes(b"no picture")
    for typed in (
        ("inspect", tmp_path / "a.identity"),
        ("inspect", tmp_path / f"{NASTY}.png"),
        ("generate", tmp_path / "a.identity", "-m", "nano"),
        ("read", tmp_path / f"{NASTY}.png"),
    ):
        done = run(*typed)
        assert not steers(done.out), typed
        assert not steers(done.err), typed
    fails(run("read", tmp_path / f"{NASTY}.png"), r"\x1b]0;owned\x07")


def test_verbs_print_through_the_terminal_alone() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        if path.name in (
            "console.py",
            "interrupt.py",
        ):  # it says one fixed line, amid imports
            continue
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if __name__ ==")]
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in ("print", "typer.echo", "typer.secho", "click.echo"), (path, node.lineno)
            assert not called.startswith(("sys.stdout.write", "sys.stderr.write")), (path, node.lineno)
