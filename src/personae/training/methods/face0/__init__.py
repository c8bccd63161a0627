"""Text and face together (Face0, arXiv 2306.06638), on nano and on Stable Diffusion 1.5."""
