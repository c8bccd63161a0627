"""Heads from an identity: one view of a person conditions, another is what is learnt."""
