"""Recipes: how an image was made, as JSON inside it. Read as a stranger's text; `recipe_schema` says what one may hold.

    recipe = read_recipe("me-seed7.png")        # what the file says
    checked(recipe)                             # ... in today's format, every value in its range: BadRecipe if not
    needed(checked(recipe))                     # {"target": {"sha256": "1f0c...", "name": "me.jpg"}}: files to be given
    past("me-seed7.png")                        # its history, as another recipe holds it: [{"task": "edit", ...}]

A recipe holds hashes of the files that took part and at most their names, and opens none of them.
"""

import base64
import binascii
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import PureWindowsPath
from typing import Any

import numpy as np

from personae.errors import BadIdentity, BadImage, BadRecipe
from personae.io.json_kinds import FILE, excerpt
from personae.provenance.recipe_schema import AROUND, FILES, HISTORY, HISTORY_SETTINGS, RECIPE, require
from personae.reading.metadata import FIRST_KEYS, MAX_TEXT, RECIPES, like_a_recipe, text_of
from personae.types import Identity

FORMAT = f"{RECIPES}2"
ANIMATE = "animate"  # the task of a video, whose text has no format
GENERATE, EDIT = "generate", "edit"  # a recipe's task: of new pictures of people, or of an edit
MASK = "mask"  # what an edit's recipe calls the picture of what is made anew
PHOTO = "photo"  # what a generation's input is called
DEPTH = 24  # of objects in objects
_MOST_EARLIER = 32  # edits in the history of one photo
# What EXIF takes in a JPEG's segment of 64 kB, less what stands around the text.
_ROOM = {"jpg": 65_533 - 300, "png": MAX_TEXT, "webp": MAX_TEXT}


# ---------------------------------------------------------------------- reading


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe inside an image file. Raises `BadImage` if it is no image or carries none, `BadRecipe` if damaged."""
    return required(find_recipe(path), path)


def required(recipe: dict[str, Any] | None, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe that a file carries. Raises `BadImage` if it carries none."""
    if recipe is None:
        raise BadImage(f"{path} carries no recipe: it was not written by personae, or a program stripped it")
    return recipe


def find_recipe(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The recipe inside an image file, None if it carries none. Raises `BadImage` if it is no image, `BadRecipe` if the
    recipe is damaged. Its values are still a stranger's: see `checked`."""
    text = text_of(path)
    try:
        recipe = None if text is None else parsed(text)
    except BadRecipe as error:
        raise BadRecipe(f"the recipe in {path} is damaged: {error}") from error
    if recipe is not None and not set(FIRST_KEYS) <= recipe.keys():
        raise BadRecipe(f"the recipe in {path} is damaged: it lacks the model, its settings or the seed")
    return recipe


def in_video(notes: Mapping[str, str]) -> dict[str, Any] | None:
    """The recipe in a video's metadata (`video_file.notes`); None: there is none, and the comment, if there is one, is
    another program's. Raises `BadRecipe` if it is damaged."""
    comment = notes.get("comment")
    try:
        found = None if comment is None else parsed(comment)
    except BadRecipe:
        if comment is not None and like_a_recipe(comment.encode("utf-8", "replace")):
            raise
        return None
    return found if found is not None and is_recipe(found) else None


def is_recipe(found: Mapping[str, Any]) -> bool:
    """Whether an object is a recipe: of an image of any version, or what a video's metadata hold in its place."""
    named = str(found.get("format")).startswith(RECIPES) or set(FIRST_KEYS) <= found.keys()
    return named or (found.get("task") == ANIMATE and found.get("ai_generated") is True)


def parsed(text: str) -> dict[str, Any]:
    """A JSON object out of a stranger's text. Raises `BadRecipe` for anything else, also if it is nested too deep."""
    if len(text) > MAX_TEXT:
        raise BadRecipe(f"it has more than {MAX_TEXT} letters")
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise BadRecipe(f"it is nested more than {DEPTH} deep") from error
    except ValueError as error:
        raise BadRecipe(str(error)) from error
    if not isinstance(found, dict):
        raise BadRecipe("it is no object")
    level: list[Any] = [found]
    for _ in range(DEPTH):
        level = [inner for one in level for inner in _inside(one)]
    if level:
        raise BadRecipe(f"it is nested more than {DEPTH} deep")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _inside(one: Any) -> Iterator[Any]:
    return (inner for inner in (one.values() if isinstance(one, dict) else one) if isinstance(inner, dict | list))


def checked(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of any version as one of today's, every value of a type and in a range that a pipeline may be asked for,
    and nothing in it that is not in the tables. Raises `BadRecipe`."""
    now = _of_today(recipe)
    require(RECIPE, now, "the recipe")
    if now["task"] == EDIT and not (isinstance(now.get("edit"), dict) and isinstance(now.get("inputs"), dict)):
        raise BadRecipe("the recipe of an edit lacks the edit, or what it was made of")
    if now["task"] != EDIT and isinstance(now.get("inputs"), dict):
        raise BadRecipe("inputs of the recipe must be a list, got an object")
    rest = {name: now[name] for name, kind in AROUND.items() if name in now and kind.fits(now[name])}
    if "earlier" in now:
        rest["earlier"] = history(_listed(now["earlier"]))
    return {name: now[name] for name in (*RECIPE.needed, *RECIPE.may) if name in now} | rest


def needed(recipe: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of a checked recipe: the files without which its image cannot be made again, by what `replay` calls them, each
    with its `sha256` and `name` where the recipe holds them."""
    files = {name: value for name, value in recipe["settings"].items() if _is_file(value)}
    if recipe["task"] == EDIT:
        files |= recipe["inputs"]
    elif recipe.get("identity") is None and recipe.get("input") is not None:
        files[PHOTO] = {"sha256": recipe["input"]["sha256"]}
    return files


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and value.keys() <= FILE.may.keys()


def recipe_identity(recipe: Mapping[str, Any]) -> Identity | None:
    """The person a recipe holds, or None if it was written without."""
    return None if recipe.get("identity") is None else stored_identity(recipe["identity"])


def stored_identity(stored: Any) -> Identity:
    """What `as_stored` made. Raises `BadIdentity`."""
    try:
        vector = np.frombuffer(base64.b64decode(stored["vector"], validate=True), "<f4")
        return Identity(vector=vector, space=str(stored["space"]))
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise BadIdentity(f"the identity in this recipe is damaged: {error}") from error


def as_stored(identity: Identity) -> dict[str, str]:
    """An identity as a recipe holds it."""
    return {"space": identity.space, "vector": base64.b64encode(identity.vector.astype("<f4").tobytes()).decode()}


# ---------------------------------------------------------------------- the first version


def _of_today(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of version 1, which named files by their paths, with names and hashes in their place."""
    if recipe.get("format") == FORMAT:
        return dict(recipe)
    if "format" in recipe:
        raise BadRecipe(f"its format is {excerpt(recipe['format'])}, this version reads {FORMAT}: use a newer personae")
    now = {"task": GENERATE, "noise": "seed"} | dict(recipe) | {"format": FORMAT}
    settings = now.get("settings")
    if isinstance(settings, dict):
        now["settings"] = {name: _named(value) if name in FILES else value for name, value in settings.items()}
    inputs = now.get("inputs")
    if isinstance(inputs, dict):
        now["inputs"] = {name: _input_of_today(facts) for name, facts in inputs.items()}
    return now


def _named(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("file"), str):  # as a LoRA was
        return _named(value["file"]) | {name: one for name, one in value.items() if name != "file"}
    if not isinstance(value, str):
        return value
    if value.startswith("sha256:"):
        return {"sha256": value.removeprefix("sha256:")}
    return {"name": PureWindowsPath(value).name[-255:]}  # knows both kinds of slashes


def _input_of_today(facts: Any) -> Any:
    if not isinstance(facts, dict) or not isinstance(facts.get("photo"), str):
        return facts
    rest = {name: value for name, value in facts.items() if name != "photo" and value is not None}
    return _named(facts["photo"]) | rest


# ---------------------------------------------------------------------- what goes on


def past(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """How a photo was made, if personae made it: its recipe and those inside it, oldest first, as `history` does. A
    damaged recipe is left out with a warning: the photo is still a photo."""
    try:
        recipe = find_recipe(path)
    except BadRecipe as error:
        warnings.warn(f"{error}; the photo is used without its history", stacklevel=2)
        return []
    except BadImage:  # a format that carries none
        return []
    return [] if recipe is None else history([*_listed(recipe.get("earlier")), recipe])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def history(recipes: list[Any]) -> list[dict[str, Any]]:
    """Recipes as the history that another recipe holds: of each, the values that their rows of `HISTORY` allow; no
    identity, no mask, nothing that is not in the tables."""
    found = []
    for recipe in recipes[-_MOST_EARLIER:]:
        try:
            now = _of_today(recipe) if isinstance(recipe, dict) else {}
        except BadRecipe:
            continue
        one = {name: now[name] for name, kind in HISTORY.items() if name in now and kind.fits(now[name])}
        settings = now.get("settings")
        if isinstance(settings, dict):
            right = {n: settings[n] for n, kind in HISTORY_SETTINGS.items() if n in settings and kind.fits(settings[n])}
            one["settings"] = right
        if "model" in one:
            one["model"] = one["model"] | {"name": PureWindowsPath(one["model"]["name"]).name}
        if one.keys() - {"format"}:
            found.append(one)
    return found


def nameless(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without the names of the files that took part in it, or in what was before it; their hashes stay."""
    found = dict(recipe)
    for part in ("settings", "inputs"):
        if isinstance(found.get(part), dict):
            found[part] = {name: _nameless(value) for name, value in found[part].items()}
    if "earlier" in found:
        found["earlier"] = [nameless(one) for one in found["earlier"]]
    return found


def _nameless(value: Any) -> Any:
    if not isinstance(value, dict) or not value.keys() & {"sha256", "name"}:
        return value
    return {name: one for name, one in value.items() if name != "name"}


# ---------------------------------------------------------------------- writing


def canonical(recipe: Mapping[str, Any]) -> str:
    """A recipe as JSON in one order and one spelling: equal recipes are equal texts."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"))


def as_text(recipe: Mapping[str, Any], format: str) -> str:  # noqa: A002
    """A recipe as JSON that has room in a file of a format. What has none is left out, the details of earlier edits
    first, with a warning, and named in `left_out`."""
    whole = dict(recipe)
    lost: list[str] = []
    for leave_out in (None, _thin, *(_without(*names) for names in _IN_THIS_ORDER)):
        if leave_out is not None:
            before = whole
            whole = leave_out(whole)
            changed = {name for name in before if before[name] != whole.get(name)}
            lost += sorted(changed - {*lost, "left_out"})
            whole |= {"left_out": lost}
        text = canonical(whole)
        if len(text) <= _ROOM[format]:
            break
    if lost:
        _say_left_out(format, lost)
    return text


def warn_of_history(earlier: list[dict[str, Any]], format: str) -> None:  # noqa: A002
    """Say before an edit what `as_text` would say after it."""
    if len(json.dumps(earlier, separators=(",", ":"))) > _ROOM[format] - 2**13:  # a recipe's own part is below 8 kB
        _say_left_out(format, ["earlier"])


def _say_left_out(format: str, lost: list[str]) -> None:  # noqa: A002
    what = "the details of earlier edits" if lost == ["earlier"] else ", ".join(lost)
    warnings.warn(f"a {format} file has no room for the whole recipe: {what} left out; a PNG holds more", stacklevel=4)


def _thin(recipe: dict[str, Any]) -> dict[str, Any]:
    """Of earlier edits only which task it was, by which model, from which seed."""
    if "earlier" not in recipe:
        return recipe
    names = ("format", "task", "seed", "model")
    thin = [{name: one[name] for name in names if name in one} for one in recipe["earlier"]]
    return recipe | {"earlier": thin}


_IN_THIS_ORDER = (("earlier",), ("verified", "versions"), ("settings",), ("others", "inputs"), ("identity", "edit"))


def _without(*names: str) -> Any:
    def leave_out(recipe: dict[str, Any]) -> dict[str, Any]:
        empty: dict[str, Any] = {"settings": {}}
        rest = {name: value for name, value in recipe.items() if name not in names}
        return rest | {name: empty[name] for name in names if name in empty}

    return leave_out
