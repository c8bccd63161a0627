"""A photo animated by a video: read, smoothed, drawn frame by frame, written."""
