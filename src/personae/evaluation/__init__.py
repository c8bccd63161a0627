"""Judging: is it the same person, do the pictures look real, does the reader read right; every figure with its n."""
