"""Edits of photos: tasks, masks, warping, conditioning, and pasting back into the photo."""
