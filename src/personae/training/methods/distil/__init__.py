"""A LoRA for four steps without guidance, distilled from twelve with it."""
