"""The settings of one image, or of some, out of those of a call for several people or pictures.

Legend: a slot is the number of a person and the number of an image: `(0, 3)`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from personae.controls import registry
from personae.controls.request import per_person

Slot = tuple[int, int]


def settings_of(settings: Mapping[str, Any], person: int, image: int, images: int) -> dict[str, Any]:
    """What requests image number `image` of `images` again, which shows that person."""

    def own(name: str, value: Any) -> Any:
        if _of_people(name, value):
            return value[person]
        return _picture(pictures(value), (person, image), images) if _of_pictures(name, value) else value

    return {name: own(name, value) for name, value in settings.items()}


def settings_of_some(
    settings: Mapping[str, Any],
    slots: Sequence[Slot],
    images: int,
    pictures_in: Callable[[Any], list[Any]] | None = None,
) -> dict[str, Any]:
    """The settings of some images of a call for `images`, in the order of their `slots`: several pictures become one
    for each slot, poses and expressions stay one for each person. pictures_in: of a value; None: `pictures`."""

    def own(name: str, value: Any) -> Any:
        found = (pictures_in or pictures)(value) if slots and _of_pictures(name, value) else []
        if len(found) < 2:
            return value
        some = [_picture(found, slot, images) for slot in slots]
        return some[0] if len(some) == 1 else some

    return {name: own(name, value) for name, value in settings.items()}


def options_of_some(options: Mapping[str, Any], slots: Sequence[Slot], images: int) -> dict[str, Any]:
    """The options of a call that makes some of another call's `images` again, each as that of a person of its own: what
    has one for each person or picture has one for each slot."""
    from personae.sampling.known_pictures import each_of  # late: it brings torch

    found = settings_of_some(options, slots, images, each_of)
    return {
        name: [value[person] for person, _ in slots] if _of_people(name, value) else value
        for name, value in found.items()
    }


def _of_people(name: str, value: Any) -> bool:
    """Whether a setting has one value for each person."""
    return _each(name) == "person" and per_person(value)


def _of_pictures(name: str, value: Any) -> bool:
    """Whether a setting is a picture, or several."""
    return _each(name) == "picture" and value is not None


def _each(name: str) -> str | None:
    declared = registry.options()
    return declared[name].each if name in declared else None


def _picture(found: Sequence[Any], slot: Slot, images: int) -> Any:
    """The picture of a slot: of one for all, of one for each image, or of one for each person."""
    person, image = slot
    if len(found) == 1:
        return found[0]
    return found[image if len(found) == images else person]


def pictures(value: Any) -> list[Any]:
    """The pictures that a setting records: of files, an object each; of masks, rows of cells each."""
    if not isinstance(value, list):
        return [value]
    of_cells = isinstance(value[0], list) and not isinstance(value[0][0], list)
    return [value] if of_cells else value
