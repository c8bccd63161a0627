"""What the UNet cross-attends to, made from identities and words."""
