"""Recipes, the loop that runs them, and what each of them trains."""
