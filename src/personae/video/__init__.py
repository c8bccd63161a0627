"""A photo animated by a video: its motion read and smoothed, frames drawn one by one, and written."""
