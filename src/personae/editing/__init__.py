"""Edits of photos: what is kept, what is made anew, and how it is put back."""
