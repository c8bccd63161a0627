"""An onnxruntime session that survives a fork.

    session = Session(lambda: onnxruntime.InferenceSession(content_of(path), options, providers=[...]))
    session.run(["identity"], {"crop": tensor})

A forked child inherits the session and none of its threads: to run it waits for them for ever, and so does to free it.
So the child leaves the parent's alone and opens its own when it first needs one.
"""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import onnxruntime

from personae.types import Array


class Session:
    """`open_`: what opens it, called here and once in every child that runs it."""

    def __init__(self, open_: Callable[[], onnxruntime.InferenceSession]) -> None:
        self._open, self._inner, self._pid = open_, open_(), os.getpid()
        _all.add(self)

    def run(self, names: Sequence[str] | None, inputs: Mapping[str, Array], options: Any = None) -> list[Any]:
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
            self._inner, self._pid = self._open(), os.getpid()
        return self._inner


_all: "WeakSet[Session]" = WeakSet()


def _leave_alone() -> None:
    """In a child: what was inherited is never freed."""
    for session in _all:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session._inner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_alone)
