"""Files: written whole or not at all, owned by one process at a time, and a stranger's read with limits."""
