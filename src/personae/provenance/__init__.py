"""Where an image comes from: recipes, and the one writer through which images leave the process."""
