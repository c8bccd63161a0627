"""What libraries import and a start seldom needs is imported when it is first used: for the program, not for Python.

    late_imports.install()  # before diffusers and transformers are imported; the command line does it

`import personae` does not: how imports behave in somebody else's program is theirs to decide. A package of `LATE` is
there at once, and its code runs when a name of it is first wanted. They are a fifth of a command's start: a compiler,
statistics, and a hundred networks besides the one that runs. Where a library no longer imports them, nothing
is late, and nothing is wrong. accelerate does the same for one of torch's names (`accelerate.hooks`).
"""

import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import MappingProxyType, ModuleType
from typing import Any


class _Nobody:
    """What nothing is an instance of."""


class _EvalFrame:
    """torch._dynamo.eval_frame, while nothing can have been compiled yet: whoever asks whether a network is compiled
    hears that it is not. Any other name is the real module's."""

    OptimizedModule = _Nobody

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("torch._dynamo.eval_frame"), name)


def _allow_in_graph(function: Any) -> Any:
    """torch._dynamo's: remembered until there is a compiler to hear of it."""
    _allowed.append(function)
    return function


def _assume_constant_result(function: Any) -> Any:
    """torch._dynamo's, as written there."""
    function._dynamo_marked_constant = True
    return function


def _disable(function: Any = None, recursive: bool = True, **more: Any) -> Any:
    """torch._dynamo's: carried out at the first call after the compiler came; before it there is nothing to disable."""
    if function is None:
        return lambda it: _disable(it, recursive, **more)
    real: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        dynamo = sys.modules["torch._dynamo"]
        if isinstance(dynamo, _Late):
            return function(*args, **settings)
        if not real:
            real.append(dynamo.disable(function, recursive, **more))
        return real[0](*args, **settings)

    return call


def _assignment(*args: Any, **settings: Any) -> Any:
    """scipy.optimize.linear_sum_assignment."""
    optimize = sys.modules["scipy.optimize"]
    if isinstance(optimize, _Late):
        optimize.run()
    return optimize.linear_sum_assignment(*args, **settings)


_allowed: list[Any] = []
# Packages whose code runs late, and the names of each that are answered without it.
LATE: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "diffusers.models.autoencoders": {},  # imports every autoencoder there is
        "diffusers.models.transformers": {},  # every transformer; a UNet wants two files of them
        "scipy.integrate": {},  # one of diffusers' schedulers
        "scipy.optimize": {"linear_sum_assignment": _assignment},  # losses of detectors, which transformers imports
        "scipy.stats": {},  # one kind of sigmas, in each of diffusers' schedulers
        "torch._dynamo": {
            "allow_in_graph": _allow_in_graph,
            "assume_constant_result": _assume_constant_result,
            "disable": _disable,
            "eval_frame": _EvalFrame(),
        },
    }
)
# Below these, a module may be imported before its package's code has run: none of theirs needs it.
_ALONE = ("diffusers.models.", "torch._dynamo._trace_wrapped_higher_order_op")


class _Late(ModuleType):
    """A package whose code has not run yet. It runs when a name is wanted."""

    def __getattr__(self, name: str) -> Any:
        if name in LATE[self.__name__]:
            return LATE[self.__name__][name]
        if name.startswith("__") and name != "__all__":  # of Python's own, for which nobody wants the code
            raise AttributeError(name)
        self.run()
        return ModuleType.__getattribute__(self, name)  # its own by now, or an AttributeError

    def run(self) -> None:
        """Run the package's code, if it has not."""
        loader = self.__spec__.loader  # type: ignore[union-attr]
        assert isinstance(loader, _LateLoader)
        loader.run(self)


class _LateLoader(Loader):
    """Creates a package at once and runs its code later, once."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = threading.RLock()
        self._began = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # get_source and the like

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Late

    def run(self, module: ModuleType) -> None:
        """Run a package's code, if it has not."""
        with self._lock:
            if self._began:  # by another thread, which is through; or by this one, which is in the midst of it
                return
            self._began = True
            try:
                self._loader.exec_module(module)
            except BaseException:
                self._began = False
                raise
            module.__class__ = ModuleType
            if module.__name__ == "torch._dynamo":
                for one in _allowed:
                    module.allow_in_graph(one)
                _allowed.clear()


class _Known(Loader):
    """Answers for a module that its package's code has imported meanwhile."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__
        module.__spec__ = None  # or Python takes this one instead of ours, and runs the module's code again

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Finder:
    """Finds what is late, and what lies below it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As of `importlib.abc.MetaPathFinder`; None for all else."""
        if name in LATE:
            spec = PathFinder.find_spec(name, path)
            if spec is not None and spec.loader is not None:
                spec.loader = _LateLoader(spec.loader)
            return spec
        above = sys.modules.get(name.rpartition(".")[0])
        if not isinstance(above, _Late) or name.startswith(_ALONE):
            return None
        above.run()
        return ModuleSpec(name, _Known(sys.modules[name])) if name in sys.modules else None


def install() -> None:
    """Make the packages of `LATE` late in this process, those that are imported already apart."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
