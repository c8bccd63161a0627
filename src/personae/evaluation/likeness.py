"""likeness.measure(real, generated) -> {"likeness": 0.47 [0.45, 0.49], n = 200, "rank1": ...}

Is it the same person? `real` (P, D) are a judge's unit vectors of P people's photos, `generated` (P, M, D) those
of M images of each; a row of NaN is an image without a face: likeness 0, no rank, and counted.
"""

import numpy as np

from personae.errors import BadData
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.shapes import Float, Float64, Int
from personae.types import Array


def cosines(real: Float[Array, "P D"], generated: Float[Array, "P M _"]) -> Float64[Array, "P M"]:
    """(P, M) cosine of every image to its own person; NaN where no face was found."""
    if real.ndim != 2 or generated.ndim != 3 or len(real) != len(generated):
        raise BadData(f"likeness compares (P, D) with (P, M, D), got {real.shape} and {generated.shape}")
    if generated.shape[2] != real.shape[1]:  # a judge that found no face at all cannot know its width
        generated = np.full((*generated.shape[:2], real.shape[1]), np.nan)
    return np.einsum("pd,pmd->pm", real, generated, dtype=np.float64)


def ranks(real: Float[Array, "P D"], generated: Float[Array, "P M _"]) -> Int[Array, "P M"]:
    """(P, M) how many of the P people are likelier than the right one, 0 is best; P where no face was found."""
    own = cosines(real, generated)
    ranked = np.full(own.shape, len(real))
    for person, image in np.argwhere(np.isfinite(own)):
        others = np.delete(real @ generated[person, image], person)
        ranked[person, image] = int((others >= own[person, image]).sum())
    return ranked


def strangers(a: Array, b: Array) -> Array:
    """(P,) each person's mean cosine in `a` (P, M, D) to everyone else's in `b` (P, L, D); images without a face
    are left out."""
    width = max(a.shape[2], b.shape[2])
    totals, counts = [], []
    for vectors in (a, b):
        found = np.isfinite(vectors).all(-1)
        whole = np.where(found[..., None], vectors, 0).astype(np.float64)
        totals.append(np.broadcast_to(whole.sum(1), (len(vectors), width)))
        counts.append(found.sum(1))
    # The mean over all pairs of different people is a product of sums: no (P M) x (P L) table is needed.
    everyone, many = totals[1].sum(0), counts[1].sum()
    pairs = counts[0] * (many - counts[1])
    products = np.einsum("pd,pd->p", totals[0], everyone[None] - totals[1])
    return np.divide(products, pairs, out=np.full(len(a), np.nan), where=pairs > 0)


def measure(real: Float[Array, "P D"], generated: Float[Array, "P M _"], *, seed: int = 0) -> dict[str, Estimate]:
    """Every figure of likeness, with intervals over people.

    likeness: mean cosine, 0 where no face was found; likeness_found: over the images with a face; missing: share
    of images without; rank1: share of images nearest to their own person among all P; rank1_person: the same of
    the mean of a person's images; strangers_real / strangers_generated / strangers_across: mean cosine between
    different people, real to real, generated to generated, generated to real.
    """
    own = cosines(real, generated)
    found = np.isfinite(own)
    alone = real[:, None]
    figures = {
        "likeness": estimate.mean(np.where(found, own, 0).mean(1), seed),
        "missing": estimate.mean((~found).mean(1), seed),
        "rank1": estimate.mean((ranks(real, generated) == 0).mean(1), seed),
        "rank1_person": estimate.proportion(ranks(real, _centres(generated))[:, 0] == 0),
        "strangers_real": estimate.mean_of_finite(strangers(alone, alone), seed),
    }
    if found.any():
        means = np.divide(
            np.where(found, own, 0).sum(1), found.sum(1), where=found.any(1), out=np.full(len(own), np.nan)
        )
        figures["likeness_found"] = estimate.mean_of_finite(means, seed)
        figures["strangers_generated"] = estimate.mean_of_finite(strangers(generated, generated), seed)
        figures["strangers_across"] = estimate.mean_of_finite(strangers(generated, alone), seed)
    return figures


def gap(real: Float[Array, "P D"], generated: Float[Array, "P M _"], *, seed: int = 0) -> Estimate:
    """How far images of different people are from looking as different as real people do: the mean over people of
    (strangers among images - strangers among photos), its size. A model that gives everyone the same face has a
    large one."""
    alone = real[:, None]
    apart = strangers(generated, generated) - strangers(alone, alone)
    signed = estimate.mean_of_finite(apart, seed)
    if signed.value >= 0:
        return signed
    return Estimate(value=-signed.value, low=-signed.high, high=-signed.low, n=signed.n)


def by_group(
    real: Float[Array, "P D"], generated: Float[Array, "P M _"], labels: list[str], *, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Likeness, rank-1 among *everyone* and missing faces for each group; labels[i] is person i's group."""
    own, ranked = cosines(real, generated), ranks(real, generated)
    groups = {}
    for name in sorted(set(labels)):
        rows = np.array([label == name for label in labels])
        groups[name] = {
            "likeness": estimate.mean(np.nan_to_num(own[rows]).mean(1), seed),
            "rank1": estimate.mean((ranked[rows] == 0).mean(1), seed),
            "missing": estimate.mean((~np.isfinite(own[rows])).mean(1), seed),
        }
    return groups


def _centres(generated: Array) -> Array:
    """(P, 1, D) the unit mean of each person's found images; NaN where there is none."""
    total = np.nansum(generated, axis=1, keepdims=True)
    norm = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.divide(total, norm, out=np.full_like(total, np.nan), where=norm > 0)
