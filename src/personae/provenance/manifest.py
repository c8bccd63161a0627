"""What a C2PA manifest says of an output, as the JSON that the library takes (C2PA specification 2.2).

definition(recipe, "image/png", ingredients)      # {"format": "image/png", "assertions": [...], "ingredients": [...]}

A generation is `c2pa.created`, an edit is `c2pa.opened` and `c2pa.edited` with its photo as parent; both name the task
and the model, and nobody's identity, no file's place and no setting. The recipe is bound by its hash, in an assertion
of ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from personae.provenance.message import recipe_sha256
from personae.provenance.recipe import EDIT
from personae.types import Ingredient
from personae.version import __version__

RECIPE_LABEL = "personae.recipe"  # of the assertion that binds the recipe
TASK, MODEL, MODEL_SHA256 = "personae.task", "personae.model", "personae.model_sha256"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
BY_A_MODEL, IN_PART = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
AI_TYPES = (BY_A_MODEL, IN_PART)
_AGENT = {"name": "personae", "version": __version__}


def definition(
    recipe: Mapping[str, Any], mime: str, ingredients: Sequence[Ingredient], *, apart: Sequence[str] = ()
) -> dict[str, Any]:
    """The manifest of an output. recipe: as its file holds it. ingredients: what it was made of, each known by its
    role. apart: roles of those that the caller adds as files, with the manifests inside them."""
    parents = [one for one in ingredients if one.canvas]
    others = [one for one in ingredients if not one.canvas]
    facts = {"softwareAgent": _AGENT, "parameters": _parameters(recipe)}
    if parents:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [one.role for one in parents]}}
        facts["parameters"] |= {"ingredientIds": [one.role for one in others]} if others else {}
        actions = [opened, {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPES + IN_PART, **facts}]
    else:
        source_type = IN_PART if recipe.get("task") == EDIT else BY_A_MODEL
        actions = [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + source_type, **facts}]
    if recipe.get("marks", {}).get("watermark"):
        actions.append({"action": "c2pa.watermarked.unbound", "softwareAgent": _AGENT})
    bound = {"sha256": recipe_sha256(recipe), "format": str(recipe.get("format"))}
    return {
        "claim_generator_info": [_AGENT],
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": RECIPE_LABEL, "data": bound},
        ],
        "ingredients": [ingredient(one, recipe) for one in ingredients if one.role not in apart],
    }


def foremost(source_types: Iterable[str | None]) -> str | None:
    """Of several source types the one to be reported: the first that names AI, else the first."""
    known = [one for one in source_types if one is not None]
    return next((one for one in known if one in AI_TYPES), next(iter(known), None))


def ingredient(one: Ingredient, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """An ingredient as the library takes it: under the name that the recipe has for its file, else its role."""
    inputs = recipe.get("inputs", recipe)  # a video's own words name its photo beside the rest
    known = inputs.get(one.role) if isinstance(inputs, Mapping) else None
    known = known if isinstance(known, Mapping) else {}
    found = {
        "title": known.get("name", one.role),
        "format": one.mime or "application/octet-stream",
        "relationship": "parentOf" if one.canvas else "inputTo",
        "label": one.role,
    }
    return found | ({"instance_id": f"sha256:{known['sha256']}"} if "sha256" in known else {})


def _parameters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    edit, model = recipe.get("edit"), recipe.get("model")
    task = edit.get("task") if isinstance(edit, Mapping) else recipe.get("task")
    name = task.get("name") if isinstance(task, Mapping) else task
    found = {TASK: name}
    if isinstance(model, Mapping):
        found |= {MODEL: model.get("name"), MODEL_SHA256: model.get("sha256")}
    return {key: str(value) for key, value in found.items() if value is not None}
