"""A LoRA for four steps without guidance, distilled from twelve with it, against a judge on the base's features."""
