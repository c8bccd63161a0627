"""Inputs that nobody would write, thrown at every reader of a stranger's file: see `docs/testing.md`."""
