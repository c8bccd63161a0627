"""Ctrl-C, wherever it meets the program: one line, exit code 130, no traceback.

    interrupt.run(program)

Python raises KeyboardInterrupt at whatever it is just doing. While libraries are imported that becomes an ImportError,
or none at all; in a finaliser or a callback from C it is printed and forgotten, and the program goes on.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

CODE = 130
_AGAIN = 0.05  # seconds until an interrupt that went nowhere is sent anew


class _Stop:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.pressed = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        raise KeyboardInterrupt

    def unraisable(self, failure: Any) -> None:
        """Instead of `sys.unraisablehook`: an interrupt is sent again, when what could not raise it is over."""
        if not issubclass(failure.exc_type, KeyboardInterrupt):
            self.before(failure)
            return
        import _thread
        import threading

        again = threading.Timer(_AGAIN, _thread.interrupt_main)
        again.daemon = True
        again.start()

    before: Callable[[Any], object] = staticmethod(sys.__unraisablehook__)


def run(program: Callable[[], None]) -> None:
    """Run the program; raises `SystemExit` with 130 if Ctrl-C ended it."""
    stop, handler = _Stop(), signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler or not _in_main_thread():
        program()  # someone else's: nohup's, a debugger's
        return
    stop.before = hook = sys.unraisablehook
    signal.signal(signal.SIGINT, stop.handle)
    sys.unraisablehook = stop.unraisable
    try:
        program()
    except SystemExit:
        raise
    except BaseException:
        if not stop.pressed:
            raise
        exec("")  # see `app.main`
        sys.stderr.write("personae: stopped\n")
        raise SystemExit(CODE) from None
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, handler)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
