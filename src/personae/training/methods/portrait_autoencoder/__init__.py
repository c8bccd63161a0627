"""Heads of 192 pixels and their latents."""
