"""Landmarks, head pose and blendshapes of an aligned face."""
