"""Ctrl-C while libraries are imported, inside a finaliser, and wherever else Python would lose it or print it."""

import subprocess
import sys
import textwrap

import pytest


def ended(code: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


AT_IMPORT = """
import signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            signal.raise_signal(signal.SIGINT)
wanted = sys.argv.pop(1)
sys.meta_path.insert(0, Press())
from personae.cli import main
main()
"""


@pytest.mark.parametrize("module", ["personae.cli.app", "typer", "personae.cli.generate", "personae.models.catalog"])
def test_while_libraries_are_imported(module: str) -> None:
    done = ended(AT_IMPORT, module, "models")
    assert done.returncode == 130
    assert done.stderr == "personae: stopped\n"


WITHIN = """
import signal, sys, time, weakref
from personae.cli.interrupt import run

class Finalised:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def finaliser():
    one = Finalised()
    del one
    wait()

class Plain:
    pass

def callback():
    one = Plain()
    reference = weakref.ref(one, lambda _: signal.raise_signal(signal.SIGINT))
    del one
    wait()

def swallowed():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ImportError("a module is broken")

def wait():
    for _ in range(1000):
        time.sleep(0.01)

def bug():
    1 / 0

run(globals()[sys.argv[1]])
print("went on")
"""


@pytest.mark.parametrize("place", ["finaliser", "callback", "swallowed"])
def test_where_python_would_lose_it(place: str) -> None:
    done = ended(WITHIN, place)
    assert done.returncode == 130
    assert done.stderr == "personae: stopped\n"
    assert done.stdout == ""


def test_a_bug_is_still_a_traceback() -> None:
    done = ended(WITHIN, "bug")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
