"""What threads of one process may not do at the same time.

    with loading(): ...                  # or, before a function, @loading()
    @one_at_a_time
    def __call__(self, ...): ...         # of a pipeline: a second thread is refused at once

While a model is loaded, the libraries change torch for the whole process: its default dtype (diffusers, transformers),
how weights are made and filled (accelerate, peft, transformers). Whoever else makes a tensor meanwhile gets another one
than it asked for, or one without content. So loading waits until nobody computes, and who wants to compute waits until
all is loaded. Pipelines that are loaded compute side by side, each in one thread.
"""

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from personae.errors import PipelineBusy

S = TypeVar("S")
P = ParamSpec("P")
_PATIENCE = 30.0  # seconds
R = TypeVar("R")


class _Turns:
    """Any number of threads that compute, or one that loads."""

    def __init__(self) -> None:
        self.used = False
        self._changed = threading.Condition()
        self._computing: dict[int, int] = {}  # how deep, by thread
        self._loader: int | None = None
        self._depth = 0
        self._waiting = 0  # who want to load: nobody begins to compute before them

    @contextmanager
    def loading(self) -> Iterator[None]:
        me = threading.get_ident()
        with self._changed:
            # A thread that computes and finds that it must load a part first is not computing meanwhile.
            depth = self._computing.pop(me, 0)
            self._changed.notify_all()
            self.used = True
            if self._loader != me:
                self._wait_to_load(me, depth)
            self._depth += 1
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                if self._depth == 0:
                    self._loader = None
                if depth:
                    self._computing[me] = depth
                self._changed.notify_all()

    def _wait_to_load(self, me: int, depth: int) -> None:
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: self._loader is None and not self._computing)
            self._loader = me
        except BaseException:  # Ctrl-C
            if depth:
                self._computing[me] = depth
            raise
        finally:
            self._waiting -= 1

    @contextmanager
    def computing(self) -> Iterator[None]:
        me = threading.get_ident()
        with self._changed:
            if me not in self._computing and self._loader != me:
                # Those who wait to load first, or they might never; but not for ever: the one that they wait for may
                # itself be waiting for us.
                self._changed.wait_for(lambda: self._loader is None and not self._waiting, timeout=_PATIENCE)
                self._changed.wait_for(lambda: self._loader is None)
            self.used = True
            self._computing[me] = self._computing.get(me, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._computing[me] -= 1
                if not self._computing[me]:
                    del self._computing[me]
                self._changed.notify_all()


_turns = _Turns()
_owners: "WeakKeyDictionary[Any, threading.RLock]" = WeakKeyDictionary()  # by network that a call patches
_guard = threading.Lock()


@contextmanager
def loading() -> Iterator[None]:
    """Networks are made and filled in the block (or, as a decorator, the function), by this thread alone; it waits
    until nobody computes. May be nested, and used while computing. Inside a callback, do not wait for a thread that
    loads: it waits for the call."""
    with _turns.loading():
        yield


def one_at_a_time(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method of a pipeline in which its UNet and its text encoder are patched: for one thread at a time, whichever
    pipelines share one of the two. Raises `PipelineBusy` in a second one."""

    @functools.wraps(method)
    def alone(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        networks = (self.unet, self.text_encoder)  # type: ignore[attr-defined]
        with _guard:
            owners = [_owners.setdefault(network, threading.RLock()) for network in networks]
        with ExitStack() as owned:
            for owner in owners:
                if not owner.acquire(blocking=False):
                    raise PipelineBusy(
                        "this model is at work for another thread, and serves one call at a time: give each thread a "
                        "pipeline of its own (personae.load in each), or let one thread serve the others from a queue"
                    )
                owned.callback(owner.release)
            with _turns.computing():
                return method(self, *args, **options)

    return alone


class WhileAny(AbstractContextManager[None]):
    """A change of the whole process, for as long as any thread wants it: made by the first, undone by the last."""

    def __init__(self, change: Callable[[], AbstractContextManager[Any]]) -> None:
        self._change, self._lock, self._count = change, threading.Lock(), 0
        self._inside: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside is None:
                inside = self._change()
                inside.__enter__()
                self._inside = inside
            self._count += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._inside is not None:
                inside, self._inside = self._inside, None
                inside.__exit__(None, None, None)


def _renew() -> None:
    """A forked child begins with what its one thread holds: nothing. torch's workers are gone, too, and whoever shares
    work out to them waits for ever; so a child of a process that has computed works alone, as PyTorch's own do."""
    global _turns, _guard
    computed = _turns.used
    _turns, _guard = _Turns(), threading.Lock()
    _owners.clear()
    if computed and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
