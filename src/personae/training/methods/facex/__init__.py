"""One controller for every edit (FaceX, arXiv 2401.00551), on nano and on Stable Diffusion 1.5."""
