"""Faces of 128 pixels and their latents, which nano's UNet lives in."""
