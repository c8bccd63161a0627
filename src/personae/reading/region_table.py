"""The regions of a face by name, and the groups of them that have a name. Brings neither numpy nor torch.

`face_regions` draws them.
"""

REGIONS = ("skin", "brows", "eyes", "nose", "mouth", "hair", "surroundings")
_FACE = ("skin", "brows", "eyes", "nose", "mouth")
# What else may be requested, and what it is made of.
GROUPS = {"face": _FACE, "head": (*_FACE, "hair")}
