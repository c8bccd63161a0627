"""Lines of the shell that make what the page makes.

    generate(["me.jpg"], {"prompt": "a smiling {person}"}, seed=7)
    # personae generate me.jpg --seed 7 --prompt 'a smiling {person}'

Files go by the names that they were uploaded with, a model by where it comes from. What the page sets beyond the
command line does not exist: its forms offer the options that have a flag.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personae.controls import registry

DEFAULT_MODEL = "nano"  # of the command line


def generate(
    people: Sequence[str | Path], options: Mapping[str, Any], *, seed: int, model: str | None = None, **more: Any
) -> str:
    """`personae generate`. more: further flags, e.g. blend=0.5, shift="age=1.5"."""
    return _line(["personae", "generate", *_names(people), "--seed", str(seed)], {**more, **flags(options)}, model)


def averaged(
    photos: Sequence[str | Path], options: Mapping[str, Any], *, seed: int, model: str | None = None, **more: Any
) -> str:
    """The same of one person in several photos; of one photo, `generate`."""
    if len(photos) == 1:
        return generate(photos, options, seed=seed, model=model, **more)
    mean = _line(["personae", "identity", "mean", *_names(photos), "-o", "person.identity"], {}, model)
    return f"{mean} && {generate(['person.identity'], options, seed=seed, model=model, **more)}"


def edit(
    task: str,
    photos: Sequence[str | Path],
    options: Mapping[str, Any],
    *,
    seed: int,
    model: str | None = None,
    **more: Any,
) -> str:
    """`personae edit TASK`. more: further flags; a list says one several times."""
    return _line(["personae", "edit", task, *_names(photos), "--seed", str(seed)], {**more, **flags(options)}, model)


def sample(seed: int, *, model: str | None = None) -> str:
    """`personae identity sample`: writes the file that `stranger` names."""
    return _line(["personae", "identity", "sample", "--seed", str(seed), "-o", "people"], {}, model)


def stranger(seed: int) -> str:
    """Where `sample` puts the person of a seed."""
    return f"people/stranger{seed}-0.identity"


def animate(
    photo: str | Path, driver: str | Path, options: Mapping[str, Any], *, model: str | None, **more: Any
) -> str:
    """`personae edit animate`."""
    return _line(["personae", "edit", "animate", *_names([photo, driver])], {**more, **flags(options)}, model)


def amounts(values: Mapping[str, float]) -> str:
    """`smile=0.8,jawOpen=0.2`."""
    return ",".join(f"{name}={number(value)}" for name, value in values.items())


def number(value: float) -> str:
    """A number as it is typed: short, and read back as this very one."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def flags(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a request by their flags. Files by name, amounts and numbers as they are typed."""
    known = registry.options()
    return {_flag(known, name): _typed(value) for name, value in options.items()}


def _flag(known: Mapping[str, Any], name: str) -> str:
    return str(known[name].flags(name)[0]) if name in known else name


def _typed(value: Any) -> str:
    if isinstance(value, Mapping):
        return amounts(value)
    if isinstance(value, list | tuple):
        return ",".join(number(one) for one in value)
    if isinstance(value, float):
        return number(value)
    return Path(value).name if isinstance(value, Path) else str(value)


def _names(files: Sequence[str | Path]) -> list[str]:
    return [one.name if isinstance(one, Path) else one for one in files]


def _line(words: Sequence[str], flags: Mapping[str, Any], model: str | None) -> str:
    whole = list(words)
    for name, value in flags.items():
        flag = name if name.startswith("-") else f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                whole.append(flag)
            elif str(one).startswith("-"):
                whole.append(f"{flag}={one}")
            else:
                whole += [flag, str(one)]
    if model not in (None, DEFAULT_MODEL):
        whole += ["--model", str(model)]
    return shlex.join(whole)
