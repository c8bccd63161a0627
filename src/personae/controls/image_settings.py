"""The settings of one image, out of those of a call for several people or pictures."""

from collections.abc import Mapping
from typing import Any

from personae.controls import registry
from personae.controls.request import per_person


def settings_of(settings: Mapping[str, Any], person: int, image: int, images: int) -> dict[str, Any]:
    """What requests image number `image` of `images` again, which shows that person."""
    declared = registry.options()

    def own(name: str, value: Any) -> Any:
        each = declared[name].each if name in declared else None
        if each == "person" and per_person(value):
            return value[person]
        if each == "picture" and len(found := pictures(value)) > 1:
            return found[image if len(found) == images else person]
        return value

    return {name: own(name, value) for name, value in settings.items()}


def pictures(value: Any) -> list[Any]:
    """The pictures that a setting records: of files, an object each; of masks, rows of cells each."""
    if not isinstance(value, list):
        return [value]
    of_cells = isinstance(value[0], list) and not isinstance(value[0][0], list)
    return [value] if of_cells else value
