"""Files: written whole or not at all, and owned by one process at a time."""
