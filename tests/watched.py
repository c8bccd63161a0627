"""What a command did to the machine, as the kernel saw it: strace's record of sockets and of files that it wrote.

    record = watched([sys.executable, "-c", code], folder, cwd=folder)
    record.sockets, record.written

Native libraries open sockets behind Python's back, where an audit hook sees nothing; strace does.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: nothing can watch")
_CALLS = "socket,connect,sendto,sendmsg,bind,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,symlink"
_OPENED = re.compile(
    r'open(?:at)?\((?:AT_FDCWD<(?P<at>[^>]*)>|\d+<(?P<fd>[^>]*)>)?,? ?"(?P<name>[^"]*)", (?P<how>[A-Z_|]+)'
)
_MADE = re.compile(r'(?:mkdir|mkdirat|rename|renameat2?|link|symlink)\(.*"(?P<name>[^"]*)"')
_SOCKET = re.compile(r"(?:socket|connect|sendto|sendmsg|bind)\(.*")
_INODE = re.compile(r"socket:\[\d+\]|(?:TCP|UDP)v?6?:\[[^\]]*\]")
_PROBE = 'inet_pton(AF_INET6, "::1"'  # urllib3 asks at import whether this machine has IPv6: bound to itself, then shut
_LOCAL = ("AF_UNIX", "AF_NETLINK")  # the machine's own services and a question about its interfaces: nothing leaves it


@dataclass(frozen=True, kw_only=True)
class Record:
    """`sockets`: the calls of a network, as strace prints them, but urllib3's question whether there is IPv6.
    `written`: files and folders that were opened for writing, made, or renamed to. `home`: the user's. `done`: the
    finished process."""

    sockets: list[str]
    written: list[Path]
    home: Path
    done: "subprocess.CompletedProcess[str]"


def watched(command: Sequence[str], folder: Path, *, cwd: Path, env: dict[str, str]) -> Record:
    """Run a command under strace. folder: where the record lies; env: on top of this process's."""
    log = folder / "strace.log"
    traced = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-s",
        "4096",
        "--seccomp-bpf",
        "-e",
        f"trace={_CALLS}",
        "-o",
        str(log),
        *command,
    ]
    done = subprocess.run(traced, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)
    sockets, written = [], []
    for line in log.read_text(errors="replace").splitlines():
        if " = -1 " in line and not _SOCKET.search(line):
            continue  # nothing was opened
        if _SOCKET.search(line) and not any(kind in line for kind in _LOCAL):
            sockets.append(line)
        elif (opened := _OPENED.search(line)) and re.search("O_(WRONLY|RDWR|CREAT)", opened["how"]):
            written.append(Path(opened["at"] or opened["fd"] or "/") / opened["name"])
        elif made := _MADE.search(line):
            written.append(cwd / made["name"])
    probes = {inode for line in sockets if "bind(" in line and _PROBE in line for inode in _INODE.findall(line)}
    sockets = [
        line for line in sockets if not probes & set(_INODE.findall(line)) or "connect(" in line or "send" in line
    ]
    return Record(sockets=sockets, written=written, home=_home(env), done=done)


def plainly(command: Sequence[str], folder: Path, *, cwd: Path, env: dict[str, str]) -> Record:
    """The same where nothing can watch."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)
    return Record(sockets=[], written=[], home=_home(env), done=done)


def _home(env: dict[str, str]) -> Path:
    return Path(env.get("HOME", Path.home()))
