"""Nothing is phoned home and nothing is written where nobody looks: docs/guides/safety.md's promise, watched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personae import telemetry
from watched import needs_strace, watched

# What onnxruntime does with its telemetry on, in small: a process that opens a socket and writes below the home folder.
LOUD = """
import pathlib, socket
socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(("::1", 9))
(pathlib.Path.home() / "deviceid").write_text("x")
"""


def test_every_switch_is_set_before_a_library_can_read_it() -> None:
    code = "import personae, os, json; print(json.dumps(dict(os.environ)))"
    env = {name: value for name, value in os.environ.items() if name not in telemetry.SWITCHES}
    loud = env | {"HF_HUB_DISABLE_TELEMETRY": "0"}  # what was on is switched off
    for given in (env, loud):
        done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
        assert telemetry.SWITCHES.items() <= json.loads(done.stdout).items()


@needs_strace
def test_the_watch_sees_a_process_that_is_not_quiet(tmp_path: Path) -> None:
    record = watched([sys.executable, "-c", LOUD], tmp_path, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert sum("socket(AF_INET" in call for call in record.sockets) == 2
    assert sum("connect(" in call for call in record.sockets) == 1
    assert tmp_path / "deviceid" in record.written


@needs_strace
@pytest.mark.parametrize("switch", [True, False])
def test_onnxruntime_keeps_quiet_because_of_the_switch(
    tmp_path: Path, switch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = "import personae, onnxruntime" if switch else "import onnxruntime"
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")  # this process has imported personae
    record = watched([sys.executable, "-c", code], tmp_path, cwd=tmp_path, env=env)
    assert record.done.returncode == 0, record.done.stderr
    if switch:
        assert not list(home.iterdir())
        assert not record.sockets
    elif not list(home.iterdir()):
        pytest.skip("this onnxruntime sends nothing of its own accord")
