"""Identity, and words, to faces: nano's UNet and text encoder."""
