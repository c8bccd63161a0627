"""A LoRA with which faces keep the look of a reference photo."""
