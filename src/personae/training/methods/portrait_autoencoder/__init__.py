"""Heads of 256 pixels and their latents."""
