"""python -m fuzz --seconds 60               # every target in turn; exit code 1 and a file for each finding
python -m fuzz --count 100000              # so many inputs, however long it takes
python -m fuzz --only photo --seed 1234    # one input again

An input may be refused with a `PersonaeError`, or be read. Anything else is a finding: another exception, more than 5
seconds of processor time (or 60 of the clock), more than 1.5 GiB of memory, a question to the network.
"""

import argparse
import faulthandler
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from types import FrameType

from fuzz.targets import TARGETS, Target
from personae.errors import PersonaeError

SECONDS, CLOCK, GROWTH = 5.0, 60.0, 1.5 * 2**30
_MOST_MEMORY = 12 << 30  # of address space: nothing here may take the machine down
# One in so many rounds: these take a hundred times longer than the others.
_DEAR = {"model": 20, "reader": 10, "network": 4, "video": 4, "upload": 20}
_NETWORK = ("socket.getaddrinfo", "socket.connect", "socket.sendto")


class TooLong(BaseException):
    """An input that takes too long; no `Exception`, so that nobody mistakes it for one of a parser's."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS:g} s of processor time, or {CLOCK:g} of the clock")


class Driver:
    """Runs inputs of targets and keeps what it finds."""

    def __init__(self, findings: Path) -> None:
        self._findings, self._folder = findings, Path(tempfile.mkdtemp(prefix="personae-fuzz-"))
        self._targets: dict[str, Target] = {}
        self._asked: list[str] = []
        self.ran, self.read, self.found = Counter[str](), Counter[str](), Counter[str]()
        self.slowest, self.largest = 0.0, 0.0
        sys.addaudithook(lambda event, args: self._asked.append(f"{event} {args!r}") if event in _NETWORK else None)

    def run(self, name: str, seed: int) -> str | None:
        """One input; what was wrong, or None."""
        target, rng = self._target(name), random.Random(f"{name} {seed}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = target.once(rng)
        self._asked.clear()
        _forget_peak()
        before, began = _peak(), time.process_time()
        wrong = self._outcome(name, target, content)
        took, grown = time.process_time() - began, _peak() - before
        self.ran[name] += 1
        self.slowest, self.largest = max(self.slowest, took), max(self.largest, grown)
        if wrong is None and took > SECONDS:
            wrong = f"took {took:.1f} s of processor time"
        if wrong is None and grown > GROWTH:
            wrong = f"took {grown / 2**30:.2f} GiB"
        if wrong is None and self._asked:
            wrong = f"asked the network: {self._asked[0][:200]}"
        if wrong is not None:
            self._keep(name, seed, content, wrong)
        return wrong

    def _outcome(self, name: str, target: Target, content: bytes) -> str | None:
        before = {number: signal.signal(number, _alarm) for number in (signal.SIGALRM, signal.SIGPROF)}
        signal.setitimer(signal.ITIMER_PROF, SECONDS * 1.5)
        waiting = signal.setitimer(signal.ITIMER_REAL, CLOCK)  # a test's own limit, maybe
        faulthandler.dump_traceback_later(CLOCK * 2, exit=True)  # of a library that never comes back to Python
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.read(content)
            self.read[name] += 1
        except PersonaeError as error:
            return None if "\n" not in str(error) else f"an error of several lines: {error}"
        except KeyboardInterrupt:
            raise
        except BaseException:
            return traceback.format_exc(limit=-12)
        finally:
            faulthandler.cancel_dump_traceback_later()
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, *waiting)
            for number, handler in before.items():
                signal.signal(number, handler)
        return None

    def _target(self, name: str) -> Target:
        if name not in self._targets:
            (self._folder / name).mkdir()
            self._targets[name] = TARGETS[name](self._folder / name)
        return self._targets[name]

    def _keep(self, name: str, seed: int, content: bytes, wrong: str) -> None:
        self.found[name] += 1
        self._findings.mkdir(parents=True, exist_ok=True)
        (self._findings / f"{name}-{seed}.input").write_bytes(content)
        again = f"python -m fuzz --only {name} --seed {seed}"
        (self._findings / f"{name}-{seed}.txt").write_text(f"{again}\n\n{wrong}\n", "utf-8", "backslashreplace")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Bytes of memory that this process held at most since the peak was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def _inputs(names: Sequence[str], start: int) -> Iterator[tuple[str, int]]:
    """Targets and seeds without end, the dear targets less often."""
    for turn in count():
        for name in names:
            every = 1 if len(names) == 1 else _DEAR.get(name, 1)
            if turn % every == 0:
                yield name, start + turn // every


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, help="stop after so many")
    options.add_argument("--count", type=int, help="stop after so many inputs")
    options.add_argument("--only", choices=sorted(TARGETS), help="one target")
    options.add_argument("--seed", type=int, help="one input")
    options.add_argument("--start", type=int, default=0, help="the first seed")
    options.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where they are kept")
    told = options.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    driver, names = Driver(told.findings), [told.only] if told.only else list(TARGETS)
    if told.seed is not None:
        wrong = driver.run(names[0], told.seed)
        print(wrong or "nothing wrong")
        return int(wrong is not None)
    began = time.monotonic()
    most = told.count or (1 << 62 if told.seconds else 1000)
    for name, seed in islice(_inputs(names, told.start), most):
        if told.seconds and time.monotonic() - began > told.seconds:
            break
        wrong = driver.run(name, seed)
        if wrong is not None:
            print(f"{name} {seed}: {wrong.strip().splitlines()[-1]}", flush=True)
    for name in names:
        print(f"{name:10} {driver.ran[name]:7} inputs, {driver.read[name]:7} read, {driver.found[name]:4} findings")
    took = time.monotonic() - began
    print(
        f"{sum(driver.ran.values())} inputs in {took:.0f} s; {sum(driver.found.values())} findings; "
        f"at most {driver.slowest:.2f} s of processor time and {driver.largest / 2**30:.2f} GiB for one"
    )
    return int(bool(driver.found))


if __name__ == "__main__":
    sys.exit(main())
