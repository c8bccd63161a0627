"""The training recipes by name, in the order in which nano came to be: what each trains. Brings no torch.

`recipes.RECIPES` holds how each is built and scheduled.
"""

SUMMARIES = {
    "nano-embedder": "identity encoder, distilled block by block from the teacher recogniser",
    "nano-embedder-longer": "the identity encoder goes on, as one, from its export; with --people, on these, too",
    "nano-detector": "faces in whole photos: boxes and five points, on composed scenes",
    "nano-motion": "landmarks, head pose and blendshapes of an aligned face",
    "nano-motion-made": "the motion network goes on, on what FaceX makes, too: read as the teacher reads it",
    "nano-autoencoder": "128-px faces <-> (8, 16, 16) latents",
    "portrait-autoencoder": "heads of 192 px <-> latents, by likeness; with --people, which hold whole heads",
    "portrait-decoder": "its decoder goes on against a discriminator: skin and hair; latents stay",
    "portrait-small-decoder": "a decoder of half the size, through which a base's and its adapters' faces are judged",
    "portrait": "text encoder + UNet: one picture of a person to another, heads of 192 px; with --people",
    "nano-base": "text encoder + UNet: identity (and words) to faces",
    "nano-longer": "the base goes on, from its export or the bundled weights: Muon, identity of samples",
    "nano-controlnet": "pose: faces that hold a normal map's pose and expression",
    "nano-expression": "faces that do what blendshapes ask: an adapter beside the base",
    "nano-fast": "a LoRA for four steps without guidance, distilled from twelve with it, against a judge",
    "face0-nano": "text, face and both (Face0): the base goes on, and a projector beside it",
    "face0-sd15": "text and face together on Stable Diffusion 1.5, as published: --data, --base, --reader",
    "facex-nano": "one controller for every facial edit (FaceX)",
    "facex-sd15": "the same on Stable Diffusion 1.5, as Arc2Face: --data, --base, --backbone",
    "nano-reference": "a LoRA with which faces keep the look of a reference photo",
    "watermark": "the mark in the pixels: who writes it unseen, and who finds it again",
}
