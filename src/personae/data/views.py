"""directions = Directions.fit(generator, label)            # once: how to turn a head, open a mouth, move the light
view = View.draw(rng, held)                                 # what one picture of somebody shows
pixels = generator.picture(directions.styles(w, other, view))

Several pictures of one person who does not exist. Layers of the generator do different things (Karras et al. 2019,
arXiv 1812.04948, style mixing): the coarse ones hold the head, the middle ones its features, the fine ones surface,
colour and light. In each group a few directions are fitted to what a labeller reads off random faces; moved along in
their own group alone, they change the person least. Colours and light come from a stranger's fine styles, too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from personae.data.generator import Generator
from personae.errors import BadData
from personae.io import atomic
from personae.io.tensors import to_bytes
from personae.types import Array

GROUPS = {"coarse": slice(0, 5), "middle": slice(5, 11), "fine": slice(11, 23)}  # rows of styles: to 8 px, 16-32, 64 on
# What is fitted, in which group, and how far apart the two pictures are from which its effect is measured (its units).
TRAITS = {
    "yaw": ("coarse", 20.0),  # degrees
    "pitch": ("coarse", 12.0),
    "smile": ("middle", 0.5),  # blendshapes, the mean of the two sides
    "jaw": ("middle", 0.4),
    "light": ("fine", 0.2),  # brightness of the face's left half less its right half's, over their mean
}
# Of a view: how far yaw and pitch spread and may go (degrees), how far the other traits do, how often the jaw opens.
TURN, LIMITS = (9.0, 6.0), (26.0, 14.0)
SMILE, JAW, OPENED, LIGHT, MIX = 0.6, (0.1, 0.3), 0.35, 0.1, 0.5
Label = Callable[[Array], Array | None]
"""The five traits of a picture (H, W, 3), or None where there is no face."""
_RIDGE = 0.3  # of the mean squared length of what is regressed on: the best of 0.003 ... 3, cross-validated
_SPREAD = 8192  # people of whom the covariance of w is taken
_FORMAT = "personae.views/1"


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of somebody: changes of the traits, in their units, from the person as drawn; and `mix`, the
    share of a stranger's fine styles, 0-1."""

    yaw: float = 0.0
    pitch: float = 0.0
    smile: float = 0.0
    jaw: float = 0.0
    light: float = 0.0
    mix: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator, held: Array, reach: float = 1.0) -> "View":
        """A random one for somebody whose first picture shows the traits `held` (5,): who looks far aside already turns
        no further. reach: scales all changes."""
        goals = np.clip(held[:2] + rng.normal(0, TURN), np.negative(LIMITS), LIMITS)
        opened = rng.random() < OPENED
        return cls(
            yaw=round(float(goals[0] - held[0]) * reach, 2),
            pitch=round(float(goals[1] - held[1]) * reach, 2),
            smile=round(float(rng.uniform(-SMILE, SMILE) * reach), 3),
            jaw=round(float(rng.uniform(*JAW) * opened * reach), 3),
            light=round(float(rng.uniform(-LIGHT, LIGHT) * reach), 3),
            mix=round(float(rng.uniform(0, MIX) * reach), 3),
        )


@dataclass(frozen=True, kw_only=True)
class Directions:
    """vectors (T, W) float32: for each of `TRAITS` the step in w that changes it by one unit."""

    vectors: Array

    @classmethod
    def fit(cls, generator: Generator, label: Label, *, count: int = 256, seed: int = 0) -> "Directions":
        """Ridge regression on `count` random people, orthogonalised, its steps scaled by their measured effects.

        Raises `BadData` if the labeller finds too few faces.
        """
        rng = np.random.default_rng([seed, 1])
        w = generator.w(rng.standard_normal((count, generator.width)), 0.85)
        labels = [label(generator.picture(_everywhere(generator, one))) for one in w]
        found = np.array([one is not None for one in labels])
        if found.sum() < min(count, 8):
            raise BadData(f"the labeller found a face in {found.sum()} of {count} drawn pictures: too few to fit views")
        spread = np.cov(generator.w(rng.standard_normal((_SPREAD, generator.width)), 0.85).T)
        units = unit_directions(w[found], np.stack([one for one in labels if one is not None]), spread)
        some = w[found][: max(2, min(8, count // 4))]
        effects = [_effect(generator, label, some, unit, name) for unit, name in zip(units, TRAITS, strict=True)]
        return cls(vectors=(units / np.array(effects)[:, None]).astype(np.float32))

    def styles(self, w: Array, stranger: Array, view: View, rows: int = 23) -> Array:
        """(rows, W) of a person w (W,) in a `view`; stranger: (W,) whose fine styles are mixed in."""
        styles = np.repeat(w[None], rows, 0)
        styles[GROUPS["fine"]] += view.mix * (stranger - w)
        for vector, (name, (group, _)) in zip(self.vectors, TRAITS.items(), strict=True):
            styles[GROUPS[group]] += getattr(view, name) * vector
        return styles

    def save(self, path: Path, facts: Mapping[str, str]) -> None:
        """Write them whole or not at all, with `facts` about where they come from."""
        atomic.write(path, to_bytes({"vectors": self.vectors}, {"about": json.dumps(_about(facts))}), replace=True)

    @classmethod
    def load(cls, path: Path, facts: Mapping[str, str]) -> "Directions":
        """Read a file of `save`. Raises `BadData` if it is none or its facts are others."""
        try:
            with safe_open(path, "np") as file:
                about, vectors = json.loads((file.metadata() or {})["about"]), file.get_tensor("vectors")
        except Exception as error:  # safetensors raises its own kinds
            raise BadData(f"{path} holds no directions ({error}): delete it to have them fitted anew") from error
        if differing := {name for name, value in _about(facts).items() if about.get(name) != value}:
            raise BadData(
                f"{path} was fitted with other {', '.join(sorted(differing))}: delete it, or name its settings"
            )
        return cls(vectors=vectors)


def _about(facts: Mapping[str, str]) -> dict[str, Any]:
    return {"format": _FORMAT, "traits": list(TRAITS), **facts}


def unit_directions(w: Array, labels: Array, covariance: Array) -> Array:
    """(T, W) of unit length: along which each of the labels (N, T) of w (N, W) grows and the others stay, as ridge
    regression sees it.

    covariance: (W, W) of w. What best *predicts* a label points where hardly anybody is, and soon melts faces;
    multiplied by the covariance it points along how people who differ in it differ (Haufe et al. 2014, NeuroImage 87),
    but for what is rare, as an open mouth, hardly towards the trait at all. By its square root, it does both.
    """
    x = (w - w.mean(0)).astype(np.float64)
    y = (labels - labels.mean(0)) / labels.std(0).clip(1e-9)
    gram = x @ x.T
    slopes = np.linalg.solve(gram + _RIDGE * np.trace(gram) / len(x) * np.eye(len(x)), y).T @ x
    apart = []
    sizes, axes = np.linalg.eigh(covariance)
    root = (axes * np.sqrt(sizes.clip(0))) @ axes.T
    for number, along in enumerate(slopes @ root):
        others = np.linalg.qr(np.delete(slopes, number, 0).T)[0]
        rest = along - others @ (others.T @ along)
        apart.append(rest / max(float(np.linalg.norm(rest)), 1e-12))
    return np.stack(apart)


def _everywhere(generator: Generator, w: Array) -> Array:
    return np.repeat(w[None], generator.rows, 0)


def _effect(generator: Generator, label: Label, w: Array, unit: Array, name: str) -> float:
    """By how many of its units a trait grows with a step of length 1 in its group of layers: the median over people w
    (N, W), each seen at two steps whose length is adapted until they are about as far apart as views will be."""
    group, goal = TRAITS[name]
    column, length = list(TRAITS).index(name), 3.0
    slope = 0.0
    for _ in range(2):
        slopes = []
        for one in w:
            ends = []
            for sign in (-0.5, 0.5):
                styles = _everywhere(generator, one)
                styles[GROUPS[group]] += sign * length * unit
                ends.append(label(generator.picture(styles)))
            if ends[0] is not None and ends[1] is not None:
                slopes.append((ends[1][column] - ends[0][column]) / length)
        slope = max(float(np.median(slopes)) if slopes else 0.0, 1e-3)
        length = float(np.clip(goal / slope, 1.0, 12.0))
    return slope
