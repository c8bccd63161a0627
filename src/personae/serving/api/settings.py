"""What an operator chooses of a server."""

import importlib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personae.errors import BadOption
from personae.io.user_folders import cache_folder
from personae.serving.api.keys import Key, Keys

LOOPBACK = "127.0.0.1"
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one server.

    host, port: where it listens. state: its folder, for jobs and their files. models: names, or names with where each
    comes from. keys: who may ask; empty: anyone, which only a loopback address may. allowed_hosts: names that a request
    may be addressed to, beside the loopback's. most_bytes: of a request. body_seconds: that a request's body may pause,
    and after which it must have come at `body_rate` bytes a second. streams: answers that one owner may hold open,
    events of a job or a wait for its end; stream_seconds: after which one ends. most_waiting: jobs in the queue.
    at_once: jobs in the engine. job_seconds: that a job may take, waiting included, and a client may say fewer;
    results_for: seconds that its results stay. lease: seconds until a job is begun again that the database calls
    running and nobody works on. deny_list: a file of `safety.DenyList`. output_filter: `package.module:function`, asked
    about every picture; without_filter: serve models that need one without. memory: bytes for the weights of models.
    page: serve `personae.serving.page`, too, if nobody else can reach this server (`page_mount`).

    Raises `BadOption` for a public address without a key.
    """

    host: str = LOOPBACK
    port: int = 8000
    state: Path = field(default_factory=lambda: cache_folder() / "server")
    models: Mapping[str, Any] = field(default_factory=lambda: {"nano": "nano"})
    device: str | None = None
    keys: Keys = field(default_factory=Keys)
    allowed_hosts: tuple[str, ...] = ()
    most_bytes: int = 64 * MIB
    body_seconds: float = 30.0
    body_rate: float = 32 * 1024
    streams: int = 128
    stream_seconds: float = 600.0
    most_waiting: int = 256
    at_once: int = 32
    job_seconds: float = 3600.0
    results_for: float = 3600.0
    lease: float = 300.0
    deny_list: Path | None = None
    output_filter: str | None = None
    without_filter: bool = False
    memory: int | None = None
    page: bool = False

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.keys:
            raise BadOption(
                f"{self.host} can be reached from other machines: give a file of keys (--keys FILE), or listen on "
                f"{LOOPBACK}"
            )
        if not 0 <= self.port <= 65535:
            raise BadOption(f"a port lies between 0 and 65535, got {self.port}")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone. A name other than localhost may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def filter_of(name: str) -> Callable[[Any], str | None]:
    """The function that `package.module:function` names. Raises `BadOption` if there is none."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadOption(f"an output filter is named package.module:function; {name!r} is none: {error}") from error
    if not callable(found):
        raise BadOption(f"the output filter {name!r} is no function")
    return found


__all__ = ["Key", "Settings", "filter_of", "is_loopback"]
