"""Photos in, faces out: load, detect, align, measure, identify."""
