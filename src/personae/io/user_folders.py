"""Where personae keeps what belongs to a user: decisions, and what can be made again.

    config_folder()     # PERSONAE_CONFIG, or personae/ in XDG_CONFIG_HOME (~/.config)
    cache_folder()      # PERSONAE_CACHE, or personae/ in XDG_CACHE_HOME (~/.cache)

Neither makes the folder. Models from the Hub lie in the Hub's own cache.
"""

import os
from pathlib import Path


def config_folder() -> Path:
    """What a person decided: licences that were accepted, models that were met before."""
    return _own("PERSONAE_CONFIG") or _shared("XDG_CONFIG_HOME", ".config") / "personae"


def cache_folder() -> Path:
    """What was measured and is measured again when it is gone."""
    return _own("PERSONAE_CACHE") or _shared("XDG_CACHE_HOME", ".cache") / "personae"


def _own(variable: str) -> Path | None:
    return Path(place) if (place := os.environ.get(variable)) else None


def _shared(variable: str, usual: str) -> Path:
    place = Path(os.environ.get(variable, ""))
    return place if place.is_absolute() else Path.home() / usual  # a relative one is ignored, as XDG has it
