"""An onnxruntime session that moves between devices and survives a fork.

    session = Session(lambda providers: onnxruntime.InferenceSession(content, options, providers=providers))
    session.run(["identity"], {"crop": tensor})
    session.to("cuda")                          # with onnxruntime-gpu; otherwise it stays on the CPU

A forked child inherits the session and none of its threads: to run it waits for them for ever, and so does to free it.
So the child leaves the parent's alone and opens its own when it first needs one.
"""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import onnxruntime

from personae.shapes import Shaped
from personae.types import Array

Provider = str | tuple[str, dict[str, Any]]  # onnxruntime's name of what computes, alone or with its options
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def providers_for(device: str, offered: Sequence[str] | None = None) -> list[Provider]:
    """What onnxruntime computes with, for a network beside a pipeline on `device`.

    Arguments:
        device: as torch writes it: "cpu", "cuda", "cuda:1", "mps".
        offered: the providers that this build of onnxruntime has; None: it is asked.

    Returns CUDA's provider and then the CPU's if `device` is a CUDA device and onnxruntime offers it, otherwise the
    CPU's alone.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda" or CUDA not in (onnxruntime.get_available_providers() if offered is None else offered):
        return [CPU]
    # Without TF32, whose 10 bits would move identities: the reader's networks are small, and gain little by it.
    return [(CUDA, {"device_id": int(index or 0), "use_tf32": 0}), CPU]


class Session:
    """An `InferenceSession`, on the CPU until `to` moves it.

    open_: opens it with the given providers; called here, once in every forked child that runs it, and when it moves to
    a device that needs other providers.
    """

    def __init__(self, open_: Callable[[list[Provider]], onnxruntime.InferenceSession]) -> None:
        self._open, self._providers = open_, providers_for("cpu")
        self._inner, self._pid = open_(self._providers), os.getpid()
        _all.add(self)

    def to(self, device: str) -> None:
        """Compute on `device` from now on, as far as onnxruntime can (`providers_for`)."""
        if (providers := providers_for(device)) != self._providers:
            self._inner, self._pid = self._open(providers), os.getpid()
            self._providers = providers

    def run(
        self, names: Sequence[str] | None, inputs: Mapping[str, Shaped[Array, " ..."]], options: Any = None
    ) -> list[Any]:
        """See onnxruntime."""
        return list(self._own().run(names, inputs, options))

    def get_inputs(self) -> list[Any]:
        """See onnxruntime."""
        return list(self._own().get_inputs())

    def get_outputs(self) -> list[Any]:
        """See onnxruntime."""
        return list(self._own().get_outputs())

    def _own(self) -> onnxruntime.InferenceSession:
        if self._pid != os.getpid():
            self._inner, self._pid = self._open(self._providers), os.getpid()
        return self._inner


_all: "WeakSet[Session]" = WeakSet()


def _leave_alone() -> None:
    """In a child: what was inherited is never freed."""
    for session in _all:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session._inner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_alone)
